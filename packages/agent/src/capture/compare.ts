/**
 * Compare one table: every row of the snapshot against the digest of what the destinations were last sent.
 *
 * Rows are taken in batches (one chunk of the source), ordered by key, and merged with the digests, which are read once in
 * order of key: an unchanged row writes nothing. Stored keys that the merge passes by are noted as unseen. No step relies on
 * the source's order: a row that comes after its place was passed is looked up alone and taken off the list of the unseen.
 */
import { hash } from 'node:crypto';
import { MAX_ROW_BYTES, QiaoError } from '@qiao/exchange';
import type { DigestRow, ExchangeDatabase } from '../exchange-database/index.ts';
import type { ScanOutput } from './output.ts';
import type { PlannedTable } from './plan.ts';

const LF = 0x0a;
/** Digests read in one query of the merge. */
const PAGE = 4_096;
/** Hexadecimal digits of a digest: SHA-256 cut to 16 bytes. */
const DIGEST_DIGITS = 32;

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

  add(key: string, digest: string, line: Buffer, standing: Standing): void {
    this.keys.push(key);
    this.digests.push(digest);
    this.lines.push(line);
    this.standings.push(standing);
  }
}

export class TableCompare {
  readonly #database: ExchangeDatabase;
  readonly #table: PlannedTable;
  readonly #tableId: number;
  readonly #output: ScanOutput;
  /** Every stored key up to this one was passed by the merge. */
  #through = '';
  /** Keys of this scan whose digests wait for the next flush; kept only once the source proved unordered. */
  #pendingKeys: Set<string> | undefined;
  /** Rows of this scan that could not be named by a key: deletes of this table cannot be told from them. */
  #nameless = 0;

  constructor(database: ExchangeDatabase, table: PlannedTable, tableId: number, output: ScanOutput) {
    this.#database = database;
    this.#table = table;
    this.#tableId = tableId;
    this.#output = output;
  }

  /** Rows that had no key; with any, nothing of this table may be called deleted. */
  get nameless(): number {
    return this.#nameless;
  }

  /** Takes whole lines; returns how many. Synchronous: the caller flushes between chunks. */
  take(lines: Buffer): number {
    const batch = this.#table.transform.isIdentity ? this.#untouched(lines) : this.#transformed(lines);
    this.#compare(batch);
    return batch.keys.length;
  }

  /** The digests of a flush are on disk now. */
  flushed(): void {
    this.#pendingKeys?.clear();
  }

  /** The source has no more rows: every stored key behind the last one is unseen. */
  async finish(): Promise<void> {
    for (;;) {
      const page = this.#database.digests.after(this.#tableId, this.#through, PAGE);
      this.#note(page);
      const last = page.at(-1);
      if (last === undefined) return;
      this.#through = last[0];
      // An emptied source leaves every digest of the table to this loop.
      await new Promise(setImmediate);
    }
  }

  #untouched(lines: Buffer): Batch {
    const batch = new Batch();
    const { keys } = this.#table;
    for (let start = 0; start < lines.length; ) {
      const end = endOfLine(lines, start);
      const line = lines.subarray(start, end + 1);
      batch.add(keys.encode(lines, start, end), digestOf(line), line, 'row');
      start = end + 1;
    }
    return batch;
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
        if (keyLine === undefined) {
          this.#nameless += 1;
          batch.add(NAMELESS + digest, digest, line, kind);
        } else batch.add(keys.encode(keyLine, 0, keyLine.length - 1), digest, keyLine, kind);
      }
      start = end + 1;
    }
    return batch;
  }

  #compare(batch: Batch): void {
    const order = ascending(batch.keys);
    const count = batch.keys.length;
    let next = 0;
    // Rows whose place was passed before.
    while (next < count && at(batch.keys, order, next) <= this.#through) next++;
    for (let i = 0; i < next; i++) this.#late(batch, order === undefined ? i : (order[i] as number));
    if (next === count) return;

    const last = at(batch.keys, order, count - 1);
    const unseen: DigestRow[] = [];
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
        if (unseen.length >= PAGE) this.#note(unseen.splice(0));
      }
      this.#decide(batch, index, found);
    }
    this.#note(unseen);
    this.#through = last;
  }

  /** A row after its place was passed: its digest, if there is one, must be on the list of the unseen. */
  #late(batch: Batch, index: number): void {
    const key = batch.keys[index] as string;
    this.#pendingKeys ??= new Set(this.#output.pendingKeys(this.#tableId).map((change) => change.key));
    if (this.#pendingKeys.has(key)) throw this.#notUnique();
    const found = this.#database.digests.get(this.#tableId, key);
    if (found !== undefined && !this.#database.digests.meetUnseen(this.#tableId, key)) throw this.#notUnique();
    this.#decide(batch, index, found);
  }

  #decide(batch: Batch, index: number, found: DigestRow | undefined): void {
    const digest = batch.digests[index] as string;
    const line = batch.lines[index] as Buffer;
    const standing = batch.standings[index] as Standing;
    const output = this.#output;
    const { layout, name } = this.#table;
    const wasSent = found !== undefined && found[2] === 1;
    const isSame = found !== undefined && found[1] === digest;
    switch (standing) {
      case 'row':
        if (line.length > MAX_ROW_BYTES) throw this.#tooLarge();
        if (output.isLoading) output.loadRow(layout, line);
        if (wasSent && isSame) return;
        output.change(layout, wasSent ? 'update' : 'insert', line);
        this.#put(batch.keys[index] as string, digest, true, found === undefined);
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
      { hint: 'name a unique key in the bridge: key: [...]; then qiao bridge check' },
    );
  }

  #tooLarge(): QiaoError {
    return new QiaoError('ROW_TOO_LARGE', `a row of ${this.#table.name} is larger than ${MAX_ROW_BYTES} bytes`, {
      hint: 'leave the large column out of the bridge (columns:)',
    });
  }
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
