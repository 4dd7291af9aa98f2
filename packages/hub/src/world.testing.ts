// Test fixtures only, imported by tests beside the code: a platform in memory with real keys, so that every signature is a
// real one, and rows written straight into the tables.

import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BusMessage } from '@qiao/bus';
import { ControlMessage } from '@qiao/contract/control';
import { DeliveryHeader, DeliveryMessage, Origin } from '@qiao/contract/delivery';
import { Signed } from '@qiao/contract/signed';
import { type DatabaseTarget, openDatabase } from '@qiao/database';
import { testStore } from '@qiao/database/testing';
import { idText } from '@qiao/exchange';
import type { Clock } from '@qiao/runtime';
import { Authority, createKeyAndCsr, readCertificate, Signer } from '@qiao/security';
import { HUB_MIGRATIONS, type HubDatabase, type HubTables, type NodeRoleName } from './hubDatabase.ts';
import { recordCertificate } from './registry/certificates.ts';
import { insertNode } from './registry/nodes.ts';

export const START_MS = Date.UTC(2026, 0, 15, 12);

/** A clock that stands still until a test moves it. */
class TestClock implements Clock {
  ms = START_MS;
  nowMs(): number {
    return this.ms;
  }
  elapsedMs(): number {
    return this.ms;
  }
  async sleep(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export interface TestNode {
  readonly id: Uint8Array;
  readonly code: string;
  readonly signer: Signer;
  readonly certificate: Uint8Array;
}

export class TestWorld implements AsyncDisposable {
  readonly clock = new TestClock();
  readonly platform = { id: bytes(16), code: 'demo', title: '演示平台', timeZone: 'Asia/Shanghai' };
  readonly directory: string;
  readonly store: HubDatabase;
  readonly authority: Authority;
  readonly hub: TestNode;
  readonly #target: DatabaseTarget;
  readonly #others: HubDatabase[] = [];

  private constructor(
    directory: string,
    store: HubDatabase,
    authority: Authority,
    hub: TestNode,
    platformId: Uint8Array,
    target: DatabaseTarget,
  ) {
    this.directory = directory;
    this.store = store;
    this.authority = authority;
    this.hub = hub;
    this.platform = { ...this.platform, id: platformId };
    this.#target = target;
  }

  static async create(): Promise<TestWorld> {
    const directory = mkdtempSync(join(tmpdir(), 'qiao-hub-'));
    const platformId = bytes(16);
    const authority = await Authority.create(directory, { platformId, platformCode: 'demo', nowMs: START_MS });
    const target = await testStore(join(directory, 'hub.db'));
    const store = await openDatabase<HubTables>(target, HUB_MIGRATIONS);
    const id = bytes(16);
    await store
      .insertInto('hub_state')
      .values({ id: 1, platform_id: idText(platformId), hub_node_id: idText(id), generation: 1, number: 0 })
      .execute();
    const hub = await makeNode(authority, platformId, 'hub', 'hub', id);
    return new TestWorld(directory, store, authority, hub, platformId, target);
  }

  /** The same store as another replica of the hub has it open. */
  async storeOf(replica: string): Promise<HubDatabase> {
    const store = await openDatabase<HubTables>(this.#target, HUB_MIGRATIONS, { replica });
    this.#others.push(store);
    return store;
  }

  /** A node that the authority gave a certificate, and this store knows nothing of. */
  stranger(code: string): Promise<TestNode> {
    return makeNode(this.authority, this.platform.id, 'agent', code, bytes(16));
  }

  /** A node that has joined. */
  async join(code: string, role: NodeRoleName = 'agent'): Promise<TestNode> {
    const node = await makeNode(this.authority, this.platform.id, role, code, bytes(16));
    const id = idText(node.id);
    const facts = readCertificate(node.certificate);
    await insertNode(this.store, { id, code, title: code, departmentCode: code, departmentTitle: `${code} 局`, role });
    await this.store
      .updateTable('nodes')
      .set({
        status: 'joined',
        certificate: node.certificate,
        fingerprint: facts.fingerprint,
        certificate_ends_at_ms: facts.notAfterMs,
        sealing_key: role === 'agent' ? bytes(65) : null,
        fencing_token: 1,
      })
      .where('id', '=', id)
      .execute();
    await recordCertificate(this.store, {
      certificate: node.certificate,
      fingerprint: facts.fingerprint,
      nodeId: id,
      natsUser: null,
      issuedAtMs: START_MS,
    });
    return node;
  }

  /** A running bridge of version 1 with one lane, as rows. */
  async bridge(name: string, from: TestNode, to: TestNode): Promise<{ bridgeId: Uint8Array; laneId: Uint8Array }> {
    const bridgeId = bytes(16);
    const laneId = bytes(16);
    await this.store
      .insertInto('bridges')
      .values({
        id: idText(bridgeId),
        name,
        title: name,
        state: 'running',
        version: 1,
        deployed_version: 1,
        source_node_id: idText(from.id),
        run_number: 0,
        allowed_deletes: 0,
        created_at_ms: START_MS,
        changed_at_ms: START_MS,
      })
      .execute();
    await this.store
      .insertInto('bridge_versions')
      .values({
        bridge_id: idText(bridgeId),
        version: 1,
        yaml: '',
        definition_json: '{}',
        stored_at_ms: START_MS,
        stored_by: 'test',
        deployed_at_ms: START_MS,
      })
      .execute();
    await this.store
      .insertInto('lanes')
      .values({
        id: idText(laneId),
        bridge_id: idText(bridgeId),
        sender_id: idText(from.id),
        receiver_id: idText(to.id),
        data_source: 'exchange',
        destination: 0,
        bound_at_ms: START_MS,
        ended_at_ms: null,
        highest_epoch: 0,
        highest_nonce: null,
        routed_sequence: 0,
        routed_deliveries: 0,
        refused_deliveries: 0,
      })
      .execute();
    return { bridgeId, laneId };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.store, ...this.#others].map((store) => store.destroy()));
    rmSync(this.directory, { recursive: true });
  }
}

export interface DeliveryPlan {
  readonly world: TestWorld;
  readonly from: TestNode;
  readonly to: TestNode;
  readonly bridgeId: Uint8Array;
  readonly laneId: Uint8Array;
  readonly sequence?: bigint;
  readonly body?: Uint8Array;
  readonly change?: Partial<DeliveryHeader>;
  /** Signs instead of the sender. */
  readonly signer?: Signer;
}

export const NONCE = new Uint8Array(16).fill(7);

/** A signed delivery (an opening for sequence 0), as bytes for the bus. */
export function delivery(plan: DeliveryPlan): Uint8Array {
  const sequence = plan.sequence ?? 1n;
  const isOpening = sequence === 0n;
  const body = isOpening ? new Uint8Array() : (plan.body ?? Buffer.from(`sealed ${sequence}`));
  const header = DeliveryHeader.encode({
    sealedFor: new Uint8Array(),
    format: 1,
    platformId: plan.world.platform.id,
    laneId: plan.laneId,
    bridgeId: plan.bridgeId,
    bridgeVersion: 1,
    senderId: plan.from.id,
    receiverId: plan.to.id,
    epoch: { ordinal: 1n, nonce: NONCE },
    sequence,
    previousChain: new Uint8Array(32),
    contentHash: isOpening ? new Uint8Array() : createHash('sha256').update(body).digest(),
    contentBytes: BigInt(body.length),
    counts: isOpening ? [] : [{ table: 'person', inserts: 1n, updates: 0n, deletes: 0n }],
    sealedAtMs: BigInt(START_MS),
    compression: 'none',
    sealing: isOpening ? '' : 'hpke-p256-aes256gcm',
    wrappedKey: isOpening ? new Uint8Array() : new Uint8Array(113),
    parts: isOpening ? [] : [{ bytes: body.length, sha256: createHash('sha256').update(body).digest() }],
    settledThrough: 0n,
    fencingToken: 1n,
    origin: Origin.CHANGE,
    role: isOpening
      ? { $case: 'opening', value: { previous: undefined, previousLastSequence: 0n, previousKnown: false } }
      : {
          $case: 'rows',
          value: { part: 1, of: 1, loadBegins: false, loadEnds: false, allowedDeletes: 0n, incompleteTables: [] },
        },
    resourceCode: '',
    grantId: new Uint8Array(),
    purpose: '',
    ...plan.change,
  }).finish();
  const signed = (plan.signer ?? plan.from.signer).sign('qiao.delivery.v1', header);
  return DeliveryMessage.encode({ header: signed, part: 0, body }).finish();
}

/** A signed control message, as bytes for the bus. */
export function control(from: TestNode, to: Uint8Array, body: NonNullable<ControlMessage['body']>): Uint8Array {
  const payload = ControlMessage.encode({ toNodeId: to, body }).finish();
  return Signed.encode(from.signer.sign('qiao.control.v1', payload)).finish();
}

type Ending = 'acked' | 'retried' | 'open';

export interface FakeMessage extends BusMessage {
  readonly ending: () => Ending;
}

let place = 0n;

export function busMessage(subject: string, data: Uint8Array): FakeMessage {
  let ending: Ending = 'open';
  place += 1n;
  return {
    subject,
    data,
    sequence: place,
    redelivered: false,
    ack: () => {
      ending = 'acked';
    },
    retryLater: () => {
      ending = 'retried';
    },
    working: () => undefined,
    ending: () => ending,
  };
}

export function bytes(length: number): Uint8Array {
  return new Uint8Array(randomBytes(length));
}

async function makeNode(
  authority: Authority,
  platformId: Uint8Array,
  role: NodeRoleName | 'hub',
  code: string,
  id: Uint8Array,
): Promise<TestNode> {
  const { keyPem, csrDer } = await createKeyAndCsr(code);
  const certificate = await authority.issue(csrDer, { role, platformId, nodeId: id, code, days: 100, nowMs: START_MS });
  return { id, code, certificate, signer: new Signer(keyPem, certificate) };
}

/** The identity as the tables write it. */
export { idText };
