// The composition root: builds the real ports, starts the parts, and takes them down in the order that loses nothing (calls,
// routers, connection, nats-server). The only file of the hub that knows how everything is wired.

import { randomBytes } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Bus,
  BusAccounts,
  type BusAddress,
  BusAdministration,
  connectBus,
  consumers,
  inboxPrefix,
  type NatsServerPart,
  natsServerPart,
  nodeOfSubject,
  streams,
  subjects,
} from '@qiao/bus';
import type { HelloRequest } from '@qiao/contract/control';
import { HubServiceDefinition, JoinServiceDefinition } from '@qiao/contract/hub';
import type { Signed } from '@qiao/contract/signed';
import { databaseTarget, joinReplicas, lockDirectory, openDatabase, type Replicas } from '@qiao/database';
import { everythingMayFlow, idText, parseId, QiaoError } from '@qiao/exchange';
import { type GrpcServer, openService, service, startGrpcServer } from '@qiao/rpc';
import {
  type Clock,
  crashPoint,
  createWakeup,
  type Log,
  type Part,
  supervise,
  systemClock,
  type Wakeup,
} from '@qiao/runtime';
import {
  Authority,
  hostsOfCertificate,
  type NodeIdentity,
  RESTORED_MARKER,
  readIdentity,
  Signer,
  toPem,
  Verifier,
  verifyIssued,
} from '@qiao/security';
import { hubService } from './api/hubService.ts';
import { joinService } from './api/joinService.ts';
import { sealPart } from './audit/seal.ts';
import type { BridgePorts } from './bridges/bridges.ts';
import { busUpkeepPart } from './busUpkeep.ts';
import { askNode, sendCommand, UnansweredCommands } from './commands/commands.ts';
import { type HubConfig, requireReplicable } from './config.ts';
import { answerHello, Starts } from './desired/hello.ts';
import { createDesiredState } from './desired/snapshots.ts';
import { HUB_MIGRATIONS, type HubDatabase, type HubTables, type NodeRow } from './hubDatabase.ts';
import { type Attempts, attemptsBefore } from './identity/attempts.ts';
import type { IdentityPorts } from './identity/identity.ts';
import { renew } from './identity/renew.ts';
import { isCertificateGood, revokedBusUsers } from './registry/certificates.ts';
import { learnFencingToken, recordActualState, recordSightings } from './registry/nodes.ts';
import { collect, provenSnapshot } from './restore/collect.ts';
import { Hold } from './restore/hold.ts';
import { LaneBooks } from './routing/laneBooks.ts';
import { createLookAgain } from './routing/lookAgain.ts';
import { RefusalBook } from './routing/refusalBook.ts';
import { routeControlPart } from './routing/routeControl.ts';
import { routeDataPart } from './routing/routeData.ts';
import { RoutingTable } from './routing/routingTable.ts';

export interface StartHubOptions {
  readonly config: HubConfig;
  /** Ends the hub. */
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly clock?: Clock;
}

export interface RunningHub {
  /** host:port with the real port. */
  readonly address: string;
  /** `tls://host:port`, what nodes are told to dial. */
  readonly busUrls: readonly string[];
  /** Resolves when everything has been taken down. */
  readonly closed: Promise<void>;
}

/** A bus that does not get ready within this does not keep the hub from answering operators. */
const BUS_PATIENCE_MS = 30_000;
const FLUSH_EVERY_MS = 1_000;
/** A change that another replica made is told at once; who missed the word looks this often. */
const LOOK_EVERY_MS = 5_000;

/**
 * Starts a hub and resolves when it answers. Throws ALREADY_RUNNING, REPLICA_ALONE, REPLICA_NAME_TAKEN, IDENTITY_MISSING, AUTHORITY_MISSING, BUS_KEYS_MISSING, DATABASE_FOREIGN,
 * NATS_SERVER_MISSING, LISTEN_FAILED, and what opening the database throws; then nothing is left running.
 */
