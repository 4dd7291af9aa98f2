// Drills of the lanes: stores are lost, wiped, restored from old copies, nodes copied and joined again, while rows change. Each
// drill ends with equal tables by an independent query, books without anything under way, and no alert left open. They share one
// platform, one after the other, as a bad month would. What a person sees and does in each is in docs/runbook.

import { copyFileSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BusinessDatabase, dieAtEach, Platform, Program, readBoard, sqliteDatabase, until } from '@qiao/testkit';
import Sqlite from 'better-sqlite3';
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
  untilSame,
} from './world.ts';

const LIMITS = { compareEveryMs: 200, resendAfterMs: 1_000, resendMostMs: 4_000, helloMs: 1_000 };
const BRIDGE = {
  name: 'births',
  from: 'health',
  source: 'his',
  to: [{ node: 'civil-affairs', dataSource: 'own', table: 'ex_person' }],
} as const;

let folder: string;
let platform: Platform;
let source: BusinessDatabase;
let target: BusinessDatabase;
let next = 10_000;

const sender = { code: 'health', dataSources: {}, more: { limits: LIMITS } };
const receiver = { code: 'civil-affairs', dataSources: {}, more: { limits: LIMITS } };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-drills-'));
  source = sqliteDatabase(join(folder, 'source.db'));
  target = sqliteDatabase(join(folder, 'target.db'));
  await source.run(PERSON_TABLE, `INSERT INTO person VALUES ${people(1, 200, '3702')}`);
  await target.run(TARGET_TABLE('ex_person'));
  platform = await Platform.start({
    nodes: [
      { ...sender, dataSources: { his: source.config } },
      { ...receiver, dataSources: { own: target.config } },
    ],
  });
  await applyBridges(platform, bridgeYaml(BRIDGE));
  await isWhole();
});
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await source?.[Symbol.asyncDispose]();
  await target?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const file = (code: string) => join(platform.agentDirectory(code), 'exchange.db');
const PARTS = ['', '-wal', '-shm'];

function removeDatabase(code: string): void {
  for (const part of PARTS) rmSync(file(code) + part, { force: true });
}

/** As a backup program would copy the file of a stopped agent. */
function copyDatabase(from: string, to: string): void {
  for (const part of PARTS) {
    rmSync(to + part, { force: true });
    if (existsSync(from + part)) copyFileSync(from + part, to + part);
  }
}

/** Rows that were never there before, and changes of some that were. */
async function change(rows = 20): Promise<void> {
  next += 1_000;
  await source.run(
    `INSERT INTO person VALUES ${people(next, rows, '3702')}`,
    `UPDATE person SET note = 'changed ${next}' WHERE id <= 20`,
    `DELETE FROM person WHERE id BETWEEN ${next - 1_000} AND ${next - 999}`,
  );
}

/** Equal tables, nothing under way, no row open, no deviation, no alert. */
async function isWhole(bridge = 'births', table = 'ex_person'): Promise<void> {
  await untilSame(platform, source, PERSON_ROWS, target, TARGET_ROWS(table));
  await until(platform, `the books of ${bridge} at rest and no alert open`, async () => {
    const line = await booksLine(platform, bridge);
    const { alerts } = await readBoard(platform);
    const isGood = line.verdict === 'VERDICT_BALANCED' || line.verdict === 'VERDICT_EXPLAINED';
    if (line.inFlightDeliveries > 0 || line.openRows > 0 || !isGood) throw new Error(JSON.stringify(line));
    if (alerts.length > 0) throw new Error(JSON.stringify(alerts));
    return true;
  });
}

/**
 * Equal tables and nothing under way after a fork. Where the copy gave out a place that was taken, the books keep both words as a
 * deviation for good: its alert opens, sooner or later than the lane heals, and a person who has seen the cause ends it.
 */
async function isHealed(): Promise<void> {
  await untilSame(platform, source, PERSON_ROWS, target, TARGET_ROWS('ex_person'));
  await until(platform, 'nothing under way, and what deviates was told and ended', async () => {
    const line = await booksLine(platform, 'births');
    if (line.inFlightDeliveries > 0 || line.openRows > 0) throw new Error(JSON.stringify(line));
    const alerts = JSON.parse((await platform.qiao('alert', 'list', '--all', '--json')).stdout) as Alert[];
    const open = alerts.filter(({ state }) => state !== 'ALERT_STATE_RESOLVED');
    if (open.some(({ code }) => code !== 'DEVIATION')) throw new Error(JSON.stringify(open));
    for (const { id } of open) await platform.qiao('alert', 'resolve', String(id), '--reason', 'the copy was stopped');
    const untold = line.remarks.filter((text) => text.includes('fail:') && !alerts.some((one) => one.message === text));
    if (untold.length > 0) throw new Error(`no alert says ${untold.join()}`);
    return open.length === 0 && (await readBoard(platform)).alerts.length === 0;
  });
}

interface Alert {
  readonly id: number | string;
  readonly code: string;
  readonly state: string;
  readonly message: string;
}

