/**
 * What a database brings that is read and never written: one port, which `mssql/`, `oracle/` and `dameng/` fill, and over which the files
 * beside read tables, keys and cursors alike. Nobody of this house can run these servers, so that little is left to each: how it spells a
 * statement, what its types are, what its errors mean, who is open.
 */
import type { ColumnType, Problem } from '@qiao/exchange';
import type { ColumnDescription, DataSourceConfig, TableDescription } from '../adapter.ts';
import type { Product, Trial } from '../product.ts';

/** A value as the driver gives it, where nothing is lost on the way: texts, binary floats, bytes. */
export type Value = string | number | Buffer | null;

/** A binary float is bound as one; everything else as text. */
export type Bound = string | number;

export interface Statement {
  readonly sql: string;
  readonly values: readonly Bound[];
}

/** One connection. Statements run one after another. */
export interface Reader {
  readonly product: Product;
  /** The connection is gone; open another. */
  readonly isBroken: boolean;
  /** The rows of a small answer, every value as text. Throws classified errors. */
  rows(statement: Statement): Promise<(string | null)[][]>;
  /** The rows of a large one, about `batchRows` at a time; the server has to wait while nobody asks. Left early, the connection is cut. */
  stream(statement: Statement, batchRows: number): AsyncGenerator<readonly (readonly Value[])[]>;
  /** A statement that gives no rows. */
  run(sql: string): Promise<void>;
  /** Closes politely; never throws. */
  close(): Promise<void>;
  /** Cuts the connection and what runs in it; never throws. */
  abandon(): void;
}

/** Why a value cannot be carried (S3 of adapter.ts). */
export class Refused {
  readonly code: 'VALUE_INVALID' | 'TEXT_UNDECODABLE' | 'TEXT_NOT_UTF8';
  constructor(code: Refused['code']) {
    this.code = code;
  }
}

/** Puts a value into a statement and gives the place that stands for it. */
export type Bind = (value: Bound) => string;

/** How a column's values travel. */
export interface Travel {
  readonly type: ColumnType;
  /** The SQL of the value, as the driver can give it without loss; `at` is the column. */
  select(at: string): string;
  /** Its canonical text. */
  text(value: Exclude<Value, null>): string | Refused;
  /** The SQL of what the column is compared with, out of a canonical text. Absent: it cannot be part of a key. */
  compared?(text: string, bind: Bind): string;
  /** When a row cannot be carried, decided there. */
  readonly refused?: ((at: string) => string) | undefined;
  /** The SQL of a value's size, where it may be longer than a row. */
  readonly size?: ((at: string) => string) | undefined;
  /** Bytes of a value at most, as far as declared: by it rows are asked for together. */
  readonly mostBytes: number;
  /** What the operator has to know of the type, as TYPE_LOSSY. */
  readonly loses?: string | undefined;
}

export interface ReadColumn extends ColumnDescription {
  readonly travel: Travel | undefined;
}

/** A description with what only reading needs. */
export interface ReadTable extends Omit<TableDescription, 'isEmpty' | 'ref'> {
  readonly schema: string;
  readonly name: string;
  readonly columns: readonly ReadColumn[];
  /** Every whole, immediate unique index, nullable columns included. */
  readonly uniqueIndexes: readonly (readonly string[])[];
  /** Columns with which an index begins. */
  readonly indexed: ReadonlySet<string>;
}

/** Why open transactions cannot be seen, and what would help. */
export interface Unseen {
  readonly why: string;
  readonly fix: string;
}

/** A kind of database, bound to one data source. */
export interface SourceDatabase<Session extends Reader> {
  readonly name: string;
  readonly adapter: DataSourceConfig['adapter'] & ('mssql' | 'oracle' | 'dameng');
  readonly schema: string;
  /** `@p1`, `:1`. */
  placeholder(place: number): string;
  identifier(name: string): string;
  /** Behind a SELECT that reads no table. */
  readonly fromNothing: '' | ' FROM DUAL';
  /** A query of the server's clock in UTC: `2024-01-31 08:00:00`. */
  readonly clock: string;
  /** Places that one statement may have. */
  readonly mostBound: number;
  readonly trials: readonly Trial<Session>[];
  open(options: { purpose: string; limitMs: number }): Promise<Session>;
  /** `view`: begins the transaction that sees one moment of all tables. `steps`: each statement is to see one moment by itself. */
  begin(session: Session, what: 'view' | 'steps'): Promise<void>;
  readTables(session: Session): Promise<{ schema: string; name: string }[]>;
  readTable(session: Session, schema: string, name: string): Promise<ReadTable | undefined>;
  /** Opaque: changes when the table is not the one it was (C6). */
  identity(session: Session, schema: string, name: string): Promise<string>;
  /** What keeps the server from giving one view of all tables, or all rows of one; paths are the table's label, or empty. */
  hindrances(session: Session, tables: readonly { label: string; table: ReadTable }[]): Promise<Problem[]>;
  grantSelect(table: ReadTable): string;
  readonly horizon: Horizon<Session>;
  /** Columns that the server fills itself with numbers that rise, and the number below which none is still to be committed (C2). */
  readonly risen?: {
    fills(column: ReadColumn): boolean;
    read(session: Session): Promise<string | undefined>;
  };
}

/** Whose commits a cursor still has to wait for (C4, C5). */
export interface Horizon<Session> {
  cannotSee(session: Session): Promise<Unseen | undefined>;
  read(session: Session): Promise<string | undefined>;
  remains(session: Session, horizon: string): Promise<string | undefined>;
}

/** Collects what a statement is bound to. */
export class Binder {
  readonly values: Bound[] = [];
  readonly bind: Bind;

  constructor(placeholder: (place: number) => string) {
    this.bind = (value) => placeholder(this.values.push(value));
  }
}
