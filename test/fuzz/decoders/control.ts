// What travels beside deliveries: control messages at hub and agent, snapshots, commands, greetings, and everything that the
// monitor hears. Signatures are taken for good, so that what lies behind them is reached.

import type { BusMessage } from '@qiao/bus';
import { BookEntries, ControlMessage, HelloReply, HelloRequest, RefusalFate } from '@qiao/contract/control';
import { ChangeKind, Outcome } from '@qiao/contract/counts';
import {
  BridgeState,
  Command,
  CommandResult,
  Directory,
  Heartbeat,
  NodeSnapshot,
  ServiceCondition,
  ServiceLeg,
} from '@qiao/contract/node';
import { Receipt, Settlement, Statement } from '@qiao/contract/receipt';
import { Signed } from '@qiao/contract/signed';
import { bridgeJson, idText, parseBridge, QiaoError } from '@qiao/exchange';
import { type Log, silentLog } from '@qiao/runtime';
import { commandsPart } from '../../../packages/agent/src/commands/answer.ts';
import { controlPart } from '../../../packages/agent/src/control/consume.ts';
import { createDesiredState } from '../../../packages/agent/src/control/desired.ts';
import { openSnapshot, planSnapshot, type SnapshotReader } from '../../../packages/agent/src/control/snapshot.ts';
import type { Trust } from '../../../packages/agent/src/control/trust.ts';
import { answerHello, Starts } from '../../../packages/hub/src/desired/hello.ts';
import { RoutingTable } from '../../../packages/hub/src/routing/routingTable.ts';
import { verifyControl } from '../../../packages/hub/src/routing/verifyControl.ts';
import { bytes, NONCE, START_MS, TestWorld } from '../../../packages/hub/src/world.testing.ts';
import { takeEntries } from '../../../packages/monitor/src/ingest/entries.ts';
import { Nodes } from '../../../packages/monitor/src/ingest/nodes.ts';
import { openMonitorDatabase } from '../../../packages/monitor/src/monitorDatabase.ts';
import { type Decoder, holds } from '../decoder.ts';
import { sample } from '../samples.ts';

const believing: Trust = { checkPeer: () => undefined, checkMonitor: () => undefined, checkSigned: () => undefined };
const verifier = { verify: () => undefined };