test('the bus loses its disks under load: everything unanswered goes out again', async () => {
  await change(300);
  await platform.hub.kill();
  rmSync(join(platform.hubDirectory, 'jetstream'), { recursive: true, force: true });
  await change();
  await platform.hub.start();
  await change();
  await isWhole();
});

test('the sender loses its exchange database: a new epoch, and the tables are compared by a load', async () => {
  await platform.agent('health').kill();
  removeDatabase('health');
  await source.run('DELETE FROM person WHERE id BETWEEN 50 AND 55');
  await platform.agent('health').start();
  await change();
  await isWhole();
});

test('the receiver loses its exchange database with a row in quarantine: it stands where the target’s mark says, and the row is open again', async () => {
  await target.run("CREATE UNIQUE INDEX once ON ex_person (note) WHERE note = 'once'");
  await source.run("INSERT INTO person VALUES (40001, '王', '3702', 'once'), (40002, '李', '3702', 'once')");
  await until(platform, 'a row is refused', async () => (await booksLine(platform, 'births')).openRows === 1);
  await platform.agent('civil-affairs').kill();
  removeDatabase('civil-affairs');
  await change();
  await platform.agent('civil-affairs').start();
  await until(platform, 'the refused row is listed again', async () => {
    const answer = await platform.qiao('--json', 'quarantine', 'list', '--bridge', 'births');
    const { rows } = JSON.parse(answer.stdout) as { rows: { code: string; settled: boolean }[] };
    return rows.length === 1 && rows[0]?.code === 'UNIQUE' && !rows[0].settled;
  });
  await target.run('DROP INDEX once');
  await platform.qiao('quarantine', 'replay', '--bridge', 'births', '--yes');
  await isWhole();
});

test('an old copy of the receiver’s exchange database knows less than the mark, which is what counts', async () => {
  await platform.agent('civil-affairs').stop();
  const copy = join(folder, 'receiver.copy');
  copyDatabase(file('civil-affairs'), copy);
  await platform.agent('civil-affairs').start();
  await change();
  await isWhole();
  await platform.agent('civil-affairs').kill();
  copyDatabase(copy, file('civil-affairs'));
  await change();
  await platform.agent('civil-affairs').start();
  await isWhole();
});

test('a delivery that its receiver cannot read any more is cancelled in the books, and its rows travel again', async () => {
  await platform.qiao('bridge', 'stop', 'births');
  await change();
  await until(
    platform,
    'the rows are packed',
    async () => (await booksLine(platform, 'births')).inFlightDeliveries > 0,
  );
  const next = await platform.qiaoWith(
    bridgeYaml({ ...BRIDGE, more: 'lateAfter: 10m\n' }),
    'apply',
    '--no-start',
    '-f',
    '-',
  );
  expect([next.code, next.stderr]).toEqual([0, '']);
  // With its exchange database the receiver loses what the bridge was when the rows were packed.
  await platform.agent('civil-affairs').kill();
  removeDatabase('civil-affairs');
  const deaths = [
    dieAtEach(platform.agent('civil-affairs'), ['void.applied']),
    dieAtEach(platform.agent('health'), ['owed.epochOpened']),
  ];
  await Promise.all(deaths.map(({ armed }) => armed));
  await platform.qiao('bridge', 'start', 'births');
  await Promise.all(deaths.map(({ over }) => over));
  await isWhole();
  const { outcomes } = await booksLine(platform, 'births');
  expect(outcomes.map(({ outcome }) => outcome)).toContain('OUTCOME_CANCELLED');
});

test('the target database is restored from a backup: what came after it is sent again, and what a person decided stays decided', async () => {
  await target.run("CREATE UNIQUE INDEX sole ON ex_person (note) WHERE note = 'sole'");
  await source.run("INSERT INTO person VALUES (41001, '王', '3702', 'sole'), (41002, '李', '3702', 'sole')");
  await until(platform, 'a row is refused', async () => (await booksLine(platform, 'births')).openRows === 1);
  const backup = join(folder, 'target.backup');
  const reading = new Sqlite(join(folder, 'target.db'), { readonly: true });
  reading.exec(`VACUUM INTO '${backup}'`);
  reading.close();
  await platform.qiao('quarantine', 'abandon', '--bridge', 'births', '--yes', '--reason', 'seen by a person');
  await source.run('DELETE FROM person WHERE id IN (41001, 41002)');
  await change();
  await isWhole();
  await platform.agent('civil-affairs').kill();
  await target[Symbol.asyncDispose]();
  copyDatabase(backup, join(folder, 'target.db'));
  target = sqliteDatabase(join(folder, 'target.db'));
  const deaths = dieAtEach(platform.agent('civil-affairs'), ['mark.lifted']);
  await deaths.over;
  await isWhole();
  await target.run('DROP INDEX sole');
});

