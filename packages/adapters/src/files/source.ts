/**
 * Reads tables of files for capture. A file is read as it was found: each block is handed on only when the file is still the same. What
 * is a file's record belongs to its format, what is its value to values.ts.
 *
 * Rows of a drop are named by the digest of their file and their place in it, and read by the number that the file got when it was met.
 */
import { createHash, type Hash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type ColumnType, escapeField, MAX_ROW_BYTES, QiaoError } from '@qiao/exchange';
import type {
  FilesTable,
  SnapshotCursor,
  SnapshotOptions,
  SnapshotTable,
  SourceChunk,
  SourceSnapshot,
  TableRef,
} from '../adapter.ts';
import { linesOf } from '../lines.ts';
import { KeyBatch } from '../namedKeys.ts';
import { RefusedCounts } from '../refusedCounts.ts';
import { csvFormat } from './csv.ts';
import { DROP_COLUMNS, tableOf } from './describe.ts';
import { type Folder, type FoundFile, openFound, quotedName, type Settling, stillThere, wholeFiles } from './folder.ts';
import { jsonLinesFormat } from './jsonLines.ts';
import { type Drops, fileChanged, isOfOneFile, type Ledger } from './ledger.ts';
import { type FileRecord, type LeftOut, textRecords } from './records.ts';
import { canonical } from './values.ts';
import { xlsxRecords } from './xlsx.ts';

const BLOCK_BYTES = 256 * 1024;

export interface FilesPorts {
  readonly directory: string;
  readonly tables: Readonly<Record<string, FilesTable>>;
  readonly settling: Settling;
  /** Opened when rows are read. */
  ledger(): Ledger;
}

export class FilesSnapshot implements SourceSnapshot {
  /** Every file is read as it was; files of different tables may be from different moments. */
  readonly consistency = 'chunks';
  readonly cursor: SnapshotCursor;
  readonly #ports: FilesPorts;
  readonly #options: SnapshotOptions;
  readonly #deadline: number;
  /** What lay in a table's folder when it was first asked about: the snapshot sees nothing else. */
  readonly #folders = new Map<string, Promise<Folder>>();
  readonly #drops = new Map<string, Promise<Drops>>();

