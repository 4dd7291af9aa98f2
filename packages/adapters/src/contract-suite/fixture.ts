/**
 * What the contract suite needs of a database under test, and the short words its tests are written in: sections, lanes, scans.
 */
import { createHash } from 'node:crypto';
import { type ColumnType, checkRows, joinRow, type Kind, type Section, splitRow } from '@qiao/exchange';
import {
  type ApplyResult,
  type ApplyWork,
  type DataSource,
  defaultJournalColumns,
  type QuarantinedRow,
  type RefusedRows,
  type SnapshotTable,
  type StoredAnswer,
  type Target,
  type TargetTable,
} from '../adapter.ts';

/** A database of its own for one test, empty and in its default settings. */
export interface Fixture extends AsyncDisposable {
  readonly dataSource: DataSource;
  /** Runs statements as the department's own program: another connection, committed. */
  sql(text: string): Promise<void>;
  /** Rows of a query the same way; values as text, null for NULL. */
  query(text: string): Promise<(string | null)[][]>;
  readonly dialect: Dialect;
  /** Another connection of the department, for a transaction that stays open. */
  readonly second?: (() => Promise<AsyncDisposable & Pick<Fixture, 'sql'>>) | undefined;
  /** Rows 0 to `count` − 1 of a table (id bigint, x text), in one transaction. Where the log is read. */
  readonly fill?: ((table: string, count: number) => Promise<void>) | undefined;
  /** The same database as a user who may read but not write; absent where the database has no rights of its own. */
  readonly restricted?: (() => Promise<DataSource>) | undefined;
}

/** Promises that an adapter does not keep, each with its reason. The list only gets shorter. */
export interface Waivers {
  /** D4 and M1 about missing rights; `Fixture.restricted` is then not asked for. */
  readonly rights?: string;
  /** Numbers without a limit of digits: `createTable` refuses them. */
  readonly unlimitedDecimal?: string;
  /** Infinities in binary floats: rows with them are isolated. */
  readonly infinity?: string;
  /** Fixed lengths: `char(n)` is filled up with blanks. */
  readonly padding?: string;
  /** Unique indexes over part of a table. */
  readonly partialIndexes?: string;
  /** Rows of tables that refer to each other in a circle land as they are. */
  readonly keyCircles?: string;
  /** Two transactions that write at the same time. */
  readonly openTransactions?: string;
  /** G1–G9: the database's log is not read. */
  readonly log?: string;
  /** T1–T8: nothing is installed in the database. */
  readonly triggers?: string;
  /** Everything that is written: the adapter is of a source only. */
  readonly target?: string;
  /** C4: whose commits a cursor has to wait for is not told. */
  readonly horizon?: string;
}

/** The words in which databases differ; everything else in the suite is SQL that both understand. */
export interface Dialect {
  readonly bytesType: string;
  /** A text without a limit that matters; default `text`. */
  readonly textType?: string;
  /** A text that may be part of a key; default `text`. */
  readonly keyTextType?: string;
  /** Bytes that may be part of a key; default `bytesType`. */
  readonly keyBytesType?: string;
  /** A backslash in a literal is written twice. */
  readonly escapesBackslash?: boolean;
  /** A date and time without a zone, with microseconds; default `timestamp`. */
  readonly timestampType?: string;
  /** What a UUID is kept in by a database that has no type for it; default `uuid`. */
  readonly uuidType?: string;
  /** JSON as it was written is kept as a text. */
  readonly hasNoJson?: boolean;
  /** Statements of `t (id, x)` that holds row 1, each with the entries that it leaves, without repetition. */
  readonly upserts?: readonly (readonly [statement: string, entries: readonly string[]])[];
  /** A table `t` whose key generates itself, with a column `x`, and the question for the number that was generated last. */
  readonly lastId?: { readonly table: string; readonly ask: string };
  /** The statement that gives a column another type; default `ALTER TABLE … ALTER COLUMN … TYPE …`. */
  retype?(table: string, column: string, type: string): string;
  /** A name as the database quotes it; default by double quotes. */
  quote?(name: string): string;
  /** Whether the database can have a table of this name; default every. */
  canName?(name: string): boolean;
  bytes(hex: string): string;
  /** A query of the database's clock: whole seconds since 1970. Without one, it goes by this machine's. */
  readonly nowSeconds?: string | undefined;
  /** What `bigint` and `date` are described as, where the database has no type of just that. */
  readonly bigint?: ColumnType;
  readonly date?: ColumnType;
  /** A text of no characters is null. */
  readonly emptyIsNull?: boolean;
  /** U+FFFD cannot be told from what the driver could not decode, and does not travel. */
  readonly losesReplacement?: boolean;
  /** What true and false are read as, where the database has no type for them; default `t` and `f`. */
  readonly truthTexts?: readonly [string, string];
  /** A column type that cannot travel at all, when the database has one. */
  readonly unsupportedType?: string | undefined;
}

