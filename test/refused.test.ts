// Old, foreign and stolen messages at every door. One table: what is wrong with a message, which door it comes to, what the
// door says. Each message is genuine but for one thing, with real keys and certificates of one authority; every row is tried
// beside its genuine twin, which the same door takes.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BusMessage } from '@qiao/bus';
import { BookEntries, type BookEntry, ControlMessage, RefusalFate } from '@qiao/contract/control';
import { DeliveryMessage } from '@qiao/contract/delivery';
import { BridgeState, Command, CommandResult, Directory, Heartbeat, NodeSnapshot } from '@qiao/contract/node';
import { Receipt, Settlement, Statement } from '@qiao/contract/receipt';
import { Signed } from '@qiao/contract/signed';
import { everythingMayFlow, idText, QiaoError } from '@qiao/exchange';
import { createWakeup, type Log, silentLog } from '@qiao/runtime';
import {
  Authority,
  type CertificateFacts,
  type Context,
  createKeyAndCsr,
  keyIdOf,
  readCertificate,
  Signer,
  Verifier,
} from '@qiao/security';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { commandsPart } from '../packages/agent/src/commands/answer.ts';
import { controlPart } from '../packages/agent/src/control/consume.ts';
import { createDesiredState, type Desired } from '../packages/agent/src/control/desired.ts';
import { openSnapshot } from '../packages/agent/src/control/snapshot.ts';
import { createSnapshotDoor } from '../packages/agent/src/control/takeSnapshot.ts';
import { createTrust } from '../packages/agent/src/control/trust.ts';
import { openExchangeDatabase } from '../packages/agent/src/exchange-database/index.ts';
import { takeIn } from '../packages/agent/src/receive/intake.ts';
import { LaneBooks } from '../packages/hub/src/routing/laneBooks.ts';
import { RoutingTable } from '../packages/hub/src/routing/routingTable.ts';
import { verifyControl } from '../packages/hub/src/routing/verifyControl.ts';
import { verifyDelivery } from '../packages/hub/src/routing/verifyDelivery.ts';
import { bytes, delivery, NONCE, START_MS, type TestNode, TestWorld } from '../packages/hub/src/world.testing.ts';
import { takeEntries } from '../packages/monitor/src/ingest/entries.ts';
import { createIngestParts } from '../packages/monitor/src/ingest/ingest.ts';
import { Nodes } from '../packages/monitor/src/ingest/nodes.ts';
import { openMonitorDatabase } from '../packages/monitor/src/monitorDatabase.ts';

const DAY_MS = 86_400_000;
/** Certificates of the world live a hundred days. */
const AFTER_ALL_MS = START_MS + 101 * DAY_MS;

let folder: string;
let world: TestWorld;
let health: TestNode;
let civil: TestNode;
let city: TestNode;
let watch: TestNode;
/** "health" as another platform knows it: same identity and code, another authority. */
let foreignHealth: Signer;
/** The certificate of "health" from before it joined again. */
let oldHealth: TestNode;
let ids: { bridgeId: Uint8Array; laneId: Uint8Array };
let otherIds: { bridgeId: Uint8Array; laneId: Uint8Array };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-refused-'));
  world = await TestWorld.create();
  [health, civil, city] = [await world.join('health'), await world.join('civil'), await world.join('city')];
  watch = await world.join('watch', 'monitor');
  ids = await world.bridge('births', health, civil);
  otherIds = await world.bridge('deaths', city, civil);
  oldHealth = await certified(world.authority, 'health', health.id);
  const elsewhere = await Authority.create(join(folder, 'elsewhere'), {
    platformId: world.platform.id,
    platformCode: 'demo',
    nowMs: START_MS,
  });
  foreignHealth = (await certified(elsewhere, 'health', health.id)).signer;
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function certified(authority: Authority, code: string, id: Uint8Array): Promise<TestNode> {
  const { keyPem, csrDer } = await createKeyAndCsr(code);
  const options = {
    role: 'agent',
    platformId: world.platform.id,
    nodeId: id,
    code,
    days: 100,
    nowMs: START_MS,
  } as const;
  const certificate = await authority.issue(csrDer, options);
  return { id, code, certificate, signer: new Signer(keyPem, certificate) };
}

/** What a door knows besides the message. */
interface Circumstances {
  readonly nowMs?: number;
  /** "health" was thrown out. */
  readonly revoked?: boolean;
  /** The newest fencing token of "health". */
  readonly fencingToken?: bigint;
}

const taken = 'taken';

// ------------------------------------------------------------------------------------------------------------- the doors

async function atHub(message: Uint8Array, { nowMs = START_MS, revoked = false, fencingToken }: Circumstances) {
  const table = new RoutingTable();
  await setRevoked(revoked);
  await table.reload(world.store, 0);
  await setRevoked(false);
  const books = new LaneBooks(world.store);
  await books.load();
  if (fencingToken !== undefined) table.noteFencingToken(idText(health.id), fencingToken, 0);
  const ports = { table, verifier: new Verifier(), platformId: world.platform.id, mayFlow: everythingMayFlow };
  const judged = verifyDelivery({ ...ports, place: (lane) => books.place(lane) }, 'health', message, nowMs);
  return judged.kind === 'genuine' ? taken : judged.facts.code;
}

async function controlAtHub(
  message: Uint8Array,
  { nowMs = START_MS, revoked = false }: Circumstances,
  from = 'health',
) {
  const table = new RoutingTable();
  await setRevoked(revoked);
  await table.reload(world.store, 0);
  await setRevoked(false);
  const judged = verifyControl(
    { table, verifier: new Verifier(), platformId: world.platform.id },
    from,
    message,
    nowMs,
  );
  return judged.kind === 'refused' ? judged.code : taken;
}

