// Capture by trigger as an operator sets it up: `qiao agent triggers` on the node, PostgreSQL and MariaDB as sources. What triggers are known to
// get wrong is done to them: keys that swap, upserts and REPLACE, rolled back work, triggers that somebody takes away, a table emptied at once.

import { execFileSync } from 'node:child_process';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Platform, readBoard, until } from '@qiao/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  beginBridge,
  inMariadb,
  inPostgres,
  inSqlite,
  newRows,
  type Register,
  type Servers,
  startServers,
  triggersOf,
  untilAlike,
} from './registers.ts';
import { bridgeYaml, byOutcome, untilAtRest } from './world.ts';

const ROWS = 50;

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers?.[Symbol.asyncDispose]());

interface Kind {
  readonly make: () => Promise<Register>;
  /** Row 3 renamed and row 60 made, both by the database's own way to write what may be there. */
  readonly upsert: readonly string[];
  /** How somebody keeps changes from being noted. */
  readonly takeAway: (triggers: readonly string[]) => string;
  /** The triggers of the table. */
  readonly names: string;
  /** Emptying at once is noted, or found when the table is read whole. */
  readonly notesTruncate: boolean;
}

const POSTGRES: Kind = {
  make: () => inPostgres(servers, 'trigger'),
  upsert: [
    "INSERT INTO register VALUES (3, 'upserted', '甲', NULL), (60, 'new', '甲', NULL) ON CONFLICT (id) DO UPDATE SET name = excluded.name",
  ],
  takeAway: () => 'ALTER TABLE register DISABLE TRIGGER USER',
  names: 'SELECT 1',
  notesTruncate: true,
};
const MARIADB: Kind = {
  make: () => inMariadb(servers, 'trigger'),
  upsert: [
    "REPLACE INTO register VALUES (3, 'upserted', '甲', NULL)",
    "INSERT INTO register VALUES (3, 'x', '甲', NULL), (60, 'new', '甲', NULL) ON DUPLICATE KEY UPDATE place = '乙'",
  ],
  takeAway: ([one]) => `DROP TRIGGER ${one}`,
  names: 'SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()',
  notesTruncate: false,
};

test.each([
  ['PostgreSQL', () => inPostgres(servers, 'trigger'), runInPsql],
  ['MariaDB', () => inMariadb(servers, 'trigger'), runInMariadb],
])('the statements that are shown for %s run as they are in its own client', async (_name, make, run) => {
  await using source = await make();
  await using platform = await Platform.start({ nodes: [{ code: 'health', dataSources: { own: source.config } }] });
  const to = [{ node: 'health', dataSource: 'own', table: 'elsewhere' }];
  const yaml = bridgeYaml({ name: 'shown', from: 'health', source: 'own', capture: 'trigger', table: 'register', to });
  const triggers = triggersOf(platform, 'health', yaml);
  const shown = await triggers('show', '--sql');
  expect(shown.code).toBe(6);
  run(source.config as Account, shown.stdout);
  const after = await triggers('show');
  expect([after.code, after.stdout]).toEqual([0, expect.stringMatching(/register\s+ready/)]);
});

interface Account {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

function runInPsql({ host, port, user, password, database }: Account, sql: string): void {
  const words = ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', host, '-p', String(port), '-U', user, '-d', database];
  execFileSync('psql', words, { input: sql, env: { ...process.env, PGPASSWORD: password } });
}

function runInMariadb({ database }: Account, sql: string): void {
  const { hostname, port, username } = new URL(servers.mysql.url);
  execFileSync('mariadb', ['-h', hostname, '-P', port, '-u', username, database], { input: sql });
}

test.each([
  ['PostgreSQL', POSTGRES],
  ['MariaDB', MARIADB],
])(
  'changes that triggers of %s noted arrive, and what they could not note is a gap that is told and ends',
  async (_name, kind) => {
    await using files = await mkdtempDisposable(join(tmpdir(), 'qiao-trigger-'));
    await using source = await kind.make();
    await using target = await inSqlite(join(files.path, 'target.db'));
    await source.run(`INSERT INTO register VALUES ${newRows(1, ROWS, 'one', 1)}`);
    await using platform = await Platform.start({
      nodes: [
        { code: 'health', dataSources: { own: source.config } },
        { code: 'civil-affairs', dataSources: { own: target.config } },
      ],
    });
    const to = [{ node: 'civil-affairs', dataSource: 'own', table: 'register' }];
    const yaml = bridgeYaml({
      name: 'noted',
      from: 'health',
      source: 'own',
      capture: 'trigger',
      table: 'register',
      to,
    });
    await beginBridge(platform, 'health', yaml);
    const alike = () => untilAlike(platform, [source, target]);
    expect(byOutcome(await untilAtRest(platform, 'noted', ROWS))).toEqual({ inserted: ROWS });

    await source.run(
      'BEGIN',
      ...['UPDATE register SET id = 99 WHERE id = 1', 'UPDATE register SET id = 1 WHERE id = 2'],
      ...['UPDATE register SET id = 2 WHERE id = 99', ...kind.upsert, 'DELETE FROM register WHERE id = 4'],
      ...['SAVEPOINT undone', 'DELETE FROM register', 'ROLLBACK TO SAVEPOINT undone', 'COMMIT'],
    );
    await alike();
    expect(byOutcome(await untilAtRest(platform, 'noted', ROWS + 5))).toEqual({
      inserted: ROWS + 1,
      updated: 3,
      deleted: 1,
    });

    const capture = (wanted: RegExp) =>
      until(platform, `the capture says ${wanted}`, async () => {
        const { lanes } = await readBoard(platform);
        return lanes.some(({ books, code }) => books?.bridge === 'noted' && wanted.test(code));
      });
    await source.run(kind.takeAway((await source.ask(kind.names)).map(([name]) => String(name))));
    await source.run("INSERT INTO register VALUES (70, 'unnoted', '乙', NULL)", 'DELETE FROM register WHERE id = 5');
    await capture(/^TRIGGER_(MISSING|DISABLED)$/);
    const triggers = triggersOf(platform, 'health', yaml);
    expect((await triggers('install', '--yes')).code).toBe(0);
    await alike();
    await capture(/^TRIGGER_GAP$/);
    await platform.qiao('bridge', 'run', 'noted');
    await capture(/^$/);

    await source.run('TRUNCATE TABLE register');
    if (!kind.notesTruncate) await platform.qiao('bridge', 'run', 'noted');
    await alike();
    expect(await target.rows()).toEqual([]);
    // Nothing is lost by it, and nobody has to say that they know.
    await capture(/^$/);
    const removed = await triggers('remove', '--yes');
    expect([removed.code, await source.ask(kind.names)]).toEqual([0, kind === MARIADB ? [] : [['1']]]);
    expect((await platform.tryQiao('reconcile', '--check')).code).toBe(0);
  },
);
