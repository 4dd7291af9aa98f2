// Rows that a destination refuses, from the refusal to the last amendment of the books: seen and mended by whom the department names,
// tried again in bulk while the receiver is killed, given up with a reason; on PostgreSQL and on SQLite, in one platform.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import {
  type BooksLine,
  type BusinessDatabase,
  Platform,
  postgresDatabase,
  readBoard,
  sqliteDatabase,
  until,
} from '@qiao/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { applyBridges, booksLine, byOutcome } from './world.ts';

const SOURCE = [
  'CREATE TABLE person (id INTEGER PRIMARY KEY, name VARCHAR(64) NOT NULL, note TEXT)',
  'CREATE TABLE card (id INTEGER PRIMARY KEY, person INTEGER NOT NULL REFERENCES person (id))',
];
const TARGET = [
  `CREATE TABLE person (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL,
   note TEXT CONSTRAINT no_bad_note CHECK (note NOT LIKE 'bad%'))`,
  'CREATE TABLE card (id BIGINT NOT NULL PRIMARY KEY, person BIGINT NOT NULL REFERENCES person (id))',
];
const PEOPLE = 'SELECT id, name, note FROM person ORDER BY id';
const CARDS = 'SELECT id, person FROM card ORDER BY id';

let folder: string;
let server: PostgresServer;
let source: BusinessDatabase;
let targets: Record<'civil' | 'archive', BusinessDatabase>;
let platform: Platform;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-quarantine-'));
  server = await startPostgres();
  source = sqliteDatabase(join(folder, 'source.db'));
  targets = {
    civil: await postgresDatabase(await server.database()),
    archive: sqliteDatabase(join(folder, 'archive.db')),
  };
  await source.run(...SOURCE);
  for (const target of Object.values(targets)) await target.run(...TARGET);
  const limits = { compareEveryMs: 200, parcelBytes: 65_536, resendAfterMs: 1_000 };
  const operators = { mayRead: ['operator'], mayEdit: ['operator'] };
  platform = await Platform.start({
    nodes: [
      { code: 'health', dataSources: { his: source.config }, more: { limits, operators } },
      { code: 'civil', dataSources: { own: targets.civil.config }, more: { operators } },
      { code: 'archive', dataSources: { own: targets.archive.config } },
    ],
  });
}, 120_000);

afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await targets?.civil[Symbol.asyncDispose]();
  await targets?.archive[Symbol.asyncDispose]();
  await source?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function bridge(name: string, node: string): string {
  return `kind: Bridge
name: ${name}
title: ${name}
source:
  node: health
  dataSource: his
  capture: compare
  tables: [{ name: person }, { name: card }]
schedule: realtime
destinations:
  - node: ${node}
    dataSource: own
    tables:
      person: { to: person, ownership: whole }
      card: { to: card, ownership: whole }
`;
}

interface Listed {
  readonly rows: readonly { ref: string; table: string; code: string; settled: boolean; decisionReason: string }[];
  readonly total: number;
}

async function listed(...words: string[]): Promise<Listed> {
  return JSON.parse((await platform.qiao('--json', 'quarantine', 'list', ...words)).stdout) as Listed;
}

async function untilOpen(name: string, rows: number): Promise<BooksLine> {
  return until(platform, `${name} has ${rows} open rows`, async () => {
    const line = await booksLine(platform, name);
    return line.inFlightDeliveries === 0 && line.openRows === rows && line;
  });
}