export async function controlDecoders(): Promise<Decoder[]> {
  const world = await TestWorld.create();
  const [health, civil] = [await world.join('health'), await world.join('civil')];
  const watch = await world.join('watch', 'monitor');
  const ids = await world.bridge('births', health, civil);
  const table = new RoutingTable();
  await table.reload(world.store, 0);
  const sign = (payload: Uint8Array) => health.signer.sign('qiao.control.v1', payload);
  const place = { ...ids, platformId: world.platform.id, senderId: health.id, receiverId: civil.id };
  const epoch = { ordinal: 1n, nonce: NONCE };
  const receipt = Receipt.encode(
    Receipt.fromPartial({
      ...place,
      format: 1,
      epoch,
      sequence: 1n,
      contentHash: bytes(32),
      revision: 1,
      settled: true,
      outcomes: [{ table: 'person', sent: ChangeKind.INSERT, outcome: Outcome.INSERTED, rows: 3n }],
    }),
  ).finish();
  const statement = Statement.encode(
    Statement.fromPartial({
      ...place,
      epoch,
      sequence: 1n,
      contentHash: bytes(32),
      sealedAtMs: BigInt(START_MS),
      parcelId: bytes(16),
      counts: [{ table: 'person', inserts: 3n, updates: 0n, deletes: 0n }],
      capture: [
        { table: 'person', kind: ChangeKind.INSERT, captured: 3n, packed: 3n, folded: 0n, filtered: 0n, refused: 0n },
      ],
    }),
  ).finish();
  const settlement = Settlement.encode(
    Settlement.fromPartial({
      ...place,
      epoch,
      firstSequence: 1n,
      lastSequence: 2n,
      code: 'EPOCH_CLOSED',
      reason: 'over',
    }),
  ).finish();
  const bodies: NonNullable<ControlMessage['body']>[] = [
    { $case: 'receipt', value: sign(receipt) },
    {
      $case: 'refusal',
      value: {
        laneId: ids.laneId,
        epoch,
        sequence: 1n,
        code: 'FENCED',
        message: 'x',
        hint: 'y',
        fate: RefusalFate.STOP,
        highestEpoch: 1n,
        fencingToken: 1n,
        contentHash: bytes(32),
      },
    },
    {
      $case: 'resend',
      value: {
        laneId: ids.laneId,
        epoch,
        firstSequence: 1n,
        lastSequence: 0n,
        reason: 'gap',
        requestId: bytes(16),
        isPlace: true,
      },
    },
    {
      $case: 'booksThrough',
      value: { number: 5n, sendAgain: true, mark: bytes(8), exchangeDatabaseId: bytes(16) },
    },
    {
      $case: 'verifyRequest',
      value: {
        laneId: ids.laneId,
        jobId: bytes(16),
        number: 1,
        sealedKey: bytes(48),
        wrappedKey: bytes(65),
        sealing: 'plain',
        question: bytes(40),
        expiresAtMs: BigInt(START_MS + 60_000),
      },
    },
    {
      $case: 'verifyAnswer',
      value: {
        laneId: ids.laneId,
        jobId: bytes(16),
        number: 1,
        part: 0,
        parts: 1,
        reading: bytes(40),
        code: '',
        message: '',
        hint: '',
      },
    },
    {
      $case: 'rowsWanted',
      value: { laneId: ids.laneId, epoch, requestId: bytes(16), sealedKeys: bytes(40), wrappedKey: bytes(65) },
    },
    { $case: 'actualState', value: { nodeId: civil.id, generation: 1n, number: 1n, refused: [] } },
    { $case: 'snapshot', value: sign(new Uint8Array(8)) },
  ];
  const controls = bodies.map((body) => {
    const toNodeId = body.$case === 'actualState' ? new Uint8Array() : health.id;
    return Signed.encode(sign(ControlMessage.encode({ toNodeId, body }).finish())).finish();
  });
  const definitionJson = bridgeJson(
    parseBridge(sample('packages/exchange/golden/bridge.yaml').toString('utf8')).definition as never,
  );
  const snapshot = NodeSnapshot.encode(
    NodeSnapshot.fromPartial({
      platformId: world.platform.id,
      nodeId: health.id,
      number: 3n,
      bridges: [
        {
          bridgeId: ids.bridgeId,
          name: 'births',
          version: 1,
          definitionJson,
          state: BridgeState.RUNNING,
          lanes: [{ laneId: ids.laneId, senderId: health.id, receiverId: civil.id }],
        },
      ],
      peers: [
        { nodeId: civil.id, code: 'civil-affairs', certificate: civil.certificate, sealingKey: new Uint8Array(65) },
      ],
      monitors: [watch.certificate],
    }),
  ).finish();
  const reader: SnapshotReader = {
    platformId: idText(world.platform.id),
    nodeId: idText(health.id),
    nodeCode: 'health',
    hubCertificate: world.hub.certificate,
    trust: believing,
    permissions: {
      exposes: [{ dataSource: 'his', table: '*' }],
      accepts: [],
      defaultSchema: () => undefined,
    },
  };
  const desired = createDesiredState();
  desired.replace(planSnapshot(NodeSnapshot.decode(snapshot), reader).desired);

  return [
    {
      name: 'control-at-hub',
      kind: 'message',
      seeds: controls,
      take(input) {
        const judged = verifyControl({ table, verifier, platformId: world.platform.id }, 'civil', input, START_MS);
        if (judged.kind !== 'refused') return judged.kind;
        holds(judged.message.length < 2_000, 'a refusal of thousands of characters');
        return `${judged.code} ${judged.laneId === ''}`;
      },
    },
    {
      name: 'control-at-agent',
      kind: 'message',
      seeds: controls,
      take: (input) => atAgent(input, health.id, world.hub.certificate, desired),
    },
    {
      name: 'snapshot',
      kind: 'message',
      seeds: [snapshot],
      take(input) {
        const opened = openSnapshot({ payload: input, suite: '', keyId: input, signature: input }, reader);
        const { desired: planned, refused } = planSnapshot(opened, reader);
        for (const problem of refused) holds(problem.message.length <= 2_000, 'a problem past its limit');
        return `planned ${planned.bridges.size} ${planned.peers.size} ${refused
          .map(({ code }) => code)
          .slice(0, 2)
          .join()}`;
      },
    },
    {
      name: 'command',
      kind: 'message',
      seeds: [
        Command.encode(
          Command.fromPartial({
            id: bytes(16),
            nodeId: health.id,
            expiresAtMs: BigInt(START_MS + 1_000),
            operator: 'li',
            command: { $case: 'checkBridge', value: { definitionJson: '{}', source: true, destinations: [0] } },
          }),
        ).finish(),
      ],
      take: (input) => commandAtAgent(input, health.id),
    },
    {
      name: 'hello',
      kind: 'message',
      seeds: [
        HelloRequest.encode(
          HelloRequest.fromPartial({
            nodeId: health.id,
            exchangeDatabaseId: bytes(16),
            readsFormat: 1,
            version: '0.1.0',
            sending: [{ laneId: ids.laneId, epoch }],
            isStart: false,
            clockMs: BigInt(START_MS),
          }),
        ).finish(),
      ],
      async take(input) {
        const failed: unknown[] = [];
        const log = Object.assign(Object.create(silentLog()) as Log, {
          error: (fields: object) => failed.push(fields),
        });
        const answer = HelloReply.decode(
          await answerHello(
            {
              starts: new Starts(),
              store: world.store,
              clock: world.clock,
              log,
              snapshotOf: async () => ({ payload: input, suite: '', keyId: input, signature: input }),
              fenced: async () => undefined,
              restore: {
                isHeld: () => false,
                begin: async () => undefined,
                proven: () => NodeSnapshot.fromPartial({}),
                collect: async () => [],
              },
              renew: async () => ({
                certificate: input,
                natsJwt: '',
                hubCertificate: input,
                authority: new Uint8Array(0),
              }),
              learnEpoch: async (_lane, _sender, { ordinal, nonce }) => {
                holds(ordinal < 2n ** 53n && nonce.length === 16, 'an epoch past its limits');
              },
            },
            'health',
            input,
          ),
        );
        holds(failed.length === 0, `an error that is nobody’s: ${JSON.stringify(failed)}`);
        return answer.problem?.code ?? 'answered';
      },
    },
    ...(await monitorDecoders(world, { receipt, statement, settlement })),
  ];
}

