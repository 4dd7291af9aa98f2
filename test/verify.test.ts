// Comparing both ends of a lane under traffic: what somebody changed, deleted or inserted at the target is found exactly and
// mended, and nothing else moves, whichever end dies meanwhile.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres } from '@qiao/adapters/testing';
import { type BusinessDatabase, dieAtEach, Platform, postgresDatabase, sqliteDatabase, until } from '@qiao/testkit';
import { expect, test } from 'vitest';
import {
  applyBridges,
  booksLine,
  bridgeYaml,
  byOutcome,
  PERSON_TABLE,
  people,
  TARGET_TABLE,
  untilAtRest,
  untilSame,
} from './world.ts';

interface TableAnswer {
  readonly table: string;
  readonly missing: number;
  readonly differing: number;
  readonly extraOwned: number;
  readonly extraKept: number;
  readonly inMotion: number;
  readonly neverApplied: number;
  readonly changedAtTarget: number;
  readonly unknown: number;
  readonly sentRows: number;
  readonly sentDeletes: number;
  readonly left: number;
  readonly notCompared: readonly string[];
  readonly rows: readonly { reference: string; finding: string }[];
}

interface JobAnswer {
  readonly destinationNode: string;
  readonly state: string;
  readonly code: string;
  readonly tables: readonly TableAnswer[];
}

/** `qiao bridge <words> --wait --json`: the exit code, and the findings per destination of a bridge of one table. */
async function job(platform: Platform, ...words: string[]) {
  const answer = await platform.tryQiao('bridge', ...words, '--wait', '--json');
  if (answer.stdout.trim() === '') throw new Error(`${words.join(' ')} ended with ${answer.code}\n${answer.stderr}`);
  const jobs = JSON.parse(answer.stdout) as JobAnswer[];
  const found = Object.fromEntries(
    jobs.map(({ destinationNode, tables }) => [destinationNode, tables[0] as TableAnswer]),
  );
  return { code: answer.code, jobs, found };
}

/** Rows that the traffic leaves alone. */
const QUIET = 'id BETWEEN 1001 AND 90000';
const ALL = 'SELECT id, name, city, note FROM person ORDER BY id';