test('a refused row is mended by whom the department names; its children and later changes follow; the books are amended', async () => {
  await source.run(
    "INSERT INTO person VALUES (1, '安', 'fine'), (2, '白', 'bad: SECRET-NOTE'), (3, '陈', 'fine')",
    'INSERT INTO card VALUES (10, 1), (20, 2), (21, 2)',
  );
  await applyBridges(platform, bridge('mended', 'civil'));
  const open = await untilOpen('mended', 3);
  expect(open.verdict).toBe('VERDICT_OPEN');
  await until(platform, 'an alert tells of rows in quarantine', async () =>
    (await readBoard(platform)).alerts.some(({ code }) => code === 'ROWS_QUARANTINED'),
  );
  // A later change of the refused row waits behind it.
  await source.run("UPDATE person SET name = '白二', note = 'bad: SECRET-NOTE' WHERE id = 2");
  await untilOpen('mended', 4);

  const { rows, total } = await listed('--bridge', 'mended');
  expect(total).toBe(4);
  expect(rows.map(({ table, code }) => [table, code])).toEqual([
    ['person', 'CHECK'],
    ['card', 'FOREIGN_KEY'],
    ['card', 'FOREIGN_KEY'],
    ['person', 'HELD'],
  ]);
  const [bad, , , later] = rows.map(({ ref }) => ref) as [string, string, string, string];

  // The hub lists no content; the row itself is opened in the session of whom the node names.
  expect(JSON.stringify(rows)).not.toContain('SECRET-NOTE');
  const shown = JSON.parse((await platform.qiao('--json', 'quarantine', 'show', bad)).stdout) as object;
  expect(shown).toMatchObject({ received: { id: '2', name: '白', note: 'bad: SECRET-NOTE' } });
  const keyChange = await platform.tryQiao('quarantine', 'edit', bad, '--set', 'id=9');
  expect([keyChange.code, keyChange.stderr]).toEqual([3, expect.stringContaining('KEY_CHANGED')]);

  // Refused again as it stands; mended, everything behind it lands in order. The later change is bad too.
  const again = await platform.tryQiao('quarantine', 'replay', bad);
  expect([again.code, again.stdout]).toEqual([6, expect.stringContaining('refused again')]);
  await platform.qiao('quarantine', 'edit', bad, '--set', 'note=mended', '--replay');
  await until(platform, 'the children landed', async () => (await targets.civil.rows(CARDS)).length === 3);
  expect(await targets.civil.rows(PEOPLE)).toEqual([
    ['1', '安', 'fine'],
    ['2', '白', 'mended'],
    ['3', '陈', 'fine'],
  ]);
  const kept = JSON.parse((await platform.qiao('--json', 'quarantine', 'show', bad)).stdout) as object;
  expect(kept).toMatchObject({ received: { note: 'bad: SECRET-NOTE' }, edited: { note: 'mended' }, settled: true });
  const rest = await until(platform, 'the later change was tried', async () => {
    const now = await listed('--bridge', 'mended');
    return now.total === 1 && now.rows[0]?.code === 'CHECK' && now.rows;
  });
  expect(rest[0]?.ref).toBe(later);
  const reasonless = await platform.tryQiao('quarantine', 'abandon', later);
  expect(reasonless.stderr).toContain('REASON_MISSING');
  await platform.qiao('quarantine', 'abandon', later, '--reason', 'the note is mended at its source next week');

  const line = await untilOpen('mended', 0);
  expect(byOutcome(line)).toEqual({ inserted: 6, abandoned: 1 });
  expect(line.verdict).toBe('VERDICT_EXPLAINED');
  await until(platform, 'the alert closed by itself', async () =>
    (await readBoard(platform)).alerts.every(({ code }) => code !== 'ROWS_QUARANTINED'),
  );
  const deliveries = JSON.parse((await platform.qiao('--json', 'reconcile', 'mended', '--deliveries')).stdout) as {
    revision: number;
    amendments: { revision: number; verdict: string }[];
  }[];
  const amended = deliveries.find(({ amendments }) => amendments.length > 0);
  expect(amended?.amendments[0]).toMatchObject({ revision: 1, verdict: 'VERDICT_OPEN' });

  const audit = (await platform.qiao('audit', 'list')).stdout;
  for (const action of ['rows.show', 'rows.edit', 'rows.replay', 'rows.abandon']) expect(audit).toContain(action);
  expect(audit).not.toContain('SECRET-NOTE');
  expect(platform.logs).not.toContain('SECRET-NOTE');
  await platform.qiao('bridge', 'retire', 'mended');
  await source.run('DELETE FROM card', 'DELETE FROM person');
});

test('at the source a person whom the department names sees rows as they would leave, and finds those that do not', async () => {
  await source.run("INSERT INTO person VALUES (1, '安', '13812345678'), (2, ' ', 'SECRET-NOTE'), (3, '陈', NULL)");
  const looked = `kind: Bridge
name: looked
title: looked
source:
  node: health
  dataSource: his
  capture: compare
  tables:
    - name: person
      transform: [{ mask: { column: note, keepFirst: 3, keepLast: 4 } }, { hash: { column: name, digits: 16 } }]
      checks: [{ column: note, pattern: "[0-9*]+" }]
schedule: realtime
destinations: [{ node: archive, dataSource: exchange, tables: { person: { to: ex_looked } } }]
`;
  await applyBridges(platform, looked);
  await until(platform, 'two rows landed', async () => {
    const line = await booksLine(platform, 'looked');
    return line.inFlightDeliveries === 0 && byOutcome(line)['inserted'] === 2 && line;
  });
  const json = async (...words: string[]) => JSON.parse((await platform.qiao('--json', ...words)).stdout) as object;
  const hash = expect.stringMatching(/^[0-9a-f]{16}$/) as string;
  expect(await json('bridge', 'preview', 'looked', '--table', 'person')).toEqual({
    key: ['id'],
    rows: [
      { id: '1', name: hash, note: '138****5678' },
      { id: '3', name: hash, note: null },
    ],
    filtered: 0,
    refused: [{ ref: '', table: 'person', code: 'PATTERN_MISMATCH', column: 'note', key: ['2'] }],
    refusedCounts: [{ table: 'person', code: 'PATTERN_MISMATCH', column: 'note', rows: 1 }],
    sizeLimited: false,
  });
  const ref = expect.stringMatching(/^health\/[0-9a-f]{20}$/) as string;
  const row = { ref, table: 'person', code: 'PATTERN_MISMATCH', column: 'note' };
  expect(await json('bridge', 'refused', 'looked')).toMatchObject({
    counts: [{ column: 'note', rows: 1 }],
    rows: [row],
  });
  expect(await json('bridge', 'refused', 'looked', '--keys')).toMatchObject({ rows: [{ ...row, key: ['2'] }] });
  const audit = (await platform.qiao('audit', 'list')).stdout;
  for (const action of ['rows.preview', 'rows.refusedKeys']) expect(audit).toContain(action);
  expect(`${audit}${platform.logs}`).not.toMatch(/SECRET-NOTE|138\*{4}5678/);
  await platform.qiao('bridge', 'retire', 'looked');
  await source.run('DELETE FROM person');
});

