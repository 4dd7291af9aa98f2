// What becomes of the books when the monitor loses its store, or gets an older one back, and when an agent is restored from a backup or
// its exchange database put back without a word. One platform lives through all of it: at the end both ends hold the same rows, the
// books balance and no alert is open.

import { cpSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BusinessDatabase, dieAtEach, Platform, readBoard, readBooks, sqliteDatabase, until } from '@qiao/testkit';
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
  untilPeaceful,
  untilSame,
} from './world.ts';

let folder: string;
let source: BusinessDatabase;
let target: BusinessDatabase;
let platform: Platform;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-drill-'));
  process.env.QIAO_BACKUP_PASSPHRASE = 'four words of a drill';
  source = sqliteDatabase(join(folder, 'source.db'));
  target = sqliteDatabase(join(folder, 'target.db'));
  await source.run(PERSON_TABLE, `INSERT INTO person VALUES ${people(1, 50, '3702')}`);
  await target.run(TARGET_TABLE('ex_person'));
  platform = await Platform.start({
    nodes: [
      {
        code: 'health',
        dataSources: { his: source.config },
        more: { limits: { compareEveryMs: 200, resendAfterMs: 1_000, resendMostMs: 2_000 } },
      },
      { code: 'civil-affairs', dataSources: { own: target.config } },
    ],
    monitorConfig: { alerts: { nodeSilentAfterMs: 12_000 } },
  });
  await applyBridges(platform, births());
  await untilAtRest(platform, 'births', 50);
}, 240_000);

afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await source?.[Symbol.asyncDispose]();
  await target?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const births = (more = '') =>
  bridgeYaml({
    name: 'births',
    from: 'health',
    source: 'his',
    to: [{ node: 'civil-affairs', dataSource: 'own', table: 'ex_person' }],
    more,
  });

let sent = 50;
async function change(first: number): Promise<void> {
  await source.run(`INSERT INTO person VALUES ${people(first, 10, '3702')}`);
  sent += 10;
}
const untilEqual = async () => await untilSame(platform, source, PERSON_ROWS, target, TARGET_ROWS('ex_person'));

async function loseBooks(): Promise<void> {
  await platform.monitor.kill();
  for (const suffix of ['', '-wal', '-shm'])
    rmSync(join(platform.monitorDirectory, `monitor.db${suffix}`), { force: true });
  await platform.monitor.start();
}

async function restoreAgent(code: string, backup: string): Promise<void> {
  await platform.agent(code).kill();
  renameSync(platform.agentDirectory(code), `${platform.agentDirectory(code)}.burnt`);
  await platform.qiao('agent', 'restore', backup, '--config', platform.agentConfig(code));
}

test('a monitor from zero asks every node for its books, and they come out as they were', {
  timeout: 180_000,
}, async () => {
  await change(1_000);
  await untilAtRest(platform, 'births', sent);
  const before = await booksLine(platform, 'births');
  for (const code of ['health', 'civil-affairs']) {
    await using exchange = sqliteDatabase(join(platform.agentDirectory(code), 'exchange.db'));
    await until(platform, `${code} knows that its books are held`, async () => {
      const [[waiting] = []] = await exchange.rows('SELECT last - through FROM book_cursor');
      return waiting === '0';
    });
  }
  await loseBooks();
  // Nobody is told that the books are whole while they are empty: the morning's check does not pass meanwhile.
  const whole = await until(platform, 'the books are whole', async () => {
    const books = await readBooks(platform, 'births');
    return !books.incomplete && books;
  });
  expect(whole.lines[0]?.sent.total).toBeGreaterThan(0);
  const after = await untilAtRest(platform, 'births', sent);
  expect({ sent: after.sent, received: after.received }).toEqual({ sent: before.sent, received: before.received });
  await untilPeaceful(platform);
});

test('a monitor restored from an older backup asks for what is younger', { timeout: 180_000 }, async () => {
  const backup = join(folder, 'monitor.qiaobackup');
  await platform.qiao('monitor', 'backup', '--dir', platform.monitorDirectory, '--to', backup);
  await change(2_000);
  await untilAtRest(platform, 'births', sent);
  await platform.monitor.kill();
  renameSync(platform.monitorDirectory, `${platform.monitorDirectory}.burnt`);
  await platform.qiao('monitor', 'restore', backup, '--dir', platform.monitorDirectory);
  await platform.monitor.start();
  await untilAtRest(platform, 'births', sent);
  await untilPeaceful(platform);
});

