// What a comparison says about a difference, and what it costs: rows that never landed are told from rows that somebody changed, until a
// person gave rows up and nobody can tell any more; of two tables only those that were named are compared and mended; and a slow
// comparison holds no transaction open.

import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { type BusinessDatabase, Platform, postgresDatabase, until } from '@qiao/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { applyBridges, booksLine, bridgeYaml, PERSON_TABLE, people, untilAtRest } from './world.ts';

const ROWS = 2_000;
const RATE = 200;

let server: PostgresServer;
let source: BusinessDatabase;
let target: BusinessDatabase;
let platform: Platform;

beforeAll(async () => {
  server = await startPostgres();
  source = await postgresDatabase(await server.database());
  target = await postgresDatabase(await server.database());
  for (const end of [source, target]) await end.run(PERSON_TABLE, 'CREATE TABLE visit (id INTEGER PRIMARY KEY)');
  await source.run(
    `INSERT INTO person VALUES ${people(1, ROWS, '3702')}`,
    'INSERT INTO visit SELECT generate_series(1, 20)',
  );
  await target.run("ALTER TABLE person ADD CHECK (note NOT LIKE 'refused%')");
  platform = await Platform.start({
    nodes: [
      { code: 'health', dataSources: { his: source.config }, more: { limits: { compareEveryMs: 300 } } },
      { code: 'police', dataSources: { register: target.config } },
    ],
  });
  const yaml = bridgeYaml({
    name: 'people',
    from: 'health',
    source: 'his',
    to: [{ node: 'police', dataSource: 'register', table: 'person' }],
  });
  await applyBridges(
    platform,
    yaml
      .replace('- name: person\n', '- name: person\n    - name: visit\n')
      .replace('person: {', 'visit: { to: visit, ownership: whole }\n      person: {'),
  );
  await untilAtRest(platform, 'people', ROWS + 20);
}, 240_000);

afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await source?.[Symbol.asyncDispose]();
  await target?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

interface Findings {
  readonly table: string;
  readonly missing: number;
  readonly differing: number;
  readonly neverApplied: number;
  readonly changedAtTarget: number;
  readonly unknown: number;
  readonly sentRows: number;
}

/** `qiao bridge <words> --wait`: what was found, by table. */
async function job(...words: string[]): Promise<Record<string, Findings>> {
  const answer = await platform.tryQiao('bridge', ...words, '--wait', '--json');
  if (answer.stdout.trim() === '') throw new Error(`${words.join(' ')} ended with ${answer.code}\n${answer.stderr}`);
  const [{ tables }] = JSON.parse(answer.stdout) as [{ tables: Findings[] }];
  return Object.fromEntries(tables.map((one) => [one.table, one]));
}

