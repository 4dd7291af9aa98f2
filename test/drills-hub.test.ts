// What becomes of the hub when it is restored from yesterday, put back without a word, or away for a day; and of a certificate that
// nobody renewed in time. One platform lives through all of it: at the end both ends hold the same rows, the books balance and no
// alert is open.

import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { busUserKeyOf } from '@qiao/bus';
import { readIdentity } from '@qiao/security';
import {
  type BusinessDatabase,
  type CrashDrill,
  dieAtEach,
  Platform,
  type Program,
  readBoard,
  sqliteDatabase,
  until,
} from '@qiao/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  applyBridges,
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

const DAY_MS = 86_400_000;

/** The platform is founded long ago, so that its certificates may end today: what a drill calls now is so many days from now. */
function liveAt(days: number): void {
  process.env.QIAO_CLOCK_OFFSET_FILE = join(folder, 'clock');
  writeFileSync(process.env.QIAO_CLOCK_OFFSET_FILE, String(days * DAY_MS));
}

const PASSPHRASE = { QIAO_BACKUP_PASSPHRASE: 'four words of a drill' };

let folder: string;
let source: BusinessDatabase;
let target: BusinessDatabase;
let platform: Platform;

const births = (version: string) =>
  bridgeYaml({
    name: 'births',
    from: 'health',
    source: 'his',
    where: "city = '3702'",
    to: [{ node: 'civil-affairs', dataSource: 'own', table: 'ex_person' }],
  }).replace('title: births', `title: births ${version}`);
const deaths = bridgeYaml({
  name: 'deaths',
  from: 'health',
  source: 'his',
  to: [{ node: 'police', dataSource: 'own', table: 'ex_police' }],
});

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-drill-'));
  Object.assign(process.env, PASSPHRASE);
  liveAt(-600);
  source = sqliteDatabase(join(folder, 'source.db'));
  target = sqliteDatabase(join(folder, 'target.db'));
  await source.run(PERSON_TABLE, `INSERT INTO person VALUES ${people(1, 50, '3702')}`);
  await target.run(TARGET_TABLE('ex_person'), TARGET_TABLE('ex_police'));
  const more = { limits: { compareEveryMs: 200, resendAfterMs: 1_000, resendMostMs: 2_000 } };
  platform = await Platform.start({
    nodes: [
      { code: 'health', dataSources: { his: source.config }, more },
      { code: 'civil-affairs', dataSources: { own: target.config } },
    ],
    hubConfig: { certificateDays: 700 },
    monitorConfig: { alerts: { nodeSilentAfterMs: 12_000 } },
  });
  await applyBridges(platform, births('first'));
  await untilAtRest(platform, 'births', 50);
}, 240_000);

afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await source?.[Symbol.asyncDispose]();
  await target?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
  delete process.env.QIAO_CLOCK_OFFSET_FILE;
});

const change = (first: number) => source.run(`INSERT INTO person VALUES ${people(first, 10, '3702')}`);
/** What each bridge may bring. */
const SOURCE_ROWS = {
  ex_person: PERSON_ROWS.replace('ORDER', "WHERE city = '3702' ORDER"),
  ex_police: PERSON_ROWS,
} as const;
const untilEqual = async (table: keyof typeof SOURCE_ROWS = 'ex_person') =>
  await untilSame(platform, source, SOURCE_ROWS[table], target, TARGET_ROWS(table));

/** Bus users whose credentials this hub has made void. */
function voidUsers(): string[] {
  return Object.keys(
    JSON.parse(readFileSync(join(platform.hubDirectory, 'bus', 'revocations.json'), 'utf8')) as object,
  );
}

function busUserOf(code: string): string | undefined {
  const { nats } = readIdentity(join(platform.agentDirectory(code), 'identity'));
  return nats && busUserKeyOf(nats.seed).natsUser;
}

