/**
 * Compare one table: every row of the snapshot against the digest of what the destinations were last sent.
 *
 * Rows are taken in batches (one chunk of the source), ordered by key, and merged with the digests, which are read once in
 * order of key: an unchanged row writes nothing. Stored keys that the merge passes by are noted as unseen. No step relies on
 * the source's order: a row that comes after its place was passed is looked up alone and taken off the list of the unseen.
 *
 * Rows that travel as they come are remembered as runs too: where the next bytes are those of the run that belongs here, all of
 * its rows are as they were, and none of them is cut, hashed or looked up.
 */
import { hash } from 'node:crypto';
import { MAX_ROW_BYTES, QiaoError } from '@qiao/exchange';
import type { DigestRow, DigestRun, ExchangeDatabase } from '../exchange-database/index.ts';
import { type HeardTable, OtherEnd } from './otherEnd.ts';
import type { ScanOutput } from './output.ts';
import type { PlannedTable } from './plan.ts';
import { Refusals } from './refusals.ts';
import { WANTED } from './wantedRows.ts';

const LF = 0x0a;
/** Digests read in one query of the merge. */
const PAGE = 4_096;
/** Hexadecimal digits of a digest: SHA-256 cut to 16 bytes. */
const DIGEST_DIGITS = 32;
/** Lines of a run: as few bytes as pay for looking it up, and no more than may wait for the rest of it. */
const RUN_BYTES = 64 * 1024;
const LEAST_RUN_BYTES = 16 * 1024;
const MOST_RUN_BYTES = 1024 * 1024;

/** Before the digest of a row without a usable key, in place of one: no line holds an LF, so no key begins like this. */
const NAMELESS = '\n';

/** The digest stands for a row that no key names: when it is gone, nobody knows which row is. */
export function isNameless(key: string): boolean {
  return key.startsWith(NAMELESS);
}

/** How a row leaves. */
type Standing = 'row' | 'filtered' | 'refused';

/** Rows of one chunk, as columns: one array each instead of an object per row. */
class Batch {
  readonly keys: string[] = [];
  readonly digests: string[] = [];
  readonly lines: Buffer[] = [];
  readonly standings: Standing[] = [];
  /** Of all lines. */
  bytes = 0;

  add(key: string, digest: string, line: Buffer, standing: Standing): void {
    this.keys.push(key);
    this.digests.push(digest);
    this.lines.push(line);
    this.standings.push(standing);
    this.bytes += line.length;
  }
}

export class TableCompare {
  readonly #database: ExchangeDatabase;
  readonly #table: PlannedTable;
  readonly #tableId: number;
  readonly #output: ScanOutput;
  /** Rows of this scan that a transform or a check refused, whether they are new or not. */
  readonly refusals: Refusals;
  /** Every stored key up to this one was passed by the merge. */
  #through = '';
  /** Keys of this scan whose digests wait for the next flush; kept only once the source proved unordered. */
  #pendingKeys: Set<string> | undefined;
  /** Lines of a run whose rest has not come yet. */
  #rest: Buffer = Buffer.alloc(0);
  /** Nothing came that its place in the order of keys had passed. */
  #isOrdered = true;
  /** Rows of this scan that could not be named by a key: deletes of this table cannot be told from them. */
  #nameless = 0;
  /** Only a part of the table is read: each row is looked up alone, and none is missed. */
  readonly #isPart: boolean;
  /** The rows are those that something happened to. */
  readonly #isTouched: boolean;
  readonly #otherEnd: OtherEnd;

  constructor(
    database: ExchangeDatabase,
    table: PlannedTable,
    tableId: number,
    output: ScanOutput,
    {
      isPart = false,
      isTouched = false,
      heard,
    }: { isPart?: boolean; isTouched?: boolean; heard?: HeardTable | undefined } = {},
  ) {
    this.#database = database;
    this.#table = table;
    this.#tableId = tableId;
    this.#output = output;
    this.#isPart = isPart;
    this.#isTouched = isTouched;
    this.refusals = new Refusals(isPart ? database.refusals.keys(tableId) : new Set());
    this.#otherEnd = new OtherEnd(database, table, tableId, heard, output);
  }

  /** Rows that had no key; with any, nothing of this table may be called deleted. */
  get nameless(): number {
    return this.#nameless;
  }

  /** Takes whole lines; returns how many rows were looked at. Synchronous: the caller flushes between chunks. */
  take(lines: Buffer): number {
    this.#otherEnd.begin();
    const rows = this.#take(lines);
    this.#otherEnd.end();
    return rows;
  }