async function setRevoked(revoked: boolean): Promise<void> {
  await world.store
    .updateTable('nodes')
    .set({ status: revoked ? 'revoked' : 'joined' })
    .where('code', '=', 'health')
    .execute();
}

/** The desired state of one end of the lane from "health" to "civil". */
function desiredOf(self: TestNode, { revoked = false }: Circumstances): Desired {
  const lane = (of: { laneId: Uint8Array }, from: TestNode, to: TestNode) => ({
    laneId: idText(of.laneId),
    senderId: idText(from.id),
    receiverId: idText(to.id),
    destinationIndex: 0,
    destination: undefined,
    highestEpoch: 1n,
    ended: false,
  });
  const bridge = (of: { bridgeId: Uint8Array; laneId: Uint8Array }, name: string, from: TestNode, to: TestNode) => ({
    bridgeId: idText(of.bridgeId),
    name,
    version: 1,
    state: BridgeState.RUNNING,
    definition: {} as never,
    lanes: [lane(of, from, to)],
    runNumber: 0n,
    allowedDeletes: 0n,
  });
  const bridges = [bridge(ids, 'births', health, civil), bridge(otherIds, 'deaths', city, civil)];
  const peers = [health, civil, city].map((node) => ({
    nodeId: idText(node.id),
    code: node.code,
    departmentCode: node.code,
    departmentTitle: node.code,
    certificate: node.certificate,
    sealingKey: new Uint8Array(65),
    readsFormat: 1,
    fencingToken: 1n,
    revoked: revoked && (node === health || node === civil),
  }));
  return {
    platformId: idText(world.platform.id),
    platformCode: 'demo',
    nodeId: idText(self.id),
    generation: 1n,
    number: 5n,
    timeZone: 'Asia/Shanghai',
    fencingToken: 0n,
    bridges: new Map(bridges.map((one) => [one.bridgeId, one])),
    peers: new Map(peers.map((peer) => [peer.nodeId, peer])),
    monitors: [watch.certificate],
  };
}

const trustAt = (nowMs: number) =>
  createTrust({
    authority: world.authority.certificateDer,
    platformId: idText(world.platform.id),
    nowMs: () => nowMs,
  });

async function atReceiver(message: Uint8Array, circumstances: Circumstances, self = civil) {
  const { nowMs = START_MS } = circumstances;
  const intake = takeIn(message, {
    nodeId: idText(self.id),
    platformId: idText(world.platform.id),
    desired: () => desiredOf(self, circumstances),
    sealedFor: undefined,
    trust: trustAt(nowMs),
  });
  return intake.kind === 'delivery' ? taken : intake.code;
}

/** A control message at the node that sends on the lane: what reached its rooms, or why it was dropped. */
async function controlAtSender(message: Uint8Array, circumstances: Circumstances, self = health) {
  const { nowMs = START_MS } = circumstances;
  const desired = createDesiredState();
  desired.replace(desiredOf(self, circumstances));
  let heard: string | undefined;
  const dropped = listeningLog((code) => {
    heard = code;
  });
  const take = () => {
    heard = taken;
  };
  async function* stream(): AsyncGenerator<BusMessage> {
    yield {
      subject: '',
      data: message,
      sequence: 1n,
      redelivered: false,
      ack: () => undefined,
      retryLater: () => {
        heard = 'later';
      },
      working: () => undefined,
    };
  }
  await controlPart({
    consume: stream,
    nodeId: idText(self.id),
    hubCertificate: world.hub.certificate,
    desired,
    trust: trustAt(nowMs),
    door: { take: () => 'taken', loadCached: () => false, judgeAgain: () => undefined, reportAgain: () => undefined },
    onReceipt: take,
    isFenced: () => false,
    onReceiptsWanted: take,
    onVerifyRequest: take,
    onVerifyAnswer: take,
    onResend: take,
    onRefusal: take,
    onRowsWanted: async () => take(),
    onBooksThrough: take,
    log: dropped,
  }).run(new AbortController().signal);
  return heard;
}

/** A log that tells the code of the error that it was given. */
function listeningLog(tell: (code: string) => void): Log {
  const log = silentLog();
  return Object.assign(Object.create(log) as Log, {
    warn: (fields: { err?: { code?: string } }) => tell(fields.err?.code ?? 'without a code'),
  });
}

/** Snapshots one after the other, through the door that keeps the newest: what it said of the last, and the number that stands. */
function snapshotsAtAgent(...messages: readonly Signed[]): string {
  const desired = createDesiredState();
  let cached: Uint8Array | undefined;
  const door = createSnapshotDoor({
    reader: readerAt(START_MS),
    desired,
    cache: {
      load: () => cached,
      save: (saved) => {
        cached = saved;
      },
    },
    report: () => undefined,
    onRead: () => undefined,
    log: silentLog(),
  });
  const said = messages.map((message) => door.take(message)).at(-1);
  expect(NodeSnapshot.decode(Signed.decode(cached ?? new Uint8Array()).payload).number).toBe(desired.current()?.number);
  return `${said}, number ${desired.current()?.number}`;
}

const readerAt = (nowMs: number) => ({
  platformId: idText(world.platform.id),
  nodeId: idText(health.id),
  nodeCode: 'health',
  hubCertificate: world.hub.certificate,
  trust: trustAt(nowMs),
  permissions: { exposes: [], accepts: [], defaultSchema: () => undefined },
});