test('rows changed, deleted and inserted by hand at a target are found exactly and mended, while traffic goes on and both ends die', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'qiao-verify-'));
  await using server = await startPostgres();
  await using source = await postgresDatabase(await server.database());
  await using police = await postgresDatabase(await server.database());
  await using archive = sqliteDatabase(join(folder, 'archive.db'));
  await source.run(PERSON_TABLE, `INSERT INTO person VALUES ${people(1, 3_000, '3701')}`);
  await source.run(`INSERT INTO person VALUES ${people(5_001, 200, '3702')}`);
  // An integer key kept as a decimal: the same row has another text there.
  await police.run(
    'CREATE TABLE person (id NUMERIC(12,2) NOT NULL PRIMARY KEY, name TEXT NOT NULL, city CHAR(4) NOT NULL, note TEXT)',
  );
  await archive.run(TARGET_TABLE('person'), "INSERT INTO person VALUES (70001, '本', '9999', 'own')");
  await using platform = await Platform.start({
    nodes: [
      { code: 'health', dataSources: { his: source.config }, more: { limits: { compareEveryMs: 300 } } },
      { code: 'police', dataSources: { register: police.config } },
      { code: 'archive', dataSources: { shelf: archive.config } },
    ],
  });
  const folderEnds = { [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
  using _folder = folderEnds;
  await applyBridges(
    platform,
    bridgeYaml({
      name: 'people',
      from: 'health',
      source: 'his',
      to: [
        { node: 'police', dataSource: 'register', table: 'person' },
        { node: 'archive', dataSource: 'shelf', table: 'person', more: `ownership: { where: "city <> '9999'" }` },
      ],
    }),
  );
  await untilAtRest(platform, 'people', 3_200, 'police');
  await untilAtRest(platform, 'people', 3_200, 'archive');
  const { stdout: auditBefore } = await platform.qiao('audit', 'list', '--json');

  const alike = await job(platform, 'verify', 'people');
  expect(alike.code, JSON.stringify(alike.jobs)).toBe(0);

  await using traffic = startTraffic(source);
  await police.run(
    "UPDATE person SET name = '改' WHERE id BETWEEN 2001 AND 2005",
    'DELETE FROM person WHERE id BETWEEN 2011 AND 2017',
    "INSERT INTO person VALUES (80001, 'a', '3701', 'x'), (80002, 'b', '3701', 'x'), (80003.50, 'c', '3701', 'x')",
  );
  await archive.run(
    "INSERT INTO person VALUES (70002, '本', '9999', 'own')",
    'DELETE FROM person WHERE id BETWEEN 2901 AND 2904',
  );
  const verified = await job(platform, 'verify', 'people');
  expect(verified.code).toBe(6);
  expect(verified.found.police).toMatchObject({
    ...{ missing: 7, differing: 5, extraOwned: 3, extraKept: 0 },
    ...{ neverApplied: 0, changedAtTarget: 15, unknown: 0, notCompared: [] },
  });
  expect(verified.found.archive).toMatchObject({
    ...{ missing: 4, differing: 0, extraOwned: 0, extraKept: 2 },
    ...{ neverApplied: 0, changedAtTarget: 4, unknown: 2 },
  });
  expect(verified.found.police?.rows.map(({ reference }) => reference)).toEqual(
    Array.from({ length: 15 }, () => expect.stringMatching(/^[0-9a-f]{16}$/)),
  );

  const dry = await job(platform, 'resync', 'people', '--destination', 'police', '--dry-run', '--where', QUIET);
  expect(dry.found.police).toMatchObject({ missing: 7, differing: 5, extraOwned: 3, sentRows: 0, sentDeletes: 0 });
  expect(await police.rows('SELECT count(*) FROM person WHERE id BETWEEN 80000 AND 90000')).toEqual([['3']]);

  // Only what the filter lets pass, on one lane alone.
  const some = await job(
    platform,
    'resync',
    'people',
    '--destination',
    'police',
    '--where',
    'id >= 2001 AND id <= 2003',
  );
  expect(some.found.police).toMatchObject({ missing: 0, differing: 3, extraOwned: 0, sentRows: 3, sentDeletes: 0 });

  // The source dies with the first rows on their way; the destination dies with its table read and not answered.
  const health = platform.agent('health');
  const policeAgent = platform.agent('police');
  await health.stop();
  await policeAgent.stop();
  await policeAgent.start({ QIAO_CRASH_AT: 'verify.read:2' });
  await health.start({ QIAO_CRASH_AT: 'job.packed' });
  const started = platform.tryQiao('bridge', 'resync', 'people', '--destination', 'police', '--json');
  await until(platform, 'the destination to die', () => !policeAgent.isRunning);
  await policeAgent.start();
  await until(platform, 'the source to die', () => !health.isRunning);
  await health.start();
  expect((await started).code).toBe(0);
  const mended = await until(platform, 'the job to end', async () => {
    const answer = await platform.tryQiao('bridge', 'jobs', 'people', '--json');
    const newest = answer.code === 0 && (JSON.parse(answer.stdout) as JobAnswer[])[0];
    return newest !== false && newest?.state === 'JOB_STATE_DONE' && newest;
  });
  expect(mended.tables[0]).toMatchObject({
    missing: 7,
    differing: 2,
    extraOwned: 3,
    sentRows: 9,
    sentDeletes: 3,
    left: 0,
  });

  const changes = await traffic.stop();
  expect(changes).toBeGreaterThan(10);
  const rows = await source.rows(ALL);
  const asSource = 'SELECT trunc(id)::bigint, name, city, note FROM person ORDER BY id';
  await until(
    platform,
    'the target to equal the source',
    async () => JSON.stringify(await police.rows(asSource)) === JSON.stringify(rows),
  );
  const again = await job(platform, 'verify', 'people', '--destination', 'police');
  expect(again.code, JSON.stringify(again.jobs)).toBe(0);
  // The other lane was not mended, and what is not its own stays there.
  expect(await archive.rows('SELECT count(*) FROM person WHERE id BETWEEN 2901 AND 2904')).toEqual([['0']]);
  const ofArchive = await job(platform, 'resync', 'people', '--destination', 'archive');
  expect(ofArchive.found.archive).toMatchObject({ missing: 4, extraKept: 2, sentRows: 4, sentDeletes: 0 });
  expect(await archive.rows("SELECT id FROM person WHERE city = '9999' ORDER BY id")).toEqual([['70001'], ['70002']]);

  await resendStory(platform, source, police);

  const { stdout: audit } = await platform.qiao('audit', 'list', '--json');
  expect(audit.length).toBeGreaterThan(auditBefore.length);
  expect(audit).toContain('bridge.resend');
  expect(audit).toContain('a report was lost');
  await cursorStory(platform, source, police);
  await until(
    platform,
    'the books to balance',
    async () => (await platform.tryQiao('reconcile', '--check')).code === 0,
  );
});