test('a slow comparison keeps to its rate and holds no transaction for longer than a step, at either end', async () => {
  const stop = new AbortController();
  const oldest = async (end: BusinessDatabase) => {
    let mostSeconds = 0;
    while (!stop.signal.aborted) {
      const [row] = await end.rows(
        `SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) FROM pg_stat_activity
           WHERE datname = current_database() AND pid <> pg_backend_pid()`,
      );
      mostSeconds = Math.max(mostSeconds, Number(row?.[0]));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return mostSeconds;
  };
  const ages = Promise.all([oldest(source), oldest(target)]);
  const begunMs = performance.now();
  const { person } = await job('verify', 'people', '--table', 'person', '--rate', String(RATE));
  const tookSeconds = (performance.now() - begunMs) / 1_000;
  stop.abort();
  expect(person).toMatchObject({ missing: 0, differing: 0 });
  expect(tookSeconds).toBeGreaterThan(ROWS / RATE - 1);
  // A step is five seconds of rows.
  for (const seconds of await ages) expect(seconds).toBeLessThan(ROWS / RATE - 2);
});

test('of two tables only those that are named are compared, and only those are mended', async () => {
  await target.run("UPDATE person SET name = '改' WHERE id = 1", 'DELETE FROM visit WHERE id = 1');
  expect(Object.keys(await job('verify', 'people', '--table', 'visit'))).toEqual(['visit']);
  expect(await job('verify', 'people', '--table', 'visit', 'person')).toMatchObject({
    visit: { missing: 1, differing: 0 },
    person: { missing: 0, differing: 1 },
  });
  const mended = await job('resync', 'people', '--table', 'visit');
  expect(mended).toEqual({ visit: expect.objectContaining({ missing: 1, sentRows: 1 }) });
  expect(await job('verify', 'people')).toMatchObject({
    visit: { missing: 0, differing: 0 },
    person: { missing: 0, differing: 1 },
  });
});

test('a row that waits in quarantine was never applied, beside one that was changed at the target; once a row was given up, nobody can tell', async () => {
  await source.run(`INSERT INTO person VALUES (9001, '王', '3702', 'refused for its note')`);
  await until(
    platform,
    'the row waits in quarantine',
    async () => (await booksLine(platform, 'people')).openRows === 1,
  );
  const waits = await job('verify', 'people', '--table', 'person');
  expect(waits.person).toMatchObject({ missing: 1, differing: 1, neverApplied: 1, changedAtTarget: 1, unknown: 0 });

  await platform.qiao(
    'quarantine',
    'abandon',
    '--bridge',
    'people',
    '--reason',
    'the note is mended next week',
    '--yes',
  );
  await until(platform, 'nothing waits', async () => (await booksLine(platform, 'people')).openRows === 0);
  const givenUp = await job('verify', 'people', '--table', 'person');
  expect(givenUp.person).toMatchObject({ missing: 1, differing: 1, neverApplied: 0, changedAtTarget: 0, unknown: 2 });
});

test('what stands still is not called in motion: a row that cannot travel leaves an older one at the target, and deletes that are held wait', async () => {
  for (const end of [source, target]) await end.run('CREATE TABLE day (id INTEGER PRIMARY KEY, d date, scan bytea)');
  await source.run("INSERT INTO day SELECT n, '2026-01-01' FROM generate_series(1, 2000) AS n");
  const days = bridgeYaml({
    name: 'days',
    from: 'health',
    source: 'his',
    table: 'day',
    to: [{ node: 'police', dataSource: 'register', table: 'day' }],
  });
  await applyBridges(platform, days);
  await untilAtRest(platform, 'days', ROWS);
  const verify = () => platform.tryQiao('bridge', 'verify', 'days', '--wait');
  expect((await verify()).code).toBe(0);

  // Two rows that are too large to travel, one of them new; and a row that goes.
  await source.run(
    "UPDATE day SET scan = decode(repeat('00', 9000000), 'hex') WHERE id = 1",
    "INSERT INTO day SELECT 9001, '2026-01-01', scan FROM day WHERE id = 1",
    'DELETE FROM day WHERE id = 2',
  );
  await until(
    platform,
    'the row is gone',
    async () => (await target.rows('SELECT 1 FROM day WHERE id = 2')).length === 0,
  );
  const refused = await verify();
  expect(refused.stdout).toContain('2 rows at the source cannot travel; of 1 the target has an older version');
  expect(refused.stdout).not.toMatch(/same at both ends|in motion/);
  expect(refused.code).toBe(6);
  const named = await platform.qiao('bridge', 'refused', 'days');
  expect(named.stdout).toMatch(/day\s+ROW_TOO_LARGE\s+2/);
  await source.run('UPDATE day SET scan = NULL WHERE id IN (1, 9001)', 'DELETE FROM day WHERE id BETWEEN 3 AND 1900');
  await until(platform, 'the guard holds', async () => (await verify()).stdout.includes('DELETE_GUARD'));
  const held = await verify();
  expect(held.stdout).toContain('1,898 rows, and nothing moves them: the capture stands');
  expect(held.code).toBe(6);
  // What else changes goes on, and the rows that come back end it.
  await source.run("UPDATE day SET d = '2026-03-03' WHERE id = 2000");
  await until(
    platform,
    'the update is there',
    async () => (await target.rows("SELECT 1 FROM day WHERE id = 2000 AND d = '2026-03-03'")).length === 1,
  );
  await source.run("INSERT INTO day SELECT n, '2026-01-01' FROM generate_series(3, 1900) AS n");
  await until(platform, 'both ends are the same', async () => (await verify()).code === 0);
}, 120_000);
