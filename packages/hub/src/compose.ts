// The hub's parts, the calls it answers, and what each is handed: the only file of the hub that knows how everything is wired.

import { randomBytes } from 'node:crypto';
import {
  type Bus,
  type BusAccounts,
  type BusAddress,
  BusAdministration,
  consumers,
  nodeOfSubject,
  streams,
  subjects,
} from '@qiao/bus';
import type { HelloRequest } from '@qiao/contract/control';
import type { Signed } from '@qiao/contract/signed';
import type { Replicas } from '@qiao/database';
import { everythingMayFlow, idText, parseId } from '@qiao/exchange';
import type { GrpcServer } from '@qiao/rpc';
import { type Clock, createWakeup, type Log, type Part, type Wakeup } from '@qiao/runtime';
import { type Authority, hostsOfCertificate, type NodeIdentity, Signer, Verifier } from '@qiao/security';
import { hubService } from './api/hubService.ts';
import { joinService } from './api/joinService.ts';
import { sealPart } from './audit/seal.ts';
import type { BridgePorts } from './bridges/bridges.ts';
import { busUpkeepPart } from './busUpkeep.ts';
import { askNode, sendCommand, UnansweredCommands } from './commands/commands.ts';
import type { HubConfig } from './config.ts';
import { answerDirectory } from './desired/directory.ts';
import { answerHello, Starts } from './desired/hello.ts';
import { createDesiredState } from './desired/snapshots.ts';
import type { HubDatabase, NodeRow } from './hubDatabase.ts';
import { Attempts } from './identity/attempts.ts';
import type { IdentityPorts } from './identity/identity.ts';
import { renew } from './identity/renew.ts';
import { ownRenewalPart } from './identity/renewOwn.ts';
import { revokedBusUsers } from './registry/certificates.ts';
import { learnFencingToken, recordActualState, recordSightings } from './registry/nodes.ts';
import { collect, provenSnapshot } from './restore/collect.ts';
import type { Hold } from './restore/hold.ts';
import { LaneBooks } from './routing/laneBooks.ts';
import { createLookAgain } from './routing/lookAgain.ts';
import { RefusalBook } from './routing/refusalBook.ts';
import { routeControlPart } from './routing/routeControl.ts';
import { routeDataPart } from './routing/routeData.ts';
import { RoutingTable } from './routing/routingTable.ts';

const FLUSH_EVERY_MS = 1_000;
/** A change that another replica made is told at once; who missed the word looks this often. */
const LOOK_EVERY_MS = 5_000;

export interface Ingredients {
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
  readonly hold: Hold;
}

/** Every part of a running hub and the calls it answers, wired; nothing runs yet. */
export function composeHub({
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
    {
      name: 'directory',
      run: (signal) =>
        bus.respond(
          subjects.everyDirectory(platform.code),
          (bytes, subject) => answerDirectory({ store, isHeld: () => hold.isHeld }, nodeOfSubject(subject), bytes),
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
    ownRenewalPart({ identity, authority }, clock, log),
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
    joinService: joinService(identityPorts, new Attempts(store)),
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

/** Without the keys that are left out, which `exactOptionalPropertyTypes` tells from keys set to undefined. */
function definedOnly<T extends object>(sizes: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(sizes).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };
}