export async function startHub(options: StartHubOptions): Promise<RunningHub> {
  const { config, log, signal } = options;
  const clock = options.clock ?? systemClock;
  const teardown: (() => Promise<void>)[] = [];
  const takeDown = async () => {
    for (const step of teardown.splice(0).reverse()) await step();
  };
  try {
    // Before anything else: a second hub would take the first one's nats-server for a left-over and stop it.
    const lock = lockDirectory(config.directory, 'hub');
    teardown.push(async () => lock.release());
    const identityDirectory = join(config.directory, 'identity');
    const identity = readIdentity(identityDirectory);
    const authority = await Authority.open(identityDirectory);
    const accounts = await BusAccounts.open(join(config.directory, 'bus'));
    requireReplicable(config);
    const target = databaseTarget(config.directory, config);
    const replicas = await joinReplicas(target, { name: config.replica, log: log.child({ part: 'replicas' }) });
    teardown.push(() => replicas.close());
    const store = await openDatabase<HubTables>(target, HUB_MIGRATIONS, { replica: config.replica });
    teardown.push(() => store.destroy());
    await requireOwnDatabase(store, config, identity);

    const authorityPem = authority.certificatePem;
    const server = await startBusServer(config, identityDirectory, accounts, { log, clock, signal });
    if (server !== undefined) teardown.push(server.stop);
    const at: BusAddress = {
      urls: server === undefined ? externalUrls(config) : [server.url],
      tls: { authorityPem },
    };
    const bus = await connectBus({
      ...at,
      name: `hub ${config.replica}`,
      credentials: await accounts.createUser({ role: 'hub', platform: config.platform.code, node: 'hub' }),
      inboxPrefix: inboxPrefix('hub'),
      log: log.child({ part: 'bus' }),
    });
    teardown.push(() => bus.close());

    const hold = new Hold({ store, clock, log });
    await noticeRestore(config, hold);
    await hold.load();
    const attempts = await attemptsBefore(store, clock.nowMs());
    const hub = compose({
      config,
      clock,
      log,
      store,
      replicas,
      identity,
      authority,
      accounts,
      bus,
      at,
      attempts,
      hold,
    });
    await hub.load();
    const stop = new AbortController();
    const parts = supervise(hub.parts, { signal: stop.signal, clock, log });
    teardown.push(async () => {
      stop.abort();
      await parts;
    });
    await Promise.race([hub.busReady, clock.sleep(BUS_PATIENCE_MS, AbortSignal.any([signal, stop.signal]))]);
    const grpc = await startGrpcServer({
      listen: config.listen,
      tls: { cert: toPem(identity.certificate, 'CERTIFICATE'), key: identity.keyPem, ca: authorityPem },
      services: [service(HubServiceDefinition, hub.hubService), openService(JoinServiceDefinition, hub.joinService)],
      identify: (der) => verifyIssued(der, authority.certificateDer, clock.nowMs()),
      nowMs: () => clock.nowMs(),
      isRevoked: async (caller) => !(await isCertificateGood(store, caller.fingerprint)),
      log,
    });
    hub.listening(grpc);
    teardown.push(() => grpc.close());
    log.debug({ address: grpc.address, platform: config.platform.code }, 'the calls of operators are answered');
    return { address: grpc.address, busUrls: hub.busUrls, closed: aborted(signal).then(takeDown) };
  } catch (error) {
    await takeDown();
    throw error;
  }
}

interface Ingredients {
  readonly config: HubConfig;
  readonly clock: Clock;
  readonly log: Log;
  readonly store: HubDatabase;
  readonly replicas: Replicas;
  readonly identity: NodeIdentity;
  readonly authority: Authority;
  readonly accounts: BusAccounts;
  readonly bus: Bus;
  readonly at: BusAddress;
  /** Wrong tokens that were shown of late. */
  readonly attempts: Attempts;
  readonly hold: Hold;
}