/** What the monitor hears, into a real database. */
async function monitorDecoders(
  world: TestWorld,
  { receipt, statement, settlement }: Record<'receipt' | 'statement' | 'settlement', Uint8Array>,
): Promise<Decoder[]> {
  const database = await openMonitorDatabase({ url: ':memory:' });
  const health = await world.join('laboratory');
  const nodes = await Nodes.open({
    database,
    verifier: verifier as never,
    authority: world.authority.certificateDer,
    hubCertificate: world.hub.certificate,
    nowMs: () => START_MS,
  });
  const sign = (payload: Uint8Array) => health.signer.sign('qiao.control.v1', payload);
  const directory = Directory.encode(
    Directory.fromPartial({
      number: 2n ** 53n - 2n,
      nodes: [{ nodeId: health.id, code: health.code, certificate: health.certificate }],
      revokedKeys: [bytes(32)],
    }),
  ).finish();
  await nodes.takeDirectory(Signed.encode(sign(directory)).finish());
  const numbered = (number: bigint, entry: BookEntries['entries'][number]['entry']) => ({
    number,
    exchangeDatabaseId: NONCE,
    entry,
    mark: NONCE.subarray(0, 8),
  });
  let taken = 0;
  return [
    {
      name: 'heartbeat',
      kind: 'message',
      seeds: [
        Signed.encode(
          sign(
            Heartbeat.encode(
              Heartbeat.fromPartial({
                nodeId: health.id,
                atMs: 5n,
                intervalMs: 5_000,
                dataSources: [{ name: 'his', adapter: 'sqlite', reachable: true }],
                services: [{ bridgeId: NONCE, leg: ServiceLeg.CAPTURE, condition: ServiceCondition.RUNNING }],
                host: { cpuPercent: 5 },
              }),
            ).finish(),
          ),
        ).finish(),
      ],
      async take(input) {
        await nodes.takeHeartbeat(input, health.code);
        return 'heard';
      },
    },
    {
      name: 'directory',
      kind: 'message',
      seeds: [Signed.encode(sign(directory)).finish()],
      async take(input) {
        await nodes.takeDirectory(input);
        return 'taken';
      },
    },
    {
      name: 'book-entries',
      kind: 'message',
      seeds: [
        BookEntries.encode({
          certificate: health.certificate,
          entries: [
            numbered(1n, { $case: 'statement', value: sign(statement) }),
            numbered(2n, { $case: 'receipt', value: sign(receipt) }),
            numbered(3n, { $case: 'settlement', value: sign(settlement) }),
            numbered(4n, { $case: 'unpacked', value: { bridgeId: NONCE, capture: [], atMs: 5n } }),
          ],
        }).finish(),
      ],
      async take(input) {
        taken += 1;
        // A fresh start for each, or every input after the first would be one that is held already.
        await database.deleteFrom('book_position').execute();
        if (taken % 500 === 0)
          for (const name of ['delivery', 'broken_entry', 'refusal'] as const)
            await database.deleteFrom(name).execute();
        const position = await takeEntries(
          {
            database,
            verifier: verifier as never,
            authority: world.authority.certificateDer,
            booksDay: () => '2026-01-15',
            laneOf: () => undefined,
            sourceOf: () => undefined,
            isCertificateRevoked: () => false,
            nowMs: () => START_MS,
          },
          input,
          health.code,
        );
        const broken = await database.selectFrom('broken_entry').select('reason').execute();
        await database.deleteFrom('broken_entry').execute();
        return `through ${position.through} ${position.hasHole} ${broken.map(({ reason }) => reason.split(':')[0]).join()}`;
      },
      async close() {
        await database.destroy();
        await world[Symbol.asyncDispose]();
      },
    },
  ];
}

