// The agent: builds every real port once, hands each part what it needs, and supervises them until it is stopped. The only
// file that knows all of them; what they do is in their folders.

import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Bus, busUserKeyOf, connectBus, consumers, inboxPrefix, streams, subjects } from '@qiao/bus';
import { ControlMessage } from '@qiao/contract/control';
import type { ServiceState } from '@qiao/contract/node';
import { lockDirectory } from '@qiao/database/files';
import { decodeContent, idText, ProblemsError, parseId, QiaoError } from '@qiao/exchange';
import {
  type Clock,
  crashPoint,
  createHostSampler,
  createWakeup,
  type Log,
  type Part,
  supervise,
  systemClock,
  VERSION,
} from '@qiao/runtime';
import {
  createRowBox,
  isRenewalDue,
  keyIdOf,
  type NodeIdentity,
  openHostKey,
  RESTORED_MARKER,
  readCertificate,
  readIdentity,
  renewalRequest,
  type Sealed,
  Signer,
  sealing,
  sealingContext,
  takeRenewal,
  toPem,
} from '@qiao/security';
import { applyPart, forkReason } from './apply/apply.ts';
import { createLaneConditions } from './apply/laneConditions.ts';
import type { BodyOpener } from './apply/openBody.ts';
import { keepDefinitions } from './apply/versions.ts';
import { booksPart } from './books/publish.ts';
import { createCaptureParts } from './capture/index.ts';
import { wantRows } from './capture/wantedRows.ts';
import { cleaningPart } from './cleaning/cleaning.ts';
import { type Named, namedIn } from './cleaning/named.ts';
import { commandsPart } from './commands/answer.ts';
import { executeCommand } from './commands/execute.ts';
import { diagnose } from './commands/status.ts';
import type { AgentConfig } from './config.ts';
import { controlPart } from './control/consume.ts';
import { createDesiredState, type Desired } from './control/desired.ts';
import { createFence } from './control/fence.ts';
import { helloPart } from './control/hello.ts';
import { knowledgeOf } from './control/knowledge.ts';
import { outgoingControlPart } from './control/outgoing.ts';
import { withPeerKeys } from './control/peerKeys.ts';
import { createSnapshotDoor } from './control/takeSnapshot.ts';
import { createTrust } from './control/trust.ts';
import { makeExchangeTables } from './data-sources/exchangeTables.ts';
import { createDataSources } from './data-sources/registry.ts';
import {
  dataSourceConfigs,
  exchangeDatabaseFile,
  permissionsOf,
  rowKeyFile,
  settingsProblems,
} from './data-sources/settings.ts';
import { openExchangeDatabase } from './exchange-database/index.ts';
import { heartbeatPart } from './heartbeat/heartbeat.ts';
import { dataSourceProbes } from './heartbeat/probes.ts';
import { identityDirectory } from './join/join.ts';
import { createAnswers } from './receive/answer.ts';
import { createAsker } from './receive/ask.ts';
import { createRowAsker, rowsWantedContext } from './receive/askRows.ts';
import { giveReceipts } from './receive/giveReceipts.ts';
import { receivePart } from './receive/receive.ts';
import { createSendParts, DEFAULT_SEND_LIMITS } from './send/index.ts';
import { sealingKeyName } from './send/sealDelivery.ts';
import { createVerifyService, type KeyOpener } from './verify/index.ts';

export interface StartAgentOptions {
  /** As `readAgentConfig` gives it: paths absolute. */
  readonly config: AgentConfig;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly clock?: Clock;
}

const CHECKPOINT_EVERY_MS = 60_000;
/** Settled rows of the quarantine stay for whoever asks what became of them: 30 days. */
const SETTLED_ROWS_KEPT_MS = 30 * 24 * 60 * 60 * 1000;
const SETTLED_ROWS_FORGOTTEN = 1_000;

/**
 * Runs the agent until the signal aborts. Rejects at once for what no waiting mends: IDENTITY_MISSING, CONFIG_INVALID,
 * ALREADY_RUNNING, EXCHANGE_DATABASE_LOCKED, SECRET_MISSING. A hub or bus that is away is waited for; capture goes on meanwhile.
 */
export async function startAgent({ config, signal, log, clock = systemClock }: StartAgentOptions): Promise<void> {
  const problems = settingsProblems(config);
  if (problems.length > 0) throw new ProblemsError(problems, { code: 'CONFIG_INVALID' });
  const identity = readIdentity(identityDirectory(config));
  requireOwnIdentity(identity, config);
  mkdirSync(config.directory, { recursive: true, mode: 0o700 });
  const lock = lockDirectory(config.directory, 'agent');
  try {
    await runAgent({ config, identity, signal, log, clock });
  } finally {
    lock.release();
  }
}