function compose({
  config,
  clock,
  log,
  store,
  replicas,
  identity,
  authority,
  accounts,
  bus,
  at,
  attempts,
  hold,
}: Ingredients) {
  const platform = { ...config.platform, id: parseId(config.platform.id) };
  const signer = new Signer(identity.keyPem, identity.certificate);
  const verifier = new Verifier();
  const random = (bytes: number) => new Uint8Array(randomBytes(bytes));
  const administration = new BusAdministration({
    bus,
    platform: platform.code,
    log,
    replicas: config.bus.server === 'external' ? config.bus.replicas : 1,
    sizes: definedOnly(config.bus.sizes),
  });
  const publicUrls = config.bus.publicUrls.length > 0 ? config.bus.publicUrls : at.urls;

  const table = new RoutingTable();
  const books = new LaneBooks(store);
  const refusals = new RefusalBook(store);
  const sightings = new Map<string, number>();
  const seen = (nodeId: string, atMs: number) => void sightings.set(nodeId, atMs);
  const forward = (line: 'data' | 'control') => (code: string, bytes: Uint8Array) =>
    bus.publish(subjects.down(platform.code, code, line), bytes);

  const desired = createDesiredState({
    store,
    platform,
    clock,
    log,
    sign: (context, payload) => signer.sign(context, payload),
    isLeader: () => replicas.isLeader,
    toNode: forward('control'),
    isHeld: () => hold.isHeld,
    toMonitor: (bytes) => bus.publish(subjects.telemetry(platform.code, 'hub', 'directory'), bytes),
  });
  const reload = async () => {
    await table.reload(store, clock.nowMs());
    await books.load();
  };
  /** Takes in what is on disk, whoever wrote it. */
  const load = async () => {
    await reload();
    await desired.refresh();
  };
  const changed = async () => {
    await load();
    replicas.announce();
  };
  const fenced = async (nodeId: string, token: bigint) => {
    table.noteFencingToken(nodeId, token, clock.nowMs());
    await desired.refresh();
    replicas.announce();
  };

  let grpc: GrpcServer | undefined;
  const identityPorts: IdentityPorts = {
    store,
    platform,
    clock,
    log,
    random,
    get hubAddress() {
      return config.publicAddress ?? grpc?.address ?? config.listen;
    },
    busUrls: () => publicUrls,
    authority: {
      certificateDer: authority.certificateDer,
      fingerprint: authority.fingerprint,
      issue: ({ csr, ...request }) =>
        authority.issue(csr, { ...request, platformId: platform.id, days: config.certificateDays }),
    },
    hubCertificate: identity.certificate,
    hostsOf: hostsOfCertificate,
    busRights: {
      userJwt: (natsUser, role, node) => accounts.userJwt({ natsUser, role, platform: platform.code, node }),
      // One replica at a time, and with everything that the database says: the account's claims are pushed whole, and a push
      // that knew less would let in again whom another replica has just cut.
      revoke: (natsUser) =>
        replicas.exclusively(async () => {
          const known = new Set(accounts.revokedUsers);
          const missing = (await revokedBusUsers(store)).filter((user) => !known.has(user));
          await accounts.revoke([...new Set([natsUser, ...missing])], at);
        }),
      prepare: (code, role) => administration.ensureNode({ code, role }),
      remove: (code) => administration.removeNode(code),
    },
    cut: (code) => grpc?.cut((caller) => caller.code === code),
    changed,
  };
  const unanswered = new UnansweredCommands();
  const commandPorts = {
    unanswered,
    clock,
    random,
    verifier,
    sign: (payload: Uint8Array) => signer.sign('qiao.command.v1', payload),
    request: (code: string, bytes: Uint8Array, timeoutMs: number) =>
      bus.request(subjects.command(platform.code, code), bytes, timeoutMs),
  };
  const bridgePorts: BridgePorts = {
    store,
    clock,
    newId: () => idText(random(16)),
    changed,
    command: (node, operator, command) => sendCommand(commandPorts, node, operator, command),
  };
  const learnEpoch = async (laneId: string, senderId: string, epoch: { ordinal: bigint; nonce: Uint8Array }) => {
    if (table.lane(laneId)?.senderId === senderId) await books.openEpoch(laneId, epoch.ordinal, epoch.nonce);
  };
  const collectPorts = {
    store,
    platformId: platform.id,
    authority: authority.certificateDer,
    hubCertificate: identity.certificate,
    verifier,
    nowMs: () => clock.nowMs(),
    learnEpoch,
    changed,
    revokeBusUsers: (users: readonly string[]) => accounts.revoke(users, at),
  };
  const helloPorts = {
    restore: {
      isHeld: () => hold.isHeld,
      begin: async (reason: string) => {
        await hold.begin(reason);
        desired.look();
      },
      proven: (signed: Signed, nodeId: Uint8Array) => provenSnapshot(collectPorts, signed, nodeId),
      collect: (code: string, request: HelloRequest) => collect(collectPorts, code, request),
    },
    renew: (node: NodeRow, csr: Uint8Array) => renew(identityPorts, node, csr),
    starts: new Starts(),
    store,
    clock,
    log,
    snapshotOf: (nodeId: string) => desired.snapshotOf(nodeId),
    fenced,
    giveBackHeld: (code: string) => administration.giveBackHeld({ code, role: 'agent' }),
    learnEpoch,
  };

  const upkeepWakeup = createWakeup();
  const busReady = Promise.withResolvers<void>();
  bus.onStatus((status) => {
    if (status.kind !== 'connected') return;
    upkeepWakeup.wake();
  });
  // Nodes that a restored hub learned from others have no streams yet.
  hold.onReleased(() => upkeepWakeup.wake());
  let isFirstRound = true;
  const roundDone = () => {
    busReady.resolve();
    // After the first round of a connection, not at the connect itself: the streams are there now.
    if (isFirstRound) desired.busIsBack();
    isFirstRound = false;
  };
  bus.onStatus((status) => {
    if (status.kind === 'away') isFirstRound = true;
  });

  const newsWakeup = createWakeup();
  replicas.onNews(() => newsWakeup.wake());
  replicas.onLeader(() => {
    upkeepWakeup.wake();
    desired.look();
  });

  const verifyPorts = {
    table,
    verifier,
    platformId: platform.id,
    clock,
    log,
    seen,
    refusals,
    ...(replicas.areSeveral ? { lookAgain: createLookAgain(reload, clock) } : {}),
  };
  const parts: Part[] = [
    busUpkeepPart({
      store,
      log,
      isConnected: () => bus.isConnected,
      isLeader: () => replicas.isLeader,
      ensureStreams: () => administration.ensureStreams(),
      ensureNode: (code, role) => administration.ensureNode({ code, role }),
      revoke: () =>
        replicas.exclusively(async () => {
          const known = new Set(accounts.revokedUsers);
          const missing = (await revokedBusUsers(store)).filter((user) => !known.has(user));
          if (missing.length > 0) await accounts.revoke(missing, at);
          else if (known.size > 0) await accounts.push(at);
        }),
      wakeup: upkeepWakeup,
      onReady: roundDone,
    }),
    {
      name: 'hello',
      run: (signal) =>
        bus.respond(
          subjects.everyHello(platform.code),
          async (bytes, subject) => {
            const code = nodeOfSubject(subject);
            const answer = await answerHello(helloPorts, code, bytes);
            unanswered.nodeIsHere(code);
            return answer;
          },
          { signal, queue: 'hub' },
        ),
    },
    desired,
    hold,
    routeDataPart({
      ...verifyPorts,
      mayFlow: everythingMayFlow,
      consume: (signal) =>
        hold.gate(signal, (open) => bus.consume(streams.upData(platform.code), consumers.routerData, { signal: open })),
      forwardData: forward('data'),
      forwardControl: forward('control'),
      signControl: (payload) => signer.sign('qiao.control.v1', payload),
      books,
      learnFencingToken: async (nodeId, token) => {
        await learnFencingToken(store, nodeId, Number(token));
        table.learnFencingToken(nodeId, token, clock.nowMs());
        await desired.refresh();
      },
    }),
    routeControlPart({
      ...verifyPorts,
      consume: (signal) =>
        hold.gate(signal, (open) =>
          bus.consume(streams.upControl(platform.code), consumers.routerControl, { signal: open }),
        ),
      forwardControl: forward('control'),
      reported: (nodeId, state) =>
        recordActualState(store, nodeId, {
          generation: state.generation,
          number: state.number,
          problems: state.refused,
        }),
    }),
    countersPart({ store, books, refusals, sightings, clock }),
    replicas.part,
  ];
  if (replicas.areSeveral) {
    parts.push(
      sealPart({ store, clock }),
      newsPart(newsWakeup, async () => {
        await load();
        desired.look();
        // Whom another replica revoked may have calls running here.
        grpc?.cut((caller) => table.nodeById(idText(caller.nodeId))?.isJoined === false);
      }),
    );
  }

  return {
    parts,
    busReady: busReady.promise,
    busUrls: publicUrls,
    hubService: hubService({
      identity: identityPorts,
      bridges: bridgePorts,
      openRows: {
        store,
        clock,
        ask: (node, operator, command) => askNode(commandPorts, node, operator, command),
      },
      bus: () => bus,
      hold,
      seen,
    }),
    joinService: joinService(identityPorts, attempts),
    load,
    listening(server: GrpcServer) {
      grpc = server;
    },
  };
}

