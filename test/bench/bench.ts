// npm run bench [-- --rows 1000000 --runs 3 --growth --only verify]: how fast rows go PostgreSQL → PostgreSQL over the whole road — signed, sealed,
// durable at both ends, counted, receipted — beside plain COPY of the same rows in the same run. What is measured, and how to read
// it: docs/performance.md.

import { parseArgs } from 'node:util';
import setup from '../program.setup.ts';
import { measureBinlog } from './binlog.ts';
import { type ChangesMeasured, type Delay, measureChanges } from './changes.ts';
import { LoadWorld, type Measured } from './load.ts';
import { byMariadb } from './maria.ts';

/** Making a row of the workload costs the database more than moving it: more people than this are the same ones under other ids. */
const PEOPLE = 100_000;
const GROWTH = [10_000, 100_000, 1_000_000, 10_000_000];

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    rows: { type: 'string', default: '1000000' },
    runs: { type: 'string', default: '3' },
    /** Loads of 10⁴, 10⁵ … up to `rows` instead of everything else: time must grow with the rows and no faster. */
    growth: { type: 'boolean', default: false },
    /** These alone, for a look: copy, load, scan, verify, update, again, mariadb, changes, binlog. The first six but copy need the load. */
    only: { type: 'string' },
  },
});
const only = values.only?.split(',');
const NEEDS_LOAD = ['load', 'scan', 'verify', 'update', 'again'];
const isWanted = (figure: string) => only?.includes(figure) ?? true;
const rows = Number(values.rows);
const runs = Number(values.runs);

interface Figure extends Measured {
  readonly what: string;
  /** The yardstick in the same run, and its time in milliseconds. */
  readonly beside?: { readonly what: string; readonly ms: number } | undefined;
}

const removeProgram = await setup();
try {
  if (values.growth) await growth();
  else {
    if (only === undefined || only.some((figure) => figure !== 'changes' && figure !== 'binlog')) await everything();
    if (isWanted('changes')) await changes();
    if (isWanted('binlog')) await binlog();
  }
} finally {
  removeProgram();
}

async function everything(): Promise<void> {
  console.log(`Making ${written(rows)} rows of the workload ...`);
  const all: Figure[] = [];
  await using world = await LoadWorld.create(rows, Math.min(rows, PEOPLE));
  for (let run = 1; run <= runs; run += 1) {
    console.log(`\nrun ${run}`);
    for await (const figure of measured(world)) {
      all.push(figure);
      console.log(textOf(figure, rows));
    }
  }
  console.log(`\nmedians of ${runs}`);
  for (const what of new Set(all.map((figure) => figure.what))) {
    const same = all.filter((figure) => figure.what === what);
    const ms = median(same.map((figure) => figure.ms));
    const ratios = same.flatMap(({ ms: took, beside }) => (beside === undefined ? [] : [beside.ms / took]));
    const ratio = ratios.length === 0 ? '' : `, ${median(ratios).toFixed(2)} of ${same[0]?.beside?.what} beside it`;
    console.log(`${what}: ${written((rows * 1000) / ms)} rows/s${ratio}`);
  }
}

async function* measured(world: LoadWorld): AsyncGenerator<Figure> {
  const copy = isWanted('copy') ? await world.copyBeside() : undefined;
  if (copy !== undefined) yield { what: 'COPY | COPY', ...copy };
  const copyOut = isWanted('copy') ? await world.copyOut() : undefined;
  if (copyOut !== undefined) yield { what: 'COPY TO alone', ...copyOut };
  const beside = copy && { what: 'COPY | COPY', ms: copy.ms };
  const besideOut = copyOut && { what: 'COPY TO alone', ms: copyOut.ms };
  if (isWanted('mariadb')) yield* byMariadb(world);
  if (!(only ?? ['load']).some((figure) => NEEDS_LOAD.includes(figure))) return;
  await using road = await world.road();
  yield { what: 'load into an empty table', ...(await road.load()), beside };
  console.log(`    on the bus, each way: ${Math.round(road.sealedBytes() / rows)} bytes a row`);
  if (isWanted('scan')) yield { what: 'scan, nothing changed', ...(await road.scan()), beside: besideOut };
  if (isWanted('verify')) yield { what: 'verify, nothing differs', ...(await road.verify()), beside: besideOut };
  if (isWanted('update')) yield { what: 'scan and upsert, every row changed', ...(await road.update()), beside };
  if (isWanted('again')) {
    yield { what: 'load into a filled table, nothing differs', ...(await road.load('again')), beside };
  }
}

