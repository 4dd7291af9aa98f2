// The composition root of the monitor: builds the real ports, runs the parts, takes everything down again. Nothing else makes
// connections or reads the clock.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connectBus, inboxPrefix, subjects } from '@qiao/bus';
import { Signed } from '@qiao/contract/signed';
import { databaseTarget, joinReplicas, lockDirectory, type Replicas, whileLeading } from '@qiao/database';
import { type Asset, type Caller, type GrpcServer, type HttpServer, startGrpcServer, startHttp } from '@qiao/rpc';
import { type Clock, createWakeup, type Log, type Part, supervise, systemClock } from '@qiao/runtime';
import {
  type NodeIdentity,
  RESTORED_MARKER,
  readIdentity,
  Signer,
  toPem,
  Verifier,
  verifyIssued,
} from '@qiao/security';
import { keepAlerts, openConditions } from './alerts/alerts.ts';
import { findConditions } from './alerts/conditions.ts';
import { type BoardPorts, readBoard } from './api/board.ts';
import { boardService, monitorService } from './api/service.ts';
import { identityDirectory, type MonitorConfig } from './config.ts';
import { askDirectoryPart } from './ingest/askDirectory.ts';
import { readPosition } from './ingest/entries.ts';
import { createIngestParts } from './ingest/ingest.ts';
import { Nodes } from './ingest/nodes.ts';
import { type MonitorDatabase, openMonitorDatabase } from './monitorDatabase.ts';
import { createBooksDay } from './reconciliation/day.ts';
import { renewalPart } from './renewal.ts';

export interface StartMonitorOptions {
  readonly config: MonitorConfig;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly clock?: Clock;
}

export interface RunningMonitor {
  /** host:port of the gRPC server. */
  readonly address: string;
  /** http(s)://host:port of the board. */
  readonly boardAddress: string;
  /** Resolves when everything has stopped. */
  readonly closed: Promise<void>;
}

/** How often the monitor looks for what is wrong. */
const LOOK_EVERY_MS = 1_000;

/**
 * Starts the monitor; resolves when it answers. Throws ALREADY_RUNNING, REPLICA_NAME_TAKEN, IDENTITY_MISSING, LISTEN_FAILED, what the database
 * throws; then nothing is left open.
 */
