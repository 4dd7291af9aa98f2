// The last word of every node, and the hub's directory: who there is, which bridges run, who owns which certificate.

import {
  Directory,
  type DirectoryBridge,
  type DirectoryNode,
  Heartbeat,
  type LaneAssignment,
} from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { idText, QiaoError, readMessage, safeCount, sameBytes } from '@qiao/exchange';
import { type CertificateFacts, readCertificate, type Verifier, verifyIssued } from '@qiao/security';
import type { MonitorDatabase } from '../monitorDatabase.ts';
import { readHeartbeat } from './heartbeat.ts';

export interface NodesPorts {
  readonly database: MonitorDatabase;
  readonly verifier: Verifier;
  readonly authority: Uint8Array;
  readonly hubCertificate: Uint8Array;
  readonly nowMs: () => number;
}

/** Both fingerprints that a certificate may go by. */
type Fingerprints = Pick<CertificateFacts, 'fingerprint' | 'twinFingerprint'>;

/** What the monitor knows of nodes and bridges; kept in memory, written through to disk. */
export class Nodes {
  readonly #ports: NodesPorts;
  #directory: Directory | undefined;
  #hubHeardAtMs = 0;
  #revokedFingerprints: ReadonlySet<string> = new Set();
  readonly #states = new Map<string, { heartbeat: Heartbeat; receivedAtMs: number }>();

  private constructor(ports: NodesPorts) {
    this.#ports = ports;
  }

  /** Reads what was known before the restart. */
  static async open(ports: NodesPorts): Promise<Nodes> {
    const nodes = new Nodes(ports);
    const directory = await ports.database.selectFrom('directory').select(['bytes', 'heard_at_ms']).executeTakeFirst();
    if (directory !== undefined) nodes.#take(Directory.decode(directory.bytes), directory.heard_at_ms);
    for (const row of await ports.database.selectFrom('node_state').selectAll().execute()) {
      nodes.#states.set(row.node_id, { heartbeat: Heartbeat.decode(row.heartbeat), receivedAtMs: row.received_at_ms });
    }
    return nodes;
  }