export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A section of rows; the first `keyColumns` columns are the key. Deletes give keys only. */
export function section(
  table: string,
  kind: Kind,
  columns: readonly string[],
  rows: readonly (readonly (string | null)[])[],
  options: { keyColumns?: number; wholeRows?: boolean } = {},
): Section {
  const { keyColumns = 1, wholeRows = true } = options;
  const own = kind === 'delete' ? columns.slice(0, keyColumns) : columns;
  const text = rows.map((row) => `${joinRow(row.slice(0, own.length))}\n`).join('');
  return { table, kind, columns: own, keyColumns, rowCount: rows.length, rows: Buffer.from(text), wholeRows };
}

/** A mirrored table named like its label, keyed by `id`. */
export function mirror(
  name: string,
  columns: readonly { name: string; type: TargetTable['columns'][number]['type'] }[],
  changes: Partial<TargetTable> = {},
): TargetTable {
  return {
    table: name,
    ref: { name },
    key: [columns[0]?.name ?? 'id'],
    columns,
    ownership: 'whole',
    landing: 'mirror',
    onDelete: 'delete',
    journalColumns: defaultJournalColumns,
    ...changes,
  };
}

export const integer = { type: 'integer', bits: 64 } as const;
export const text = { type: 'text' } as const;

type Changes = Partial<Omit<ApplyWork, 'sections' | 'load'>> & { load?: Partial<ApplyWork['load']> };

/** A sender's lane: gives every delivery its place in the chain. */
export class Lane {
  readonly id: string;
  readonly tables: ReadonlyMap<string, TargetTable>;
  epoch = 1n;
  nonce: Uint8Array;
  sequence = 0n;
  chain: Uint8Array = new Uint8Array(32);

  constructor(tables: readonly TargetTable[], id = 'a'.repeat(32)) {
    this.id = id;
    this.tables = new Map(tables.map((table) => [table.table, table]));
    this.nonce = hash(`nonce ${id} 1`).subarray(0, 16);
  }

  /** The opening of the present epoch. */
  opening(changes: Changes = {}): ApplyWork {
    this.chain = new Uint8Array(32);
    this.sequence = 0n;
    return this.#work([], { opensEpoch: true, contentHash: new Uint8Array(0), ...changes });
  }

  /** The opening of the epoch after this one. */
  nextOpening(): ApplyWork {
    this.epoch += 1n;
    this.nonce = hash(`nonce ${this.id} ${this.epoch}`).subarray(0, 16);
    return this.opening();
  }

  /** The next delivery. */
  next(sections: readonly Section[], changes: Changes = {}): ApplyWork {
    this.sequence += 1n;
    return this.#work(sections, changes);
  }

  #work(sections: readonly Section[], changes: Changes): ApplyWork {
    const contentHash = hash(
      sections.map((each) => `${each.table} ${each.kind} ${Buffer.from(each.rows).toString()}`).join(),
    );
    const previousChain = this.chain;
    this.chain = hash(
      `${Buffer.from(previousChain).toString('hex')} ${this.epoch} ${this.sequence} ${contentHash.toString('hex')}`,
    );
    return {
      laneId: this.id,
      epoch: this.epoch,
      nonce: this.nonce,
      sequence: this.sequence,
      previousChain,
      chain: this.chain,
      contentHash,
      settledThrough: 0n,
      tables: this.tables,
      sections,
      opensEpoch: false,
      batchNo: `batch-${this.sequence}`,
      sourceDepartment: '卫生健康委员会',
      appliedAtMs: 1_700_000_000_000,
      deleteGuard: { rows: 1000, share: 0.05 },
      beforeCommit: () => undefined,
      ...changes,
      load: { begins: false, ends: false, allowedDeletes: 0, ...changes.load },
    };
  }
}

