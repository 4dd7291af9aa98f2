// Departments edit one register, each in its own database, and the rows land at the others. All are edited at once, the same rows too, and one
// agent is killed between what it notes of an arrival and the landing: in the end all have the same rows, the newer ones, and are still.

import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres } from '@qiao/adapters/testing';
import { dieAtEach, Platform, seededRandom, storySeed, until } from '@qiao/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  beginBridge,
  editsOfRound,
  inMariadb,
  inPostgres,
  inSqlite,
  newRows,
  type Register,
  type Servers,
  startServers,
  timeOf,
  untilAlike,
  untilStill,
} from './registers.ts';
import { bridgeYaml, byOutcome, untilAtRest } from './world.ts';

const KEYS = 60;
const ROUNDS = 6;

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers?.[Symbol.asyncDispose]());

function leg(name: string, from: string, { capture }: Register, to: string): string {
  const landing = { node: to, dataSource: 'own', table: 'register', more: 'conflict: { newestWins: seen_at }' };
  return bridgeYaml({ name, from, source: 'own', capture, table: 'register', to: [landing] });
}

test.each([
  ['by log, PostgreSQL and MariaDB', () => inPostgres(servers, 'log'), () => inMariadb(servers, 'log')],
  ['by trigger, PostgreSQL and SQLite', () => inPostgres(servers, 'trigger'), (file: string) => inSqlite(file)],
])(
  'two nodes that edit the same rows at once end in the same rows, the newer ones, and are still (%s)',
  async (kind, makeCivil, makeHealth) => {
    const random = seededRandom(storySeed(`two-way ${kind}`));
    const pick = (count: number) => Math.floor(random() * count);
    await using files = await mkdtempDisposable(join(tmpdir(), 'qiao-register-'));
    await using civil = await makeCivil();
    await using health = await makeHealth(join(files.path, 'health.db'));
    await civil.run(`INSERT INTO register VALUES ${newRows(1, KEYS / 2, 'civil', 1)}`);
    await using platform = await Platform.start({
      nodes: [
        { code: 'health', dataSources: { own: health.config } },
        { code: 'civil-affairs', dataSources: { own: civil.config } },
      ],
    });
    const still = () => untilStill(platform, ['health', 'civil-affairs'], ['there', 'back']);
    const back = leg('back', 'health', health, 'civil-affairs');
    await beginBridge(platform, 'civil-affairs', leg('there', 'civil-affairs', civil, 'health'));
    const blind = await platform.qiaoWith(
      back.replace(/capture: .*/, 'capture: compare'),
      'bridge',
      'check',
      '-f',
      '-',
    );
    expect(`${blind.stdout}${blind.stderr}`).toContain('TWO_WAY_CAPTURE');
    await beginBridge(platform, 'health', back);
    await untilAtRest(platform, 'there', KEYS / 2);
    // What came is not what it sends: the load brings it back, found as it is, and capture brings it never.
    expect(byOutcome(await untilAtRest(platform, 'back', KEYS / 2))).toEqual({ unchanged: KEYS / 2 });

    const ofTriggers = health.capture === 'trigger' ? ['entries.noted', 'entries.forgotten'] : [];
    const dying = () => dieAtEach(platform.agent('health'), ['arrivals.noted', ...ofTriggers]);
    const deaths = dying();
    await deaths.armed;
    for (let n = 0; n < ROUNDS; n++) {
      const minute = n * 50 + 1;
      await Promise.all([
        civil.run(...editsOfRound({ pick, keys: KEYS, side: 'civil', own: 1_000, minute })),
        health.run(...editsOfRound({ pick, keys: KEYS, side: 'health', own: 2_000, minute })),
      ]);
      // What was edited on top of the other end's row, and what at once with it.
      if (n % 2 === 1) await still();
    }
    await deaths.over;
    await untilAlike(platform, [civil, health]);

    // Still: nothing is under way, and what each end sends from here on is what its own people change, though it dies over it.
    const before = await still();
    const again = dying();
    await again.armed;
    await civil.run(`INSERT INTO register VALUES ${newRows(5_000, 20, 'civil', 700)}`);
    await untilAtRest(platform, 'there', before.there + 20);
    await civil.run('DELETE FROM register WHERE id BETWEEN 5000 AND 5004');
    await untilAtRest(platform, 'there', before.there + 25);
    await health.run(`UPDATE register SET name = 'health', seen_at = '${timeOf(800)}' WHERE id BETWEEN 5005 AND 5009`);
    await untilAtRest(platform, 'back', before.back + 5);
    await again.over;
    await untilAlike(platform, [civil, health]);
    expect(await still()).toEqual({ there: before.there + 25, back: before.back + 5 });

    // An edit that sets the time back, on a row that both have: the newer row stays, also where it was edited.
    await health.run(`UPDATE register SET name = 'back', seen_at = '${timeOf(1)}' WHERE id IN (5005, 5010)`);
    await untilAtRest(platform, 'back', before.back + 7);
    await untilAtRest(platform, 'there', before.there + 27);
    await untilAlike(platform, [civil, health]);
    expect((await civil.rows('id IN (5005, 5010)')).map(([, name]) => name)).toEqual(['health', 'civil 5010']);
    await balanced(platform, ['there', 'back']);
  },
);

