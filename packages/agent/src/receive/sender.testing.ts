// For tests: a sender of one lane that packs, chains and "seals" deliveries as the contract asks, and a world around the
// receiving end: a real exchange database, a real SQLite target, a clock that stands still, a bus that is an array.

import { createHash, randomBytes } from 'node:crypto';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { BusMessage } from '@qiao/bus';
import { ControlMessage } from '@qiao/contract/control';
import { DeliveryHeader, DeliveryMessage, Origin } from '@qiao/contract/delivery';
import { BridgeState } from '@qiao/contract/node';
import { Receipt } from '@qiao/contract/receipt';
import type { Signed } from '@qiao/contract/signed';
import {
  type BridgeDefinition,
  chainOf,
  contractCounts,
  countSections,
  type Destination,
  encodeContent,
  type Kind,
  NO_CHAIN,
  parseId,
  QiaoError,
  type Section,
} from '@qiao/exchange';
import { type Clock, createWakeup, silentLog } from '@qiao/runtime';
import Database from 'better-sqlite3';
import { applyPart, forkReason } from '../apply/apply.ts';
import { MarkLooks } from '../apply/landings.ts';
import { createLaneConditions } from '../apply/laneConditions.ts';
import { createDesiredState, type Desired } from '../control/desired.ts';
import type { Permissions } from '../control/permissions.ts';
import { createDataSources } from '../data-sources/registry.ts';
import { type KeptRow, openExchangeDatabase } from '../exchange-database/index.ts';
import { createAnswers } from './answer.ts';
import { createAsker } from './ask.ts';
import { createRowAsker } from './askRows.ts';
import type { InboxLimits } from './inboxRoom.ts';
import { receivePart } from './receive.ts';

export const LANE = 'a'.repeat(32);
export const BRIDGE = 'b'.repeat(32);
export const SENDER = 'c'.repeat(32);
export const RECEIVER = 'd'.repeat(32);
export const PLATFORM = 'e'.repeat(32);

const NAME = 'person';

export function personRows(kind: Kind, lines: readonly string[]): Section {
  return {
    table: NAME,
    kind,
    columns: kind === 'delete' ? ['id'] : ['id', 'name'],
    keyColumns: 1,
    rowCount: lines.length,
    rows: Buffer.from(lines.map((line) => `${line}\n`).join('')),
    wholeRows: kind !== 'delete',
  };
}

/** Gives out the places of one epoch. */
export class TestSender {
  epoch: bigint;
  nonce: Uint8Array;
  /** For whose key bodies claim to be sealed. */
  sealedFor = new Uint8Array(0);
  bridgeVersion = 1;
  sequence = -1n;
  chain = NO_CHAIN;
  fencingToken = 1n;
  settledThrough = 0n;
  /** What the header says of receipts. */
  receipts: DeliveryHeader['receipts'];

  constructor(epoch = 1n, nonceByte = 7) {
    this.epoch = epoch;
    this.nonce = new Uint8Array(16).fill(nonceByte);
  }

  /** Begins the next epoch; its opening comes next. */
  newEpoch(): void {
    this.epoch += 1n;
    this.nonce = new Uint8Array(16).fill(Number(this.epoch));
    this.sequence = -1n;
    this.chain = NO_CHAIN;
    this.settledThrough = 0n;
  }