/** Takes in what other replicas changed: when they say so, and now and then. */
function newsPart(wakeup: Wakeup, take: () => Promise<void>): Part {
  return {
    name: 'news',
    mostPauseMs: LOOK_EVERY_MS,
    async run(signal) {
      while (!signal.aborted) {
        await wakeup.wait(LOOK_EVERY_MS, signal);
        if (!signal.aborted) await take();
      }
    },
  };
}

/** Counters and last words, written once a second and once more at the end. */
function countersPart(ports: {
  store: HubDatabase;
  books: LaneBooks;
  refusals: RefusalBook;
  sightings: Map<string, number>;
  clock: Clock;
}): Part {
  const flush = async () => {
    await ports.books.flush();
    await ports.refusals.tellRest(ports.clock.nowMs());
    const seen = new Map(ports.sightings);
    ports.sightings.clear();
    if (seen.size > 0) await ports.store.transaction().execute((store) => recordSightings(store, seen));
  };
  return {
    name: 'counters',
    async run(signal) {
      while (!signal.aborted) {
        await ports.clock.sleep(FLUSH_EVERY_MS, signal);
        await flush();
      }
    },
  };
}

/** A restore leaves a marker beside the store: what starts on it knows less than its nodes. */
async function noticeRestore(config: HubConfig, hold: Hold): Promise<void> {
  const marker = join(config.directory, RESTORED_MARKER);
  if (!existsSync(marker)) return;
  await hold.begin('restored with `qiao hub restore`');
  crashPoint('restore.noticed');
  rmSync(marker);
}

