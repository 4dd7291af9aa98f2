/**
 * Compares one table at both ends of a lane: sums of buckets first, then the rows of those that differ. Traffic goes on
 * meanwhile, so a difference counts only when it is exact: the row was read as it was last sent, the destination had applied
 * everything up to then, and no delivery that may be in its reading names the row. What is not exact is looked at again, and
 * after the last round reported as in motion.
 */
import { BucketSums, bucketBits, QiaoError } from '@qiao/exchange';
import type { TableCounts } from '../exchange-database/index.ts';
import { compareRows, type Settled } from './compareRows.ts';
import { type Comparing, hex, laneNow, question, readCompared } from './comparing.ts';
import { pickFields } from './fields.ts';
import { readSource } from './sourceRows.ts';
import { TextDigest } from './textDigest.ts';
import { together } from './together.ts';

/** Looks at what is in motion; between them the lane and the source's scans go on. */
const ROUNDS = 6;
/** While the capture stands, nothing moves them. */
const ROUNDS_STANDING = 3;
const ROUND_PAUSE_MS = 500;
const ROUND_PAUSE_MOST_MS = 8_000;
/** Rows of both ends looked at in one reading; the buckets that differ are taken in batches of so many. */
const BATCH_ROWS = 40_000;
/** Characters. */
const MOST_STANDING = 500;
/** Of smaller tables the sums are there as soon. */
const GLANCED_AT_ROWS = 10_000;

type OnWait = (until: string) => void;

/** Compares; the counts are complete when it returns. Throws what reading, the destination or the lane threw. */
export async function compareTable(comparing: Comparing, counts: TableCounts): Promise<void> {
  const { conversation, signal } = comparing;
  const onWait: OnWait = (until) => {
    comparing.step(`${counts.table}: waits ${until}`);
    comparing.turn.rest();
  };
  const shape = await conversation.ask(question(comparing, [], { $case: 'shape', value: true }), signal, onWait);
  const compared = comparing.table.layout.columns.filter((name) => shape.comparable.includes(name));
  counts.notCompared = shape.notComparable;
  if (mayBeSame(comparing) && (await haveSameText(comparing, counts, compared, onWait))) return;
  let bits = bucketBits(comparing.tableRows);
  let { here, there } = await sumBoth(comparing, counts, compared, bits, onWait);
  const better = bucketBits(Math.max(here.rows, there.rows));
  if (better > bits + 2) {
    // Many more rows than the last scan knew of, or than the source has: coarse buckets would name far too many.
    bits = better;
    ({ here, there } = await sumBoth(comparing, counts, compared, bits, onWait));
  }
  let left = here.differing(there);
  // Under traffic most buckets may differ at any moment: those that were once equal are done with.
  for (let again = 0; again < 2 && rowsOf(left, here, there) > BATCH_ROWS; again++) {
    ({ here, there } = await sumBoth(comparing, counts, compared, bits, onWait));
    const now = new Set(here.differing(there));
    left = left.filter((bucket) => now.has(bucket));
  }
  let found = 0;
  const settled: Settled = new Map();
  for (let round = 1; left.length > 0; round++) {
    const moving = new Set<number>();
    let inMotion = 0;
    for (const batch of batches(left, here, there)) {
      comparing.step(`${counts.table}: looks at the rows of ${left.length} part(s) that differ, round ${round}`);
      const result = await compareRows(comparing, counts, compared, { bits, buckets: batch, settled }, found, onWait);
      found += result.found;
      inMotion += result.inMotion;
      for (const bucket of result.moving) moving.add(bucket);
    }
    left = [...moving].sort((a, b) => a - b);
    for (const bucket of settled.keys()) if (!moving.has(bucket)) settled.delete(bucket);
    counts.inMotion = inMotion;
    counts.standing = inMotion === 0 ? '' : comparing.standing().slice(0, MOST_STANDING);
    if (round >= (counts.standing === '' ? ROUNDS : ROUNDS_STANDING)) return;
    if (left.length > 0) {
      comparing.step(`${counts.table}: ${inMotion} row(s) in motion are looked at again`);
      await comparing.ports.clock.sleep(Math.min(ROUND_PAUSE_MS * 2 ** (round - 1), ROUND_PAUSE_MOST_MS), signal);
    }
  }
}