  #take(lines: Buffer): number {
    if (this.#isPart || !this.#table.transform.isIdentity) {
      const { isIdentity } = this.#table.transform;
      const batch = isIdentity ? this.#untouched(lines, 0, undefined) : this.#transformed(lines);
      if (this.#isPart) this.#compareAlone(batch);
      else this.#compare(batch);
      return batch.keys.length;
    }
    const rest = this.#rest;
    if (rest.length === 0) return this.#takeUntouched(lines, false);
    this.#rest = Buffer.alloc(0);
    const run = this.#database.digests.runs.next(this.#tableId, this.#through);
    // Somebody may have written a digest meanwhile: the run that began is none any more.
    const more = (run?.bytes ?? 0) - rest.length;
    if (run?.after === this.#through && more <= lines.length) {
      // The run alone, not whole chunks: every chunk put together would be copied, and this is far less.
      const head = Buffer.concat([rest, lines.subarray(0, more)]);
      if (isAgain(head, run)) return this.#passRun(run, head) + this.#takeUntouched(lines.subarray(more), false);
    }
    return this.#takeUntouched(Buffer.concat([rest, lines]), false);
  }

  /** The source has no rows of these keys: what the destinations hold of them is unseen. */
  missing(keys: readonly string[]): void {
    this.#otherEnd.begin();
    const found = keys.map((key) => {
      const stored = this.#database.digests.get(this.#tableId, key);
      return stored?.[2] === 1 ? stored : this.#otherEnd.takeOver(key, stored);
    });
    this.#note(found.filter((row) => row !== undefined));
  }

  /** The digests of a flush are on disk now. */
  flushed(): void {
    this.#pendingKeys?.clear();
  }

  /** The source has no more rows: every stored key behind the last one is unseen. Returns how many rows were looked at. */
  async finish(): Promise<number> {
    if (this.#isPart) return 0;
    this.#otherEnd.begin();
    const rows = this.#takeUntouched(this.#rest, true);
    this.#otherEnd.end();
    for (;;) {
      const page = this.#database.digests.after(this.#tableId, this.#through, PAGE);
      this.#note(page);
      const last = page.at(-1);
      if (last === undefined) return rows;
      this.#through = last[0];
      // An emptied source leaves every digest of the table to this loop.
      await new Promise(setImmediate);
    }
  }

  /** Lines that travel as they came. Without `isLast` the beginning of a run may be left for later. */
  #takeUntouched(lines: Buffer, isLast: boolean): number {
    const { runs } = this.#database.digests;
    let rows = 0;
    for (let at = 0; at < lines.length; ) {
      const run = runs.next(this.#tableId, this.#through);
      const isHere = run?.after === this.#through;
      if (isHere && !isLast && lines.length - at < run.bytes) {
        this.#rest = Buffer.from(lines.subarray(at));
        return rows;
      }
      const again = isHere ? lines.subarray(at, at + run.bytes) : undefined;
      if (run !== undefined && again !== undefined && isAgain(again, run)) {
        rows += this.#passRun(run, again);
        at += again.length;
        continue;
      }
      // Row by row as far as the next run begins.
      const bound = isHere ? run.through : run?.after;
      const batch = this.#untouched(lines, at, bound);
      at += batch.bytes;
      rows += batch.keys.length;
      this.#compareUntouched(batch, lines.subarray(at - batch.bytes, at));
      if (bound !== undefined && at < lines.length && this.#through < bound) this.#pass(bound);
    }
    return rows;
  }

  /** A run that came again: its rows are as they were. Returns how many they are. */
  #passRun({ through, rows }: DigestRun, lines: Buffer): number {
    if (this.#output.isLoading) this.#output.loadRows(this.#table.layout, lines, rows);
    this.#through = through;
    return rows;
  }

  /** Lines from `from` on whose keys are not behind `bound`. */
  #untouched(lines: Buffer, from: number, bound: string | undefined): Batch {
    const batch = new Batch();
    const { keys } = this.#table;
    for (let start = from; start < lines.length; ) {
      const end = endOfLine(lines, start);
      const key = keys.encode(lines, start, end);
      if (bound !== undefined && key > bound) break;
      const line = lines.subarray(start, end + 1);
      batch.add(key, digestOf(line), line, 'row');
      start = end + 1;
    }
    return batch;
  }

  #compareUntouched(batch: Batch, lines: Buffer): void {
    const after = this.#through;
    const isWhole = this.#compare(batch);
    if (isWhole) this.#remember(batch, lines, after);
    // What nothing changed travels as it came, in one piece.
    if (this.#output.isLoading && batch.keys.length > 0) {
      this.#output.loadRows(this.#table.layout, lines, batch.keys.length);
    }
  }

