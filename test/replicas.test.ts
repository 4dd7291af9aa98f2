// The centre twice: two hubs and two monitors on one PostgreSQL, three nats-servers with every stream on each of them. While rows
// travel, each of the seven is killed in its turn (kill -9), and PostgreSQL is restarted. Nothing is lost, nothing is doubled, and how long the rows stood still is printed.
// Whoever is revoked at one hub is cut off at the others within a second.

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startPostgres } from '@qiao/adapters/testing';
import { BusAccounts, connectBus, inboxPrefix } from '@qiao/bus';
import type { QiaoError } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import { readIdentity, toPem } from '@qiao/security';
import { type BusinessDatabase, freePorts, Platform, type Program, sqliteDatabase, until } from '@qiao/testkit';
import { expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { NatsCluster } from './natsCluster.ts';
import { applyBridges, bridgeYaml, untilSame } from './world.ts';

const ROWS = 'SELECT id, name FROM person ORDER BY id';
const LANDED = 'SELECT id, name FROM landed ORDER BY id';

test('any one of the servers, hubs and monitors is killed while rows travel: nothing is lost, nothing is doubled', async () => {
  await using postgres = await startPostgres();
  const [hubStore, monitorStore] = [await urlOf(postgres), await urlOf(postgres)];
  await using cluster = new NatsCluster();
  const [hub2Port = 0, monitor2Port = 0, board2Port = 0, ...morePorts] = await freePorts(5);
  let natsPorts: number[] = [];
  let hub2: Program | undefined;

  const nodes = ['health', 'archive', 'register'].map((code) => ({
    code,
    more: { limits: { compareEveryMs: 200 } },
  }));
  await using world = new Databases();
  await using platform = await Platform.start({
    nodes: nodes.map((node) => ({ ...node, dataSources: { own: world.of(node.code).config } })),
    hubInit: ['--database', hubStore],
    monitorConfig: { database: monitorStore },
    async beforeJoining(founded) {
      await founded.hub.stop();
      natsPorts = [founded.natsPort, ...morePorts];
      await cluster.start(founded.hubDirectory, natsPorts);
      const urls = natsPorts.map((port) => `tls://127.0.0.1:${port}`);
      const file = join(founded.hubDirectory, 'hub.yaml');
      const config = parse(readFileSync(file, 'utf8')) as { listen: string };
      const publicAddress = [config.listen, `127.0.0.1:${hub2Port}`];
      writeFileSync(file, stringify({ ...config, publicAddress, bus: { server: 'external', urls, replicas: 3 } }));
      const to = join(founded.directory, 'hub-2');
      const listen = `127.0.0.1:${hub2Port}`;
      await founded.qiao(
        'hub',
        'add-replica',
        '--dir',
        founded.hubDirectory,
        '--to',
        to,
        '--replica',
        'hub-2',
        '--listen',
        listen,
      );
      await founded.qiao('operator', 'hub', publicAddress.join(','));
      hub2 = founded.program('hub-2', ['hub', 'start', '--dir', to], 'hub is ready');
      await founded.hub.start();
      await hub2.start();
    },
  });
  const monitor2 = await addMonitor(platform, monitorStore, monitor2Port, board2Port);
  const monitorAddress = JSON.parse(readFileSync(join(platform.context, 'context.json'), 'utf8'))
    .monitorAddress as string;
  const monitors = [monitorAddress, `127.0.0.1:${monitor2Port}`];
  await platform.qiao('operator', 'monitor', monitors.join(','));

  const source = world.of('health');
  const targets = [world.of('archive'), world.of('register')];
  await source.run('CREATE TABLE person (id INTEGER PRIMARY KEY, name VARCHAR(64) NOT NULL)');
  for (const target of targets)
    await target.run('CREATE TABLE landed (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL)');
  await applyBridges(
    platform,
    bridgeYaml({
      name: 'people',
      from: 'health',
      source: 'own',
      to: ['archive', 'register'].map((node) => ({ node, dataSource: 'own', table: 'landed' })),
    }),
  );

  const writer = new Writer(source);
  await writer.write();
  for (const target of targets) await untilSame(platform, source, ROWS, target, LANDED);

  const delays: string[] = [];
  /** Kills, measures until a row written after it has arrived everywhere, and brings the victim back. */
  const drill = async (what: string, kill: () => Promise<void>, back: () => Promise<void>) => {
    await kill();
    const killedAtMs = performance.now();
    const id = await writer.write();
    for (const target of targets) {
      await until(platform, `a row written after ${what} was killed`, async () => {
        await writer.write();
        return (await target.rows(`SELECT id FROM landed WHERE id = ${id}`)).length === 1;
      });
    }
    delays.push(`${what}: ${Math.round(performance.now() - killedAtMs)} ms`);
    await back();
  };

  const first = await streamLeader(platform, natsPorts);
  for (const server of [first, (first + 1) % 3, (first + 2) % 3]) {
    const leads = server === (await streamLeader(platform, natsPorts));
    await drill(
      `nats-server ${server + 1}${leads ? ', which leads,' : ''}`,
      () => cluster.kill(server),
      async () => cluster.restart(server),
    );
    await untilThree(platform, natsPorts);
  }
  for (const [what, pair] of [
    ['hub', [platform.hub, hub2 as Program]],
    ['monitor', [platform.monitor, monitor2]],
  ] as const) {
    const [one, other] = pair;
    const [leading, standing] = isLeading(one) ? [one, other] : [other, one];
    await drill(
      `the ${what} that leads`,
      () => leading.kill(),
      () => leading.start(),
    );
    // It leads by now, unless it leaves that to whoever came back.
    await drill(
      `the other ${what}`,
      () => standing.kill(),
      () => standing.start(),
    );
  }
  await drill(
    'PostgreSQL',
    () => postgres.restart(),
    async () => undefined,
  );
  process.stdout.write(`replicas: first arrival after a kill\n  ${delays.join('\n  ')}\n`);

  for (const target of targets) await untilSame(platform, source, ROWS, target, LANDED);
  const rows = Number((await source.rows('SELECT count(*) FROM person'))[0]?.[0]);
  for (const address of monitors) {
    using books = platform.booksAt(address);
    const request = { bridge: '', fromDay: '', toDay: '', fromDepartment: '', toDepartment: '', byDay: false };
    const lines = await until(platform, `balanced books at ${address}`, async () => {
      const read = await books.reconcile(request);
      return (
        read.verdict === 'VERDICT_BALANCED' && read.lines.every((one) => Number(one.sent?.total) === rows) && read.lines
      );
    });
    expect(
      lines.map((line) => [
        Number(line.sent?.inserts),
        Number(line.received?.inserts),
        Number(line.inFlightDeliveries),
      ]),
    ).toEqual([
      [rows, rows, 0],
      [rows, rows, 0],
    ]);
    const { alerts } = await books.listAlerts({ includeResolved: false });
    expect(new Set(alerts.map(({ code, subject }) => `${code} ${subject}`)).size).toBe(alerts.length);
  }
  const context = JSON.parse(readFileSync(join(platform.context, 'context.json'), 'utf8')) as { hubAddress: string };
  const hubs = context.hubAddress.split(',');
  for (const [here, there] of [
    [0, 1],
    [1, 0],
  ] as const) {
    await revokedAtOne(platform, {
      node: nodes[here + 1]?.code ?? '',
      operator: `operator-${here + 1}`,
      here: hubs[here] ?? '',
      there: {
        hub: hubs[there] ?? '',
        monitor: monitors[there] ?? '',
        board: [platform.boardPort, board2Port][there] ?? 0,
      },
      natsPorts,
    });
  }

  const audit = JSON.parse((await platform.qiao('audit', 'verify', '--json')).stdout) as {
    chains: { replica: string }[];
  };
  expect(audit.chains.map(({ replica }) => replica)).toEqual(['hub', 'hub-2']);
}, 400_000);

/** Revoked at one hub: within a second the node is off every server of the bus, and the operator's session and calls at the others are over. */
async function revokedAtOne(
  platform: Platform,
  plan: {
    node: string;
    operator: string;
    here: string;
    there: { hub: string; monitor: string; board: number };
    natsPorts: readonly number[];
  },
): Promise<void> {
  const { node, operator, there } = plan;
  const context = join(platform.directory, operator);
  const token = await platform.invite(operator, ['--role', 'operator']);
  await platform.qiao('operator', 'join', '--token', token, '--context', context);
  const { centre, books } = platform.callersOf(context, there);
  await centre.getPlatform({});
  const opened = new URL((await books.openBoard({})).url);
  opened.port = String(there.board);
  const cookie = (await fetch(opened)).headers.getSetCookie()[0]?.split(';')[0] ?? '';
  const board = async () => (await fetch(`http://127.0.0.1:${there.board}/`, { headers: { cookie } })).status;
  expect(await board()).toBe(200);
  const boards = books.watchBoard({})[Symbol.asyncIterator]();
  await boards.next();
  const callEnded = (async () => {
    for (;;) await boards.next();
  })().catch(() => undefined);
  const identity = readIdentity(join(platform.agentDirectory(node), 'identity'));
  const { nats } = identity;
  if (nats === undefined) throw new Error('an agent has credentials for the bus');
  const lines = await Promise.all(
    plan.natsPorts.map((port) =>
      connectBus({
        urls: [`tls://127.0.0.1:${port}`],
        name: 'story',
        credentials: nats,
        tls: { authorityPem: toPem(identity.authority, 'CERTIFICATE') },
        inboxPrefix: inboxPrefix(node),
        log: silentLog(),
      }),
    ),
  );
  const cut = lines.map((line) => new Promise<void>((done) => line.onStatus(({ kind }) => kind === 'away' && done())));

  const at = platform.callersOf(platform.context, { hub: plan.here, monitor: there.monitor });
  const since = async (code: string, events: readonly Promise<unknown>[]) => {
    const ended = events.map((event) => event.then(() => performance.now()));
    await at.centre.revokeNode({ code, reason: 'its disk was stolen' });
    const answered = performance.now();
    return (await Promise.all(ended)).map((moment) => moment - answered);
  };
  for (const late of await since(node, cut)) expect(late).toBeLessThan(1_000);
  const called = until(platform, 'the other hub refuses the operator', async () => {
    const code = await centre.getPlatform({}).then(
      () => '',
      (error: unknown) => (error as QiaoError).code,
    );
    return code === 'CALLER_REVOKED';
  });
  const left = until(platform, 'the other board knows the session no more', async () => (await board()) === 401);
  for (const late of await since(operator, [called, left, callEnded])) expect(late).toBeLessThan(1_000);
  for (const line of lines) await line.close();
  for (const { centre: hub, books: monitor } of [{ centre, books }, at]) {
    hub.close();
    monitor.close();
  }
}

/** The business databases, which outlive the platform. */
class Databases implements AsyncDisposable {
  readonly #directory = execFileSync('mktemp', ['-d'], { encoding: 'utf8' }).trim();
  readonly #all = new Map<string, BusinessDatabase>();

  of(code: string): BusinessDatabase {
    const known = this.#all.get(code) ?? sqliteDatabase(join(this.#directory, `${code}.db`));
    this.#all.set(code, known);
    return known;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of this.#all.values()) await one[Symbol.asyncDispose]();
    execFileSync('rm', ['-rf', this.#directory]);
  }
}

class Writer {
  readonly #source: BusinessDatabase;
  #id = 0;

  constructor(source: BusinessDatabase) {
    this.#source = source;
  }

  async write(): Promise<number> {
    this.#id += 1;
    await this.#source.run(`INSERT INTO person VALUES (${this.#id}, 'person ${this.#id}')`);
    return this.#id;
  }
}

async function urlOf(server: Awaited<ReturnType<typeof startPostgres>>): Promise<string> {
  const { user, host, port, database } = await server.database();
  return `postgres://${user}@${host}:${port}/${database}`;
}

async function addMonitor(platform: Platform, database: string, port: number, boardPort: number): Promise<Program> {
  const directory = join(platform.directory, 'monitor-2');
  const token = await platform.invite('monitor-2', ['--role', 'monitor']);
  const places = ['--listen', `127.0.0.1:${port}`, '--board-listen', `127.0.0.1:${boardPort}`];
  await platform.qiao('monitor', 'join', '--dir', directory, '--token', token, ...places);
  const file = join(directory, 'monitor.yaml');
  writeFileSync(file, stringify({ ...(parse(readFileSync(file, 'utf8')) as object), database }));
  const monitor = platform.program('monitor-2', ['monitor', 'start', '--dir', directory], 'monitor is ready');
  await monitor.start();
  return monitor;
}

/** As the last word of its log says. */
function isLeading(program: Program): boolean {
  return program.log.lastIndexOf('"isLeader":true') > program.log.lastIndexOf('"isLeader":false');
}

/** What the cluster says of the stream upward. */
async function upStream(platform: Platform, ports: readonly number[]) {
  const accounts = await BusAccounts.open(join(platform.hubDirectory, 'bus'));
  const bus = await connectBus({
    urls: ports.map((port) => `tls://127.0.0.1:${port}`),
    tls: { authorityPem: readFileSync(join(platform.hubDirectory, 'identity/authority.pem'), 'utf8') },
    name: 'story',
    credentials: await accounts.createUser({ role: 'hub', platform: 'demo', node: 'hub' }),
    inboxPrefix: inboxPrefix('hub'),
    log: silentLog(),
  });
  try {
    const answer = await bus.request('$JS.API.STREAM.INFO.QIAO_UP_DATA', new Uint8Array(), 5_000);
    const { cluster } = JSON.parse(new TextDecoder().decode(answer)) as {
      cluster: { leader?: string; replicas: { current: boolean }[] };
    };
    return cluster;
  } finally {
    await bus.close();
  }
}

async function streamLeader(platform: Platform, ports: readonly number[]): Promise<number> {
  return await until(platform, 'the stream has a leader', async () => {
    const { leader } = await upStream(platform, ports);
    return leader !== undefined && { index: Number(leader.replace('nats-', '')) - 1 };
  }).then(({ index }) => index);
}

/** A second server may die once the one before is back in step. */
async function untilThree(platform: Platform, ports: readonly number[]): Promise<void> {
  await until(platform, 'all three servers are in step', async () => {
    const { leader, replicas } = await upStream(platform, ports);
    return leader !== undefined && replicas.length === 2 && replicas.every(({ current }) => current);
  });
}