test('three nodes in a ring end in the same rows, and no change comes back to where it was made', async () => {
  const random = seededRandom(storySeed('ring'));
  const pick = (count: number) => Math.floor(random() * count);
  await using files = await mkdtempDisposable(join(tmpdir(), 'qiao-register-'));
  await using civil = await inPostgres(servers, 'log');
  await using health = await inMariadb(servers, 'trigger');
  await using school = await inSqlite(join(files.path, 'school.db'));
  const registers = [civil, health, school];
  await civil.run(`INSERT INTO register VALUES ${newRows(1, KEYS, 'civil', 1)}`);
  await using platform = await Platform.start({
    nodes: [
      { code: 'civil-affairs', dataSources: { own: civil.config } },
      { code: 'health', dataSources: { own: health.config } },
      { code: 'education', dataSources: { own: school.config } },
    ],
  });
  const bridges = ['first', 'second', 'third'] as const;
  const still = () => untilStill(platform, ['civil-affairs', 'health', 'education'], bridges);
  await beginBridge(platform, 'civil-affairs', leg('first', 'civil-affairs', civil, 'health'));
  await untilAtRest(platform, 'first', KEYS);
  await beginBridge(platform, 'health', leg('second', 'health', health, 'education'));
  await untilAtRest(platform, 'second', KEYS);
  await beginBridge(platform, 'education', leg('third', 'education', school, 'civil-affairs'));
  expect(byOutcome(await untilAtRest(platform, 'third', KEYS))).toEqual({ unchanged: KEYS });

  for (let n = 0; n < ROUNDS; n++) {
    // Nobody sets a time back: in a ring the newer row stays where it is, and is not sent back.
    const round = (side: string, own: number, register: Register) =>
      register.run(
        ...editsOfRound({ pick, keys: KEYS, side, own, minute: n * 50 + 1 }).filter(
          (statement) => !statement.includes(timeOf(1_000)),
        ),
      );
    await Promise.all([round('civil', 1_000, civil), round('health', 2_000, health), round('school', 3_000, school)]);
    await still();
  }
  await untilAlike(platform, registers);

  const before = await still();
  await civil.run(`INSERT INTO register VALUES ${newRows(5_000, 20, 'civil', 700)}`);
  await untilAlike(platform, registers);
  await civil.run('DELETE FROM register WHERE id BETWEEN 5000 AND 5004');
  await untilAlike(platform, registers);
  await health.run(`UPDATE register SET name = 'health', seen_at = '${timeOf(800)}' WHERE id BETWEEN 5005 AND 5009`);
  await untilAlike(platform, registers);
  await school.run('DELETE FROM register WHERE id BETWEEN 5010 AND 5011');
  await untilAlike(platform, registers);
  await balanced(platform, bridges);
  // Each change goes by two bridges, and not by the third, which would bring it home.
  const after = await still();
  expect(bridges.map((bridge) => after[bridge] - before[bridge])).toEqual([25 + 2, 25 + 5, 5 + 2]);

  // Made at one node, and taken away at the next before its agent has looked: those that never had the row bring the delete home.
  const agent = platform.agent('health');
  await agent.kill();
  const { died } = await agent.startToDieAt(['apply.committed']);
  await civil.run(`INSERT INTO register VALUES ${newRows(6_000, 3, 'civil', 900)}`);
  await died;
  expect((await health.rows('id >= 6000')).length).toBe(3);
  await health.run('DELETE FROM register WHERE id >= 6001');
  await agent.start();
  await untilAlike(platform, registers);
  expect((await civil.rows('id >= 6000')).map(([id]) => id)).toEqual(['6000']);
  await still();
  await balanced(platform, bridges);
});