/** A prepared target with the lane's epoch open. */
export async function openLane(
  fixture: Fixture,
  tables: readonly TargetTable[],
): Promise<{ target: Target; lane: Lane }> {
  const target = await fixture.dataSource.openTarget();
  await target.prepare();
  const lane = new Lane(tables);
  await applied(target, lane.opening());
  return { target, lane };
}

/** Applies and insists on `applied`. */
export async function applied(
  target: Target,
  work: ApplyWork,
): Promise<{ answer: StoredAnswer; quarantined: readonly QuarantinedRow[]; cells: string[] }> {
  const result: ApplyResult = await target.apply(work);
  if (result.kind !== 'applied')
    throw new Error(
      `expected applied, found ${JSON.stringify(result, (_, v) => (typeof v === 'bigint' ? String(v) : v))}`,
    );
  checkSums(work, result.answer);
  return { ...result, cells: cellsOf(result.answer) };
}

/** A matrix as short lines: `table insert inserted 3`. */
export function cellsOf(answer: StoredAnswer): string[] {
  return answer.outcomes.map(({ table, sent, outcome, rows }) => `${table} ${sent} ${outcome} ${rows}`).toSorted();
}

/** R2: sent = Σ outcomes, per table and kind. */
function checkSums(work: ApplyWork, answer: StoredAnswer): void {
  const sums = new Map<string, number>();
  for (const { table, kind, rowCount } of [...work.sections, ...(work.held?.sections ?? [])]) {
    sums.set(`${table} ${kind}`, (sums.get(`${table} ${kind}`) ?? 0) + rowCount);
  }
  for (const { table, sent, rows } of answer.outcomes) {
    sums.set(`${table} ${sent}`, (sums.get(`${table} ${sent}`) ?? 0) - rows);
  }
  const wrong = [...sums].filter(([, difference]) => difference !== 0);
  if (wrong.length > 0) throw new Error(`the matrix does not add up: ${JSON.stringify(wrong)}`);
}

/** Reads a whole table through a snapshot of its own, or one given. */
export async function scan(
  dataSource: DataSource,
  table: SnapshotTable,
): Promise<{ rows: (string | null)[][]; bytes: Buffer; refused: RefusedRows[] }> {
  await using snapshot = await dataSource.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
  return await collect(snapshot.rows(table), table.columns.length);
}

export async function collect(
  chunks: ReturnType<Awaited<ReturnType<DataSource['snapshot']>>['rows']>,
  columns: number,
): Promise<{ rows: (string | null)[][]; bytes: Buffer; refused: RefusedRows[] }> {
  const buffers: Buffer[] = [];
  const refused: RefusedRows[] = [];
  for await (const chunk of chunks) {
    const counted = checkRows(chunk.rows, columns);
    if (chunk.rowCount !== undefined && chunk.rowCount !== counted) {
      throw new Error(`a chunk says ${chunk.rowCount} rows and has ${counted}`);
    }
    buffers.push(Buffer.from(chunk.rows));
    refused.push(...(chunk.refused ?? []));
  }
  const bytes = Buffer.concat(buffers);
  const lines = bytes.toString('utf8').split('\n').slice(0, -1);
  return { rows: lines.map((line) => splitRow(line)), bytes, refused };
}

/** What `describe` says about these columns, as a snapshot wants it. */
export async function snapshotTable(
  dataSource: DataSource,
  name: string,
  columns: readonly string[],
  keyColumns = 1,
): Promise<SnapshotTable> {
  const described = await dataSource.describe({ name });
  return {
    ref: { name },
    keyColumns,
    columns: columns.map((column) => {
      const found = described?.columns.find((each) => each.name === column);
      if (!found || 'unsupported' in found.type) throw new Error(`column ${column} of ${name} cannot travel`);
      return { name: column, type: found.type };
    }),
  };
}

/** A day as it is read: in some databases it has a time. */
export function dayText({ dialect: { date = { type: 'date' } } }: Fixture, day: string): string {
  return date.type === 'date' ? day : `${day} 00:00:00`;
}

/** A text of no characters as it is read. */
export function emptyText({ dialect }: Fixture): string | null {
  return dialect.emptyIsNull === true ? null : '';
}

export function hash(value: string): Buffer {
  return createHash('sha256').update(value).digest();
}
