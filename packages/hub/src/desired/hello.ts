// Owns the hub's answer to a node's hello: who it is (the bus lets a node publish only under its own code), a fencing token
// when it starts, its snapshot always, and what it knows of its lanes for a hub that was restored.

import { HelloReply, HelloRequest, type Renewal } from '@qiao/contract/control';
import type { NodeSnapshot } from '@qiao/contract/node';
import type { Signed } from '@qiao/contract/signed';
import { idText, MOST_TOKENS_AHEAD, QiaoError, readMessage } from '@qiao/exchange';
import { type Clock, crashPoint, describeError, type Log } from '@qiao/runtime';
import { appendAudit } from '../audit/audit.ts';
import type { HubDatabase, NodeRow } from '../hubDatabase.ts';
import { findNode, giveFencingToken, learnFencingToken, recordHello } from '../registry/nodes.ts';

export interface HelloPorts {
  readonly starts: Starts;
  readonly store: HubDatabase;
  readonly clock: Clock;
  readonly log: Log;
  readonly snapshotOf: (nodeId: string) => Promise<Signed>;
  /** A node started: its peers must hear of the new token, and routing refuse the old. */
  readonly fenced: (nodeId: string, token: bigint) => Promise<void>;
  /** An epoch that a node knows; durable when it resolves. Lower ones are ignored. */
  readonly learnEpoch: (
    laneId: string,
    senderId: string,
    epoch: { ordinal: bigint; nonce: Uint8Array },
  ) => Promise<void>;
  /** What a restored hub does with what nodes know. */
  readonly restore: {
    readonly isHeld: () => boolean;
    /** Begins to hold; durable when it resolves. */
    begin(reason: string): Promise<void>;
    /** Throws when the snapshot shown is none that this hub signed for the node. */
    proven(signed: Signed, nodeId: Uint8Array): NodeSnapshot;
    /** Takes everything in. */
    collect(code: string, request: HelloRequest): Promise<readonly string[]>;
  };
  /** A certificate in place of one that ends soon. */
  readonly renew: (node: NodeRow, csr: Uint8Array) => Promise<Renewal>;
}

/** Two clocks further apart than this are told to the log: receipts would look late, certificates not yet valid. */
const CLOCK_DIFFERENCE_MS = 30_000;

/**
 * How often each node may start. Every start is an entry of the audit and news for each of its peers, so one that starts
 * over and over would fill both. In memory: only nodes that joined are counted.
 */
export class Starts {
  readonly #recent = new Map<string, number[]>();

