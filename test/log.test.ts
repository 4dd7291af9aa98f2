// A bridge that follows the log of a real server. Its agent is killed at every named point while it loads, while the log takes over and while it is
// followed; then the history is lost while it is away. In the end both ends have the same rows, and the books balance.

import { randomBytes } from 'node:crypto';
import { BINLOG, connectMysql, numbers, startMysql } from '@qiao/adapters/mysql-testing';
import { startPostgres } from '@qiao/adapters/testing';
import { dieAtEach, Platform, postgresDatabase, until } from '@qiao/testkit';
import { expect, test } from 'vitest';
import { booksLine, bridgeYaml, byOutcome, untilAtRest, untilSame } from './world.ts';

const ROWS = 4_000;
const ALL = 'SELECT id, name, note FROM stay ORDER BY id';
/** Too large and too varied to lie in its row. */
const LARGE = randomBytes(8_000).toString('hex');
/** While it loads, and where the log takes over; the ninth time, while it is followed. */
const POINTS = [
  ...[
    'log.kept',
    'log.prepared',
    'capture.read',
    'capture.packed',
    'capture.packed:3',
    'log.advanced',
    'log.confirmed',
  ],
  ...['capture.read:9', 'capture.packed:9', 'log.advanced:9', 'log.confirmed:9'],
];

/** A source whose log is read. */
interface LoggedSource extends AsyncDisposable {
  readonly dataSource: object;
  run(...statements: string[]): Promise<void>;
  rows(sql: string): Promise<(string | null)[][]>;
  /** What to select `n` from, up to and with `last`. */
  numbers(last: number): string;
  /** An update of which the log carries the key and the name alone. */
  rename(id: number, name: string): Promise<void>;
  /** Nobody reads the log: what it holds is thrown away. */
  loseHistory(): Promise<void>;
  /** Nothing is kept for us any more. */
  isReleased(): Promise<boolean>;
}