  constructor(ports: FilesPorts, options: SnapshotOptions) {
    this.#ports = ports;
    this.#options = options;
    this.#deadline = performance.now() + options.maxMs;
    const takenAtMs = Date.now();
    this.cursor = {
      nowMs: async () => takenAtMs,
      highest: async ({ ref }) => String((await this.#met(ref.name)).next),
      // Numbers are given out by one ledger, in the order in which they are read.
      horizon: async () => '',
      identity: async ({ name }) => `${ports.ledger().id} ${name}`,
    };
  }

  async *rows(table: SnapshotTable): AsyncGenerator<SourceChunk, void, undefined> {
    const definition = tableOf(this.#ports.tables, table.ref);
    if (definition === undefined) throw missing(table.ref);
    const only = table.keys === undefined ? undefined : keysOf(table.keys, table.keyColumns);
    if (definition.nature === 'drop') yield* this.#drop(table, definition, only);
    else yield* this.#state(table, definition, only);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Files are closed with the reading that opened them.
  }

  async *#state(table: SnapshotTable, definition: FilesTable, only: KeyBatch | undefined): AsyncGenerator<SourceChunk> {
    const { name } = table.ref;
    const { path, files, names } = await this.#folder(name);
    const file = files.at(-1);
    if (file === undefined) {
      throw new QiaoError('FILE_MISSING', `${path} has no whole file of table ${name}`, {
        fate: 'transient',
        hint: 'an empty table is a file without rows; look whether the share is mounted and the file has its marker',
      });
    }
    const ledger = this.#ports.ledger();
    const last = ledger.stateFile(name);
    // An older file in its place would take back what it brought. Gone is another thing: somebody took it away.
    if (last !== undefined && names.lastIndexOf(last) > names.indexOf(file.name)) {
      throw new QiaoError('FILE_CHANGING', `${quotedName(last)} was read before, and is not whole now`, {
        fate: 'transient',
        hint: 'it is read again when it is whole; take it away if the file before it is to be the table',
      });
    }
    ledger.noteStateFile(name, file.name);
    yield* this.#file(file, table, definition, {}, only);
  }

  async *#drop(table: SnapshotTable, definition: FilesTable, only: KeyBatch | undefined): AsyncGenerator<SourceChunk> {
    const { drops, changed, failures } = await this.#met(table.ref.name);
    const since = Number(table.cursor?.since ?? 0);
    let failure = failures[0];
    for (const { number, digest, file } of drops) {
      if (number < since) continue;
      try {
        yield* this.#file(file, table, definition, { qiao_file: digest, qiao_file_no: String(number) }, only);
      } catch (error) {
        // One file does not hold up the others; the scan fails behind them, until it is mended.
        if (!isOfOneFile(error)) throw error;
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
    if (changed.length > 0) throw fileChanged(changed);
  }

  async *#file(
    file: FoundFile,
    table: SnapshotTable,
    definition: FilesTable,
    given: Readonly<Record<string, string>>,
    only: KeyBatch | undefined,
  ): AsyncGenerator<SourceChunk> {
    const wanted = table.columns.filter(({ name }) => definition.nature !== 'drop' || !DROP_COLUMNS.has(name));
    const writer = new LineWriter(table, wanted, given, only !== undefined);
    for await (const records of this.#records(file, definition, wanted)) {
      const chunk = writer.write(records, file.name);
      yield only === undefined ? chunk : only.only(chunk);
      await nextTurn();
    }
  }

  #records(file: FoundFile, definition: FilesTable, wanted: Wanted, hash?: Hash): AsyncGenerator<FileRecord[]> {
    const { name } = file;
    switch (definition.format) {
      case 'csv': {
        const names = wanted.map((column) => column.name);
        return textRecords(name, this.#blocks(file, hash), definition.encoding, csvFormat(name, definition, names));
      }
      case 'jsonl':
        return textRecords(name, this.#blocks(file, hash), definition.encoding, jsonLinesFormat(name, wanted));
      case 'xlsx':
        return this.#sheet(file, definition, wanted, hash);
      default:
        return definition.format satisfies never;
    }
  }

  async *#sheet(
    file: FoundFile,
    definition: FilesTable,
    wanted: Wanted,
    hash: Hash | undefined,
  ): AsyncGenerator<FileRecord[]> {
    if (hash !== undefined) for await (const _ of this.#blocks(file, hash));
    const handle = await openFound(file);
    try {
      yield* xlsxRecords(file.name, handle, definition, wanted, () => this.#still(handle, file, hash));
    } finally {
      await handle.close();
    }
  }

  async *#blocks(file: FoundFile, hash: Hash | undefined): AsyncGenerator<Buffer> {
    const handle = await openFound(file);
    try {
      for (;;) {
        const block = Buffer.allocUnsafe(BLOCK_BYTES);
        const { bytesRead } = await handle.read(block, 0, block.length, null);
        await this.#still(handle, file, hash);
        if (bytesRead === 0) return;
        const found = block.subarray(0, bytesRead);
        hash?.update(found);
        yield found;
      }
    } finally {
      await handle.close();
    }
  }

  /** A file that is looked through for the first time may take its time: it is noted, and not looked through again. */
  async #still(handle: FileHandle, file: FoundFile, hash: Hash | undefined): Promise<void> {
    this.#options.signal.throwIfAborted();
    if (hash === undefined) this.#inTime();
    await stillThere(handle, file);
  }

  #inTime(): void {
    if (performance.now() <= this.#deadline) return;
    throw new QiaoError('SNAPSHOT_TOO_LONG', `the snapshot was read for more than ${this.#options.maxMs} ms`, {
      fate: 'transient',
      hint: 'Bridge fewer tables, or raise the time a snapshot may take in agent.yaml.',
    });
  }

  #folder(name: string): Promise<Folder> {
    const definition = tableOf(this.#ports.tables, { name });
    if (definition === undefined) throw missing({ name });
    const { directory, settling } = this.#ports;
    return once(this.#folders, name, () => wholeFiles(directory, name, definition, settling, this.#options.signal));
  }

  #met(name: string): Promise<Drops> {
    const meet = async () => {
      const folder = await this.#folder(name);
      const definition = this.#ports.tables[name] as FilesTable;
      return await this.#ports.ledger().meet(name, folder, (file) => this.#digestOf(file, definition));
    };
    return once(this.#drops, name, meet);
  }

  /** SHA-256 of a file that can be read to its end. Throws FILE_BROKEN before any of its rows has travelled. */
  async #digestOf(file: FoundFile, definition: FilesTable): Promise<string> {
    const hash = createHash('sha256');
    for await (const _ of this.#records(file, definition, definition.columns, hash)) await nextTurn();
    return hash.digest('hex');
  }
}

type Wanted = readonly { readonly name: string; readonly type: ColumnType }[];

/** Turns records of one file into lines of row text. */
class LineWriter {
  readonly #table: SnapshotTable;
  /** Place of each column among the fields of a record; undefined for what the adapter gives itself. */
  readonly #places: readonly (number | undefined)[];
  readonly #given: Readonly<Record<string, string>>;
  readonly #isByKeys: boolean;
  #rows = 0;

  constructor(
    table: SnapshotTable,
    wanted: readonly { readonly name: string }[],
    given: Readonly<Record<string, string>>,
    isByKeys: boolean,
  ) {
    this.#table = table;
    this.#given = given;
    this.#isByKeys = isByKeys;
    const places = new Map(wanted.map(({ name }, place) => [name, place]));
    this.#places = table.columns.map(({ name }) => places.get(name));
  }

  write(records: readonly FileRecord[], file: string): SourceChunk {
    const refused = new RefusedCounts();
    let text = '';
    let rowCount = 0;
    for (const record of records) {
      this.#rows++;
      const line = record.leftOut ?? this.#line(record.fields ?? []);
      if (typeof line === 'string') {
        text += line;
        rowCount++;
        continue;
      }
      // Asked for by keys, a row is counted only when its key was one of them; that of a broken one cannot be told.
      if (this.#isByKeys) continue;
      refused.add({ ...line, first: `${quotedName(file)}, line ${record.line}` });
    }
    return { rows: Buffer.from(text), rowCount, refused: refused.list() };
  }

  #line(fields: readonly (string | null)[]): string | LeftOut {
    let line = '';
    const { columns, keyColumns } = this.#table;
    for (const [index, { name, type }] of columns.entries()) {
      const place = this.#places[index];
      const value = place === undefined ? (this.#given[name] ?? String(this.#rows)) : (fields[place] ?? null);
      if (index > 0) line += '\t';
      if (value === null) {
        if (index < keyColumns) return { code: 'VALUE_INVALID', column: name };
        line += '\\N';
        continue;
      }
      const text = place === undefined ? value : canonical(type, value);
      if (text === undefined) return { code: value.includes('\0') ? 'TEXT_HAS_NUL' : 'VALUE_INVALID', column: name };
      line += escapeField(text);
    }
    line += '\n';
    const isLarge = line.length * 3 > MAX_ROW_BYTES && Buffer.byteLength(line) > MAX_ROW_BYTES;
    return isLarge ? { code: 'ROW_TOO_LARGE', column: columns[0]?.name ?? '' } : line;
  }
}

function keysOf(keys: Buffer, keyColumns: number): KeyBatch {
  const lines = [...linesOf(keys)].map((line) => line.toString('latin1', 0, line.length - 1));
  return new KeyBatch(new Set(lines), keyColumns);
}

function missing({ name }: TableRef): QiaoError {
  return new QiaoError('TABLE_MISSING', `agent.yaml declares no table ${name} of this data source`, {
    hint: 'declare it under tables: of the data source',
  });
}

function once<T>(held: Map<string, Promise<T>>, name: string, make: () => Promise<T>): Promise<T> {
  const found = held.get(name) ?? make();
  held.set(name, found);
  return found;
}