  opening(previousLast = 0n): Uint8Array {
    return this.#next(
      { role: { $case: 'opening', value: { previousLastSequence: previousLast, previousKnown: true } } },
      [],
    );
  }

  rows(sections: readonly Section[], load: { begins?: boolean; ends?: boolean } = {}): Uint8Array {
    const rows = {
      part: 1,
      of: 1,
      loadBegins: load.begins ?? false,
      loadEnds: load.ends ?? false,
      allowedDeletes: 0n,
      incompleteTables: [],
    };
    return this.#next({ role: { $case: 'rows', value: rows } }, sections);
  }

  /** A void at the place after the present one, for the rows that would have been there. */
  voided(sections: readonly Section[]): Uint8Array {
    return this.#next({ role: { $case: 'void', value: { code: 'VERSION_REFUSED', reason: 'test' } } }, sections);
  }

  /** The same sender as it was, for building another message at the same place. */
  copy(): TestSender {
    const copy = new TestSender(this.epoch, this.nonce[0]);
    copy.sequence = this.sequence;
    copy.chain = this.chain;
    copy.fencingToken = this.fencingToken;
    return copy;
  }

  #next(part: { role: NonNullable<DeliveryHeader['role']> }, sections: readonly Section[]): Uint8Array {
    this.sequence += 1n;
    const isOpening = part.role.$case === 'opening';
    const content = isOpening ? new Uint8Array(0) : encodeContent(sections);
    const contentHash = isOpening ? new Uint8Array(0) : createHash('sha256').update(content).digest();
    const counts = contractCounts(countSections(sections));
    const hasBody = part.role.$case === 'rows';
    const header = DeliveryHeader.fromPartial({
      format: 1,
      platformId: parseId(PLATFORM),
      laneId: parseId(LANE),
      bridgeId: parseId(BRIDGE),
      bridgeVersion: this.bridgeVersion,
      sealedFor: hasBody ? this.sealedFor : new Uint8Array(0),
      senderId: parseId(SENDER),
      receiverId: parseId(RECEIVER),
      epoch: { ordinal: this.epoch, nonce: this.nonce },
      sequence: this.sequence,
      previousChain: this.chain,
      contentHash,
      contentBytes: BigInt(content.length),
      counts,
      sealedAtMs: 1_700_000_000_000n,
      compression: hasBody ? 'none' : '',
      sealing: hasBody ? 'plain' : '',
      parts: hasBody ? [{ bytes: content.length, sha256: createHash('sha256').update(content).digest() }] : [],
      settledThrough: this.settledThrough,
      ...(this.receipts === undefined ? {} : { receipts: this.receipts }),
      fencingToken: this.fencingToken,
      origin: Origin.CHANGE,
      role: part.role,
    });
    this.chain = chainOf({
      previousChain: this.chain,
      laneId: header.laneId,
      epoch: { ordinal: this.epoch, nonce: this.nonce },
      sequence: this.sequence,
      contentHash,
      counts,
    });
    const payload = DeliveryHeader.encode(header).finish();
    return DeliveryMessage.encode({
      header: { payload, suite: 'test', keyId: new Uint8Array(32), signature: new Uint8Array(1) },
      part: 0,
      body: hasBody ? content : new Uint8Array(0),
    }).finish();
  }
}

export const definition = (destination: Partial<Destination['tables'][string]> = {}): BridgeDefinition => ({
  kind: 'Bridge',
  name: 'people',
  title: '人口',
  source: {
    node: 'health',
    dataSource: 'his',
    capture: 'compare',
    tables: [{ name: NAME, key: ['id'], columns: ['id', 'name'], transform: [], checks: [] }],
  },
  schedule: { kind: 'manual' },
  destinations: [
    {
      node: 'civil',
      dataSource: 'target',
      tables: {
        [NAME]: { to: NAME, ownership: 'whole', landing: 'mirror', onDelete: 'delete', mark: 'target', ...destination },
      },
    },
  ],
  lateAfterMs: 300_000,
  explainedAlertShare: 1,
  windowBytes: 16 * 1024 * 1024,
  deleteGuard: { rows: 1_000, share: 0.05 },
  stopAfterQuarantined: 1_000,
});

export interface WorldOptions {
  readonly permissions?: Permissions['accepts'];
  readonly inboxLimits?: InboxLimits;
  /** Name of this node's sealing key. */
  readonly sealedFor?: Uint8Array;
  /** Fails signatures. */
  readonly forged?: boolean;
  /** The target's table; none when empty. */
  readonly ddl?: string;
}

interface ApplyMoments {
  readonly failAnswers?: boolean;
  readonly onBody?: () => void;
  readonly onIdle?: () => Promise<void>;
}