async function snapshotAtAgent(signed: Signed, { nowMs = START_MS }: Circumstances) {
  return codeOf(() => {
    openSnapshot(signed, readerAt(nowMs));
  });
}

async function commandAtAgent(...messages: Uint8Array[]): Promise<string> {
  using database = disposableDatabase();
  return await answerOf(database.open(), messages);
}

function disposableDatabase() {
  const directory = mkdtempSync(join(folder, 'exchange-'));
  let open: ReturnType<typeof openExchangeDatabase> | undefined;
  return {
    open() {
      open?.close();
      open = openExchangeDatabase(join(directory, 'exchange.db'));
      return open;
    },
    [Symbol.dispose]: () => open?.close(),
  };
}

/** How often the commands were carried out, or the error of the last. */
async function answerOf(
  database: ReturnType<typeof openExchangeDatabase>,
  messages: readonly Uint8Array[],
): Promise<string> {
  let executed = 0;
  let failure = '';
  await commandsPart({
    nodeId: idText(health.id),
    hubCertificate: world.hub.certificate,
    trust: trustAt(START_MS),
    seen: database.commands,
    async respond(handler) {
      for (const message of messages) {
        try {
          await handler(message);
        } catch (error) {
          failure = error instanceof QiaoError ? error.code : String(error);
        }
      }
    },
    async execute() {
      executed += 1;
      return CommandResult.fromPartial({});
    },
    sign: (payload) => health.signer.sign('qiao.command.v1', payload),
    clock: world.clock,
    log: silentLog(),
  }).run(new AbortController().signal);
  return failure === '' ? `executed ${executed}` : failure;
}

async function openMonitor({ nowMs = START_MS, revoked = false }: Circumstances) {
  const database = await openMonitorDatabase({ url: join(mkdtempSync(join(folder, 'monitor-')), 'monitor.db') });
  const verifier = new Verifier();
  const authority = world.authority.certificateDer;
  const nodes = await Nodes.open({
    database,
    verifier,
    authority,
    hubCertificate: world.hub.certificate,
    nowMs: () => nowMs,
  });
  const named = [health, civil, city].map((node) => ({
    nodeId: node.id,
    code: node.code,
    certificate: node.certificate,
    revoked: revoked && node === health,
  }));
  const directory = Directory.fromPartial({
    generation: 1n,
    number: 7n,
    nodes: named,
    revokedKeys: [oldHealth, ...(revoked ? [health] : [])].map(({ certificate }) => keyIdOf(certificate)),
    bridges: [
      {
        bridgeId: ids.bridgeId,
        sourceNodeId: health.id,
        lanes: [{ laneId: ids.laneId, senderId: health.id, receiverId: civil.id }],
      },
      {
        bridgeId: otherIds.bridgeId,
        sourceNodeId: city.id,
        lanes: [{ laneId: otherIds.laneId, senderId: city.id, receiverId: civil.id }],
      },
    ],
  });
  await nodes.takeDirectory(
    Signed.encode(signedAs(world.hub.signer, 'qiao.directory.v1', Directory.encode(directory))).finish(),
  );
  const ports = {
    database,
    verifier,
    authority,
    booksDay: () => '2026-01-15',
    laneOf: (laneId: Uint8Array) => nodes.lane(laneId),
    sourceOf: (bridgeId: Uint8Array) => nodes.bridge(bridgeId)?.sourceNodeId,
    isCertificateRevoked: (signer: CertificateFacts) => nodes.isCertificateRevoked(signer),
    nowMs: () => nowMs,
  };
  return { database, nodes, ports, [Symbol.asyncDispose]: () => database.destroy() };
}

/** Book entries of "health": taken, refused whole, or kept as a broken entry with its reason. */
async function entriesAtMonitor(
  entry: NonNullable<BookEntry['entry']>,
  circumstances: Circumstances,
  certificate = health.certificate,
): Promise<string> {
  await using monitor = await openMonitor(circumstances);
  const message = BookEntries.encode({
    certificate,
    entries: [{ number: 1n, exchangeDatabaseId: bytes(16), entry, mark: bytes(8) }],
  }).finish();
  try {
    await takeEntries(monitor.ports, message, 'health');
  } catch (error) {
    if (error instanceof QiaoError) return error.code;
    throw error;
  }
  const broken = await monitor.database.selectFrom('broken_entry').select('reason').executeTakeFirst();
  return broken === undefined ? taken : (broken.reason.split(':')[0] ?? '');
}

async function heartbeatAtMonitor(message: Uint8Array, circumstances: Circumstances): Promise<string> {
  await using monitor = await openMonitor(circumstances);
  const before = monitor.nodes.state(idText(health.id));
  const code = await codeOfAsync(monitor.nodes.takeHeartbeat(message, 'health'));
  if (code !== taken) return code;
  return monitor.nodes.state(idText(health.id)) === before ? 'kept the newer' : taken;
}

/** A directory brought over the bus on a subject: the number that stands afterwards. */
async function directoryAtMonitor(message: Uint8Array, subject: string): Promise<string> {
  await using monitor = await openMonitor({});
  let refused: string | undefined;
  const [listen] = createIngestParts({
    bus: { consume: () => one(subject, message) } as never,
    platformCode: 'demo',
    monitorCode: 'watch',
    begin: async () => undefined,
    entries: monitor.ports,
    takeHeartbeat: async () => undefined,
    positionOf: () => Promise.reject(new Error('no books here')),
    takeDirectory: (data) => monitor.nodes.takeDirectory(data),
    signer: watch.signer,
    clock: world.clock,
    log: listeningLog((code) => {
      refused = code;
    }),
    changed: createWakeup(),
  });
  await listen?.run(new AbortController().signal);
  return refused ?? `number ${monitor.nodes.directory?.number}`;
}