test('a receiver joins again with new keys: what waits is sealed for them, and nothing is lost', async () => {
  await platform.agent('civil-affairs').stop();
  await change(200);
  await until(platform, 'something waits for the receiver', async () => {
    return (await booksLine(platform, 'births')).inFlightDeliveries > 0;
  });
  const deaths = dieAtEach(platform.agent('health'), ['send.sealedAgain']);
  await deaths.armed;
  await platform.qiao('node', 'revoke', 'civil-affairs', '--reason', 'its disk was stolen');
  // Whoever waits for it is told that only a person brings it back.
  const [run, verify] = await Promise.all([
    platform.tryQiao('bridge', 'run', 'births', '--wait'),
    platform.tryQiao('bridge', 'verify', 'births', '--wait'),
  ]);
  expect(run.stderr).toMatch(/SERVICE_STUCK.*DESTINATION_REVOKED[^]*qiao node invite civil-affairs/);
  expect(verify.stdout + verify.stderr).toContain('DESTINATION_REVOKED');
  rmSync(join(platform.agentDirectory('civil-affairs'), 'identity'), { recursive: true, force: true });
  await platform.join({ ...receiver, dataSources: { own: target.config } });
  await platform.agent('civil-affairs').start();
  await deaths.over;
  await change();
  await isWhole();
});

test('a silent destination ends its own lane’s budget: the lane is suspended, told, and loads anew', async () => {
  const deploy = async (more: string) => platform.qiaoWith(bridgeYaml({ ...BRIDGE, more }), 'apply', '-f', '-');
  await deploy('limits: { retention: { bytes: 64KiB } }\n');
  await platform.agent('civil-affairs').stop();
  const deaths = dieAtEach(platform.agent('health'), ['lane.suspended']);
  await deaths.armed;
  await source.run(`INSERT INTO person SELECT id + 500000, name, city, hex(randomblob(2000)) FROM person LIMIT 150`);
  await until(platform, 'the alert LANE_SUSPENDED', async () => {
    const { alerts } = await readBoard(platform);
    return alerts.some(({ code }) => code === 'LANE_SUSPENDED');
  });
  await deaths.over;
  await source.run(`DELETE FROM person WHERE id > 500000 AND id % 2 = 0`);
  await platform.agent('civil-affairs').start();
  // The load is larger than the budget too, but now somebody answers.
  await isWhole();
  await deploy('');
  await isWhole();
});

test('a bridge is retired and created again under the same name: new lanes, and the old ones are forgotten', async () => {
  const before = await lanesOf('births');
  await platform.qiao('bridge', 'stop', 'births');
  await platform.qiao('bridge', 'retire', 'births');
  await change();
  await applyBridges(platform, bridgeYaml(BRIDGE));
  await isWhole();
  expect(await lanesOf('births')).not.toEqual(before);
});

test('an old copy of the sender’s exchange database is a fork, and heals by itself', async () => {
  await platform.agent('health').stop();
  const copy = join(folder, 'sender.copy');
  copyDatabase(file('health'), copy);
  await platform.agent('health').start();
  for (let round = 0; round < 3; round += 1) {
    await change();
    await isWhole();
  }
  await platform.agent('health').kill();
  copyDatabase(copy, file('health'));
  await platform.agent('health').start();
  await change();
  await isHealed();
});

test('a copy of the sender runs beside it: the newer start has the lanes, and no epochs are outbid', async () => {
  const clone = join(folder, 'clone');
  await platform.agent('health').stop();
  cpSync(platform.agentDirectory('health'), clone, { recursive: true });
  await platform.agent('health').start();
  await change();
  await isHealed();
  const config = join(folder, 'clone.yaml');
  const text = readFileSync(platform.agentConfig('health'), 'utf8');
  writeFileSync(config, text.replaceAll(platform.agentDirectory('health'), clone), { mode: 0o600 });
  const copy = new Program({
    name: 'clone',
    arguments: ['agent', 'start', '--config', config],
    readyWhen: 'agent started',
    logFile: join(folder, 'clone.log'),
  });
  try {
    await copy.start();
    await change();
    await until(platform, 'the first process knows that it lost its fence', () =>
      platform.agent('health').log.includes('another process runs under this node’s identity'),
    );
    // Both may have given out the same place before the first heard of the second: then that fork heals first. What the first had packed by
    // then stays under way in the books until it runs again.
    await until(platform, 'changes arrive, and no epoch begins for them', async () => {
      const epoch = await epochOf('births');
      await change();
      await untilSame(platform, source, PERSON_ROWS, target, TARGET_ROWS('ex_person'));
      return (await epochOf('births')) === epoch;
    });
  } finally {
    await copy.stop();
  }
  // The operator stops the copy and starts the real one again: it takes a newer token and goes on.
  await platform.agent('health').stop();
  await platform.agent('health').start();
  await change();
  await isHealed();
});

async function lanesOf(bridge: string): Promise<string[]> {
  const answer = JSON.parse((await platform.qiao('bridge', 'show', bridge, '--json')).stdout) as {
    lanes: { laneId: string }[];
  };
  return answer.lanes.map(({ laneId }) => laneId);
}

async function epochOf(bridge: string): Promise<number> {
  const answer = JSON.parse((await platform.qiao('bridge', 'show', bridge, '--json')).stdout) as {
    lanes: { highestEpoch: number }[];
  };
  return answer.lanes[0]?.highestEpoch ?? 0;
}