async function runAgent({
  config,
  identity,
  signal,
  log,
  clock,
}: Required<StartAgentOptions> & { readonly identity: NodeIdentity }): Promise<void> {
  if (config.exchange === undefined) makeExchangeTables(config);
  const database = openExchangeDatabase(exchangeDatabaseFile(config), {
    nowMs: () => clock.nowMs(),
    rowBox: createRowBox(openHostKey(rowKeyFile(config), { create: true })),
  });
  noticeRestore(config, database, clock, log);
  const sources = createDataSources(dataSourceConfigs(config));
  let bus: Bus | undefined;
  try {
    bus = await openBus(identity, log);
    const agent = buildAgent({ config, identity, database, sources, bus, log, clock });
    log.info({ node: identity.nodeCode, platform: identity.platformCode, version: VERSION }, 'agent started');
    await supervise(agent, { signal, clock, log });
    log.info('agent stopped');
  } finally {
    await bus?.close().catch(() => {});
    await sources.close();
    database.close();
  }
}

interface Built {
  readonly config: AgentConfig;
  readonly identity: NodeIdentity;
  readonly database: ReturnType<typeof openExchangeDatabase>;
  readonly sources: ReturnType<typeof createDataSources>;
  readonly bus: Bus;
  readonly log: Log;
  readonly clock: Clock;
}