async function balanced(platform: Platform, bridges: readonly string[]): Promise<void> {
  const check = await platform.tryQiao('reconcile', '--check');
  expect(check.code, check.stdout).toBe(0);
  for (const bridge of bridges) {
    const verified = await platform.tryQiao('bridge', 'verify', bridge, '--wait');
    expect(verified.code, `${verified.stdout}${verified.stderr}`).toBe(0);
  }
}

test.each(['log', 'trigger'] as const)(
  'a database that is put back as it was an hour ago takes no row away where it was made (by %s)',
  async (capture) => {
    await using files = await mkdtempDisposable(join(tmpdir(), 'qiao-register-'));
    await using server = await startPostgres(['wal_level=logical']);
    await using civil = await inPostgres({ ...servers, postgres: server }, capture);
    await using health = await inSqlite(join(files.path, 'health.db'));
    await civil.run(`INSERT INTO register VALUES ${newRows(1, KEYS, 'civil', 1)}`);
    await using platform = await Platform.start({
      nodes: [
        { code: 'health', dataSources: { own: health.config } },
        { code: 'civil-affairs', dataSources: { own: civil.config } },
      ],
    });
    await beginBridge(platform, 'civil-affairs', leg('there', 'civil-affairs', civil, 'health'));
    await beginBridge(platform, 'health', leg('back', 'health', health, 'civil-affairs'));
    await untilAtRest(platform, 'there', KEYS);
    await untilAtRest(platform, 'back', KEYS);
    const putBack = await server.standby();

    await health.run(
      `INSERT INTO register VALUES ${newRows(2_000, 20, 'health', 100)}`,
      `UPDATE register SET name = 'newer', seen_at = '${timeOf(200)}' WHERE id <= 10`,
    );
    await civil.run(`INSERT INTO register VALUES ${newRows(3_000, 5, 'civil', 100)}`);
    await untilAlike(platform, [civil, health]);
    await untilStill(platform, ['health', 'civil-affairs'], ['there', 'back']);
    await putBack();
    // What it lost of its own is still at the other end, and a person decides what becomes of it.
    await until(platform, 'deletes wait for a person', async () =>
      /DELETE_GUARD/.test((await platform.qiao('alert', 'list')).stdout),
    );
    expect((await health.rows('id >= 3000')).length).toBe(5);
    await platform.qiao('bridge', 'resync', 'back', '--wait');
    await untilAlike(platform, [civil, health]);
    await platform.qiao('bridge', 'run', 'there', '--wait');
    await untilStill(platform, ['health', 'civil-affairs'], ['there', 'back']);
    await untilAlike(platform, [civil, health]);
    expect((await health.rows('id >= 2000')).length).toBe(25);
    expect((await health.rows('id <= 10')).map(([, name]) => name)).toEqual(Array(10).fill('newer'));
  },
);