  /**
   * Takes in what the leading monitor has written meanwhile. A heartbeat's moment is by that monitor's clock; NTP holds the
   * two together.
   */
  async follow(): Promise<{ isNewDirectory: boolean }> {
    const { database } = this.#ports;
    const newestMs = Math.max(0, ...[...this.#states.values()].map(({ receivedAtMs }) => receivedAtMs));
    const rows = await database
      .selectFrom('node_state')
      .selectAll()
      .where('received_at_ms', '>=', newestMs - OVERLAP_MS)
      .execute();
    for (const row of rows) {
      if ((this.#states.get(row.node_id)?.receivedAtMs ?? -1) >= row.received_at_ms) continue;
      this.#states.set(row.node_id, { heartbeat: Heartbeat.decode(row.heartbeat), receivedAtMs: row.received_at_ms });
    }
    const place = await database
      .selectFrom('directory')
      .select(['generation', 'number', 'heard_at_ms'])
      .executeTakeFirst();
    const known = this.#directory;
    if (place === undefined) return { isNewDirectory: false };
    this.#hubHeardAtMs = place.heard_at_ms;
    const found = { generation: BigInt(place.generation), number: BigInt(place.number) };
    if (known !== undefined && !isOlder(known, found)) return { isNewDirectory: false };
    const { bytes } = await database.selectFrom('directory').select('bytes').executeTakeFirstOrThrow();
    this.#take(Directory.decode(bytes), place.heard_at_ms);
    return { isNewDirectory: true };
  }

  get directory(): Directory | undefined {
    return this.#directory;
  }

  /** When the hub last sent its directory, by the monitor's clock; 0 for never. It does every half minute, changed or not. */
  get hubHeardAtMs(): number {
    return this.#hubHeardAtMs;
  }

  /** The last heartbeat of a node and when it came, by the monitor's clock. */
  state(nodeId: string): { heartbeat: Heartbeat; receivedAtMs: number } | undefined {
    return this.#states.get(nodeId);
  }

  /** How far a node says its books go, out of its last heartbeat. */
  booksOf(nodeCode: string): { nodeId: string; databaseId: string; number: number } | undefined {
    const node = this.#directory?.nodes.find(({ code }) => code === nodeCode);
    const heartbeat = node === undefined ? undefined : this.#states.get(idText(node.nodeId))?.heartbeat;
    if (heartbeat === undefined || heartbeat.exchangeDatabaseId.length !== 16) return undefined;
    return {
      nodeId: idText(heartbeat.nodeId),
      databaseId: idText(heartbeat.exchangeDatabaseId),
      number: safeCount(heartbeat.booksNumber),
    };
  }

  /** Takes the hub's directory; an older one changes nothing. Throws MESSAGE_UNREADABLE, SIGNATURE_INVALID. */
  async takeDirectory(bytes: Uint8Array): Promise<void> {
    const signed = readMessage(Signed, bytes, 'signed directory');
    this.#ports.verifier.verify('qiao.directory.v1', signed, this.#ports.hubCertificate);
    const directory = readMessage(Directory, signed.payload, 'directory');
    if (this.#directory !== undefined && isOlder(directory, this.#directory)) return;
    const row = {
      generation: safeCount(directory.generation),
      number: safeCount(directory.number),
      bytes: Directory.encode(directory).finish(),
      heard_at_ms: this.#ports.nowMs(),
    };
    await this.#ports.database
      .insertInto('directory')
      .values({ id: 1, ...row })
      .onConflict((conflict) =>
        conflict
          .column('id')
          .doUpdateSet(row)
          // A monitor that ceased to lead a moment ago may know less than the one that writes now.
          .where((on) =>
            on.or([
              on('directory.generation', '<', row.generation),
              on.and([on('directory.generation', '=', row.generation), on('directory.number', '<=', row.number)]),
            ]),
          ),
      )
      .execute();
    await keepAuditHead(this.#ports.database, directory, row.heard_at_ms);
    this.#take(directory, row.heard_at_ms);
  }

  #take(directory: Directory, heardAtMs: number): void {
    // It may come by two ways at once, and the older one be written last.
    if (this.#directory !== undefined && isOlder(directory, this.#directory)) return;
    this.#directory = directory;
    this.#hubHeardAtMs = heardAtMs;
    this.#revokedFingerprints = new Set(directory.revokedKeys.map((key) => Buffer.from(key).toString('hex')));
  }

  /** Whether the hub ended the rights of this certificate, whoever shows it and whichever way it is written. */
  isCertificateRevoked({ fingerprint, twinFingerprint }: Fingerprints): boolean {
    return this.#revokedFingerprints.has(fingerprint) || this.#revokedFingerprints.has(twinFingerprint);
  }

  /**
   * Takes a heartbeat. Before the directory names the node nothing can be believed and nothing is kept: the next one is
   * seconds away. Throws NODE_REVOKED, MESSAGE_UNREADABLE, HEARTBEAT_INVALID, CERTIFICATE_*, SIGNATURE_INVALID.
   */
  async takeHeartbeat(bytes: Uint8Array, nodeCode: string): Promise<void> {
    const node = this.#directory?.nodes.find(({ code, certificate }) => code === nodeCode && certificate.length > 0);
    if (node === undefined) return;
    if (node.revoked) throw new QiaoError('NODE_REVOKED', `the rights of ${nodeCode} were ended`);
    const signed = readMessage(Signed, bytes, 'signed heartbeat');
    const facts = verifyIssued(node.certificate, this.#ports.authority, this.#ports.nowMs());
    this.#ports.verifier.verify('qiao.heartbeat.v1', signed, node.certificate);
    const heartbeat = readHeartbeat(signed.payload);
    if (!sameBytes(heartbeat.nodeId, facts.nodeId)) {
      throw new QiaoError('HEARTBEAT_INVALID', `a heartbeat signed by ${facts.code} speaks for another node`);
    }
    const nodeId = idText(heartbeat.nodeId);
    const known = this.#states.get(nodeId);
    if (known !== undefined && isOvertaken(heartbeat, known.heartbeat)) return;
    const receivedAtMs = this.#ports.nowMs();
    this.#states.set(nodeId, { heartbeat, receivedAtMs });
    const row = { code: nodeCode, heartbeat: signed.payload, received_at_ms: receivedAtMs };
    await this.#ports.database
      .insertInto('node_state')
      .values({ node_id: nodeId, ...row })
      .onConflict((conflict) => conflict.column('node_id').doUpdateSet(row))
      .execute();
  }

  /** Nodes that exchange and so beat, as long as their rights last: neither the monitor itself nor operators. */
  agents(): DirectoryNode[] {
    return (this.#directory?.nodes ?? []).filter(
      ({ revoked, certificate }) => !revoked && certificate.length > 0 && readCertificate(certificate).role === 'agent',
    );
  }

  /**
   * Whether the hub ended this caller's rights, or those of this certificate: one from before joining again may be the stolen one.
   * One that was renewed is not ended, and holds until its own end. Whom the directory does not name joined after it was written.
   */
  isRevoked(caller: Fingerprints & { readonly nodeId: Uint8Array }): boolean {
    const known = this.#directory?.nodes.find(({ nodeId }) => sameBytes(nodeId, caller.nodeId));
    return known !== undefined && (known.revoked || this.isCertificateRevoked(caller));
  }

  /** The directory's node, by identity. */
  node(nodeId: string): DirectoryNode | undefined {
    return this.#directory?.nodes.find((one) => idText(one.nodeId) === nodeId);
  }

  /** The directory's bridge, by identity. */
  bridge(bridgeId: Uint8Array): DirectoryBridge | undefined {
    return this.#directory?.bridges.find((one) => sameBytes(one.bridgeId, bridgeId));
  }

  /** The directory's lane, by identity. */
  lane(laneId: Uint8Array): (LaneAssignment & { readonly bridgeId: Uint8Array }) | undefined {
    for (const { bridgeId, lanes } of this.#directory?.bridges ?? []) {
      const lane = lanes.find((one) => sameBytes(one.laneId, laneId));
      if (lane !== undefined) return { ...lane, bridgeId };
    }
    return undefined;
  }
}

/** Heads are kept for as long as the books: each is a witness of the hub's audit up to its number. */
async function keepAuditHead(
  database: MonitorDatabase,
  { auditReplica, auditNumber, auditHead }: Directory,
  nowMs: number,
): Promise<void> {
  if (auditNumber === 0n || auditHead.length !== 32) return;
  await database
    .insertInto('audit_head')
    .values({
      replica: auditReplica,
      number: safeCount(auditNumber),
      hash: Buffer.from(auditHead).toString('hex'),
      at_ms: nowMs,
    })
    // The first word stands: another hash for the same number is what an audit would be checked against.
    .onConflict((conflict) => conflict.columns(['replica', 'number']).doNothing())
    .execute();
}

/** Whether the bus brought again what a later heartbeat has overtaken. */
function isOvertaken(heartbeat: Heartbeat, known: Heartbeat): boolean {
  const areNumbered = heartbeat.beat > 0n && known.beat > 0n;
  if (!areNumbered || !sameBytes(heartbeat.exchangeDatabaseId, known.exchangeDatabaseId)) {
    return isOvertakenByClock(heartbeat, known);
  }
  if (heartbeat.fencingToken !== known.fencingToken) return heartbeat.fencingToken < known.fencingToken;
  if (heartbeat.start !== known.start) return heartbeat.start < known.start;
  return heartbeat.beat <= known.beat;
}

/** One that was brought again is this much older at the most; one still older comes from a clock that was set back. */
const BROUGHT_AGAIN_WITHIN_MS = 120_000n;

function isOvertakenByClock(heartbeat: Heartbeat, known: Heartbeat): boolean {
  if (heartbeat.startedAtMs > known.startedAtMs) return false;
  return heartbeat.atMs < known.atMs && heartbeat.atMs > known.atMs - BROUGHT_AGAIN_WITHIN_MS;
}

/** Two monitors' clocks, and two heartbeats written in another order than they came. */
const OVERLAP_MS = 10_000;

type Place = Pick<Directory, 'generation' | 'number'>;

function isOlder(a: Place, b: Place): boolean {
  return a.generation < b.generation || (a.generation === b.generation && a.number < b.number);
}
