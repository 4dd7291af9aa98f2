// kill -9 at random moments while rows are under way: of the sender, the receiver, the hub, the monitor and the bus in turn. The final
// tables and the final books equal those of an undisturbed run: each round touches rows that no other round touches, so that
// the sums do not depend on which scan saw what. One platform takes all of it; kills beside other faults, on other bridges, are
// what the seeds of chaos.test.ts add.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import {
  type BusinessDatabase,
  Platform,
  postgresDatabase,
  seededRandom,
  sqliteDatabase,
  storySeed,
  until,
} from '@qiao/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  applyBridges,
  bridgeYaml,
  byOutcome,
  PERSON_ROWS,
  PERSON_TABLE,
  people,
  TARGET_ROWS,
  TARGET_TABLE,
  untilAtRest,
  untilSame,
} from './world.ts';

const KILLS = Number(process.env.QIAO_KILLS ?? 20);
const START = 4_000;
const PER_ROUND = { inserts: 60, updates: 40, deletes: 10 } as const;
const CHANGES = PER_ROUND.inserts + PER_ROUND.updates + PER_ROUND.deletes;

let folder: string;
let server: PostgresServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-crash-'));
  server = await startPostgres();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const VICTIMS = ['sender', 'receiver', 'hub', 'monitor', 'bus'] as const;
type Victim = (typeof VICTIMS)[number];

test('sender, receiver, hub, monitor and bus are killed at random moments while rows are under way: nothing is lost, nothing is doubled, the books balance', {
  timeout: 420_000,
}, async () => {
  const random = seededRandom(storySeed('crash'));
  await using source = sqliteDatabase(join(folder, 'source.db'));
  await using target = await postgresDatabase(await server.database());
  await source.run(PERSON_TABLE, `INSERT INTO person VALUES ${people(1, START, '3702')}`);
  await target.run(TARGET_TABLE('ex_person'));
  await using platform = await Platform.start({
    nodes: [
      {
        code: 'health',
        dataSources: { his: source.config },
        more: { limits: { compareEveryMs: 100, resendAfterMs: 1_000 } },
      },
      { code: 'civil-affairs', dataSources: { own: target.config } },
    ],
  });
  await applyBridges(
    platform,
    bridgeYaml({
      name: 'births',
      from: 'health',
      source: 'his',
      to: [{ node: 'civil-affairs', dataSource: 'own', table: 'ex_person' }],
    }),
  );

  // From here on every change is told by a scan that finds it, so that the sums are known beforehand.
  await untilAtRest(platform, 'births', START);
  for (let round = 0; round < KILLS; round += 1) {
    await changeRows(source, round);
    await pause(random() * 400);
    await killAndRestart(platform, VICTIMS[round % VICTIMS.length] as Victim);
  }
  const sent = START + KILLS * CHANGES;
  await untilSame(platform, source, PERSON_ROWS, target, TARGET_ROWS('ex_person'), 120_000);
  const line = await untilAtRest(platform, 'births', sent, undefined, 120_000);
  expect(line.sent).toEqual({
    total: sent,
    inserts: START + KILLS * PER_ROUND.inserts,
    updates: KILLS * PER_ROUND.updates,
    deletes: KILLS * PER_ROUND.deletes,
  });
  expect(byOutcome(line)).toEqual({
    inserted: line.sent.inserts,
    updated: line.sent.updates,
    deleted: line.sent.deletes,
  });
  expect(line.verdict).toBe('VERDICT_BALANCED');
});

/** One transaction over rows that no other round touches. */
async function changeRows(source: BusinessDatabase, round: number): Promise<void> {
  const updates = `${round * PER_ROUND.updates + 1} AND ${(round + 1) * PER_ROUND.updates}`;
  const deletes = `${START - (round + 1) * PER_ROUND.deletes + 1} AND ${START - round * PER_ROUND.deletes}`;
  await source.run(
    `INSERT INTO person VALUES ${people(100_000 + round * 1_000, PER_ROUND.inserts, '3702')}`,
    `UPDATE person SET note = 'round ${round}' WHERE id BETWEEN ${updates}`,
    `DELETE FROM person WHERE id BETWEEN ${deletes}`,
  );
}

async function killAndRestart(platform: Platform, victim: Victim): Promise<void> {
  if (victim === 'bus') {
    // The hub's nats-server alone; the hub itself starts it again.
    const killed = busPid(platform);
    process.kill(killed, 'SIGKILL');
    await until(platform, 'the hub has started its bus again', () => {
      const pid = busPid(platform, false);
      return pid !== undefined && pid !== killed;
    });
    return;
  }
  const program = {
    sender: platform.agent('health'),
    receiver: platform.agent('civil-affairs'),
    hub: platform.hub,
    monitor: platform.monitor,
  }[victim];
  await program.kill();
  await program.start();
}

/** The process of the hub's own nats-server; other platforms of this machine have theirs. */
function busPid(platform: Platform): number;
function busPid(platform: Platform, mustExist: false): number | undefined;
function busPid(platform: Platform, mustExist = true): number | undefined {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const words = commandOf(pid);
    if (words[0]?.endsWith('nats-server') === true && words.some((word) => word.startsWith(platform.hubDirectory))) {
      return Number(pid);
    }
  }
  if (mustExist) throw new Error('the hub has no nats-server');
  return undefined;
}

function commandOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    // It ended between the listing and the look.
    return [];
  }
}
