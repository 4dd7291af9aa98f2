// Changes that go by the log — a backlog that is caught up with, and single commits until they are visible — beside PostgreSQL's own logical replication
// of the same changes from the same source. Each works while the other one is stopped. The server's own clock says when a row was committed at each end.

import { setTimeout as pause } from 'node:timers/promises';
import { type BusinessDatabase, until } from '@qiao/testkit';
import { booksLine } from '../world.ts';
import { LoadWorld, type Measured } from './load.ts';

/** Rows that are there before, and changes of the backlog: half inserts, 40,000 updates, 10,000 deletes, a hundred to a transaction. */
const ROWS = 100_000;
const CHANGES = 100_000;
const PER_TRANSACTION = 100;
/** Commits of one row, so many a second. */
const COMMITS = 400;
const COMMITS_PER_SECOND = 20;
/** Ids behind everything that the workload makes. */
const MARKER = 900_000_000;

/** Milliseconds from the commit at the source to the commit at the target. */
export interface Delay {
  readonly p50: number;
  readonly p99: number;
}

export interface ChangesMeasured {
  readonly changes: number;
  readonly caughtUp: Measured;
  readonly caughtUpBesideMs: number;
  readonly delay: Delay;
  readonly delayBeside: Delay;
}

export async function measureChanges(): Promise<ChangesMeasured> {
  await using world = await LoadWorld.create(ROWS, ROWS, ['wal_level=logical', 'track_commit_timestamp=on']);
  await world.watchArrivals();
  await using replica = await world.replica(MARKER);
  await using road = await world.road();
  await road.load('changes', 'log');

  await replica.stop();
  road.freezeSource();
  await world.source.rows(`CALL run_changes(${ROWS}, ${CHANGES}, ${PER_TRANSACTION})`);
  await world.source.run(`INSERT INTO person SELECT p.* FROM gen_person(${MARKER}, 1) p`);
  const besideAtMs = Date.now();
  await replica.start();
  const caughtUpBesideMs = (await arrivedAt(replica.database, MARKER)) - besideAtMs;
  await replica.stop();
  const caughtUp = await road.measure(async () => {
    road.thawSource();
    return { atMs: await arrivedAt(world.target, MARKER) };
  });
  const all = ROWS + CHANGES + 1;
  await until(road.platform, 'the changes are in the books', async () => {
    await pause(200);
    return (await booksLine(road.platform, 'changes')).received.total >= all;
  });
  await world.sameAtBothEnds();

  const delay = await delays(world.source, world.target, MARKER + 1);
  road.freezeSource();
  await replica.start();
  await arrivedAt(replica.database, MARKER + COMMITS);
  const delayBeside = await delays(world.source, replica.database, MARKER + 1 + COMMITS);
  road.thawSource();
  await arrivedAt(world.target, MARKER + 2 * COMMITS);
  await world.sameAtBothEnds();
  await world.sameAtBothEnds(replica.database);
  return { changes: CHANGES, caughtUp, caughtUpBesideMs, delay, delayBeside };
}

/** When the row was committed there, milliseconds since 1970. */
async function arrivedAt(database: BusinessDatabase, id: number): Promise<number> {
  for (;;) {
    const [row] = await database.rows(`SELECT at_ms FROM seen WHERE id = ${id}`);
    if (row !== undefined) return Number(row[0]);
    await pause(20);
  }
}

/** Commits rows one by one at their times, and says how much later each was committed at the other end. */
async function delays(source: BusinessDatabase, target: BusinessDatabase, firstId: number): Promise<Delay> {
  const beganAtMs = performance.now();
  for (let i = 0; i < COMMITS; i++) {
    await pause(Math.max(0, beganAtMs + (i * 1000) / COMMITS_PER_SECOND - performance.now()));
    await source.rows(`INSERT INTO person SELECT p.* FROM gen_person(${firstId + i}, 1) p`);
  }
  await arrivedAt(target, firstId + COMMITS - 1);
  const times = `SELECT at_ms FROM seen WHERE id BETWEEN ${firstId} AND ${firstId + COMMITS - 1} ORDER BY id`;
  const [committed, visible] = [await source.rows(times), await target.rows(times)];
  const sorted = visible.map(([atMs], i) => Number(atMs) - Number(committed[i]?.[0])).sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99) };
}
