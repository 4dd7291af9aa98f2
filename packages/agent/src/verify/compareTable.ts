/**
 * Compares one table at both ends of a lane: sums of buckets first, then the rows of those that differ. Traffic goes on
 * meanwhile, so a difference counts only when it is exact: the row was read as it was last sent, the destination had applied
 * everything up to then, and no delivery that may be in its reading names the row. What is not exact is looked at again, and
 * after the last round reported as in motion.
 */
import type { DataSource } from '@qiao/adapters';
import { VerifyQuestion, type VerifyRow } from '@qiao/contract/verify';
import { BucketSums, bucketBits, decodeContent, idText, QiaoError } from '@qiao/exchange';
import { digestOf, isNameless } from '../capture/compare.ts';
import type { PlannedTable } from '../capture/plan.ts';
import type { Cause, Finding, JobKind, JobOptions, JobRow, LaneOut, TableCounts } from '../exchange-database/index.ts';
import { contentOf } from '../send/sealDelivery.ts';
import type { Conversation } from './conversation.ts';
import { endOfFields, pickFields } from './fields.ts';
import type { VerifyPorts } from './ports.ts';
import { type References, rowReference } from './references.ts';
import { lineFilter, readSource, type SourceRow } from './sourceRows.ts';
import { TextDigest } from './textDigest.ts';
import { together } from './together.ts';

/** Looks at what is in motion; between them the lane and the source's scans go on. */
const ROUNDS = 6;
const ROUND_PAUSE_MS = 500;
const ROUND_PAUSE_MOST_MS = 8_000;
/** Rows of both ends looked at in one reading; the buckets that differ are taken in batches of so many. */
const BATCH_ROWS = 40_000;
/** Differences of one table that a job keeps; more are only counted. */
export const MOST_FINDINGS = 100_000;
const DIGESTS = 4_096;
/** Of smaller tables the sums are there as soon. */
const GLANCED_AT_ROWS = 10_000;

export interface Comparing {
  readonly ports: VerifyPorts;
  readonly conversation: Conversation;
  readonly kind: JobKind;
  readonly dataSource: DataSource;
  readonly table: PlannedTable;
  /** The digests' table of the capture. */
  readonly tableId: number;
  readonly tableRows: number;
  readonly laneId: Uint8Array;
  readonly epoch: LaneOut['epoch'];
  readonly references: References;
  readonly options: JobOptions;
  readonly signal: AbortSignal;
  /** Keeps rows that were found; called in steps. */
  keep(rows: readonly JobRow[]): void;
  step(text: string): void;
}

/** One row as the source has it. */
interface SourceSide {
  readonly key: string;
  readonly bucket: number;
  /** The filter lets it pass. */
  readonly passes: boolean;
  /** Undefined: it cannot be carried. */
  readonly digest: string | undefined;
  /** It is what the destinations were last sent. */
  readonly isSent: boolean;
}

/** Compares; the counts are complete when it returns. Throws what reading, the destination or the lane threw. */
export async function compareTable(comparing: Comparing, counts: TableCounts): Promise<void> {
  const { conversation, signal } = comparing;
  const behind = () => comparing.step(`${counts.table}: waits until the lane has caught up`);
  const shape = await conversation.ask(question(comparing, [], { $case: 'shape', value: true }), signal, behind);
  const compared = comparing.table.layout.columns.filter((name) => shape.comparable.includes(name));
  counts.notCompared = shape.notComparable;
  if (mayBeSame(comparing) && (await haveSameText(comparing, counts, compared, behind))) return;
  let bits = bucketBits(comparing.tableRows);
  let { here, there } = await sumBoth(comparing, counts, compared, bits, behind);
  const better = bucketBits(Math.max(here.rows, there.rows));
  if (better > bits + 2) {
    // Many more rows than the last scan knew of, or than the source has: coarse buckets would name far too many.
    bits = better;
    ({ here, there } = await sumBoth(comparing, counts, compared, bits, behind));
  }
  let left = here.differing(there);
  // Under traffic most buckets may differ at any moment: those that were once equal are done with.
  for (let again = 0; again < 2 && rowsOf(left, here, there) > BATCH_ROWS; again++) {
    ({ here, there } = await sumBoth(comparing, counts, compared, bits, behind));
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
      const result = await compareRows(comparing, counts, compared, { bits, buckets: batch, settled }, found, behind);
      found += result.found;
      inMotion += result.inMotion;
      for (const bucket of result.moving) moving.add(bucket);
    }
    left = [...moving].sort((a, b) => a - b);
    for (const bucket of settled.keys()) if (!moving.has(bucket)) settled.delete(bucket);
    counts.inMotion = inMotion;
    if (round >= ROUNDS) return;
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
  behind: () => void,
): Promise<boolean> {
  const { ports, conversation, dataSource, table, options, signal } = comparing;
  const wanted = table.layout.columns.map((name) => compared.includes(name));
  const isWhole = wanted.every(Boolean);
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
    (stop) => conversation.ask(asked, stop, behind).catch(unlessUnknown),
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
  behind: () => void,
): Promise<{ here: BucketSums; there: BucketSums }> {
  const { conversation, signal } = comparing;
  const { key } = conversation;
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
    (stop) => conversation.ask(asked, stop, behind),
  );
  const there = BucketSums.decode(reading.sums, bits);
  counts.sourceRows = here.rows;
  counts.targetRows = there.rows;
  counts.refusedAtSource = refused;
  counts.unreadableAtTarget = Number(reading.unreadable);
  return { here, there };
}

