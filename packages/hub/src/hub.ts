// The hub from its lock to its last closed connection: opens the real ports, starts the parts, and takes them down in the order that
// loses nothing (calls, routers, connection, nats-server).

import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { BusAccounts, type BusAddress, connectBus, inboxPrefix } from '@qiao/bus';
import { HubServiceDefinition, JoinServiceDefinition } from '@qiao/contract/hub';
import { databaseTarget, joinReplicas, lockDirectory, openDatabase } from '@qiao/database';
import { idText, QiaoError } from '@qiao/exchange';
import { openService, service, startGrpcServer } from '@qiao/rpc';
import { type Clock, crashPoint, type Log, supervise, systemClock } from '@qiao/runtime';
import { Authority, type NodeIdentity, RESTORED_MARKER, readIdentity, toPem, verifyIssued } from '@qiao/security';
import { aborted, externalUrls, startBusServer } from './busServer.ts';
import { composeHub } from './compose.ts';
import { type HubConfig, requireReplicable } from './config.ts';
import { HUB_MIGRATIONS, type HubDatabase, type HubTables } from './hubDatabase.ts';
import { renewOwn } from './identity/renewOwn.ts';
import { isCertificateGood } from './registry/certificates.ts';
import { Hold } from './restore/hold.ts';

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
    const found = { identity: readIdentity(identityDirectory), authority: await Authority.open(identityDirectory) };
    const accounts = await BusAccounts.open(join(config.directory, 'bus'));
    requireReplicable(config);
    const target = databaseTarget(config.directory, config);
    const replicas = await joinReplicas(target, { name: config.replica, log: log.child({ part: 'replicas' }) });
    teardown.push(() => replicas.close());
    const store = await openDatabase<HubTables>(target, HUB_MIGRATIONS, { replica: config.replica });
    teardown.push(() => store.destroy());
    await requireOwnDatabase(store, config, found.identity);
    const { identity, authority } = await renewOwn(identityDirectory, found, store, clock.nowMs());

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
    const hub = composeHub({
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
    const closed = aborted(signal)
      .then(takeDown)
      .then(() => log.info('hub stopped'));
    return { address: grpc.address, busUrls: hub.busUrls, closed };
  } catch (error) {
    await takeDown();
    throw error;
  }
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