test('a hub restored from yesterday learns nodes, bridges, versions and revocations from its agents, routes only when a person confirms, and loses nothing', {
  timeout: 180_000,
}, async () => {
  const backup = join(folder, 'hub.qiaobackup');
  await platform.join({ code: 'clinic', dataSources: {} });
  await platform.qiao('hub', 'backup', '--dir', platform.hubDirectory, '--to', backup);

  // Everything that the backup does not know: a node, a bridge, a version, a revocation, starts, rows.
  await platform.join({ code: 'police', dataSources: { own: target.config } });
  await platform.agent('police').start();
  await applyBridges(platform, deaths, births('second'));
  // One that the backup knows, and one that nobody will tell of: both lose their rights.
  await platform.join({ code: 'thief', dataSources: {} });
  for (const code of ['clinic', 'thief'])
    await platform.qiao('node', 'revoke', code, '--reason', 'its disk was stolen');
  await platform.agent('health').kill();
  await platform.agent('health').start();
  await change(1_000);
  await untilEqual();
  await untilEqual('ex_police');
  await untilPeaceful(platform);

  await platform.hub.kill();
  renameSync(platform.hubDirectory, `${platform.hubDirectory}.burnt`);
  await change(2_000);
  await platform.qiao('hub', 'restore', backup, '--dir', platform.hubDirectory);
  // It dies on this road wherever one store is written and another is not.
  const road = ['restore.noticed', 'restore.learned', 'restore.usersVoided', 'restore.confirmed'];
  const drill = dieAtEach(platform.hub, road);
  const told = await untilCollected(platform, 3);
  expect(told.learned).toEqual(
    expect.arrayContaining([
      'node police joined after the backup',
      expect.stringMatching(/^bridge deaths was made after the backup/),
      expect.stringMatching(/^bridge births was deployed in version 2 after the backup/),
      'the rights of clinic were ended after the backup',
    ]),
  );
  for (const code of ['clinic', 'thief']) expect(voidUsers()).toContain(busUserOf(code));
  await change(3_000);
  // Nothing may change, and nothing goes on, before a person has looked.
  expect((await platform.tryQiao('bridge', 'stop', 'births')).stderr).toContain('HUB_RESTORED');
  expect(await target.rows('SELECT count(*) FROM ex_person')).toEqual([['60']]);

  expect((await platform.tryQiao('hub', 'confirm', '--yes')).code).not.toBe(0);
  await drill.over;
  await untilEqual();
  await untilEqual('ex_police');
  const status = JSON.parse((await platform.qiao('hub', 'status', '--json')).stdout) as { generation: number };
  expect(status.generation).toBe(2);
  const shown = JSON.parse((await platform.qiao('bridge', 'show', 'births', '--json')).stdout) as {
    deployedVersion: number;
    title: string;
  };
  expect(shown).toMatchObject({ deployedVersion: 2, title: 'births second' });
  await untilPeaceful(platform);
  // What the monitor saw of the audit and the backup lacks is named, with who confirmed; nothing else contradicts it.
  const audit = await platform.qiao('audit', 'verify', '--json');
  const { witnesses } = JSON.parse(audit.stdout) as {
    witnesses: { lost: object[]; denied: object[]; restores: object[] };
  };
  expect(witnesses.lost.length).toBeGreaterThan(0);
  expect(witnesses).toMatchObject({ denied: [], restores: [{ begun: { action: 'hub.hold' } }] });
});

test('a store that was put back without a word is noticed by the agents: the hub stops routing until a person confirms', {
  timeout: 180_000,
}, async () => {
  await platform.hub.stop();
  const copy = join(folder, 'hub.copy');
  cpSync(join(platform.hubDirectory, 'hub.db'), copy);
  await platform.hub.start();
  await applyBridges(platform, births('third'));
  await change(4_000);
  await untilEqual();

  await platform.hub.kill();
  for (const suffix of ['', '-wal', '-shm']) rmSync(join(platform.hubDirectory, `hub.db${suffix}`), { force: true });
  cpSync(copy, join(platform.hubDirectory, 'hub.db'));
  await change(5_000);
  await platform.hub.start();
  const told = await untilCollected(platform, 3);
  expect(told.reason).toMatch(/shows snapshot 2\.\d+ signed by this hub/);
  await platform.qiao('hub', 'confirm', '--yes');
  await untilEqual();
  await untilEqual('ex_police');
  await untilPeaceful(platform);
});

