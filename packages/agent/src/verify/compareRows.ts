/** The rows of buckets that differ: what is missing, differs or is too much, what of it is exact, and why. */
import type { VerifyRow } from '@qiao/contract/verify';
import { decodeContent } from '@qiao/exchange';
import { digestOf, isNameless } from '../capture/compare.ts';
import type { Cause, Finding, JobRow, TableCounts } from '../exchange-database/index.ts';
import { contentOf } from '../send/sealDelivery.ts';
import { type Comparing, hex, keyOf, laneNow, question, readCompared } from './comparing.ts';
import { endOfFields } from './fields.ts';
import { rowReference } from './references.ts';
import { askByKeys, MOST_ASKED } from './sourceRows.ts';

/** Differences of one table that a job keeps; more are only counted. */
const MOST_FINDINGS = 100_000;
const DIGESTS = 4_096;

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

/** Rows that were found in earlier rounds, by bucket. */
export type Settled = Map<number, Set<string>>;

export interface Wanted {
  readonly bits: number;
  readonly buckets: readonly number[];
  readonly settled: Settled;
}

export interface RowsResult {
  readonly found: number;
  readonly inMotion: number;
  readonly moving: ReadonlySet<number>;
}

/**
 * Reads the rows of some buckets at both ends, keeps what is found, and says which buckets are to be looked at again. Throws what reading,
 * the destination or the lane threw.
 */
export async function compareRows(
  comparing: Comparing,
  counts: TableCounts,
  compared: readonly string[],
  wanted: Wanted,
  foundBefore: number,
  onWait: (until: string) => void,
): Promise<RowsResult> {
  await comparing.turn.take(comparing.signal);
  // Everything sent before this place is in the digests that the rows are held against; what comes later is looked for by key.
  const anchor = laneNow(comparing).lastSequence;
  const { here, nameless, unaskable } = await readHere(comparing, compared, wanted);
  const { bits, buckets } = wanted;
  const rows = question(comparing, compared, { $case: 'rows', value: { bits, buckets: [...buckets] } });
  const reading = await comparing.conversation.ask(rows, comparing.signal, onWait);
  const there = new Map(reading.rows.map((row) => [hex(row.keyHash), row]));
  const extra = [...there].filter(([keyHash, { outside }]) => !here.has(keyHash) && !outside).map(([, { key }]) => key);
  const asked = nameless > 0 && unaskable === 0 ? await askOf(comparing, extra) : undefined;
  const hidden = [...there].filter(([keyHash, { key }]) => key.length === 0 && !here.has(keyHash));
  const pending = await stillSent(comparing, new Set(hidden.map(([keyHash]) => keyHash)));
  // Last, and with nothing packed behind it: what the digests say below is what was sent up to the last delivery looked into.
  let touched = await namedSince(comparing, anchor);
  while (touched.through !== laneNow(comparing).lastSequence) touched = await namedSince(comparing, anchor);
  const judged = judge(
    comparing,
    counts.table,
    { here, nameless, asked, there, open: hashesOf(reading.openKeys), pending, touched },
    wanted.settled,
  );
  countFindings(counts, judged.rows);
  counts.stale = (counts.stale ?? 0) + judged.stale;
  const kept = judged.rows.slice(0, Math.max(0, MOST_FINDINGS - foundBefore));
  counts.left += judged.rows.length - kept.length;
  comparing.keep(kept);
  return { found: judged.rows.length, inMotion: judged.inMotion, moving: judged.moving };
}

async function readHere(
  comparing: Comparing,
  compared: readonly string[],
  { bits, buckets }: Wanted,
): Promise<{ here: ReadonlyMap<string, SourceSide>; nameless: number; unaskable: number }> {
  const { digests } = comparing.ports.database;
  const { key } = comparing.conversation;
  const asked = new Set(buckets);
  const here = new Map<string, SourceSide>();
  const { nameless, unaskable } = await readCompared(comparing, compared, (row) => {
    const bucket = key.bucket(row.keyBytes, bits);
    if (!asked.has(bucket)) return;
    const stored = digests.get(comparing.tableId, row.key);
    here.set(key.keyHash(row.keyBytes), {
      key: row.key,
      bucket,
      passes: row.passes,
      digest: row.compared === undefined ? undefined : key.digest(row.compared),
      isSent: stored !== undefined && stored[2] === 1 && row.line !== undefined && stored[1] === digestOf(row.line),
    });
  });
  return { here, nameless, unaskable };
}

