// A hub and a monitor whose stores are on PostgreSQL are backed up while they run, their server is lost, and they come back in empty
// databases of another name: what the backup does not know is learned or asked for, and nothing is lost.

import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { type BusinessDatabase, Platform, sqliteDatabase } from '@qiao/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  applyBridges,
  booksLine,
  bridgeYaml,
  PERSON_ROWS,
  PERSON_TABLE,
  people,
  TARGET_ROWS,
  TARGET_TABLE,
  untilAtRest,
  untilCollected,
  untilPeaceful,
  untilSame,
} from './world.ts';

let folder: string;
let postgres: PostgresServer;
let source: BusinessDatabase;
let target: BusinessDatabase;
let platform: Platform;

const births = (version: string) =>
  bridgeYaml({
    name: 'births',
    from: 'health',
    source: 'his',
    to: [{ node: 'civil-affairs', dataSource: 'own', table: 'ex_person' }],
  }).replace('title: births', `title: births ${version}`);

async function freshUrl(): Promise<string> {
  const { user, host, port, database } = await postgres.database();
  return `postgres://${user}@${host}:${port}/${database}`;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-drill-'));
  process.env.QIAO_BACKUP_PASSPHRASE = 'four words of a drill';
  postgres = await startPostgres();
  source = sqliteDatabase(join(folder, 'source.db'));
  target = sqliteDatabase(join(folder, 'target.db'));
  await source.run(PERSON_TABLE, `INSERT INTO person VALUES ${people(1, 50, '3702')}`);
  await target.run(TARGET_TABLE('ex_person'));
  const more = { limits: { compareEveryMs: 200, resendAfterMs: 1_000, resendMostMs: 2_000 } };
  platform = await Platform.start({
    nodes: [
      { code: 'health', dataSources: { his: source.config }, more },
      { code: 'civil-affairs', dataSources: { own: target.config } },
    ],
    hubInit: ['--database', await freshUrl()],
    monitorConfig: { database: await freshUrl(), alerts: { nodeSilentAfterMs: 12_000 } },
  });
  await applyBridges(platform, births('first'));
  await untilAtRest(platform, 'births', 50);
}, 240_000);

afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await source?.[Symbol.asyncDispose]();
  await target?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

let sent = 50;
async function change(first: number): Promise<void> {
  await source.run(`INSERT INTO person VALUES ${people(first, 10, '3702')}`);
  sent += 10;
}
const untilEqual = () => untilSame(platform, source, PERSON_ROWS, target, TARGET_ROWS('ex_person'));

test('a hub on PostgreSQL, backed up while rows travel, comes back in an empty database, learns what is younger, and routes when a person confirms', {
  timeout: 180_000,
}, async () => {
  const backup = join(folder, 'hub.qiaobackup');
  await change(1_000);
  await platform.qiao('hub', 'backup', '--dir', platform.hubDirectory, '--to', backup);
  await applyBridges(platform, births('second'));
  await change(2_000);
  await untilEqual();

  await platform.hub.kill();
  const burnt = `${platform.hubDirectory}.burnt`;
  renameSync(platform.hubDirectory, burnt);
  await change(3_000);
  // Into the store that still lives: refused, and nothing is left of the try.
  const refused = await platform.tryQiao('hub', 'restore', backup, '--dir', platform.hubDirectory);
  expect(refused.stderr).toContain('DATABASE_NOT_EMPTY');
  expect(existsSync(join(platform.hubDirectory, 'hub.yaml'))).toBe(false);
  const database = await freshUrl();
  await platform.qiao('hub', 'restore', backup, '--dir', platform.hubDirectory, '--database', database);
  expect(readFileSync(join(platform.hubDirectory, 'hub.yaml'), 'utf8')).toContain(database);
  await platform.hub.start();
  const told = await untilCollected(platform, 2);
  expect(told.learned).toContainEqual(
    expect.stringMatching(/^bridge births was deployed in version 2 after the backup/),
  );
  expect((await platform.tryQiao('bridge', 'stop', 'births')).stderr).toContain('HUB_RESTORED');
  expect(await target.rows('SELECT count(*) FROM ex_person')).toEqual([['70']]);

  await platform.qiao('hub', 'confirm', '--yes');
  await untilEqual();
  const { title } = JSON.parse((await platform.qiao('bridge', 'show', 'births', '--json')).stdout) as { title: string };
  expect(title).toBe('births second');
  await untilPeaceful(platform);
});

test('books on PostgreSQL come back from a backup, and the nodes send what is younger', {
  timeout: 180_000,
}, async () => {
  const backup = join(folder, 'monitor.qiaobackup');
  await change(4_000);
  await platform.qiao('monitor', 'backup', '--dir', platform.monitorDirectory, '--to', backup);
  await change(5_000);
  const before = await untilAtRest(platform, 'births', sent);
  await platform.monitor.kill();
  renameSync(platform.monitorDirectory, `${platform.monitorDirectory}.burnt`);
  const database = await freshUrl();
  await platform.qiao('monitor', 'restore', backup, '--dir', platform.monitorDirectory, '--database', database);
  await platform.monitor.start();
  await untilAtRest(platform, 'births', sent);
  const after = await booksLine(platform, 'births');
  expect({ sent: after.sent, received: after.received }).toEqual({ sent: before.sent, received: before.received });
  await untilPeaceful(platform);
});