async function* one(subject: string, data: Uint8Array): AsyncGenerator<BusMessage> {
  yield {
    subject,
    data,
    sequence: 1n,
    redelivered: false,
    ack: () => undefined,
    retryLater: () => undefined,
    working: () => undefined,
  };
}

function codeOf(act: () => void): string {
  try {
    act();
  } catch (error) {
    if (error instanceof QiaoError) return error.code;
    throw error;
  }
  return taken;
}

async function codeOfAsync(act: Promise<void>): Promise<string> {
  try {
    await act;
  } catch (error) {
    if (error instanceof QiaoError) return error.code;
    throw error;
  }
  return taken;
}

// ---------------------------------------------------------------------------------------------------------- the messages

function signedAs(signer: Signer, context: Context, message: { finish(): Uint8Array }): Signed {
  return signer.sign(context, message.finish());
}

const change = (fields: object, signer?: Signer) =>
  delivery({ world, from: health, to: civil, ...ids, change: fields, ...(signer === undefined ? {} : { signer }) });

/** A delivery's signed header under the label of another kind of message. */
function deliveryAs(context: Context): Uint8Array {
  const message = DeliveryMessage.decode(change({}));
  const payload = message.header?.payload ?? new Uint8Array();
  return DeliveryMessage.encode({ ...message, header: health.signer.sign(context, payload) }).finish();
}

interface ReceiptPlan {
  readonly from?: TestNode;
  readonly to?: TestNode;
  readonly lane?: { bridgeId: Uint8Array; laneId: Uint8Array };
  readonly platformId?: Uint8Array;
  readonly inner?: Context;
  readonly outer?: Context;
  readonly signer?: Signer;
  readonly toNodeId?: Uint8Array;
}

/** A receipt of "civil" to "health", in its control message. */
function receiptMessage({
  from = civil,
  to = health,
  lane = ids,
  platformId = world.platform.id,
  inner = 'qiao.receipt.v1',
  outer = 'qiao.control.v1',
  signer = from.signer,
  toNodeId = to.id,
}: ReceiptPlan): Uint8Array {
  const receipt = Receipt.fromPartial({
    format: 1,
    platformId,
    laneId: lane.laneId,
    bridgeId: lane.bridgeId,
    senderId: to.id,
    receiverId: from.id,
    epoch: { ordinal: 1n, nonce: NONCE },
    sequence: 1n,
    revision: 1,
  });
  const value = signedAs(signer, inner, Receipt.encode(receipt));
  const message = ControlMessage.encode({ toNodeId, body: { $case: 'receipt', value } });
  return Signed.encode(signedAs(signer, outer, message)).finish();
}

function controlMessage(signer: Signer, to: Uint8Array, body: NonNullable<ControlMessage['body']>): Uint8Array {
  return Signed.encode(signedAs(signer, 'qiao.control.v1', ControlMessage.encode({ toNodeId: to, body }))).finish();
}

const resendOf = (laneId: Uint8Array): NonNullable<ControlMessage['body']> => ({
  $case: 'resend',
  value: {
    laneId,
    epoch: { ordinal: 1n, nonce: NONCE },
    firstSequence: 1n,
    lastSequence: 0n,
    reason: 'gap',
    requestId: new Uint8Array(16),
    isPlace: false,
  },
});

const refusalOf = (laneId: Uint8Array): NonNullable<ControlMessage['body']> => ({
  $case: 'refusal',
  value: {
    laneId,
    epoch: { ordinal: 1n, nonce: NONCE },
    sequence: 1n,
    code: 'FENCED',
    message: '',
    hint: '',
    fate: RefusalFate.STOP,
    highestEpoch: 0n,
    fencingToken: 0n,
    contentHash: new Uint8Array(),
  },
});

type Body = NonNullable<ControlMessage['body']>;

const questionOf = (laneId: Uint8Array): Body => ({
  $case: 'verifyRequest',
  value: {
    laneId,
    jobId: new Uint8Array(16),
    number: 1,
    sealedKey: new Uint8Array(48),
    wrappedKey: new Uint8Array(65),
    sealing: 'plain',
    question: new Uint8Array(40),
    expiresAtMs: BigInt(START_MS + DAY_MS),
  },
});

const answerTo = (laneId: Uint8Array): Body => ({
  $case: 'verifyAnswer',
  value: {
    laneId,
    jobId: new Uint8Array(16),
    number: 1,
    part: 0,
    parts: 1,
    reading: new Uint8Array(40),
    code: '',
    message: '',
    hint: '',
  },
});

const wantedOf = (laneId: Uint8Array): Body => ({
  $case: 'rowsWanted',
  value: {
    laneId,
    epoch: { ordinal: 1n, nonce: NONCE },
    requestId: new Uint8Array(16),
    sealedKeys: new Uint8Array(40),
    wrappedKey: new Uint8Array(65),
  },
});

const booksThrough: NonNullable<ControlMessage['body']> = {
  $case: 'booksThrough',
  value: { number: 9n, sendAgain: false, mark: new Uint8Array(), exchangeDatabaseId: new Uint8Array() },
};

function snapshot(fields: object = {}, context: Context = 'qiao.snapshot.v1', signer = world.hub.signer): Signed {
  const value = NodeSnapshot.fromPartial({ platformId: world.platform.id, nodeId: health.id, number: 6n, ...fields });
  return signedAs(signer, context, NodeSnapshot.encode(value));
}