/** A resync follows a suspicion, and under traffic two readings hardly ever agree to the last row: then a glance is one reading more. */
function mayBeSame(comparing: Comparing): boolean {
  const { kind, options, tableRows } = comparing;
  return (
    kind === 'verify' && options.where === '' && tableRows >= GLANCED_AT_ROWS && laneNow(comparing).waitingCount === 0
  );
}

/** Whether both ends read the same rows in the same order: a third of the work of sums. If not, nothing is known yet. */
async function haveSameText(
  comparing: Comparing,
  counts: TableCounts,
  compared: readonly string[],
  onWait: OnWait,
): Promise<boolean> {
  const { ports, conversation, dataSource, table, options, signal } = comparing;
  const wanted = table.layout.columns.map((name) => compared.includes(name));
  const isWhole = wanted.every(Boolean);
  await comparing.turn.take(signal);
  comparing.step(`${counts.table}: compares both ends at a glance`);
  const here = new TextDigest(conversation.key);
  const asked = question(comparing, compared, { $case: 'text', value: true });
  const [{ refused }, there] = await together(
    signal,
    (stop) =>
      readSource(ports, dataSource, table, { rowsPerSecond: options.rowsPerSecond, signal: stop }, (row) => {
        if (row.kind !== 'row') return;
        const line = row.line.subarray(0, row.line.length - 1);
        here.add(isWhole ? line : pickFields(line, wanted));
      }),
    (stop, isAlone) => conversation.ask(asked, stop, (until) => isAlone() && onWait(until)).catch(unlessUnknown),
  );
  counts.sourceRows = here.rows;
  counts.targetRows = Number(there?.rowsRead ?? 0);
  counts.refusedAtSource = refused;
  counts.unreadableAtTarget = Number(there?.unreadable ?? 0);
  return there !== undefined && hex(there.text) === hex(here.digest());
}

/** An older agent at the destination knows sums alone. */
function unlessUnknown(error: unknown): undefined {
  if (!(error instanceof QiaoError) || error.code !== 'QUESTION_UNKNOWN') throw error;
}

async function sumBoth(
  comparing: Comparing,
  counts: TableCounts,
  compared: readonly string[],
  bits: number,
  onWait: OnWait,
): Promise<{ here: BucketSums; there: BucketSums }> {
  const { conversation, signal } = comparing;
  const { key } = conversation;
  await comparing.turn.take(signal);
  comparing.step(`${counts.table}: sums the rows at both ends`);
  const here = new BucketSums(bits);
  const asked = question(comparing, compared, { $case: 'sums', value: { bits, buckets: [] } });
  // At the same time: sums need not be exact, for what differs is looked at again.
  const [{ refused }, reading] = await together(
    signal,
    (stop) =>
      readCompared({ ...comparing, signal: stop }, compared, (row) => {
        if (row.compared === undefined || !row.passes) return;
        here.add(key.bucket(row.keyBytes, bits), key.digest(row.compared));
      }),
    (stop, isAlone) => conversation.ask(asked, stop, (until) => isAlone() && onWait(until)),
  );
  const there = BucketSums.decode(reading.sums, bits);
  counts.sourceRows = here.rows;
  counts.targetRows = there.rows;
  counts.refusedAtSource = refused;
  counts.unreadableAtTarget = Number(reading.unreadable);
  return { here, there };
}

function rowsOf(buckets: readonly number[], here: BucketSums, there: BucketSums): number {
  return buckets.reduce((rows, bucket) => rows + here.countOf(bucket) + there.countOf(bucket), 0);
}

function* batches(buckets: readonly number[], here: BucketSums, there: BucketSums): Generator<number[]> {
  let batch: number[] = [];
  let rows = 0;
  for (const bucket of buckets) {
    const more = here.countOf(bucket) + there.countOf(bucket);
    if (batch.length > 0 && rows + more > BATCH_ROWS) {
      yield batch;
      batch = [];
      rows = 0;
    }
    batch.push(bucket);
    rows += more;
  }
  if (batch.length > 0) yield batch;
}
