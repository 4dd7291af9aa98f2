// The agent's parts and what each of them is handed: the only file that knows all of them. What they do is in their folders.

import { randomBytes } from 'node:crypto';
import { type Bus, busUserKeyOf, consumers, streams, subjects } from '@qiao/bus';
import { ControlMessage } from '@qiao/contract/control';
import type { ServiceState } from '@qiao/contract/node';
import { decodeContent, idText, parseId } from '@qiao/exchange';
import { type Clock, createHostSampler, createWakeup, type Log, type Part, VERSION } from '@qiao/runtime';
import {
  isRenewalDue,
  type NodeIdentity,
  readCertificate,
  renewalRequest,
  Signer,
  sealing,
  takeRenewal,
} from '@qiao/security';
import { applyPart, forkReason } from './apply/apply.ts';
import { createLandings, MarkLooks } from './apply/landings.ts';
import { createLaneConditions } from './apply/laneConditions.ts';
import { keepDefinitions } from './apply/versions.ts';
import { booksPart } from './books/publish.ts';
import { createCaptureParts } from './capture/index.ts';
import { wantRows } from './capture/wantedRows.ts';
import { checkpointPart } from './cleaning/checkpoint.ts';
import { cleaningPart } from './cleaning/cleaning.ts';
import { closeEndedLanes } from './cleaning/endedLanes.ts';
import { type Named, namedIn } from './cleaning/named.ts';
import { commandsPart } from './commands/answer.ts';
import { executeCommand } from './commands/execute.ts';
import { diagnose } from './commands/status.ts';
import type { AgentConfig } from './config.ts';
import { controlPart } from './control/consume.ts';
import { createDesiredState } from './control/desired.ts';
import { createFence } from './control/fence.ts';
import { helloPart } from './control/hello.ts';
import { knowledgeOf } from './control/knowledge.ts';
import { outgoingControlPart } from './control/outgoing.ts';
import { withPeerKeys } from './control/peerKeys.ts';
import { certificatesPart, createSnapshotDoor } from './control/takeSnapshot.ts';
import { createTrust } from './control/trust.ts';
import { createDataSources } from './data-sources/registry.ts';
import { maskingKeyFile, permissionsOf } from './data-sources/settings.ts';
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
import { nodeHasher } from './transform/index.ts';
import { bodyOpener, keyOpener, sealedForOf, unseal } from './unseal.ts';
import { createVerifyService } from './verify/index.ts';

export interface Ingredients {
  readonly config: AgentConfig;
  readonly identity: NodeIdentity;
  readonly database: ReturnType<typeof openExchangeDatabase>;
  /** How often an agent started on that exchange database, this start included. */
  readonly start: bigint;
  readonly sources: ReturnType<typeof createDataSources>;
  readonly bus: Bus;
  readonly log: Log;
  readonly clock: Clock;
}

/** Every part of a running agent, wired; nothing runs yet. */
export function composeAgent({ config, identity, database, start, sources, bus, log, clock }: Ingredients): Part[] {
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
  const hasher = nodeHasher(maskingKeyFile(config), database.meta);
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

  const looks = new MarkLooks();
  const capture = createCaptureParts({
    database,
    desired,
    dataSources: sources,
    permissions,
    hasher,
    signer,
    fence,
    clock,
    log: child('capture'),
    newId,
    limits: config.limits,
    landings: createLandings({
      database,
      desired,
      open: sources.open,
      onBehind(name) {
        looks.want(name);
        wakeups.apply.get(name)?.wake();
      },
    }),
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
    hasher,
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
    captureTrouble: (bridgeId) => capture.standing(bridgeId),
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
      forgetHeardToken: () => {
        heardToken = 0n;
      },
      sending: () => send.sending(),
      version: VERSION,
      clock,
      log: child('hello'),
      everyMs: config.limits.helloMs,
      wakeup: wakeups.hello,
    }),
    controlPart({
      isFenced: () => fence.isLost,
      consume: (stop) =>
        bus.consume(streams.downControl(nodeCode), consumers.node(nodeCode), { signal: stop, isOnlyReader: true }),
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
      onReceiptsWanted: (wanted, senderId) => void giveReceipts(wanted, senderId, { answers, ask, database }),
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
        bus.consume(streams.downData(nodeCode), consumers.node(nodeCode), {
          signal: stop,
          maxMessages: 64,
          isOnlyReader: true,
        }),
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
        looks,
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
      start,
      fencingToken: () => database.meta.fencingToken(),
      dataSources: () => probes.states(),
      services,
      host: createHostSampler(config.directory),
      booksNumber: () => database.books.cursor().last,
      booksThrough: () => database.books.cursor().through,
      booksWaitingSinceMs: () => database.books.waitingSinceMs(),
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
          hasher,
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
          sourceRows: {
            nodeCode,
            rights: config.operators,
            trust,
            clock,
            permissions,
            hasher,
            database,
            desired: () => desired.current(),
            open: (dataSource) => sources.open(dataSource),
            seal: (content, key, context) => sealing.seal(content, key, context),
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
    checkpointPart({ database, clock }),
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
    certificatesPart(door, clock),
    ...capture.parts,
    ...send.parts,
    ...verify.parts,
  ];
}