function buildAgent({ config, identity, database, sources, bus, log, clock }: Built): Part[] {
  const nodeId = idText(identity.nodeId);
  const platformId = idText(identity.platformId);
  const { platformCode, nodeCode, hubCertificate } = identity;
  const startedAtMs = clock.nowMs();
  const newId = () => new Uint8Array(randomBytes(16));
  const child = (part: string) => log.child({ part });

  const signer = new Signer(identity.keyPem, identity.certificate);
  // The key stays when the certificate is renewed, so the signer does too.
  const renewing = { identity };
  const trust = createTrust({ authority: identity.authority, platformId, nowMs: () => clock.nowMs() });
  const permissions = permissionsOf(config, sources);
  const { desired, part: peerKeysPart } = withPeerKeys(createDesiredState(), {
    directory: identityDirectory(config),
    confirm: config.confirmDestinations,
    clock,
    log: child('peer-keys'),
  });
  const fence = createFence();
  const wakeups = {
    hello: createWakeup(),
    controlOut: createWakeup(),
    books: createWakeup(),
    apply: new Map(sources.names().map(({ name }) => [name, createWakeup()])),
  };
  const wakeApply = () => {
    for (const wakeup of wakeups.apply.values()) wakeup.wake();
  };

  let named: Named | undefined;
  let heardToken = 0n;
  const door = createSnapshotDoor({
    reader: { platformId, nodeId, nodeCode, hubCertificate, trust, permissions },
    desired,
    cache: { load: () => database.meta.snapshot(), save: (bytes) => database.meta.setSnapshot(bytes) },
    report: (actual) => {
      const message = ControlMessage.fromPartial({ body: { $case: 'actualState', value: actual } });
      database.controlOut.add(ControlMessage.encode(message).finish(), clock.nowMs(), 'actualState');
      wakeups.controlOut.wake();
    },
    onRead: (snapshot) => {
      named = namedIn(snapshot);
      keepDefinitions(database, snapshot, nodeId, clock.nowMs());
    },
    log: child('snapshot'),
  });

  const capture = createCaptureParts({
    database,
    desired,
    dataSources: sources,
    permissions,
    signer,
    fence,
    clock,
    log: child('capture'),
    newId,
    limits: config.limits,
    onPacked: () => {
      send.wake();
      wakeups.books.wake();
    },
  });
  const send = createSendParts({
    database,
    desired,
    fence,
    bus,
    dataSubject: subjects.up(platformCode, nodeCode, 'data'),
    signer,
    sealing,
    clock,
    log: child('send'),
    newId,
    limits: { ...DEFAULT_SEND_LIMITS, ...config.limits },
    onRoom: () => capture.wake(),
    onQueued: () => wakeups.controlOut.wake(),
    onOutbid: (token) => {
      if (token <= heardToken) return;
      heardToken = token;
      wakeups.hello.wake();
    },
  });

  const verify = createVerifyService({
    database,
    desired,
    dataSources: sources,
    permissions,
    fence,
    signer,
    sealing,
    keys: keyOpener(identity),
    clock,
    log: child('verify'),
    newId,
    newSecret: () => new Uint8Array(randomBytes(32)),
    limits: { ...DEFAULT_SEND_LIMITS, ...config.limits },
    onQueued: () => wakeups.controlOut.wake(),
    onPacked: () => {
      send.wake();
      wakeups.books.wake();
    },
  });
  const conditions = createLaneConditions({ database, clock, log: child('apply') });
  const onQueued = () => {
    wakeups.controlOut.wake();
    wakeups.books.wake();
  };
  const ask = createAsker({ database, clock, log: child('ask'), newId, onQueued });
  const askRows = createRowAsker({
    database,
    seal: (content, key, context) => sealing.seal(content, key, context),
    newId,
    clock,
    log: child('ask'),
    onQueued,
  });
  const answers = createAnswers({
    database,
    sign: (context, payload) => signer.sign(context, payload),
    renew: (context, signed) => signer.renew(context, signed),
    clock,
    onQueued,
  });
  const probes = dataSourceProbes({
    names: sources.names,
    open: sources.open,
    everyMs: 2 * config.limits.heartbeatMs,
    clock,
  });
  const books = booksPart({
    database,
    fence,
    renew: (context, signed) => signer.renew(context, signed),
    certificate: () => renewing.identity.certificate,
    keptEntries: config.limits.keptBookEntries,
    publish: (bytes) => bus.publish(subjects.telemetry(platformCode, nodeCode, 'books'), bytes),
    wakeup: wakeups.books,
    clock,
    log: child('books'),
  });
  const services = (): ServiceState[] => [
    ...capture.states(),
    ...send.states(),
    ...conditions.states(desired.current()),
  ];

  desired.onChange((now) => {
    // A newer start of this node: only the hub’s own word tells whether it was another process.
    const token = fence.token();
    if (token !== undefined && token < now.fencingToken) wakeups.hello.wake();
    closeEndedLanes(now, database);
    send.wake();
    wakeApply();
  });
  bus.onStatus((status) => {
    if (status.kind !== 'connected') return;
    wakeups.hello.wake();
    wakeups.controlOut.wake();
    books.lineIsBack();
    wakeups.books.wake();
    send.wake();
  });
  if (door.loadCached()) log.info('running on the cached snapshot until the hub answers');

  return [
    helloPart({
      ask: (bytes, timeoutMs) => bus.request(subjects.hello(platformCode, nodeCode), bytes, timeoutMs),
      fence,
      door,
      nodeId,
      exchangeDatabaseId: () => database.id,
      knows: (everything) =>
        knowledgeOf(
          {
            database,
            desired: () => desired.current(),
            identity: () => renewing.identity,
            natsUser: identity.nats === undefined ? '' : busUserKeyOf(identity.nats.seed).natsUser,
          },
          everything,
        ),
      renewalCsr: async () =>
        isRenewalDue(renewing.identity.certificate, clock.nowMs()) ? await renewalRequest(identity) : undefined,
      takeRenewal: (renewal) => {
        renewing.identity = takeRenewal(identityDirectory(config), renewing.identity, renewal, clock.nowMs());
        const { notAfterMs } = readCertificate(renewing.identity.certificate);
        log.info({ endsAt: new Date(notAfterMs).toISOString() }, 'certificate renewed');
      },
      lastToken: () => database.meta.fencingToken(),
      keepToken: (token) => database.meta.setFencingToken(token),
      heardToken: () => heardToken,
      sending: () => send.sending(),
      version: VERSION,
      clock,
      log: child('hello'),
      everyMs: config.limits.helloMs,
      wakeup: wakeups.hello,
    }),
    controlPart({
      isFenced: () => fence.isLost,
      consume: (stop) => bus.consume(streams.downControl(nodeCode), consumers.node(nodeCode), { signal: stop }),
      nodeId,
      hubCertificate,
      desired,
      trust,
      door,
      onReceipt: (receipt, signed) => {
        send.recordReceipt(receipt, signed);
        wakeups.books.wake();
      },
      onResend: (request) => {
        send.resendDeliveries(request);
        send.wake();
      },
      onReceiptsWanted: (wanted, senderId) => void giveReceipts(wanted, senderId, { answers, ask }),
      onRefusal: (refusal) => {
        send.handleRefusal(refusal);
        wakeups.books.wake();
      },
      onRowsWanted: async ({ laneId, epoch, requestId, sealedKeys, wrappedKey }) => {
        const lane = database.lanesOut.get(laneId);
        if (lane === undefined || epoch === undefined) return;
        const context = rowsWantedContext(laneId, epoch.ordinal, requestId);
        const keys = await unseal(identity, { body: sealedKeys, wrappedKey }, context);
        const rows = wantRows(database, lane.bridge, decodeContent(keys));
        log.info({ lane: idText(laneId), rows }, 'whole rows are wanted: the next scan sends them');
        capture.wake();
      },
      onBooksThrough: (through) => books.through(through),
      onOlderSnapshot: () => wakeups.hello.wake(),
      onVerifyRequest: (request) => verify.takeRequest(request),
      onVerifyAnswer: (answer) => verify.takeAnswer(answer),
      keyIdOf,
      log: child('control'),
    }),
    outgoingControlPart({
      database,
      fence,
      signer,
      publish: (bytes) => bus.publish(subjects.up(platformCode, nodeCode, 'control'), bytes),
      wakeup: wakeups.controlOut,
    }),
    receivePart({
      isFenced: () => fence.isLost,
      consume: (stop) =>
        bus.consume(streams.downData(nodeCode), consumers.node(nodeCode), { signal: stop, maxMessages: 64 }),
      nodeId,
      platformId,
      desired: () => desired.current(),
      trust,
      database,
      answers,
      ask,
      sealedFor: sealedForOf(identity),
      inboxLimits: {
        bytes: config.limits.inboxBudgetBytes,
        laneBytes: config.limits.inboxLaneBudgetBytes,
        laneDeliveries: config.limits.inboxLaneDeliveries,
      },
      onDelivery: (laneId) => {
        conditions.tryNow(parseId(laneId));
        wakeApply();
      },
      stickFork: (lane, version, why) => conditions.stick(lane, version, forkReason(why)),
      stuckForMs: (lane) => conditions.stuckForMs(lane),
      wantSnapshot: wakeups.hello,
      clock,
      log: child('receive'),
    }),
    ...sources.names().map(({ name }) =>
      applyPart(name, {
        database,
        answers,
        permissions,
        clock,
        log: child('apply'),
        nodeId,
        desired,
        open: (dataSource) => sources.open(dataSource),
        body: bodyOpener(identity),
        ask,
        askRows,
        conditions,
        wakeup: wakeups.apply.get(name) ?? createWakeup(),
        retentionMs: config.limits.retentionMs,
        wantSnapshot: wakeups.hello,
      }),
    ),
    books,
    probes,
    heartbeatPart({
      node: {
        nodeId,
        code: nodeCode,
        departmentCode: identity.departmentCode,
        departmentTitle: identity.departmentTitle,
      },
      version: VERSION,
      exchangeDatabaseId: () => database.id,
      dataSources: () => probes.states(),
      services,
      host: createHostSampler(config.directory),
      booksNumber: () => database.books.cursor().last,
      sign: (payload) => signer.sign('qiao.heartbeat.v1', payload),
      publish: (bytes) => bus.publish(subjects.telemetry(platformCode, nodeCode, 'heartbeat'), bytes),
      everyMs: config.limits.heartbeatMs,
      clock,
      log: child('heartbeat'),
    }),
    commandsPart({
      nodeId,
      hubCertificate,
      trust,
      respond: (handler, stop) => bus.respond(subjects.command(platformCode, nodeCode), handler, { signal: stop }),
      execute: (command) =>
        executeCommand(command, {
          nodeId,
          permissions,
          open: (dataSource) => sources.open(dataSource),
          desired: () => desired.current(),
          verify,
          quarantine: {
            nodeCode,
            rights: config.operators,
            trust,
            clock,
            database,
            desired: () => desired.current(),
            onDecided: wakeApply,
            seal: (content, key, context) => sealing.seal(content, key, context),
            unseal: (sealed, context) => unseal(identity, sealed, context),
            sealingKey: identity.sealingKey?.publicKey ?? new Uint8Array(0),
          },
          diagnose: () =>
            diagnose({
              database,
              desired: () => desired.current(),
              dataSources: () => probes.states(),
              services,
              host: createHostSampler(config.directory),
              busConnected: () => bus.isConnected,
              hasToken: () => fence.token() !== undefined,
              startedAtMs,
            }),
        }),
      sign: (payload) => signer.sign('qiao.command.v1', payload),
      seen: database.commands,
      clock,
      log: child('commands'),
    }),
    {
      name: 'checkpoint',
      async run(stop) {
        while (!stop.aborted) {
          await clock.sleep(CHECKPOINT_EVERY_MS, stop);
          database.quarantine.forgetSettled(clock.nowMs() - SETTLED_ROWS_KEPT_MS, SETTLED_ROWS_FORGOTTEN);
          database.checkpoint();
        }
      },
    },
    cleaningPart({
      database,
      desired,
      signer,
      fence,
      newId,
      cancel: { database, sign: (context, payload) => signer.sign(context, payload), clock, onQueued },
      named: () => named,
      retentionMs: config.limits.retentionMs,
      clock,
      log: child('cleaning'),
    }),
    peerKeysPart,
    ...capture.parts,
    ...send.parts,
    ...verify.parts,
  ];
}