export async function startMonitor({
  config,
  signal,
  log,
  clock = systemClock,
}: StartMonitorOptions): Promise<RunningMonitor> {
  const teardown: (() => Promise<void>)[] = [];
  const takeDown = async () => {
    for (const step of teardown.splice(0).reverse()) await step();
  };
  try {
    const lock = lockDirectory(config.directory, 'monitor');
    teardown.push(async () => lock.release());
    const identity = readIdentity(identityDirectory(config.directory));
    const target = databaseTarget(config.directory, config);
    const replicas = await joinReplicas(target, { name: identity.nodeCode, log: log.child({ part: 'replicas' }) });
    teardown.push(() => replicas.close());
    const database = await openMonitorDatabase(target);
    teardown.push(() => database.destroy());
    await noteRestoration(config, database);
    const nowMs = () => clock.nowMs();
    const verifier = new Verifier();
    const trust = { verifier, authority: identity.authority, nowMs };
    const nodes = await Nodes.open({ database, hubCertificate: identity.hubCertificate, ...trust });
    const bus = await connectBus({
      urls: identity.natsUrls,
      name: `monitor ${identity.nodeCode}`,
      credentials: requireBusCredentials(identity),
      tls: { authorityPem: toPem(identity.authority, 'CERTIFICATE') },
      inboxPrefix: inboxPrefix(identity.nodeCode),
      log,
    });
    teardown.push(() => bus.close());
    const changed = createWakeup();
    const board: BoardPorts = {
      database,
      nodes,
      nowMs,
      timeZone: identity.timeZone,
      nodeSilentAfterMs: config.alerts.nodeSilentAfterMs,
    };
    const isRevoked = (caller: Caller) => nodes.isRevoked(caller);
    const http = await startBoard(config, identity, board, isRevoked, nowMs, log);
    teardown.push(() => http.close());
    const grpc = await startApi(config, identity, { ...board, clock, changed, http, isRevoked, log });
    teardown.push(() => grpc.close());

    const cutRevoked = () => {
      grpc.cut(isRevoked);
      http.cut(isRevoked);
    };
    const takeDirectory = async (bytes: Uint8Array) => {
      await nodes.takeDirectory(bytes);
      cutRevoked();
      replicas.announce();
    };
    // One monitor listens and judges for all: entries of a node come in sequence, and an alert is one person's news. The others
    // answer from what it writes, and take its place within a second or two of its end.
    const up = subjects.up(identity.platformCode, identity.nodeCode, 'control');
    const signer = new Signer(identity.keyPem, identity.certificate);
    const leading = [
      ...createIngestParts({
        bus,
        // The platform's zone is fixed when it is founded: a day of the books never moves.
        entries: {
          database,
          booksDay: createBooksDay(identity.timeZone),
          laneOf: (laneId) => nodes.lane(laneId),
          sourceOf: (bridgeId) => nodes.bridge(bridgeId)?.sourceNodeId,
          isCertificateRevoked: (signer) => nodes.isCertificateRevoked(signer),
          ...trust,
        },
        takeHeartbeat: async (bytes, code) => {
          await nodes.takeHeartbeat(bytes, code);
          return nodes.booksOf(code);
        },
        positionOf: (nodeId, databaseId) => readPosition(database, nodeId, databaseId),
        takeDirectory,
        begin: async () => void (await nodes.follow()),
        tell: (message) => bus.publish(up, Signed.encode(signer.sign('qiao.control.v1', message)).finish()),
        clock,
        log,
        changed,
      }),
      askDirectoryPart({
        ask: (bytes, timeoutMs) =>
          bus.request(subjects.directory(identity.platformCode, identity.nodeCode), bytes, timeoutMs),
        known: () => nodes.directory,
        take: takeDirectory,
        clock,
        log,
      }),
      alertsPart(config, board, clock, log),
      renewalPart({
        identity,
        directory: identityDirectory(config.directory),
        ask: (bytes, timeoutMs) =>
          bus.request(subjects.hello(identity.platformCode, identity.nodeCode), bytes, timeoutMs),
        clock,
        log,
      }),
    ];
    const parts = [replicas.part, ...leading.map((part) => whileLeading(replicas, part))];
    if (replicas.areSeveral) parts.push(followPart(replicas, nodes, { cutRevoked, changed }));
    const closed = supervise(parts, { signal, clock, log })
      .then(takeDown)
      .then(() => log.info('monitor stopped'));
    return { address: grpc.address, boardAddress: http.url, closed };
  } catch (error) {
    await takeDown();
    throw error;
  }
}

/** How often a monitor that does not lead looks at what the leading one wrote. */
const FOLLOW_EVERY_MS = 1_000;

/** Keeps what this monitor has in memory as new as what the leading one wrote. */
function followPart(
  replicas: Replicas,
  nodes: Nodes,
  { cutRevoked, changed }: { cutRevoked: () => void; changed: ReturnType<typeof createWakeup> },
): Part {
  const news = createWakeup();
  // The leading monitor says so when the hub ended somebody's rights: his session at this one ends with it.
  replicas.onNews(() => news.wake());
  return {
    name: 'follow',
    mostPauseMs: 2_000,
    async run(signal) {
      while (!signal.aborted) {
        if (!replicas.isLeader) {
          if ((await nodes.follow()).isNewDirectory) cutRevoked();
          changed.wake();
        }
        await news.wait(FOLLOW_EVERY_MS, signal);
      }
    },
  };
}