  /** Cuts lines whose keys ascend, with no stored key between them that is not theirs, into runs. */
  #remember(batch: Batch, lines: Buffer, before: string): void {
    let after = before;
    let from = 0;
    let to = 0;
    let first = 0;
    for (const [index, line] of batch.lines.entries()) {
      to += line.length;
      const isLast = index === batch.lines.length - 1;
      if (to - from < (isLast ? LEAST_RUN_BYTES : RUN_BYTES)) continue;
      const through = batch.keys[index] as string;
      if (to - from <= MOST_RUN_BYTES) {
        const run = {
          after,
          through,
          rows: index + 1 - first,
          bytes: to - from,
          digest: digestOf(lines.subarray(from, to)),
        };
        this.#output.run(this.#tableId, run);
      }
      [after, from, first] = [through, to, index + 1];
    }
  }

  /** The source went past this key: stored ones up to it that did not come are unseen. */
  #pass(bound: string): void {
    for (;;) {
      const page = this.#database.digests.range(this.#tableId, this.#through, bound, PAGE);
      this.#note(page);
      if (page.length < PAGE) break;
      this.#through = (page.at(-1) as DigestRow)[0];
    }
    this.#through = bound;
  }

  #transformed(lines: Buffer): Batch {
    const batch = new Batch();
    const { keys, transform } = this.#table;
    for (let start = 0; start < lines.length; ) {
      const end = endOfLine(lines, start);
      const result = transform.apply(lines, start, end);
      if (result.kind === 'row') {
        const { line } = result;
        batch.add(keys.encode(line, 0, line.length - 1), digestOf(line), line, 'row');
      } else {
        const { kind, keyLine } = result;
        const line = lines.subarray(start, end + 1);
        // A mark in front: the same bytes would have another digest as a row that travels.
        const digest = (kind === 'filtered' ? 'F' : 'R') + digestOf(line).slice(1);
        const key = keyLine === undefined ? undefined : keys.encode(keyLine, 0, keyLine.length - 1);
        if (kind === 'refused') this.refusals.add(result.code, result.column, key);
        if (key === undefined || keyLine === undefined) {
          this.#nameless += 1;
          batch.add(NAMELESS + digest, digest, line, kind);
        } else batch.add(key, digest, keyLine, kind);
      }
      start = end + 1;
    }
    return batch;
  }

  /** Whether the rows came in order of key, behind all before them, and every stored key between them was met. */
  #compare(batch: Batch): boolean {
    const order = ascending(batch.keys);
    const count = batch.keys.length;
    let next = 0;
    // Rows whose place was passed before.
    while (next < count && at(batch.keys, order, next) <= this.#through) next++;
    for (let i = 0; i < next; i++) this.#late(batch, order === undefined ? i : (order[i] as number));
    const isInOrder = order === undefined && next === 0;
    if (next === count) return false;

    const last = at(batch.keys, order, count - 1);
    const unseen: DigestRow[] = [];
    let isWhole = isInOrder && this.#isOrdered;
    let page = this.#database.digests.range(this.#tableId, this.#through, last, PAGE);
    let stored = 0;
    let previous: string | undefined;
    for (; next < count; next++) {
      const index = order === undefined ? next : (order[next] as number);
      const key = batch.keys[index] as string;
      if (previous === key) throw this.#notUnique();
      previous = key;
      let found: DigestRow | undefined;
      for (;;) {
        if (stored === page.length) {
          const lastRead = page.at(-1);
          if (lastRead === undefined || page.length < PAGE) break;
          page = this.#database.digests.range(this.#tableId, lastRead[0], last, PAGE);
          stored = 0;
          continue;
        }
        const row = page[stored] as DigestRow;
        if (row[0] > key) break;
        stored++;
        if (row[0] === key) {
          found = row;
          break;
        }
        unseen.push(row);
        isWhole = false;
        if (unseen.length >= PAGE) this.#note(unseen.splice(0));
      }
      this.#decide(batch, index, found);
    }
    this.#note(unseen);
    this.#through = last;
    return isWhole;
  }

  /** Rows of a part: the digests between them are nobody's concern. */
  #compareAlone(batch: Batch): void {
    this.refusals.lookAt(batch.keys);
    const order = ascending(batch.keys);
    this.#pendingKeys ??= new Set(this.#output.pendingKeys(this.#tableId).map((change) => change.key));
    let previous: string | undefined;
    for (let i = 0; i < batch.keys.length; i++) {
      const index = order === undefined ? i : (order[i] as number);
      const key = batch.keys[index] as string;
      if (key === previous || this.#pendingKeys.has(key)) throw this.#notUnique();
      previous = key;
      this.#decide(batch, index, this.#database.digests.get(this.#tableId, key));
    }
  }

  /** A row after its place was passed: its digest, if there is one, must be on the list of the unseen. */
  #late(batch: Batch, index: number): void {
    const key = batch.keys[index] as string;
    this.#isOrdered = false;
    this.#output.forgetRuns(this.#tableId);
    this.#pendingKeys ??= new Set(this.#output.pendingKeys(this.#tableId).map((change) => change.key));
    if (this.#pendingKeys.has(key)) throw this.#notUnique();
    const found = this.#database.digests.get(this.#tableId, key);
    const isMet = found === undefined || this.#database.digests.meetUnseen(this.#tableId, key);
    // A destination may have asked for it after its place was passed.
    if (!isMet && found[1] !== WANTED) throw this.#notUnique();
    this.#decide(batch, index, found);
  }

  #decide(batch: Batch, index: number, found: DigestRow | undefined): void {
    const digest = batch.digests[index] as string;
    const line = batch.lines[index] as Buffer;
    const standing = batch.standings[index] as Standing;
    const output = this.#output;
    const { layout, name, transform } = this.#table;
    const wasSent = found !== undefined && found[2] === 1;
    const isSame = found !== undefined && found[1] === digest;
    switch (standing) {
      case 'row':
        if (line.length > MAX_ROW_BYTES) throw this.#tooLarge();
        if (output.isLoading && !transform.isIdentity) output.loadRows(layout, line, 1);
        if (wasSent && isSame && !(this.#isTouched && this.#otherEnd.isHeard)) return;
        this.#otherEnd.row(batch.keys[index] as string, digest, line, found);
        if (!wasSent || !isSame) this.#put(batch.keys[index] as string, digest, true, found === undefined);
        return;
      case 'filtered':
        if (wasSent) {
          // It left the filter: to the destinations it is deleted.
          output.kept(name, 'update', 'filtered', false);
          output.change(layout, 'delete', line);
        } else output.kept(name, found === undefined ? 'insert' : 'update', 'filtered', !isSame);
        if (wasSent || !isSame) this.#put(batch.keys[index] as string, digest, false, found === undefined);
        return;
      case 'refused':
        // What the destinations have stays there until the row can be carried again.
        output.kept(name, found === undefined ? 'insert' : 'update', 'refused', !isSame);
        if (!isSame) this.#put(batch.keys[index] as string, digest, wasSent, found === undefined);
        return;
      default:
        standing satisfies never;
    }
  }

  #put(key: string, digest: string, sent: boolean, isNew: boolean): void {
    this.#output.put(this.#tableId, { key, digest, sent }, isNew);
    this.#pendingKeys?.add(key);
  }

  #note(rows: readonly DigestRow[]): void {
    if (rows.length > 0) this.#database.transaction(() => this.#database.digests.noteUnseen(this.#tableId, rows));
  }

  #notUnique(): QiaoError {
    const { name, layout } = this.#table;
    return new QiaoError(
      'KEY_NOT_UNIQUE',
      `two rows of ${name} have the same key (${layout.columns.slice(0, layout.keyColumns).join(', ')})`,
      { hint: 'name a unique key in the bridge: key: [...]; then qiao bridge check -f FILE' },
    );
  }

  #tooLarge(): QiaoError {
    return new QiaoError('ROW_TOO_LARGE', `a row of ${this.#table.name} is larger than ${MAX_ROW_BYTES} bytes`, {
      hint: 'leave the large column out of the bridge (columns:)',
    });
  }
}