/** A restore leaves a marker beside the exchange database: what starts on it is an older copy. */
function noticeRestore(
  config: AgentConfig,
  database: ReturnType<typeof openExchangeDatabase>,
  clock: Clock,
  log: Log,
): void {
  const marker = join(config.directory, RESTORED_MARKER);
  if (!existsSync(marker)) return;
  log.warn('this agent was restored from a backup: its lanes begin new epochs and compare both ends');
  database.becomeAnother(clock.nowMs());
  crashPoint('agent.becameAnother');
  rmSync(marker);
}

/** What waits on a lane that ended without a destination can never be applied; its sender accounts for it. */
function closeEndedLanes(desired: Desired, database: ReturnType<typeof openExchangeDatabase>): void {
  for (const bridge of desired.bridges.values()) {
    for (const { laneId, receiverId, ended, destination } of bridge.lanes) {
      if (receiverId !== desired.nodeId || !ended) continue;
      const lane = parseId(laneId);
      database.lanesIn.end(lane);
      if (destination === undefined) database.inbox.removeLane(lane);
    }
  }
}

function openBus(identity: NodeIdentity, log: Log): Promise<Bus> {
  if (identity.nats === undefined) {
    throw new QiaoError('IDENTITY_INVALID', 'the identity has no bus credentials', {
      hint: 'join again: qiao agent join --config FILE --token TOKEN',
    });
  }
  return connectBus({
    urls: identity.natsUrls,
    name: identity.nodeCode,
    credentials: identity.nats,
    tls: { authorityPem: toPem(identity.authority, 'CERTIFICATE') },
    inboxPrefix: inboxPrefix(identity.nodeCode),
    log: log.child({ part: 'bus' }),
  });
}