/** Rows that were found in earlier rounds, by bucket. */
type Settled = Map<number, Set<string>>;

interface RowsResult {
  readonly found: number;
  readonly inMotion: number;
  readonly moving: ReadonlySet<number>;
}

async function compareRows(
  comparing: Comparing,
  counts: TableCounts,
  compared: readonly string[],
  wanted: { bits: number; buckets: readonly number[]; settled: Settled },
  foundBefore: number,
  behind: () => void,
): Promise<RowsResult> {
  const { ports, conversation, tableId, signal } = comparing;
  const { key } = conversation;
  const { database } = ports;
  const buckets = new Set(wanted.buckets);
  const here = new Map<string, SourceSide>();
  // Everything sent before this place is in the digests that the rows are held against; what comes later is looked for by key.
  const anchor = laneNow(comparing).lastSequence;
  const { nameless } = await readCompared(comparing, compared, (row) => {
    const bucket = key.bucket(row.keyBytes, wanted.bits);
    if (!buckets.has(bucket)) return;
    const keyHash = key.keyHash(row.keyBytes);
    const stored = database.digests.get(tableId, row.key);
    const isSent =
      stored !== undefined && stored[2] === 1 && row.line !== undefined && stored[1] === digestOf(row.line);
    here.set(keyHash, {
      key: row.key,
      bucket,
      passes: row.passes,
      digest: row.compared === undefined ? undefined : key.digest(row.compared),
      isSent,
    });
  });
  const asked = question(comparing, compared, { $case: 'rows', value: { bits: wanted.bits, buckets: [...buckets] } });
  const reading = await conversation.ask(asked, signal, behind);
  const open = hashesOf(reading.openKeys);
  const there = new Map<string, VerifyRow>();
  for (const row of reading.rows) there.set(hex(row.keyHash), row);

  const isBlindToDeletes = comparing.table.cursor !== undefined;
  const hidden = [...there].filter(([keyHash, { key: told }]) => told.length === 0 && !here.has(keyHash));
  const pending = await stillSent(comparing, new Set(hidden.map(([keyHash]) => keyHash)));
  // Last, and with nothing packed behind it: what the digests say below is what was sent up to the last delivery looked into.
  let touched = await namedSince(comparing, anchor);
  while (touched.through !== laneNow(comparing).lastSequence) touched = await namedSince(comparing, anchor);
  const moving = new Set<number>();
  let inMotion = 0;
  const rows: JobRow[] = [];
  const noteMotion = (bucket: number): void => {
    inMotion += 1;
    moving.add(bucket);
  };
  const isSettled = (bucket: number, keyHash: string): boolean => wanted.settled.get(bucket)?.has(keyHash) === true;
  const hasLost = database.jobs.hasLost(comparing.laneId, comparing.epoch);
  const note = (finding: Finding, rowKey: string, keyHash: string, bucket: number, target?: VerifyRow): void => {
    const owned = target?.owned ?? true;
    wanted.settled.set(bucket, (wanted.settled.get(bucket) ?? new Set()).add(keyHash));
    rows.push({
      table: counts.table,
      key: rowKey,
      reference: rowReference(comparing.references, counts.table, rowKey),
      finding,
      cause: causeOf(finding, { owned, isOpen: open.has(keyHash), hasLost }),
      owned,
    });
  };
  const isTouched = (keyHash: string): boolean => !touched.isKnown || touched.named.has(keyHash);
  for (const [keyHash, source] of here) {
    const target = there.get(keyHash);
    const { bucket } = source;
    if (source.digest === undefined || (target !== undefined && hex(target.digest) === source.digest)) continue;
    if ((!source.passes && (target?.outside ?? true)) || isSettled(bucket, keyHash)) continue;
    if (isTouched(keyHash) || !source.isSent) noteMotion(bucket);
    else note(target === undefined ? 'missing' : 'differing', source.key, keyHash, bucket, target);
  }
  for (const [keyHash, target] of there) {
    const { bucket } = target;
    if (here.has(keyHash) || target.outside || isSettled(bucket, keyHash)) continue;
    if (isTouched(keyHash) || nameless > 0) noteMotion(bucket);
    else if (target.key.length === 0) {
      if (pending.has(keyHash) && !isBlindToDeletes) noteMotion(bucket);
      else note('extra', `\n${keyHash}`, keyHash, bucket, target);
    } else {
      const rowKey = keyOf(comparing.table, target.key);
      const stored = database.digests.get(tableId, rowKey);
      // Gone at the source, and no scan has seen it yet; by a cursor none ever will.
      if (stored !== undefined && stored[2] === 1 && !isBlindToDeletes) noteMotion(bucket);
      else note('extra', rowKey, keyHash, bucket, target);
    }
  }
  countFindings(counts, rows);
  const kept = rows.slice(0, Math.max(0, MOST_FINDINGS - foundBefore));
  counts.left += rows.length - kept.length;
  comparing.keep(kept);
  return { found: rows.length, inMotion, moving };
}