function command(fields: object = {}, context: Context = 'qiao.command.v1', signer = world.hub.signer): Uint8Array {
  const value = Command.fromPartial({
    id: new Uint8Array(16).fill(9),
    nodeId: health.id,
    expiresAtMs: BigInt(START_MS + 20_000),
    command: { $case: 'diagnose', value: {} },
    ...fields,
  });
  return Signed.encode(signedAs(signer, context, Command.encode(value))).finish();
}

function statement(fields: object = {}, context: Context = 'qiao.statement.v1', signer = health.signer) {
  const value = Statement.fromPartial({
    platformId: world.platform.id,
    ...ids,
    senderId: health.id,
    receiverId: civil.id,
    epoch: { ordinal: 1n, nonce: NONCE },
    sequence: 1n,
    sealedAtMs: BigInt(START_MS),
    ...fields,
  });
  return { $case: 'statement' as const, value: signedAs(signer, context, Statement.encode(value)) };
}

function settlement(fields: object = {}) {
  const value = Settlement.fromPartial({
    platformId: world.platform.id,
    ...ids,
    senderId: health.id,
    receiverId: civil.id,
    epoch: { ordinal: 1n, nonce: NONCE },
    firstSequence: 1n,
    lastSequence: 1n,
    ...fields,
  });
  return {
    $case: 'settlement' as const,
    value: signedAs(health.signer, 'qiao.settlement.v1', Settlement.encode(value)),
  };
}

function heartbeat(context: Context = 'qiao.heartbeat.v1', signer = health.signer, nodeId = health.id): Uint8Array {
  const value = Heartbeat.fromPartial({ nodeId, nodeCode: 'health', atMs: BigInt(START_MS) });
  return Signed.encode(signedAs(signer, context, Heartbeat.encode(value))).finish();
}

function directory(number: bigint, context: Context = 'qiao.directory.v1', signer = world.hub.signer): Uint8Array {
  const value = Directory.fromPartial({ generation: 1n, number });
  return Signed.encode(signedAs(signer, context, Directory.encode(value))).finish();
}

// ------------------------------------------------------------------------------------------------------------- the table

const FROM_HUB = 'qiao.telemetry.demo.hub.directory';