/** The receiving end of one lane. */
export class ReceiverWorld implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'qiao-receive-'));
  readonly targetFile = join(this.directory, 'target.db');
  readonly clock: Clock & { atMs: number };
  readonly desired = createDesiredState();
  readonly acknowledged: bigint[] = [];
  readonly again: bigint[] = [];
  /** Another process runs under the receiver's identity. */
  isFenced = false;
  readonly wantSnapshot = createWakeup();
  readonly #options: WorldOptions;
  database = openExchangeDatabase(join(this.directory, 'exchange.db'));
  conditions: ReturnType<typeof createLaneConditions>;
  #sequence = 0n;

  constructor(options: WorldOptions = {}) {
    this.#options = options;
    const clock = {
      atMs: 1_700_000_100_000,
      nowMs: () => clock.atMs,
      elapsedMs: () => clock.atMs,
      sleep: async (ms: number) => {
        clock.atMs += ms;
        await setImmediate();
      },
    };
    this.clock = clock;
    this.conditions = createLaneConditions({ database: this.database, clock, log: silentLog() });
    this.sql(options.ddl ?? 'CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL) STRICT');
    this.desire(1, definition());
  }

  desire(version: number, bridge: BridgeDefinition): void {
    const destination = bridge.destinations[0];
    const desired: Desired = {
      platformId: PLATFORM,
      platformCode: 'demo',
      nodeId: RECEIVER,
      generation: 1n,
      number: BigInt(version),
      timeZone: 'Asia/Shanghai',
      fencingToken: 0n,
      bridges: new Map([
        [
          BRIDGE,
          {
            bridgeId: BRIDGE,
            name: 'people',
            version,
            state: BridgeState.RUNNING,
            definition: bridge,
            lanes: [
              {
                laneId: LANE,
                senderId: SENDER,
                receiverId: RECEIVER,
                destinationIndex: 0,
                destination,
                highestEpoch: 0n,
                ended: false,
              },
            ],
            runNumber: 0n,
            allowedDeletes: 0n,
          },
        ],
      ]),
      peers: new Map([
        [
          SENDER,
          {
            nodeId: SENDER,
            code: 'health',
            departmentCode: 'health',
            departmentTitle: '卫健委',
            certificate: new Uint8Array(0),
            sealingKey: new Uint8Array(0),
            readsFormat: 1,
            fencingToken: 1n,
            revoked: false,
          },
        ],
      ]),
      monitors: [],
    };
    this.desired.replace(desired);
  }

  /** Runs statements on the target, as its DBA would. */
  sql(text: string): void {
    const target = new Database(this.targetFile);
    target.exec(text);
    target.close();
  }

  targetRows(text = 'SELECT id, name FROM person ORDER BY id'): unknown[] {
    const target = new Database(this.targetFile, { readonly: true });
    const rows = target.prepare(text).raw().all();
    target.close();
    return rows;
  }

  /** Brings messages through the receive part. */
  async receive(...messages: Uint8Array[]): Promise<void> {
    const stop = new AbortController();
    const acknowledged = this.acknowledged;
    const again = this.again;
    const nextSequence = () => {
      this.#sequence += 1n;
      return this.#sequence;
    };
    async function* stream(): AsyncGenerator<BusMessage> {
      for (const data of messages) {
        const sequence = nextSequence();
        yield {
          subject: 'qiao.down.demo.civil.data',
          data,
          sequence,
          redelivered: false,
          ack: () => void acknowledged.push(sequence),
          retryLater: () => void again.push(sequence),
          working: () => {},
        };
      }
    }
    await receivePart({
      isFenced: () => this.isFenced,
      consume: () => stream(),
      nodeId: RECEIVER,
      platformId: PLATFORM,
      desired: () => this.desired.current(),
      trust: {
        checkPeer: () => {},
        checkMonitor: () => {},
        checkSigned: () => {
          if (this.#options.forged === true) throw new QiaoError('SIGNATURE_INVALID', 'forged');
        },
      },
      database: this.database,
      answers: this.answers(),
      ask: this.ask(),
      sealedFor: this.#options.sealedFor,
      inboxLimits: this.#options.inboxLimits ?? { bytes: 1024 * 1024, laneBytes: 1024 * 1024, laneDeliveries: 100 },
      onDelivery: (laneId) => this.conditions.tryNow(parseId(laneId)),
      stickFork: (lane, version, why) => this.conditions.stick(lane, version, forkReason(why)),
      stuckForMs: (lane) => this.conditions.stuckForMs(lane),
      wantSnapshot: this.wantSnapshot,
      clock: this.clock,
      log: silentLog(),
    }).run(stop.signal);
  }

  /** Decides about rows that wait, as a command would: those of the indexes given, or all. */
  decide(decision: 'replay' | 'abandon', wanted: (row: KeptRow) => boolean = () => true): void {
    const rows = this.database.quarantine.openOfLane(parseId(LANE), 10_000).filter(wanted);
    const facts = { by: 'zhang', reason: decision === 'abandon' ? 'a test' : '', atMs: this.clock.nowMs() };
    for (const row of rows) this.database.rowDecisions.decide(row, { decision, ...facts });
  }

  /**
   * Runs the apply part until it finds nothing more to do; each wait moves the clock past every patience. `onBody`: a body is opened;
   * `onIdle`: nothing is left for the first time, on the same connection.
   */
  async apply({
    failAnswers = false,
    onBody = () => {},
    onIdle = async () => {},
  }: ApplyMoments = {}): Promise<unknown> {
    const stop = new AbortController();
    const sources = createDataSources([{ name: 'target', adapter: 'sqlite', file: this.targetFile }]);
    let waits = 0;
    const part = applyPart('target', {
      database: this.database,
      answers: failAnswers
        ? {
            ...this.answers(),
            give: () => {
              throw new Error('killed between the commit and the receipt');
            },
            giveAgain: () => false,
            giveNewer: () => 'unknown',
          }
        : this.answers(),
      permissions: {
        exposes: [],
        accepts: this.#options.permissions ?? [{ dataSource: 'target', table: '*' }],
        defaultSchema: () => undefined,
      },
      clock: this.clock,
      log: silentLog(),
      nodeId: RECEIVER,
      desired: this.desired,
      open: sources.open,
      body: {
        sealing: 'plain',
        sealedFor: this.#options.sealedFor,
        open: async (body) => {
          onBody();
          return body;
        },
      },
      ask: this.ask(),
      askRows: createRowAsker({
        database: this.database,
        seal: async (content) => ({ body: content, wrappedKey: new Uint8Array(0) }),
        newId: () => new Uint8Array(16),
        clock: this.clock,
        log: silentLog(),
        onQueued: () => {},
      }),
      conditions: this.conditions,
      wakeup: {
        wake: () => {},
        wait: async () => {
          waits += 1;
          this.clock.atMs += 2_000;
          if (waits === 1) await onIdle();
          if (waits >= 3) stop.abort();
          await setImmediate();
        },
      },
      retentionMs: 86_400_000,
      looks: new MarkLooks(),
      wantSnapshot: this.wantSnapshot,
    });
    try {
      await part.run(stop.signal);
      return undefined;
    } catch (error) {
      if (!failAnswers) throw error;
      return error;
    } finally {
      await sources.close();
    }
  }

  answers() {
    return createAnswers({
      database: this.database,
      sign: (_context, payload): Signed => ({
        payload,
        suite: 'test',
        keyId: new Uint8Array(32),
        signature: new Uint8Array(1),
      }),
      renew: (_context, signed) => signed,
      clock: this.clock,
      onQueued: () => {},
    });
  }

  ask() {
    return createAsker({
      database: this.database,
      clock: this.clock,
      log: silentLog(),
      newId: () => randomBytes(16),
      onQueued: () => {},
    });
  }

  /** What was queued for the sender since the last call. */
  said(): NonNullable<ControlMessage['body']>[] {
    const waiting = this.database.controlOut.next(1_000);
    for (const { number } of waiting) this.database.controlOut.sent(number);
    return waiting.flatMap(({ message }) => ControlMessage.decode(message).body ?? []);
  }

  receipts(): Receipt[] {
    return this.said().flatMap((body) => (body.$case === 'receipt' ? [Receipt.decode(body.value.payload)] : []));
  }

  lane() {
    return this.database.lanesIn.get(parseId(LANE));
  }

  /** The exchange database as a copy of it was. */
  reopenFrom(copy: string): void {
    this.database.close();
    for (const suffix of ['-wal', '-shm']) rmSync(join(this.directory, `exchange.db${suffix}`), { force: true });
    copyFileSync(copy, join(this.directory, 'exchange.db'));
    this.database = openExchangeDatabase(join(this.directory, 'exchange.db'));
    this.conditions = createLaneConditions({ database: this.database, clock: this.clock, log: silentLog() });
  }

  /** A new exchange database in place of the old one, as after its loss. */
  loseExchangeDatabase(): void {
    this.database.close();
    for (const suffix of ['', '-wal', '-shm']) rmSync(join(this.directory, `exchange.db${suffix}`), { force: true });
    this.database = openExchangeDatabase(join(this.directory, 'exchange.db'));
    this.conditions = createLaneConditions({ database: this.database, clock: this.clock, log: silentLog() });
  }

  [Symbol.dispose](): void {
    this.database.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