/** What the source says of rows that it gave none of, asked by their keys; undefined where it cannot be asked. */
async function askOf(
  { ports, dataSource, table, signal }: Comparing,
  keys: readonly Uint8Array[],
): Promise<BothEnds['asked']> {
  const known = keys.filter((key) => key.length > 0).map((key) => Buffer.from(key).toString('utf8'));
  if (!table.transform.keepsKeys || known.length > MOST_ASKED) return undefined;
  return known.length === 0
    ? { gone: new Set(), refused: new Set() }
    : await askByKeys(ports, dataSource, table, known, signal);
}

/** What was read, by the hashes of the rows' keys. */
interface BothEnds {
  readonly here: ReadonlyMap<string, SourceSide>;
  /** Rows of the source whose key cannot be carried. */
  readonly nameless: number;
  /** Of rows that only the destination gave: keys without a row at the source, and keys of rows that it cannot give. */
  readonly asked: { readonly gone: ReadonlySet<string>; readonly refused: ReadonlySet<string> } | undefined;
  readonly there: ReadonlyMap<string, VerifyRow>;
  /** Keys with a row in the destination's quarantine. */
  readonly open: ReadonlySet<string>;
  /** Keys that only their hash names, and that the destinations hold as far as the source knows. */
  readonly pending: ReadonlySet<string>;
  readonly touched: Named;
}

/** Tells differences that are exact from rows in motion. A row that was found in an earlier round is not found again. */
function judge(
  { ports: { database }, table, tableId, laneId, epoch, references }: Comparing,
  tableName: string,
  { here, nameless, asked, there, open, pending, touched }: BothEnds,
  settled: Settled,
): { rows: JobRow[]; inMotion: number; stale: number; moving: ReadonlySet<number> } {
  const isBlindToDeletes = table.cursor !== undefined;
  const hasLost = database.jobs.hasLost(laneId, epoch);
  const moving = new Set<number>();
  let inMotion = 0;
  let stale = 0;
  const rows: JobRow[] = [];
  const noteMotion = (bucket: number): void => {
    inMotion += 1;
    moving.add(bucket);
  };
  const isSettled = (bucket: number, keyHash: string): boolean => settled.get(bucket)?.has(keyHash) === true;
  const settle = (bucket: number, keyHash: string): void => {
    settled.set(bucket, (settled.get(bucket) ?? new Set()).add(keyHash));
  };
  const noteStale = (bucket: number, keyHash: string): void => {
    if (isSettled(bucket, keyHash)) return;
    settle(bucket, keyHash);
    stale += 1;
  };
  const note = (finding: Finding, rowKey: string, keyHash: string, bucket: number, target?: VerifyRow): void => {
    const owned = target?.owned ?? true;
    settle(bucket, keyHash);
    rows.push({
      table: tableName,
      key: rowKey,
      reference: rowReference(references, tableName, rowKey),
      finding,
      cause: causeOf(finding, { owned, isOpen: open.has(keyHash), hasLost }),
      owned,
    });
  };
  const isTouched = (keyHash: string): boolean => !touched.isKnown || touched.named.has(keyHash);
  for (const [keyHash, source] of here) {
    const target = there.get(keyHash);
    const { bucket } = source;
    if (source.digest === undefined) {
      if (target !== undefined && !target.outside) noteStale(bucket, keyHash);
      continue;
    }
    if (target !== undefined && hex(target.digest) === source.digest) continue;
    if ((!source.passes && (target?.outside ?? true)) || isSettled(bucket, keyHash)) continue;
    if (isTouched(keyHash) || !source.isSent) noteMotion(bucket);
    else note(target === undefined ? 'missing' : 'differing', source.key, keyHash, bucket, target);
  }
  for (const [keyHash, target] of there) {
    const { bucket } = target;
    if (here.has(keyHash) || target.outside || isSettled(bucket, keyHash)) continue;
    const text = Buffer.from(target.key).toString('utf8');
    if (isTouched(keyHash)) noteMotion(bucket);
    else if (asked?.refused.has(text)) noteStale(bucket, keyHash);
    else if (nameless > 0 && asked?.gone.has(text) !== true) noteMotion(bucket);
    else if (target.key.length === 0) {
      if (pending.has(keyHash) && !isBlindToDeletes) noteMotion(bucket);
      else note('extra', `\n${keyHash}`, keyHash, bucket, target);
    } else {
      const rowKey = keyOf(table, target.key);
      const stored = database.digests.get(tableId, rowKey);
      // Gone at the source, and no scan has seen it yet; by a cursor none ever will.
      if (stored !== undefined && stored[2] === 1 && !isBlindToDeletes) noteMotion(bucket);
      else note('extra', rowKey, keyHash, bucket, target);
    }
  }
  return { rows, inMotion, stale, moving };
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