  /** Throws TOO_MANY_STARTS. */
  count(nodeId: string, nowMs: number): void {
    const recent = (this.#recent.get(nodeId) ?? []).filter((atMs) => atMs > nowMs - STARTS_WINDOW_MS);
    this.#recent.set(nodeId, recent);
    if (recent.length >= STARTS_PER_WINDOW) {
      throw new QiaoError('TOO_MANY_STARTS', `this node started ${recent.length} times within a minute`, {
        hint: 'read the agent’s log: why does it end?',
        fate: 'transient',
      });
    }
    recent.push(nowMs);
  }
}

const MOST_LANES = 10_000;
/** All its lanes and the largest snapshot. */
const HELLO_MAX_BYTES = 4 * 1024 * 1024;
/** Lanes that it sends and that it receives, each with its epoch; itself, what it knows and the snapshot in that. */
const MOST_IN_HELLO = 4 * MOST_LANES + 3;

const STARTS_WINDOW_MS = 60_000;
const STARTS_PER_WINDOW = 60;

/** Answers the bytes of a HelloRequest that came on the subject of node `code`; a refusal is an answer too. */
export async function answerHello(ports: HelloPorts, code: string, bytes: Uint8Array): Promise<Uint8Array> {
  try {
    return HelloReply.encode(await hello(ports, code, bytes)).finish();
  } catch (error) {
    if (!(error instanceof QiaoError)) ports.log.error({ node: code, err: describeError(error) }, 'a hello failed');
    const {
      code: problem,
      message,
      hint,
    } = error instanceof QiaoError
      ? error
      : new QiaoError('INTERNAL', 'the hub could not answer the hello', { hint: 'read the hub’s log' });
    return HelloReply.encode(HelloReply.fromPartial({ problem: { code: problem, message, hint } })).finish();
  }
}

async function hello(ports: HelloPorts, code: string, bytes: Uint8Array): Promise<HelloReply> {
  const request = decode(bytes);
  const asked = await askEverything(ports, code, request);
  if (asked !== undefined) return asked;
  const node = await requireNode(ports.store, code, request);
  const nowMs = ports.clock.nowMs();
  requireCurrent(node, nowMs);
  if (node.role === 'monitor') return HelloReply.fromPartial({ renewal: await renewed(ports, node, request) });
  const differenceMs = Number(request.clockMs) - nowMs;
  if (Math.abs(differenceMs) > CLOCK_DIFFERENCE_MS) {
    ports.log.warn({ node: code, differenceMs }, 'the clock of a node differs from the hub’s');
  }
  await recordHello(ports.store, node.id, {
    atMs: nowMs,
    version: request.version.slice(0, 32),
    readsFormat: Math.max(1, request.readsFormat),
    exchangeDatabaseId: idText(request.exchangeDatabaseId),
  });
  // A process that another start has fenced out knows lanes as they were: its epochs would only outbid the living one's.
  const isOver = !request.isStart && request.fencingToken > 0n && request.fencingToken < BigInt(node.fencing_token);
  for (const { laneId, epoch } of isOver ? [] : request.sending) {
    if (laneId.length !== 16 || epoch === undefined || epoch.nonce.length !== 16) continue;
    if (epoch.ordinal >= BigInt(Number.MAX_SAFE_INTEGER)) continue;
    await ports.learnEpoch(idText(laneId), node.id, epoch);
  }
  const knownToken = request.knows?.fencingToken ?? 0n;
  // Given before a restore, or to an exchange database that was lost: the next one must be above it.
  if (knownToken <= BigInt(node.fencing_token) + MOST_TOKENS_AHEAD)
    await learnFencingToken(ports.store, node.id, Number(knownToken));
  const token = request.isStart ? await start(ports, node, request, nowMs) : BigInt(node.fencing_token);
  return {
    snapshot: await ports.snapshotOf(node.id),
    fencingToken: token,
    problem: undefined,
    renewal: await renewed(ports, node, request),
    tellEverything: false,
  };
}

/**
 * A hub that was restored asks each node for all that it knows, once, and answers nothing else until a person has confirmed. One
 * that was not told so by the restore command notices by a snapshot of its own making that is newer than itself.
 */
async function askEverything(ports: HelloPorts, code: string, request: HelloRequest): Promise<HelloReply | undefined> {
  const { restore, store } = ports;
  const knows = request.knows;
  const hasEverything = (knows?.certificate.length ?? 0) > 0;
  if (!restore.isHeld()) {
    const state = await store.selectFrom('hub_state').select(['generation', 'number']).executeTakeFirstOrThrow();
    const isAhead = (shown: { generation: bigint; number: bigint }) =>
      shown.generation > BigInt(state.generation) ||
      (shown.generation === BigInt(state.generation) && shown.number > BigInt(state.number));
    if (knows === undefined || !isAhead(knows)) return undefined;
    if (!hasEverything) return waiting(true);
    // Only a snapshot that this hub signed proves it: a node's bare word must not stop the platform.
    if (knows.snapshot === undefined) return undefined;
    const shown = restore.proven(knows.snapshot, request.nodeId);
    if (!isAhead(shown)) return undefined;
    await restore.begin(
      `node ${code} shows snapshot ${shown.generation}.${shown.number} signed by this hub, which stands at ${state.generation}.${state.number}`,
    );
  }
  if (!hasEverything) {
    const reported = await store
      .selectFrom('restore_report')
      .innerJoin('nodes', 'nodes.id', 'restore_report.node_id')
      .select('nodes.id')
      .where('nodes.code', '=', code)
      .executeTakeFirst();
    return waiting(reported === undefined);
  }
  await restore.collect(code, request);
  return waiting(false);
}

function waiting(tellEverything: boolean): HelloReply {
  return HelloReply.fromPartial({
    tellEverything,
    problem: {
      code: 'HUB_RESTORED',
      message: 'the hub was restored from a backup and waits until a person has confirmed',
      hint: 'at the hub: qiao hub confirm',
    },
  });
}

async function renewed(ports: HelloPorts, node: NodeRow, request: HelloRequest): Promise<Renewal | undefined> {
  return request.renewalCsr.length === 0 ? undefined : await ports.renew(node, request.renewalCsr);
}

async function start(ports: HelloPorts, node: NodeRow, request: HelloRequest, nowMs: number): Promise<bigint> {
  ports.starts.count(node.id, nowMs);
  const exchangeDatabaseId = idText(request.exchangeDatabaseId);
  const token = await ports.store.transaction().execute(async (store) => {
    const given = await giveFencingToken(store, node.id, Number(request.fencingToken));
    await appendAudit(store, {
      atMs: nowMs,
      actor: `node:${node.code}`,
      action: 'node.start',
      subject: node.code,
      success: true,
      detail: { fencingToken: given, version: request.version.slice(0, 32), exchangeDatabaseId },
    });
    return given;
  });
  crashPoint('hello.started');
  await ports.fenced(node.id, BigInt(token));
  return BigInt(token);
}

/** Told at the first word, in the words that mend it: what such a node sends would be refused delivery by delivery. */
function requireCurrent(node: NodeRow, nowMs: number): void {
  if (node.certificate_ends_at_ms === null || nowMs <= node.certificate_ends_at_ms) return;
  const ended = new Date(node.certificate_ends_at_ms).toISOString();
  throw new QiaoError('CERTIFICATE_EXPIRED', `the certificate of "${node.code}" ended at ${ended}`, {
    hint: `qiao node invite ${node.code}, then on that machine: qiao agent join --again --token TOKEN`,
  });
}

async function requireNode(store: HubDatabase, code: string, request: HelloRequest): Promise<NodeRow> {
  const node = await findNode(store, code);
  if (node === undefined)
    throw new QiaoError('NODE_UNKNOWN', `no node has the code "${code}"`, { hint: 'qiao node list' });
  const mayAsk = node.role === 'agent' || (node.role === 'monitor' && request.renewalCsr.length > 0);
  if (node.status !== 'joined' || !mayAsk) {
    throw new QiaoError('NODE_REVOKED', `"${code}" is not a joined agent`, { hint: `qiao node show ${code}` });
  }
  if (Buffer.from(request.nodeId).toString('hex') !== node.id) {
    throw new QiaoError('NODE_MISMATCH', `the hello of "${code}" carries another node's identity`, {
      hint: 'the identity directory was copied from elsewhere: join this node again',
    });
  }
  return node;
}

function decode(bytes: Uint8Array): HelloRequest {
  try {
    if (bytes.length > HELLO_MAX_BYTES) throw new RangeError('a hello of too many bytes');
    const request = readMessage(HelloRequest, bytes, 'hello', MOST_IN_HELLO);
    const { exchangeDatabaseId, sending, knows } = request;
    const lanes = Math.max(sending.length, knows?.receiving.length ?? 0);
    if (exchangeDatabaseId.length === 16 && lanes <= MOST_LANES) return request;
  } catch {
    // Told below like a wrong length or too many lanes: the bytes are not a hello.
  }
  throw new QiaoError('HELLO_INVALID', 'the hello cannot be read', { hint: 'compare the versions of hub and agent' });
}