/** Where it can be known. A lane that gave nothing up since its epoch began has brought every row as it was sent. */
function causeOf(finding: Finding, facts: { owned: boolean; isOpen: boolean; hasLost: boolean }): Cause {
  if (facts.isOpen) return 'neverApplied';
  if (!facts.owned) return finding === 'extra' ? 'unknown' : 'neverApplied';
  return facts.hasLost ? 'unknown' : 'changedAtTarget';
}

function countFindings(counts: TableCounts, rows: readonly JobRow[]): void {
  for (const { finding, owned, cause } of rows) {
    if (finding === 'missing') counts.missing += 1;
    else if (finding === 'differing') counts.differing += 1;
    else if (owned) counts.extraOwned += 1;
    else counts.extraKept += 1;
    counts[cause] += 1;
  }
}

interface Named {
  readonly named: ReadonlySet<string>;
  /** The last delivery looked into. */
  readonly through: bigint;
  /** False when one of them is not kept any more: any row may have been named. */
  readonly isKnown: boolean;
}

/**
 * Hashes of the keys of this table that deliveries past the anchor name, up to the last one packed. The destination's reading
 * is no later than that: it can only have applied what was packed.
 */
async function namedSince(comparing: Comparing, anchor: bigint): Promise<Named> {
  const { ports, conversation, laneId, epoch, table } = comparing;
  const { database } = ports;
  const named = new Set<string>();
  let isKnown = true;
  let through = anchor;
  // Asked again after every pause: what is packed meanwhile is looked into, too.
  for (; through < laneNow(comparing).lastSequence; through++) {
    const delivery = database.deliveriesOut.get({ lane: laneId, epoch, sequence: through + 1n });
    if (delivery === undefined || delivery.parcel === undefined) {
      isKnown &&= delivery !== undefined;
      continue;
    }
    if (database.parcels.content(delivery.parcel) === undefined) {
      isKnown = false;
      continue;
    }
    for (const section of decodeContent(await contentOf(database, delivery))) {
      if (section.table !== table.name) continue;
      const { rows } = section;
      for (const line of linesOf(Buffer.from(rows.buffer, rows.byteOffset, rows.byteLength))) {
        named.add(conversation.key.keyHash(line.subarray(0, endOfFields(line, section.keyColumns))));
      }
    }
  }
  return { named, through, isKnown };
}