// biome-ignore format: one row, one line
const TABLE: readonly [wrong: string, door: string, said: string, bring: () => Promise<string | undefined>][] = [
  // Deliveries.
  ['nothing', 'hub, a delivery', taken, () => atHub(change({}), {})],
  ['nothing', 'receiver, a delivery', taken, () => atReceiver(change({}), {})],
  ['signed by another node', 'hub, a delivery', 'SIGNATURE_INVALID', () => atHub(change({}, city.signer), {})],
  ['signed by another node', 'receiver, a delivery', 'KEY_MISMATCH', () => atReceiver(change({}, city.signer), {})],
  ['signed for another purpose', 'hub, a delivery', 'SIGNATURE_INVALID', () => atHub(deliveryAs('qiao.control.v1'), {})],
  ['signed for another purpose', 'receiver, a delivery', 'SIGNATURE_INVALID', () => atReceiver(deliveryAs('qiao.control.v1'), {})],
  ['of another platform’s authority', 'hub, a delivery', 'SIGNATURE_INVALID', () => atHub(change({}, foreignHealth), {})],
  ['of another platform’s authority', 'receiver, a delivery', 'KEY_MISMATCH', () => atReceiver(change({}, foreignHealth), {})],
  ['for another platform', 'hub, a delivery', 'PLATFORM_UNKNOWN', () => atHub(change({ platformId: bytes(16) }), {})],
  ['for another platform', 'receiver, a delivery', 'DELIVERY_FOREIGN', () => atReceiver(change({ platformId: bytes(16) }), {})],
  ['for another lane', 'hub, a delivery', 'DESTINATION_NOT_BOUND', () => atHub(change({ laneId: otherIds.laneId }), {})],
  ['for another lane', 'receiver, a delivery', 'DELIVERY_FOREIGN', () => atReceiver(change({ laneId: otherIds.laneId }), {})],
  ['for another bridge', 'hub, a delivery', 'NOT_THE_SOURCE', () => atHub(change(otherIds), {})],
  ['for another bridge', 'receiver, a delivery', 'DELIVERY_FOREIGN', () => atReceiver(change(otherIds), {})],
  ['for another receiver', 'hub, a delivery', 'DESTINATION_NOT_BOUND', () => atHub(change({ receiverId: city.id }), {})],
  ['for another receiver', 'receiver, a delivery', 'DELIVERY_FOREIGN', () => atReceiver(change({}), {}, city)],
  ['from a revoked node', 'hub, a delivery', 'NODE_REVOKED', () => atHub(change({}), { revoked: true })],
  ['from a revoked node', 'receiver, a delivery', 'SENDER_REVOKED', () => atReceiver(change({}), { revoked: true })],
  ['under a certificate that was replaced', 'hub, a delivery', 'SIGNATURE_INVALID', () => atHub(change({}, oldHealth.signer), {})],
  ['under a certificate that was replaced', 'receiver, a delivery', 'KEY_MISMATCH', () => atReceiver(change({}, oldHealth.signer), {})],
  ['under an expired certificate', 'hub, a delivery', 'CERTIFICATE_EXPIRED', () => atHub(change({}), { nowMs: AFTER_ALL_MS })],
  ['under an expired certificate', 'receiver, a delivery', 'CERTIFICATE_EXPIRED', () => atReceiver(change({}), { nowMs: AFTER_ALL_MS })],
  ['of an older start', 'hub, a delivery', 'FENCED', () => atHub(change({}), { fencingToken: 2n })],

  // Receipts.
  ['nothing', 'hub, a receipt', taken, () => controlAtHub(receiptMessage({}), {}, 'civil')],
  ['nothing', 'sender, a receipt', taken, () => controlAtSender(receiptMessage({}), {})],
  ['signed by another node', 'hub, a receipt', 'SIGNATURE_INVALID', () => controlAtHub(receiptMessage({ signer: city.signer }), {}, 'civil')],
  ['signed by another node', 'sender, a receipt', 'KEY_MISMATCH', () => controlAtSender(receiptMessage({ signer: city.signer }), {})],
  ['signed inside for another purpose', 'hub, a receipt', 'SIGNATURE_INVALID', () => controlAtHub(receiptMessage({ inner: 'qiao.statement.v1' }), {}, 'civil')],
  ['signed inside for another purpose', 'sender, a receipt', 'SIGNATURE_INVALID', () => controlAtSender(receiptMessage({ inner: 'qiao.statement.v1' }), {})],
  ['signed outside for another purpose', 'hub, a receipt', 'SIGNATURE_INVALID', () => controlAtHub(receiptMessage({ outer: 'qiao.receipt.v1' }), {}, 'civil')],
  ['for another platform', 'hub, a receipt', 'PLATFORM_UNKNOWN', () => controlAtHub(receiptMessage({ platformId: bytes(16) }), {}, 'civil')],
  ['for another platform', 'sender, a receipt', 'RECEIPT_FOREIGN', () => controlAtSender(receiptMessage({ platformId: bytes(16) }), {})],
  ['for another lane', 'hub, a receipt', 'CONTROL_NOT_ALLOWED', () => controlAtHub(receiptMessage({ lane: otherIds }), {}, 'civil')],
  ['for another lane', 'sender, a receipt', 'RECEIPT_FOREIGN', () => controlAtSender(receiptMessage({ lane: otherIds }), {})],
  ['for another sender', 'hub, a receipt', 'CONTROL_NOT_ALLOWED', () => controlAtHub(receiptMessage({ to: city }), {}, 'civil')],
  ['for another sender', 'sender, a receipt', 'CONTROL_FOREIGN', () => controlAtSender(receiptMessage({ to: city }), {})],
  ['from a node that does not receive', 'hub, a receipt', 'CONTROL_NOT_ALLOWED', () => controlAtHub(receiptMessage({ from: city }), {}, 'city')],
  ['from a revoked node', 'sender, a receipt', 'NODE_REVOKED', () => controlAtSender(receiptMessage({}), { revoked: true })],
  ['under an expired certificate', 'hub, a receipt', 'CERTIFICATE_EXPIRED', () => controlAtHub(receiptMessage({}), { nowMs: AFTER_ALL_MS }, 'civil')],
  ['under an expired certificate', 'sender, a receipt', 'CERTIFICATE_EXPIRED', () => controlAtSender(receiptMessage({}), { nowMs: AFTER_ALL_MS })],

  // Resend requests, refusals, the monitor's word.
  ['nothing', 'sender, a resend request', taken, () => controlAtSender(controlMessage(civil.signer, health.id, resendOf(ids.laneId)), {})],
  ['about another lane', 'hub, a resend request', 'CONTROL_NOT_ALLOWED', () => controlAtHub(controlMessage(civil.signer, health.id, resendOf(otherIds.laneId)), {}, 'civil')],
  ['about another lane', 'sender, a resend request', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(civil.signer, health.id, resendOf(otherIds.laneId)), {})],
  ['from a revoked node', 'sender, a resend request', 'NODE_REVOKED', () => controlAtSender(controlMessage(civil.signer, health.id, resendOf(ids.laneId)), { revoked: true })],
  ['under an expired certificate', 'sender, a resend request', 'CERTIFICATE_EXPIRED', () => controlAtSender(controlMessage(civil.signer, health.id, resendOf(ids.laneId)), { nowMs: AFTER_ALL_MS })],
  ['for another node', 'sender, a refusal of the hub', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(world.hub.signer, city.id, refusalOf(ids.laneId)), {})],
  ['of another hub', 'sender, a refusal of the hub', 'KEY_MISMATCH', () => controlAtSender(controlMessage(foreignHealth, health.id, refusalOf(ids.laneId)), {})],
  ['nothing', 'agent, how far the books are held', taken, () => controlAtSender(controlMessage(watch.signer, health.id, booksThrough), {})],
  ['from an agent', 'hub, how far the books are held', 'CONTROL_NOT_ALLOWED', () => controlAtHub(controlMessage(city.signer, health.id, booksThrough), {}, 'city')],
  ['from an agent', 'agent, how far the books are held', 'MONITOR_UNKNOWN', () => controlAtSender(controlMessage(city.signer, health.id, booksThrough), {})],
  ['for another node', 'agent, how far the books are held', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(watch.signer, city.id, booksThrough), {})],
  ['under an expired certificate', 'agent, how far the books are held', 'CERTIFICATE_EXPIRED', () => controlAtSender(controlMessage(watch.signer, health.id, booksThrough), { nowMs: AFTER_ALL_MS })],
  ['from a revoked node', 'hub, any control message', 'NODE_REVOKED', () => controlAtHub(controlMessage(health.signer, civil.id, resendOf(ids.laneId)), { revoked: true })],

  // Comparisons, and rows that are wanted whole.
  ['nothing', 'hub, a comparison’s question', taken, () => controlAtHub(controlMessage(health.signer, civil.id, questionOf(ids.laneId)), {})],
  ['nothing', 'receiver, a comparison’s question', taken, () => controlAtSender(controlMessage(health.signer, civil.id, questionOf(ids.laneId)), {}, civil)],
  ['about another lane', 'hub, a comparison’s question', 'CONTROL_NOT_ALLOWED', () => controlAtHub(controlMessage(health.signer, civil.id, questionOf(otherIds.laneId)), {})],
  ['about another lane', 'receiver, a comparison’s question', 'KEY_MISMATCH', () => controlAtSender(controlMessage(health.signer, civil.id, questionOf(otherIds.laneId)), {}, civil)],
  ['for another node', 'hub, a comparison’s question', 'CONTROL_NOT_ALLOWED', () => controlAtHub(controlMessage(health.signer, city.id, questionOf(ids.laneId)), {})],
  ['for another node', 'receiver, a comparison’s question', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(health.signer, city.id, questionOf(ids.laneId)), {}, civil)],
  ['from the lane’s other end', 'sender, a comparison’s question', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(civil.signer, health.id, questionOf(ids.laneId)), {})],
  ['of the hub', 'receiver, a comparison’s question', 'KEY_MISMATCH', () => controlAtSender(controlMessage(world.hub.signer, civil.id, questionOf(ids.laneId)), {}, civil)],
  ['under an expired certificate', 'hub, a comparison’s question', 'CERTIFICATE_EXPIRED', () => controlAtHub(controlMessage(health.signer, civil.id, questionOf(ids.laneId)), { nowMs: AFTER_ALL_MS })],
  ['under an expired certificate', 'receiver, a comparison’s question', 'CERTIFICATE_EXPIRED', () => controlAtSender(controlMessage(health.signer, civil.id, questionOf(ids.laneId)), { nowMs: AFTER_ALL_MS }, civil)],
  ['nothing', 'hub, a comparison’s answer', taken, () => controlAtHub(controlMessage(civil.signer, health.id, answerTo(ids.laneId)), {}, 'civil')],
  ['nothing', 'sender, a comparison’s answer', taken, () => controlAtSender(controlMessage(civil.signer, health.id, answerTo(ids.laneId)), {})],
  ['about another lane', 'hub, a comparison’s answer', 'CONTROL_NOT_ALLOWED', () => controlAtHub(controlMessage(civil.signer, health.id, answerTo(otherIds.laneId)), {}, 'civil')],
  ['about another lane', 'sender, a comparison’s answer', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(civil.signer, health.id, answerTo(otherIds.laneId)), {})],
  ['for another node', 'sender, a comparison’s answer', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(civil.signer, city.id, answerTo(ids.laneId)), {})],
  ['under an expired certificate', 'sender, a comparison’s answer', 'CERTIFICATE_EXPIRED', () => controlAtSender(controlMessage(civil.signer, health.id, answerTo(ids.laneId)), { nowMs: AFTER_ALL_MS })],
  ['nothing', 'hub, a wish for whole rows', taken, () => controlAtHub(controlMessage(civil.signer, health.id, wantedOf(ids.laneId)), {}, 'civil')],
  ['nothing', 'sender, a wish for whole rows', taken, () => controlAtSender(controlMessage(civil.signer, health.id, wantedOf(ids.laneId)), {})],
  ['about another lane', 'hub, a wish for whole rows', 'CONTROL_NOT_ALLOWED', () => controlAtHub(controlMessage(civil.signer, health.id, wantedOf(otherIds.laneId)), {}, 'civil')],
  ['about another lane', 'sender, a wish for whole rows', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(civil.signer, health.id, wantedOf(otherIds.laneId)), {})],
  ['for another node', 'sender, a wish for whole rows', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(civil.signer, city.id, wantedOf(ids.laneId)), {})],
  ['under an expired certificate', 'sender, a wish for whole rows', 'CERTIFICATE_EXPIRED', () => controlAtSender(controlMessage(civil.signer, health.id, wantedOf(ids.laneId)), { nowMs: AFTER_ALL_MS })],

  // Desired state and commands.
  ['an older one', 'agent, a snapshot behind a newer', 'older, number 6', async () => snapshotsAtAgent(snapshot(), snapshot({ number: 5n }))],
  ['of an older generation', 'agent, a snapshot behind a newer', 'older, number 6', async () => snapshotsAtAgent(snapshot({ generation: 2n }), snapshot({ generation: 1n, number: 9n }))],
  ['nothing', 'agent, a snapshot', taken, () => snapshotAtAgent(snapshot(), {})],
  ['for another node', 'agent, a snapshot', 'SNAPSHOT_FOREIGN', () => snapshotAtAgent(snapshot({ nodeId: city.id }), {})],
  ['for another platform', 'agent, a snapshot', 'SNAPSHOT_FOREIGN', () => snapshotAtAgent(snapshot({ platformId: bytes(16) }), {})],
  ['signed by a node', 'agent, a snapshot', 'KEY_MISMATCH', () => snapshotAtAgent(snapshot({}, 'qiao.snapshot.v1', city.signer), {})],
  ['a directory, not a snapshot', 'agent, a snapshot', 'SIGNATURE_INVALID', () => snapshotAtAgent(snapshot({}, 'qiao.directory.v1'), {})],
  ['nothing', 'agent, a command', 'executed 1', () => commandAtAgent(command())],
  ['brought twice', 'agent, a command', 'executed 1', () => commandAtAgent(command(), command())],
  ['brought again after a restart', 'agent, a command', 'COMMAND_REPEATED', commandAfterRestart],
  ['for another node', 'agent, a command', 'COMMAND_FOREIGN', () => commandAtAgent(command({ nodeId: city.id }))],
  ['expired', 'agent, a command', 'COMMAND_EXPIRED', () => commandAtAgent(command({ expiresAtMs: BigInt(START_MS - 1) }))],
  ['good for years', 'agent, a command', 'COMMAND_EXPIRED', () => commandAtAgent(command({ expiresAtMs: BigInt(START_MS + 400 * DAY_MS) }))],
  ['outside of time', 'agent, a command', 'COMMAND_EXPIRED', () => commandAtAgent(command({ expiresAtMs: -(2n ** 63n) }))],
  ['signed by a node', 'agent, a command', 'KEY_MISMATCH', () => commandAtAgent(command({}, 'qiao.command.v1', city.signer))],
  ['signed for another purpose', 'agent, a command', 'SIGNATURE_INVALID', () => commandAtAgent(command({}, 'qiao.snapshot.v1'))],

  // The books.
  ['nothing', 'monitor, a statement', taken, () => entriesAtMonitor(statement(), {})],
  ['signed by another node', 'monitor, a statement', 'KEY_MISMATCH', () => entriesAtMonitor(statement({}, 'qiao.statement.v1', city.signer), {})],
  ['signed for another purpose', 'monitor, a statement', 'SIGNATURE_INVALID', () => entriesAtMonitor(statement({}, 'qiao.receipt.v1'), {})],
  ['for another platform', 'monitor, a statement', 'PLATFORM_UNKNOWN', () => entriesAtMonitor(statement({ platformId: bytes(16) }), {})],
  ['for another platform', 'monitor, a settlement', 'PLATFORM_UNKNOWN', () => entriesAtMonitor(settlement({ platformId: bytes(16) }), {})],
  ['about another lane', 'monitor, a statement', 'LANE_FOREIGN', () => entriesAtMonitor(statement({ laneId: otherIds.laneId }), {})],
  ['to another receiver', 'monitor, a statement', 'LANE_FOREIGN', () => entriesAtMonitor(statement({ receiverId: city.id }), {})],
  ['in another’s name', 'monitor, a statement', 'AUTHOR_MISMATCH', () => entriesAtMonitor(statement({ senderId: city.id }), {})],
  ['brought by another node', 'monitor, a statement', 'ENTRIES_INVALID', () => entriesAtMonitor(statement(), {}, city.certificate)],
  ['from a revoked node', 'monitor, a statement', 'CERTIFICATE_REVOKED', () => entriesAtMonitor(statement(), { revoked: true })],
  ['under a certificate that was replaced', 'monitor, a statement', 'CERTIFICATE_REVOKED', () => entriesAtMonitor(statement({}, 'qiao.statement.v1', oldHealth.signer), {}, oldHealth.certificate)],
  ['under an expired certificate', 'monitor, a statement', 'CERTIFICATE_EXPIRED', () => entriesAtMonitor(statement(), { nowMs: AFTER_ALL_MS })],

  // Heartbeats and the directory.
  ['nothing', 'monitor, a heartbeat', taken, () => heartbeatAtMonitor(heartbeat(), {})],
  ['signed by another node', 'monitor, a heartbeat', 'KEY_MISMATCH', () => heartbeatAtMonitor(heartbeat('qiao.heartbeat.v1', city.signer), {})],
  ['signed for another purpose', 'monitor, a heartbeat', 'SIGNATURE_INVALID', () => heartbeatAtMonitor(heartbeat('qiao.control.v1'), {})],
  ['in another’s name', 'monitor, a heartbeat', 'HEARTBEAT_INVALID', () => heartbeatAtMonitor(heartbeat('qiao.heartbeat.v1', health.signer, city.id), {})],
  ['from a revoked node', 'monitor, a heartbeat', 'NODE_REVOKED', () => heartbeatAtMonitor(heartbeat(), { revoked: true })],
  ['under a certificate that was replaced', 'monitor, a heartbeat', 'KEY_MISMATCH', () => heartbeatAtMonitor(heartbeat('qiao.heartbeat.v1', oldHealth.signer), {})],
  ['under an expired certificate', 'monitor, a heartbeat', 'CERTIFICATE_EXPIRED', () => heartbeatAtMonitor(heartbeat(), { nowMs: AFTER_ALL_MS })],
  ['nothing', 'monitor, a directory', 'number 8', () => directoryAtMonitor(directory(8n), FROM_HUB)],
  ['an older one', 'monitor, a directory', 'number 7', () => directoryAtMonitor(directory(6n), FROM_HUB)],
  ['brought by a node', 'monitor, a directory', 'DIRECTORY_FOREIGN', () => directoryAtMonitor(directory(8n), 'qiao.telemetry.demo.city.directory')],
  ['signed by a node', 'monitor, a directory', 'KEY_MISMATCH', () => directoryAtMonitor(directory(8n, 'qiao.directory.v1', city.signer), FROM_HUB)],
  ['a snapshot, not a directory', 'monitor, a directory', 'SIGNATURE_INVALID', () => directoryAtMonitor(Signed.encode(snapshot({ number: 9n })).finish(), FROM_HUB)],
];

async function commandAfterRestart(): Promise<string> {
  using database = disposableDatabase();
  expect(await answerOf(database.open(), [command()])).toBe('executed 1');
  return await answerOf(database.open(), [command()]);
}

test.each(TABLE)('wrong: %s; at %s: %s', async (_wrong, _door, said, bring) => {
  expect(await bring()).toBe(said);
});

test('a certificate counts as revoked by its own fingerprint, so that the one in its place is believed', async () => {
  await using monitor = await openMonitor({});
  expect(monitor.nodes.isCertificateRevoked(readCertificate(oldHealth.certificate))).toBe(true);
  expect(monitor.nodes.isCertificateRevoked(readCertificate(health.certificate))).toBe(false);
});