async function inPostgres(): Promise<LoggedSource> {
  const stack = new AsyncDisposableStack();
  const server = stack.use(await startPostgres(['wal_level=logical']));
  const source = stack.use(await postgresDatabase(await server.database()));
  const slots = (more: string) =>
    source.rows(`SELECT ${more} FROM pg_replication_slots WHERE NOT active AND database = current_database()`);
  return {
    dataSource: source.config,
    run: source.run,
    rows: source.rows,
    numbers: (last) => `generate_series(1, ${last}) n`,
    // A large value that did not change is not in the log.
    rename: (id, name) => source.run(`UPDATE stay SET name = '${name}' WHERE id = ${id}`),
    async loseHistory() {
      // The server takes a moment to notice that its reader was killed.
      while ((await slots('pg_drop_replication_slot(slot_name)')).length === 0);
    },
    isReleased: async () => (await source.rows('SELECT FROM pg_replication_slots')).length === 0,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function inMariadb(): Promise<LoggedSource> {
  const stack = new AsyncDisposableStack();
  const server = stack.use(await startMysql(BINLOG, { own: true }));
  const { name: _, ...dataSource } = await server.database();
  const session = stack.use(connectMysql(server.url, dataSource.database));
  await session.query(`GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '${dataSource.user}'@'%'`);
  const run = async (...statements: string[]) => {
    await session.query(statements.join('; '));
  };
  return {
    dataSource,
    run,
    rows: (sql) => session.query(sql),
    numbers: (last) => numbers(1, last),
    rename: (id, name) =>
      run(
        "SET binlog_row_image = 'MINIMAL'",
        `UPDATE stay SET name = '${name}' WHERE id = ${id}`,
        "SET binlog_row_image = 'FULL'",
      ),
    async loseHistory() {
      await session.query('FLUSH BINARY LOGS');
      const end = (await session.query('SHOW MASTER STATUS'))[0]?.[0];
      // A file that somebody reads stays: the server has yet to notice that nobody does.
      do await session.query(`PURGE BINARY LOGS TO '${end}'`);
      while ((await session.query('SHOW BINARY LOGS'))[0]?.[0] !== end);
    },
    // It is kept for everybody, by the server's own time.
    isReleased: () => Promise.resolve(true),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

test.each([
  ['PostgreSQL, its slot dropped', inPostgres],
  ['MariaDB, its log purged', inMariadb],
])(
  'an agent that dies at every point of the log loses nothing, and tells what the source has lost (%s)',
  async (_, open) => {
    await using source = await open();
    await using server = await startPostgres();
    await using police = await postgresDatabase(await server.database());
    const columns = 'id int PRIMARY KEY, name varchar(200) NOT NULL, note text';
    await source.run(
      `CREATE TABLE stay (${columns})`,
      `INSERT INTO stay SELECT n, concat('n', n, repeat('x', 100)), NULL FROM ${source.numbers(ROWS)}`,
    );
    await police.run(`CREATE TABLE stay (${columns})`);
    await using platform = await Platform.start({
      nodes: [
        { code: 'health', dataSources: { his: source.dataSource }, more: { limits: { parcelBytes: 65_536 } } },
        { code: 'police', dataSources: { register: police.config } },
      ],
    });
    const health = platform.agent('health');
    const to = [{ node: 'police', dataSource: 'register', table: 'stay' }];
    const yaml = bridgeYaml({ name: 'stays', from: 'health', source: 'his', capture: 'log', table: 'stay', to });
    const drill = dieAtEach(health, POINTS);
    await drill.armed;
    await using traffic = startTraffic(source);
    // The agent dies while it is asked, too.
    await until(platform, 'the bridge is checked and runs', async () => {
      const answer = await platform.qiaoWith(yaml, 'apply', '-f', '-');
      return answer.code === 0;
    });
    await drill.over;
    await traffic.stop();
    await untilSame(platform, source, ALL, police, ALL);
    expect(await alerts(platform)).not.toContain('LOG_GAP');

    // At rest, the books say the same of a batch whether the agent lives through it or dies behind a step of the log.
    let batches = 0;
    const sumsOfBatch = async () => {
      const before = await sums(platform);
      await source.run(...batch(batches++));
      await untilAtRest(platform, 'stays', (before.sent ?? 0) + 50);
      await untilSame(platform, source, ALL, police, ALL);
      const after = await sums(platform);
      return Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)]);
    };
    const undisturbed = await sumsOfBatch();
    const atRest = dieAtEach(health, ['capture.packed', 'log.advanced', 'log.confirmed', 'send.published']);
    await atRest.armed;
    while (atRest.left.size > 0) expect(await sumsOfBatch()).toEqual(undisturbed);
    await atRest.over;

    await health.kill();
    await source.run("UPDATE stay SET name = 'unseen' WHERE id = 3500", 'DELETE FROM stay WHERE id = 3501');
    await source.loseHistory();
    await health.start();
    await untilSame(platform, source, ALL, police, ALL);
    await until(platform, 'the gap is told', async () => (await alerts(platform)).includes('LOG_GAP'));
    await source.run(`INSERT INTO stay VALUES (30000, 'after the gap', '${LARGE}')`);
    await untilSame(platform, source, ALL, police, ALL);

    // Somebody took the row away at the target, and the log carries a part of it: it is asked for whole.
    await police.run('DELETE FROM stay WHERE id = 30000');
    const asked = dieAtEach(health, ['rows.wanted']);
    await asked.armed;
    await source.rename(30_000, 'a part');
    await asked.over;
    await untilSame(platform, source, ALL, police, ALL);
    await platform.qiao('bridge', 'verify', 'stays', '--wait');
    await untilAtRest(platform, 'stays', ROWS);
    await platform.qiao('reconcile', '--check');

    // Its last bridge ends: nothing stays behind at the source, though the agent dies over it.
    const ending = dieAtEach(health, ['log.removed']);
    await ending.armed;
    await platform.qiao('bridge', 'retire', 'stays');
    await ending.over;
    await until(platform, 'nothing is kept at the source', () => source.isReleased());
  },
);

/** Rows that change once each, other ones in each batch. */
function batch(number: number): string[] {
  const ids = Array.from({ length: 20 }, (_none, index) => 20_000 + number * 20 + index);
  const gone = 3_700 + number * 10;
  return [
    `INSERT INTO stay VALUES ${ids.map((id) => `(${id}, 'came', NULL)`).join(', ')}`,
    `UPDATE stay SET name = 'batch ${number}' WHERE id BETWEEN 3601 AND 3620`,
    `DELETE FROM stay WHERE id BETWEEN ${gone} AND ${gone + 9}`,
  ];
}

/** What the books say of the lane: rows sent, by kind, and what became of them. */
async function sums(platform: Platform): Promise<Record<string, number>> {
  const line = await booksLine(platform, 'stays');
  const { total, inserts, updates, deletes } = line.sent;
  return { sent: total, inserts, updates, deletes, ...byOutcome(line) };
}

async function alerts(platform: Platform): Promise<string> {
  const { stdout } = await platform.tryQiao('alert', 'list', '--json');
  return stdout;
}

/** Changes rows, moves their keys and deletes them, all the time. */
function startTraffic(source: LoggedSource) {
  const ending = new AbortController();
  const loop = (async () => {
    for (let turn = 0; !ending.signal.aborted; turn++) {
      await source.run(
        `UPDATE stay SET name = 'turn ${turn}' WHERE id % 50 = ${turn % 50}`,
        `UPDATE stay SET id = ${10_000 + turn} WHERE id = ${turn + 1}`,
        `DELETE FROM stay WHERE id = ${2_000 + turn}`,
      );
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  const stop = async () => {
    ending.abort();
    await loop;
  };
  return { stop, [Symbol.asyncDispose]: stop };
}