/** Whether these lines are the run's. */
function isAgain(lines: Buffer, run: DigestRun): boolean {
  return lines.length === run.bytes && lines.at(-1) === LF && digestOf(lines) === run.digest;
}

function endOfLine(lines: Buffer, start: number): number {
  const end = lines.indexOf(LF, start);
  if (end < 0) throw new QiaoError('ROW_TEXT_INVALID', 'the data source gave a line without its end');
  return end;
}

/** What a scan remembers of a row as it leaves: its line with LF. */
export function digestOf(line: Uint8Array): string {
  return hash('sha256', line, 'hex').slice(0, DIGEST_DIGITS);
}

/** The order of ascending keys; undefined when they are in it already, which is the rule. */
function ascending(keys: readonly string[]): Uint32Array | undefined {
  let isOrdered = true;
  for (let i = 1; i < keys.length && isOrdered; i++) isOrdered = (keys[i - 1] as string) <= (keys[i] as string);
  if (isOrdered) return undefined;
  return Uint32Array.from(keys.keys()).sort((a, b) => ((keys[a] as string) < (keys[b] as string) ? -1 : 1));
}

function at(keys: readonly string[], order: Uint32Array | undefined, place: number): string {
  return keys[order === undefined ? place : (order[place] as number)] as string;
}