async function changes(): Promise<void> {
  console.log('\nChanges by the log, beside logical replication');
  const all: ChangesMeasured[] = [];
  for (let run = 1; run <= runs; run += 1) {
    const found = await measureChanges();
    all.push(found);
    const beside = `${written((found.changes * 1000) / found.caughtUpBesideMs)} changes/s beside it`;
    console.log(
      textOf({ what: 'a backlog is caught up with', ...found.caughtUp }, found.changes, 'changes'),
      `(${beside})`,
    );
    console.log(`commit → visible: ${delayText(found.delay)}; beside it ${delayText(found.delayBeside)}`);
  }
  const middle = (of: (one: ChangesMeasured) => number) => median(all.map(of));
  const rate = (ms: number) => written((all[0]?.changes ?? 0) / (ms / 1000));
  const delay = (of: (one: ChangesMeasured) => Delay) =>
    delayText({ p50: middle((one) => of(one).p50), p99: middle((one) => of(one).p99) });
  console.log(`medians of ${runs}
caught up: ${rate(middle(({ caughtUp }) => caughtUp.ms))} changes/s, ${middle(({ caughtUp, caughtUpBesideMs }) => caughtUpBesideMs / caughtUp.ms).toFixed(2)} of logical replication, ${rate(middle(({ caughtUpBesideMs }) => caughtUpBesideMs))} changes/s
commit → visible: ${delay((one) => one.delay)}; logical replication ${delay((one) => one.delayBeside)}`);
}

async function binlog(): Promise<void> {
  console.log('\nChanges by the binary log of MariaDB');
  const captured: number[] = [];
  const caughtUp: number[] = [];
  for (let run = 1; run <= runs; run += 1) {
    const found = await measureBinlog();
    captured.push((found.changes * 1000) / found.capturedMs);
    caughtUp.push((found.changes * 1000) / found.caughtUp.ms);
    console.log(
      textOf({ what: 'a backlog of MariaDB is caught up with', ...found.caughtUp }, found.changes, 'changes'),
    );
    console.log(`    captured until durable in the outbox: ${written(captured.at(-1) ?? 0)} changes/s`);
  }
  console.log(`medians of ${runs}
captured: ${written(median(captured))} changes/s; caught up: ${written(median(caughtUp))} changes/s`);
}

function delayText({ p50, p99 }: Delay): string {
  return `${p50.toFixed(1)} ms (p50), ${p99.toFixed(1)} ms (p99)`;
}

async function growth(): Promise<void> {
  for (const size of GROWTH.filter((one) => one <= rows)) {
    await using world = await LoadWorld.create(size, Math.min(size, PEOPLE));
    const results: Measured[] = [];
    for (let run = 1; run <= runs; run += 1) results.push(await world.load());
    const ms = median(results.map((result) => result.ms));
    console.log(`${written(size)} rows: ${Math.round(ms)} ms, ${((ms * 1000) / size).toFixed(2)} µs a row`);
  }
}

function textOf({ what, ms, beside, use }: Figure, count: number, ofWhat = 'rows'): string {
  const ratio = beside === undefined ? '' : `, ${(beside.ms / ms).toFixed(2)} of ${beside.what} beside it`;
  const parts = Object.entries(use).map(([name, { cpuMs, peakBytes }]) => {
    const memory = peakBytes === undefined ? '' : ` (${Math.round(peakBytes / 2 ** 20)} MB)`;
    return `${name} ${((cpuMs * 1000) / count).toFixed(1)}${memory}`;
  });
  const sum = Object.values(use).reduce((total, { cpuMs }) => total + cpuMs, 0);
  return `${what}: ${written((count * 1000) / ms)} ${ofWhat}/s${ratio}
    processor, µs each (highest memory): ${parts.join(', ')}; in all ${((sum * 1000) / count).toFixed(1)}`;
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

function written(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}