/** Opens what was sealed for this node, and is no delivery. */
function unseal({ sealingKey }: NodeIdentity, sealed: Sealed, context: Uint8Array): Promise<Uint8Array> {
  if (sealingKey === undefined) throw new QiaoError('BODY_UNREADABLE', 'this node has no sealing key');
  return sealing.open(sealed, sealingKey.privateKey, context);
}

function bodyOpener(identity: NodeIdentity): BodyOpener {
  const { sealingKey } = identity;
  return {
    sealing: sealing.name,
    sealedFor: sealedForOf(identity),
    open: (body, wrappedKey, header) => {
      if (sealingKey === undefined || header.epoch === undefined) {
        throw new QiaoError('BODY_UNREADABLE', 'this node has no sealing key');
      }
      const { laneId, epoch, sequence, contentHash } = header;
      const context = sealingContext({ laneId, epoch, sequence, contentHash });
      return sealing.open({ body, wrappedKey }, sealingKey.privateKey, context);
    },
  };
}

function sealedForOf({ sealingKey }: NodeIdentity): Uint8Array | undefined {
  return sealingKey === undefined ? undefined : sealingKeyName(sealingKey.publicKey);
}

/** Opens comparison keys that a lane's sender sealed for this node. */
function keyOpener({ sealingKey }: NodeIdentity): KeyOpener {
  return {
    sealing: sealing.name,
    open: (body, wrappedKey, context) => {
      if (sealingKey === undefined) throw new QiaoError('COMPARISON_UNREADABLE', 'this node has no sealing key');
      return sealing.open({ body, wrappedKey }, sealingKey.privateKey, context);
    },
  };
}

function requireOwnIdentity(identity: NodeIdentity, config: AgentConfig): void {
  if (identity.role === 'agent' && identity.nodeCode === config.node.code) return;
  throw new QiaoError(
    'IDENTITY_FOREIGN',
    `the identity is of ${identity.role} ${identity.nodeCode}, the configuration says agent ${config.node.code}`,
    { hint: 'mend node.code in agent.yaml, or join with this configuration' },
  );
}