async function requireOwnDatabase(store: HubDatabase, config: HubConfig, identity: NodeIdentity): Promise<void> {
  const state = await store.selectFrom('hub_state').selectAll().executeTakeFirst();
  const found = state?.platform_id;
  if (found === config.platform.id && found === idText(identity.platformId)) return;
  throw new QiaoError(
    'DATABASE_FOREIGN',
    `${config.database} belongs to platform ${found ?? '(none)'}, hub.yaml to ${config.platform.id}, the identity to ${idText(identity.platformId)}`,
    { hint: 'restore all of the hub’s directory from one backup' },
  );
}

interface BusServer {
  /** What the hub itself dials. */
  readonly url: string;
  readonly stop: () => Promise<void>;
}

/** The embedded nats-server, unless the configuration names a cluster. It is stopped last, so it has a signal of its own. */
async function startBusServer(
  config: HubConfig,
  identityDirectory: string,
  accounts: BusAccounts,
  { log, clock, signal }: { log: Log; clock: Clock; signal: AbortSignal },
): Promise<BusServer | undefined> {
  if (config.bus.server === 'external') return undefined;
  const part: NatsServerPart = natsServerPart({
    ...(config.bus.binary === undefined ? {} : { binary: config.bus.binary }),
    dir: join(config.directory, 'bus'),
    listen: config.bus.listen,
    tls: {
      certFile: join(identityDirectory, 'certificate.pem'),
      keyFile: join(identityDirectory, 'key.pem'),
      authorityFile: join(identityDirectory, 'authority.pem'),
    },
    auth: () => accounts.serverAuthConfig(),
    jetstreamDir: join(config.directory, 'jetstream'),
    maxStoreBytes: config.bus.maxStoreBytes,
    log: log.child({ part: 'nats-server' }),
  });
  const controller = new AbortController();
  const running = supervise([part], { signal: controller.signal, clock, log });
  const stop = async () => {
    controller.abort();
    await running;
  };
  try {
    const ready = await Promise.race([part.ready, aborted(signal)]);
    if (ready === undefined) throw new QiaoError('HUB_STOPPED', 'the hub was stopped while nats-server started');
    return { url: ready.url, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function externalUrls(config: HubConfig): readonly string[] {
  return config.bus.server === 'external' ? config.bus.urls : [];
}

function aborted(signal: AbortSignal): Promise<undefined> {
  if (signal.aborted) return Promise.resolve(undefined);
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined), { once: true }));
}

/** Without the keys that are left out, which `exactOptionalPropertyTypes` tells from keys set to undefined. */
function definedOnly<T extends object>(sizes: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(sizes).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };
}