/** Rows that travelled in a time travel again as they are now, on one lane; those that are gone travel as deletes. */
async function resendStory(platform: Platform, source: BusinessDatabase, police: BusinessDatabase): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 20));
  const from = new Date().toISOString();
  await source.run("UPDATE person SET note = 'first' WHERE id BETWEEN 5001 AND 5010");
  await until(platform, 'ten rows at the target', async () => {
    const [row] = await police.rows("SELECT count(*) FROM person WHERE note = 'first'");
    return row?.[0] === '10';
  });
  await untilAtRest(platform, 'people', 3_210, 'archive');
  const to = new Date().toISOString();
  await source.run("UPDATE person SET note = 'second' WHERE id = 5001", 'DELETE FROM person WHERE id = 5010');
  await until(platform, 'the later changes at the target', async () => {
    const [row] = await police.rows("SELECT count(*) FROM person WHERE note = 'first'");
    return row?.[0] === '8';
  });
  await until(platform, 'nothing under way', async () => {
    const lines = await Promise.all(['police', 'archive'].map((node) => booksLine(platform, 'people', node)));
    return lines.every((line) => line.inFlightDeliveries === 0);
  });
  await police.run(
    "UPDATE person SET name = '改' WHERE id = 5005",
    "INSERT INTO person VALUES (5010, 'back', '3702', '')",
  );
  const before = await booksLine(platform, 'people', 'police');
  const archiveBefore = await booksLine(platform, 'people', 'archive');
  const range = ['--from', from, '--to', to, '--reason', 'a report was lost'];
  const resent = await job(platform, 'resend', 'people', '--destination', 'police', ...range);
  expect(resent.found.police).toMatchObject({ sentRows: 9, sentDeletes: 1, left: 0 });
  expect(await police.rows('SELECT name FROM person WHERE id IN (5005, 5010)')).toEqual([['王5005']]);
  const after = await until(platform, 'the resend in the books', async () => {
    const line = await booksLine(platform, 'people', 'police');
    return line.sent.total === before.sent.total + 10 && line.inFlightDeliveries === 0 && line;
  });
  const origins = Object.fromEntries(after.origins.map(({ origin, rows }) => [origin, rows]));
  expect(origins).toMatchObject({ ORIGIN_LOAD: 3_200, ORIGIN_RESYNC: 15, ORIGIN_RESEND: 10 });
  expect(byOutcome(after).unchanged).toBe(8 + (byOutcome(before).unchanged ?? 0));
  expect((await booksLine(platform, 'people', 'archive')).sent.total).toBe(archiveBefore.sent.total);
  const late = await platform.tryQiao(
    ...['bridge', 'resend', 'people', '--reason', 'x', '--from', '2020-01-01T00:00:00Z', '--to', to],
  );
  expect([late.code, late.stderr]).toEqual([3, expect.stringContaining('RETENTION_PASSED')]);
}

/**
 * A bridge that goes by a cursor: its agent dies where rows and position become durable, and what no scan notices — rows that are gone,
 * rows that changed while their column stayed — is named and mended.
 */
async function cursorStory(platform: Platform, source: BusinessDatabase, police: BusinessDatabase): Promise<void> {
  const columns = 'id bigserial PRIMARY KEY, name text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp()';
  await source.run(
    `CREATE TABLE visit (${columns})`,
    'CREATE INDEX ON visit (at)',
    "INSERT INTO visit (name) SELECT 'n' || g FROM generate_series(1, 500) g",
  );
  await police.run(`CREATE TABLE visit (${columns})`);
  const to = [{ node: 'police', dataSource: 'register', table: 'visit' }];
  const yaml = bridgeYaml({ name: 'visits', from: 'health', source: 'his', table: 'visit', to })
    .replace('capture: compare', 'capture: cursor')
    .replace('- name: visit', '- name: visit\n      cursor: { column: at, lag: 1s }');
  await applyBridges(platform, yaml);
  const all = 'SELECT id, name, at FROM visit ORDER BY id';
  await untilSame(platform, source, all, police, all);

  const drill = dieAtEach(platform.agent('health'), ['capture.read', 'capture.packed']);
  await drill.armed;
  const ending = new AbortController();
  const over = drill.over.finally(() => ending.abort());
  while (!ending.signal.aborted) {
    await source.run("INSERT INTO visit (name) VALUES ('while it dies')");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await over;
  await untilSame(platform, source, all, police, all);

  await source.run('DELETE FROM visit WHERE id <= 5', "UPDATE visit SET name = 'at stays' WHERE id = 10");
  const verified = await job(platform, 'verify', 'visits');
  expect(verified.found.police).toMatchObject({ missing: 0, extraOwned: 5 });
  const mended = await job(platform, 'resync', 'visits');
  expect(mended.found.police).toMatchObject({ extraOwned: 5, sentDeletes: 5 });
  await untilSame(platform, source, all, police, all);
  const alike = await job(platform, 'verify', 'visits');
  expect(alike.code, JSON.stringify(alike.jobs)).toBe(0);
}

/** Changes rows up to id 1000 all the time, and inserts and deletes others. */
function startTraffic(source: BusinessDatabase) {
  const ending = new AbortController();
  let changes = 0;
  const loop = (async () => {
    for (let turn = 0; !ending.signal.aborted; turn++) {
      const id = (turn * 37) % 990;
      await source.run(
        `UPDATE person SET note = 'turn ${turn}' WHERE id BETWEEN ${id} AND ${id + 5}`,
        `INSERT INTO person VALUES (${100_000 + turn}, 'new', '3701', NULL)`,
        `DELETE FROM person WHERE id = ${100_000 + turn - 20}`,
      );
      changes += 1;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  })();
  const stop = async (): Promise<number> => {
    ending.abort();
    await loop;
    return changes;
  };
  return { stop, [Symbol.asyncDispose]: async () => void (await stop()) };
}
