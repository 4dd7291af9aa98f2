// The doors of hub, agents and monitor as they are, each by itself: what it says of a message, or that it takes it.

import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import type { BusMessage } from '@qiao/bus';
import { BookEntries, type BookEntry } from '@qiao/contract/control';
import { BridgeState, CommandResult, Directory, NodeSnapshot } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { everythingMayFlow, idText, QiaoError } from '@qiao/exchange';
import { createWakeup, type Log, silentLog } from '@qiao/runtime';
import { type CertificateFacts, keyIdOf, Verifier } from '@qiao/security';
import { expect } from 'vitest';
import { commandsPart } from '../../packages/agent/src/commands/answer.ts';
import { controlPart } from '../../packages/agent/src/control/consume.ts';
import { createDesiredState, type Desired } from '../../packages/agent/src/control/desired.ts';
import { openSnapshot } from '../../packages/agent/src/control/snapshot.ts';
import { createSnapshotDoor } from '../../packages/agent/src/control/takeSnapshot.ts';
import { createTrust } from '../../packages/agent/src/control/trust.ts';
import { openExchangeDatabase } from '../../packages/agent/src/exchange-database/index.ts';
import { takeIn } from '../../packages/agent/src/receive/intake.ts';
import { LaneBooks } from '../../packages/hub/src/routing/laneBooks.ts';
import { RoutingTable } from '../../packages/hub/src/routing/routingTable.ts';
import { verifyControl } from '../../packages/hub/src/routing/verifyControl.ts';
import { verifyDelivery } from '../../packages/hub/src/routing/verifyDelivery.ts';
import { bytes, START_MS, type TestNode } from '../../packages/hub/src/world.testing.ts';
import { takeEntries } from '../../packages/monitor/src/ingest/entries.ts';
import { createIngestParts } from '../../packages/monitor/src/ingest/ingest.ts';
import { Nodes } from '../../packages/monitor/src/ingest/nodes.ts';
import { openMonitorDatabase } from '../../packages/monitor/src/monitorDatabase.ts';

import {
  type Circumstances,
  city,
  civil,
  folder,
  health,
  ids,
  oldHealth,
  otherIds,
  signedAs,
  taken,
  watch,
  world,
} from './actors.ts';

export async function atHub(message: Uint8Array, { nowMs = START_MS, revoked = false, fencingToken }: Circumstances) {
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

export async function controlAtHub(
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

export async function atReceiver(message: Uint8Array, circumstances: Circumstances, self = civil) {
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
export async function controlAtSender(message: Uint8Array, circumstances: Circumstances, self = health) {
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
export function snapshotsAtAgent(...messages: readonly Signed[]): string {
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

export async function snapshotAtAgent(signed: Signed, { nowMs = START_MS }: Circumstances) {
  return codeOf(() => {
    openSnapshot(signed, readerAt(nowMs));
  });
}

export async function commandAtAgent(...messages: Uint8Array[]): Promise<string> {
  using database = disposableDatabase();
  return await answerOf(database.open(), messages);
}

export function disposableDatabase() {
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
export async function answerOf(
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

export async function openMonitor({ nowMs = START_MS, revoked = false }: Circumstances) {
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
export async function entriesAtMonitor(
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

export async function heartbeatAtMonitor(message: Uint8Array, circumstances: Circumstances): Promise<string> {
  await using monitor = await openMonitor(circumstances);
  const before = monitor.nodes.state(idText(health.id));
  const code = await codeOfAsync(monitor.nodes.takeHeartbeat(message, 'health'));
  if (code !== taken) return code;
  return monitor.nodes.state(idText(health.id)) === before ? 'kept the newer' : taken;
}

/** A directory brought over the bus on a subject: the number that stands afterwards. */
export async function directoryAtMonitor(message: Uint8Array, subject: string): Promise<string> {
  await using monitor = await openMonitor({});
  let refused: string | undefined;
  const [listen] = createIngestParts({
    bus: { consume: () => one(subject, message) } as never,
    begin: async () => undefined,
    entries: monitor.ports,
    takeHeartbeat: async () => undefined,
    positionOf: () => Promise.reject(new Error('no books here')),
    takeDirectory: (data) => monitor.nodes.takeDirectory(data),
    tell: () => Promise.reject(new Error('nobody is told here')),
    clock: world.clock,
    log: listeningLog((code) => {
      refused = code;
    }),
    changed: createWakeup(),
  });
  await listen?.run(new AbortController().signal);
  return refused ?? `number ${monitor.nodes.directory?.number}`;
}

export async function* one(subject: string, data: Uint8Array): AsyncGenerator<BusMessage> {
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