/** A restore leaves a marker in the directory: into the books themselves, for they were not kept between that backup and the restore. */
async function noteRestoration(config: MonitorConfig, database: MonitorDatabase): Promise<void> {
  const marker = join(config.directory, RESTORED_MARKER);
  if (!existsSync(marker)) return;
  const { madeAtMs, restoredAtMs } = JSON.parse(readFileSync(marker, 'utf8')) as Record<string, number>;
  await database
    .insertInto('restoration')
    .values({ made_at_ms: madeAtMs ?? 0, restored_at_ms: restoredAtMs ?? 0 })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

function requireBusCredentials(identity: NodeIdentity): { jwt: string; seed: string } {
  if (identity.nats === undefined) throw new Error('the monitor’s identity has no bus credentials');
  return identity.nats;
}

function tlsOf(identity: NodeIdentity): { cert: string; key: string; ca: string } {
  const ca = toPem(identity.authority, 'CERTIFICATE');
  return { cert: toPem(identity.certificate, 'CERTIFICATE'), key: identity.keyPem, ca };
}

interface ApiPorts extends BoardPorts {
  readonly clock: Clock;
  readonly changed: ReturnType<typeof createWakeup>;
  readonly http: HttpServer;
  readonly isRevoked: (caller: Caller) => boolean;
  readonly log: Log;
}

async function startApi(config: MonitorConfig, identity: NodeIdentity, ports: ApiPorts): Promise<GrpcServer> {
  return startGrpcServer({
    listen: config.listen,
    tls: tlsOf(identity),
    services: [
      monitorService({
        ...ports,
        openBoard: (caller) => {
          const link = ports.http.openLink(caller);
          return { url: link.url, expiresAtMs: BigInt(link.expiresAtMs) };
        },
      }),
    ],
    identify: (certificate) => verifyIssued(certificate, identity.authority, ports.nowMs()),
    nowMs: ports.nowMs,
    isRevoked: ports.isRevoked,
    log: ports.log,
  });
}

const LOOPBACK = /^(127\.|localhost:|\[::1\])/;

async function startBoard(
  config: MonitorConfig,
  identity: NodeIdentity,
  board: BoardPorts,
  isRevoked: (caller: Caller) => boolean,
  nowMs: () => number,
  log: Log,
): Promise<HttpServer> {
  return startHttp({
    listen: config.board.listen,
    hosts: config.board.hosts,
    ...(LOOPBACK.test(config.board.listen) ? {} : { tls: tlsOf(identity) }),
    assets: boardAssets(),
    services: [boardService(board)],
    isRevoked,
    nowMs,
    log,
  });
}

function boardAssets(): Map<string, Asset> {
  const read = (name: string) => readFileSync(new URL(`./board/${name}`, import.meta.url), 'utf8');
  return new Map([
    ['/', { type: 'text/html; charset=utf-8', body: read('board.html') }],
    ['/board.js', { type: 'text/javascript; charset=utf-8', body: read('board.js') }],
    ['/board.css', { type: 'text/css; charset=utf-8', body: read('board.css') }],
  ]);
}

function alertsPart(config: MonitorConfig, board: BoardPorts, clock: Clock, log: Log): Part {
  return {
    name: 'alerts',
    async run(signal) {
      const retryingSinceMs = new Map<string, number>();
      // What has been told is wrong still: it must not be resolved and told anew only because this monitor begins.
      for (const { key, openedAtMs } of await openConditions(board.database)) retryingSinceMs.set(key, openedAtMs);
      // The telemetry that waited while the monitor was away comes first, or every node would seem silent at a start.
      await clock.sleep(config.alerts.nodeSilentAfterMs, signal);
      while (!signal.aborted) {
        const { lanes } = await readBoard(board);
        const conditions = findConditions({
          nodes: board.nodes,
          board: { lanes },
          brokenEntries: await countBrokenEntries(board),
          nowMs: clock.nowMs(),
          ...config.alerts,
          retryingSinceMs,
        });
        const { opened, resolved } = await keepAlerts(board.database, conditions, clock.nowMs());
        if (opened + resolved > 0) log.info({ opened, resolved }, 'alerts changed');
        await clock.sleep(LOOK_EVERY_MS, signal);
      }
    },
  };
}

async function countBrokenEntries({ database, nodes }: BoardPorts) {
  const rows = await database
    .selectFrom('broken_entry')
    .select(({ fn }) => ['node_id', fn.countAll<number>().as('count')])
    .where('resolved_at_ms', '=', 0)
    .groupBy('node_id')
    .execute();
  return rows.map(({ node_id, count }) => ({ nodeId: node_id, code: nodes.node(node_id)?.code ?? node_id, count }));
}