test('an agent restored from a backup begins a new epoch, and its books go on under another numbering', {
  timeout: 180_000,
}, async () => {
  const backup = join(folder, 'health.qiaobackup');
  await platform.qiao('agent', 'backup', '--config', platform.agentConfig('health'), '--to', backup);
  await change(3_000);
  await untilEqual();
  await untilAtRest(platform, 'births', sent);
  await restoreAgent('health', backup);
  await change(4_000);
  const deaths = dieAtEach(platform.agent('health'), ['agent.becameAnother']);
  await deaths.over;
  await untilEqual();
  await untilPeaceful(platform);
});

test('a monitor from zero after nodes were restored says from when on their books are whole, and calls nothing late that was answered before', {
  timeout: 180_000,
}, async () => {
  await applyBridges(platform, births('lateAfter: 2s\n'));
  const backup = join(folder, 'civil-affairs.qiaobackup');
  await platform.qiao('agent', 'backup', '--config', platform.agentConfig('civil-affairs'), '--to', backup);
  await change(7_000);
  await untilEqual();
  await untilPeaceful(platform);
  await restoreAgent('civil-affairs', backup);
  await platform.agent('civil-affairs').start();
  await change(7_100);
  await untilEqual();
  await untilPeaceful(platform);

  await loseBooks();
  const line = await until(platform, 'the books are whole as far as the nodes have them', async () => {
    const { incomplete, lines } = await readBooks(platform, 'births');
    const [births] = lines;
    return !incomplete && births?.forgottenDeliveries !== 0 && births;
  });
  expect(line).toMatchObject({ verdict: 'VERDICT_EXPLAINED', inFlightDeliveries: 0 });
  expect(line?.remarks.join()).toContain('the books of civil-affairs begin at');
  expect((await platform.tryQiao('reconcile', '--check')).code).toBe(0);
  await change(7_200);
  await untilEqual();
  await platform.qiao('bridge', 'run', 'births', '--wait');
  await untilPeaceful(platform);
});

test('a receiver whose exchange database is lost says so in its books', { timeout: 180_000 }, async () => {
  await platform.agent('civil-affairs').kill();
  for (const suffix of ['', '-wal', '-shm'])
    rmSync(join(platform.agentDirectory('civil-affairs'), `exchange.db${suffix}`), { force: true });
  await platform.agent('civil-affairs').start();
  await change(7_300);
  await untilEqual();
  await untilPeaceful(platform);
  await loseBooks();
  const line = await until(platform, 'the books are whole as far as the nodes have them', async () => {
    const { incomplete, lines, verdict } = await readBooks(platform, 'births');
    return !incomplete && verdict === 'VERDICT_EXPLAINED' && lines[0];
  });
  expect(line).toMatchObject({ inFlightDeliveries: 0 });
  await untilPeaceful(platform);
});

test('an exchange database that was put back without a word is noticed, and nothing is counted twice', {
  timeout: 180_000,
}, async () => {
  const file = join(platform.agentDirectory('health'), 'exchange.db');
  await platform.agent('health').stop();
  cpSync(file, join(folder, 'old.db'));
  await platform.agent('health').start();
  await change(5_000);
  await untilEqual();
  await untilPeaceful(platform);
  const before = await booksLine(platform, 'births');
  await platform.agent('health').kill();
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${file}${suffix}`, { force: true });
  cpSync(join(folder, 'old.db'), file);
  await platform.agent('health').start();
  await change(6_000);
  await untilEqual();
  // Both lives stated something for one place of the lane: a fork, which no machine explains. A person looks and says so.
  await until(platform, 'the lane has begun anew and every alert but the fork is over', async () => {
    const { alerts } = await readBoard(platform);
    for (const { code } of alerts) if (code !== 'DEVIATION') return false;
    const list = JSON.parse((await platform.qiao('alert', 'list', '--json')).stdout) as { id: number }[];
    for (const { id } of list)
      await platform.qiao('alert', 'resolve', String(id), '--reason', 'an old copy was put back in a drill');
    return (await readBoard(platform)).alerts.length === 0;
  });
  expect((await booksLine(platform, 'births')).received.total).toBeGreaterThanOrEqual(before.received.total + 10);
});