async function atAgent(
  input: Uint8Array,
  nodeId: Uint8Array,
  hubCertificate: Uint8Array,
  desired: ReturnType<typeof createDesiredState>,
): Promise<string> {
  let outcome = '';
  const hear = (what: string) => () => {
    outcome = what;
  };
  async function* stream(): AsyncGenerator<BusMessage> {
    yield {
      subject: '',
      data: input,
      sequence: 1n,
      redelivered: false,
      ack: () => undefined,
      retryLater: hear('later'),
      working: () => undefined,
    };
  }
  const log = Object.assign(Object.create(silentLog()) as Log, {
    warn: ({ err }: { err?: { code?: string } }) => {
      outcome = err?.code ?? 'without a code';
    },
  });
  await controlPart({
    consume: stream,
    nodeId: idText(nodeId),
    hubCertificate,
    desired,
    trust: believing,
    door: { take: () => 'taken', loadCached: () => false, judgeAgain: () => undefined, reportAgain: () => undefined },
    onReceipt: hear('receipt'),
    isFenced: () => false,
    onReceiptsWanted: hear('receipts wanted'),
    onVerifyRequest: hear('verify request'),
    onVerifyAnswer: hear('verify answer'),
    onResend: hear('resend'),
    onRefusal: hear('refusal'),
    onRowsWanted: async () => undefined,
    onBooksThrough: hear('books'),
    log,
  }).run(new AbortController().signal);
  return outcome;
}

async function commandAtAgent(input: Uint8Array, nodeId: Uint8Array): Promise<string> {
  let failure: unknown;
  let executed = '';
  await commandsPart({
    nodeId: idText(nodeId),
    hubCertificate: new Uint8Array(),
    trust: believing,
    seen: { take: () => true },
    async respond(handler) {
      await handler(Signed.encode({ payload: input, suite: '', keyId: nodeId, signature: nodeId }).finish()).catch(
        (error: unknown) => {
          failure = error;
        },
      );
    },
    async execute(command) {
      executed = command.command?.$case ?? 'nothing';
      return CommandResult.fromPartial({});
    },
    sign: (payload) => ({ payload, suite: '', keyId: nodeId, signature: nodeId }),
    clock: { nowMs: () => START_MS, elapsedMs: () => START_MS, sleep: async () => undefined },
    log: silentLog(),
  }).run(new AbortController().signal);
  if (failure !== undefined) throw failure instanceof Error ? failure : new QiaoError('NOT_AN_ERROR', String(failure));
  return executed;
}