test.each(['civil', 'archive'] as const)(
  'a bulk replay at %s whose receiver is killed in its middle ends as if nobody had been killed',
  async (node) => {
    const name = `bulk-${node}`;
    const target = targets[node];
    await target.run('DELETE FROM card', 'DELETE FROM person');
    await source.run('DELETE FROM card', 'DELETE FROM person');
    // Several deliveries, each with some rows that the target refuses.
    const people = Array.from({ length: 240 }, (_none, index) => {
      const note = `${index % 4 === 0 ? 'bad' : 'fine'} ${'x'.repeat(2_000)}`;
      return `(${index + 1}, '人${index + 1}', '${note}')`;
    });
    await source.run(`INSERT INTO person VALUES ${people.join(', ')}`);
    await applyBridges(platform, bridge(name, node));
    const open = await untilOpen(name, 60);
    expect(open.deliveries).toBeGreaterThanOrEqual(3);

    // Whoever is not named sees nothing of a row.
    if (node === 'archive') {
      const [row] = (await listed('--bridge', name)).rows;
      const denied = await platform.tryQiao('quarantine', 'show', row?.ref ?? '');
      expect([denied.code, denied.stderr]).toEqual([5, expect.stringContaining('mayRead')]);
    }
    await target.run(
      node === 'civil'
        ? 'ALTER TABLE person DROP CONSTRAINT no_bad_note'
        : 'CREATE TABLE moved (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL, note TEXT)',
      ...(node === 'civil'
        ? []
        : ['INSERT INTO moved SELECT * FROM person', 'DROP TABLE person', 'ALTER TABLE moved RENAME TO person']),
    );
    // The receiver dies when the second delivery's rows are in the target and its own books do not know it yet.
    const agent = platform.agent(node);
    if (node === 'civil') await deployBoth();
    await agent.stop();
    if (node === 'civil') await expectNobodySaysThatNoRowWaits();
    await agent.start({ QIAO_CRASH_AT: 'amend.committed:2' });
    await platform.tryQiao('quarantine', 'replay', '--bridge', name, '--yes');
    await until(platform, 'the receiver died', () => !agent.isRunning);
    await agent.start();

    const line = await untilOpen(name, 0);
    expect(byOutcome(line)).toEqual({ inserted: 240 });
    expect(line.verdict).toBe('VERDICT_BALANCED');
    expect(await target.rows(PEOPLE)).toEqual(await source.rows(PEOPLE));
    expect((await listed('--bridge', name)).total).toBe(0);
    const settled = await listed('--bridge', name, '--settled', '--limit', '1000');
    expect(settled.rows.every((row) => row.settled)).toBe(true);
    expect(settled.rows).toHaveLength(60);
    await platform.qiao('bridge', 'retire', name);
  },
);

/** One bridge to both destinations. */
async function deployBoth(): Promise<void> {
  const second = bridge('both', 'archive').split('destinations:\n')[1];
  const whole = `${bridge('both', 'civil')}${second}`;
  await applyBridges(platform, whole.replaceAll('ownership: whole', 'ownership: none'));
}

/** The node that holds the rows is silent: whoever asks for all of them is told so. */
async function expectNobodySaysThatNoRowWaits(): Promise<void> {
  const some = ['--bridge', 'both', '--code', 'FOREIGN_KEY'];
  const answers = await Promise.all([
    platform.tryQiao('quarantine', 'list', ...some),
    platform.tryQiao('quarantine', 'replay', ...some, '--yes'),
    platform.tryQiao('quarantine', 'abandon', ...some, '--reason', 'wrong'),
  ]);
  for (const { code, stdout, stderr } of answers) {
    expect([code, stdout]).toEqual([4, expect.stringContaining('at the nodes that answered')]);
    expect(stderr).toMatch(/NODE_SILENT.*civil.*\n.*qiao node show civil/s);
  }
  await platform.qiao('bridge', 'retire', 'both');
}