test('a day without the hub: agents start on their cached snapshots and capture what those allow; when it is back that is delivered, and nothing else', {
  timeout: 180_000,
}, async () => {
  await platform.hub.stop();
  for (const code of ['health', 'civil-affairs', 'police']) await platform.agent(code).stop();
  await change(6_000);
  await source.run(`INSERT INTO person VALUES ${people(6_500, 1, '9999')}`);
  // A day later the machines are started, still without a hub.
  liveAt(-599);
  await platform.monitor.stop();
  for (const code of ['health', 'civil-affairs', 'police']) await platform.agent(code).start();
  await until(platform, 'the changes of the day are captured', async () => {
    const status = await platform.qiao('agent', 'status', '--config', platform.agentConfig('health'), '--json');
    const { exchangeDatabase } = JSON.parse(status.stdout) as {
      exchangeDatabase: { lanes: { direction: string; waitingDeliveries: number }[] };
    };
    return exchangeDatabase.lanes
      .filter((lane) => lane.direction === 'out')
      .every((lane) => lane.waitingDeliveries > 0);
  });
  await platform.hub.start();
  await platform.monitor.start();
  await untilEqual();
  await untilEqual('ex_police');
  const arrived = async (table: string) => (await target.rows(`SELECT id FROM ${table} WHERE id = 6500`)).length;
  expect([await arrived('ex_person'), await arrived('ex_police')]).toEqual([0, 1]);
  await untilPeaceful(platform);
});

test('certificates renew themselves in their last third; one that ended is told in clear words and joins again with its keys, its exchange database and its waiting rows', {
  timeout: 180_000,
}, async () => {
  const endsAt = async (code: string) => {
    const shown = await platform.qiao('node', 'show', code, '--json');
    return (JSON.parse(shown.stdout) as { certificateEndsAtMs: number }).certificateEndsAtMs;
  };
  const others = [platform.agent('civil-affairs'), platform.agent('police'), platform.monitor];
  const moveTo = async (days: number, start: (program: Program) => Promise<unknown> = (program) => program.start()) => {
    for (const program of [...others, platform.hub]) await program.stop();
    liveAt(days);
    await start(platform.hub);
    for (const program of others) await start(program);
  };
  const drills: CrashDrill[] = [];
  const renewals: Readonly<Record<string, string>> = {
    ...{ hub: 'renewal.stored', 'civil-affairs': 'renewal.written', monitor: 'renewal.received' },
  };
  const startToDie = async (program: Program) => {
    const point = renewals[program.name];
    if (point === undefined) return program.start();
    const drill = dieAtEach(program, [point]);
    drills.push(drill);
    return drill.armed;
  };
  const before = { civil: await endsAt('civil-affairs'), monitor: await endsAt('monitor') };
  // The source is switched off with rows to send; the others live into the last third of their 700 days, then past it.
  await platform.agent('health').stop();
  await change(7_000);
  await moveTo(-100, startToDie);
  await Promise.all(drills.map(({ over }) => over));
  await until(platform, 'the certificate is renewed', async () => (await endsAt('civil-affairs')) > before.civil);
  await until(platform, 'the monitor’s too', async () => (await endsAt('monitor')) > before.monitor);
  // A person renews by hand; the next call shows the new one.
  const operator = await endsAt('operator');
  await platform.qiao('operator', 'renew');
  expect(await endsAt('operator')).not.toBe(operator);
  await moveTo(150);
  await platform.agent('health').start();
  await until(platform, 'the agent says why it sends nothing', () =>
    platform.agent('health').log.includes('CERTIFICATE_EXPIRED'),
  );
  await until(platform, 'an alert names it', async () =>
    (await readBoard(platform)).alerts.some(
      ({ code, subject }) => code === 'CERTIFICATE_ENDS' && subject === 'agent health',
    ),
  );
  await platform.agent('health').stop();
  const token = await platform.invite('health', ['--department', 'health']);
  await platform.qiao('agent', 'join', '--config', platform.agentConfig('health'), '--again', '--token', token);
  await platform.agent('health').start();
  await untilEqual();
  await untilEqual('ex_police');
  await untilPeaceful(platform);
});