/** Of keys that only their hash names, those that the destinations hold as far as the source knows: a delete is still to come. */
async function stillSent(
  { ports, conversation, table, tableId }: Comparing,
  hashes: ReadonlySet<string>,
): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  if (hashes.size === 0) return found;
  for (let after = ''; ; ) {
    const page = ports.database.digests.after(tableId, after, DIGESTS);
    for (const [key, , sent] of page) {
      if (sent !== 1 || isNameless(key)) continue;
      const line = table.keys.decode(key);
      const keyHash = conversation.key.keyHash(line.subarray(0, line.length - 1));
      if (hashes.has(keyHash)) found.add(keyHash);
    }
    const last = page.at(-1);
    if (last === undefined) return found;
    after = last[0];
    await new Promise(setImmediate);
  }
}

interface ComparedRow {
  readonly keyBytes: Buffer;
  /** As the digests name the row. */
  readonly key: string;
  /** With its LF; undefined when it cannot be carried. */
  readonly line: Buffer | undefined;
  /** The compared fields; undefined when it cannot be carried. */
  readonly compared: Buffer | undefined;
  /** The job's filter lets it pass. */
  readonly passes: boolean;
}

async function readCompared(comparing: Comparing, compared: readonly string[], visit: (row: ComparedRow) => void) {
  const { ports, dataSource, table, options, signal } = comparing;
  const { layout, transform } = table;
  const wanted = layout.columns.map((name) => compared.includes(name));
  const isWhole = wanted.every(Boolean);
  const passes = lineFilter(options.where, layout.columns, transform.types);
  const limits = { rowsPerSecond: options.rowsPerSecond, signal };
  return readSource(ports, dataSource, table, limits, (row: SourceRow) => {
    const line = row.kind === 'row' ? row.line : row.keyLine;
    const bare = line.subarray(0, line.length - 1);
    const keyBytes = bare.subarray(0, endOfFields(bare, layout.keyColumns));
    visit({
      keyBytes,
      key: table.keys.encode(line, 0, line.length - 1),
      line: row.kind === 'row' ? line : undefined,
      compared: row.kind === 'refused' ? undefined : isWhole ? bare : pickFields(bare, wanted),
      passes: row.kind === 'refused' || passes === undefined || passes(bare),
    });
  });
}

function question(
  comparing: Comparing,
  compared: readonly string[],
  what: NonNullable<VerifyQuestion['what']>,
): VerifyQuestion {
  const { table, options } = comparing;
  const lane = laneNow(comparing);
  return VerifyQuestion.fromPartial({
    table: table.name,
    columns: table.layout.columns.map((name, index) => ({
      name,
      typeJson: JSON.stringify(table.transform.types[index]),
      nullable: index >= table.layout.keyColumns,
    })),
    keyColumns: table.layout.keyColumns,
    compared: [...compared],
    where: options.where,
    rowsPerSecond: options.rowsPerSecond,
    epoch: { ordinal: lane.epoch, nonce: lane.nonce },
    afterSequence: lane.lastSequence,
    what,
  });
}

/** The lane as it is now. Throws EPOCH_MOVED (transient) when it is in another epoch, or loads. */
export function laneNow({ ports, laneId, epoch }: Pick<Comparing, 'ports' | 'laneId' | 'epoch'>): LaneOut {
  const lane = ports.database.lanesOut.get(laneId);
  if (lane === undefined || lane.epoch !== epoch || lane.phase !== 'streaming') {
    throw new QiaoError('EPOCH_MOVED', `lane ${idText(laneId)} began another epoch, or loads`, {
      fate: 'transient',
      hint: 'the job begins anew by itself when the load is finished',
    });
  }
  return lane;
}

/** The key as the digests name it, from its row text without LF. */
export function keyOf(table: PlannedTable, keyText: Uint8Array): string {
  const bytes = Buffer.from(keyText.buffer, keyText.byteOffset, keyText.byteLength);
  return table.keys.encode(bytes, 0, bytes.length);
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

function* linesOf(rows: Buffer): Generator<Buffer> {
  for (let start = 0; start < rows.length; ) {
    const end = rows.indexOf(0x0a, start);
    yield rows.subarray(start, end);
    start = end + 1;
  }
}

function hashesOf(bytes: Uint8Array): ReadonlySet<string> {
  const text = hex(bytes);
  const hashes = new Set<string>();
  for (let at = 0; at + 32 <= text.length; at += 32) hashes.add(text.slice(at, at + 32));
  return hashes;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
