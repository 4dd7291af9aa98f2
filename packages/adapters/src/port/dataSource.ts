/** The data source: one database of a department, as the agent knows it (D1–D5). */
import type { ColumnType, Problem } from '@qiao/exchange';
import type { Triggers } from '../triggers.ts';
import type { SourceLog } from './log.ts';
import type { SourceSnapshot } from './snapshot.ts';
import type { Target, TargetTable } from './target.ts';

/** A named connection in an agent's own configuration. */
export type DataSourceConfig =
  | {
      readonly name: string;
      readonly adapter: 'postgres';
      readonly host: string;
      readonly port: number;
      readonly database: string;
      readonly user: string;
      readonly password: string;
      /** Schema of tables that name none; default `public`. */
      readonly schema?: string | undefined;
      readonly tls?: 'disable' | 'require' | { readonly ca: string } | undefined;
    }
  | {
      readonly name: string;
      /** MySQL, MariaDB and what speaks their protocol. */
      readonly adapter: 'mysql';
      readonly host: string;
      readonly port: number;
      readonly database: string;
      readonly user: string;
      readonly password: string;
      readonly tls?: 'disable' | 'require' | { readonly ca: string } | undefined;
    }
  | {
      readonly name: string;
      /** SQL Server: a source only. */
      readonly adapter: 'mssql';
      readonly host: string;
      readonly port: number;
      readonly database: string;
      readonly user: string;
      readonly password: string;
      /** Schema of tables that name none; default `dbo`. */
      readonly schema?: string | undefined;
      readonly tls?: 'disable' | 'require' | { readonly ca: string } | undefined;
    }
  | {
      readonly name: string;
      /** Oracle: a source only. */
      readonly adapter: 'oracle';
      readonly host: string;
      readonly port: number;
      /** The name of its service. */
      readonly database: string;
      readonly user: string;
      readonly password: string;
      /** Schema of tables that name none; default the user, in capitals. */
      readonly schema?: string | undefined;
      readonly tls?: 'disable' | 'require' | undefined;
    }
  | {
      readonly name: string;
      /** 达梦: a source only. */
      readonly adapter: 'dameng';
      readonly host: string;
      readonly port: number;
      readonly user: string;
      readonly password: string;
      /** Schema of tables that name none; default the user, in capitals. */
      readonly schema?: string | undefined;
      /** How its driver is asked for TLS is not known here: a line to another machine has to be trusted in so many words. */
      readonly tls?: 'disable' | undefined;
      /** Where the operator has installed 达梦's driver: the directory in which its `node_modules` lies. */
      readonly driver?: string | undefined;
    }
  | { readonly name: string; readonly adapter: 'sqlite'; readonly file: string }
  | {
      readonly name: string;
      readonly adapter: 'files';
      /** Absolute; nothing outside of it is opened. */
      readonly directory: string;
      /** Where the agent remembers which dropped files it has met: a file of its own, never in `directory`. */
      readonly ledger: string;
      /** A file is whole once it was seen unchanged for so long. */
      readonly settledAfterMs: number;
      readonly tables: Readonly<Record<string, FilesTable>>;
    };

/** Files of one folder that are one table. */
export interface FilesTable {
  /**
   * `state`: the last file, by name, is the whole table. `drop`: every file brings rows that are new, and each content counts once.
   * `target`: rows land here, a file for each delivery.
   */
  readonly nature: 'state' | 'drop' | 'target';
  /** Below the directory; default the table's name. */
  readonly folder?: string | undefined;
  /** Names of a source's files, with `*` and `?`; default by format. */
  readonly files?: string | undefined;
  readonly format: 'csv' | 'jsonl' | 'xlsx';
  /** Of text formats. */
  readonly encoding: 'utf-8' | 'gbk' | 'gb18030';
  /** CSV only. */
  readonly csv: {
    readonly delimiter: string;
    readonly header: boolean;
    /** A field without quotes that is this text is null; a quoted one never is. */
    readonly null: string;
  };
  /** XLSX only: the sheet's name; default the first. */
  readonly sheet?: string | undefined;
  /** What stands behind the name of a file, as a name of its own, once the file is whole (`.ok`). In place of waiting. */
  readonly marker?: string | undefined;
  /** Types as `parseTypeText` reads them, in the order of a file without a header. */
  readonly columns: readonly { readonly name: string; readonly type: ColumnType }[];
  /** Of a state: columns that name a row. */
  readonly key: readonly string[];
}

/** A table's name as its database spells it: arbitrary UTF-8, never quoted here. No schema = the data source's own. */
export interface TableRef {
  readonly schema?: string | undefined;
  readonly name: string;
}

/** A column's type: one that can travel, or the database's own name of one that cannot. */
export type DescribedType = ColumnType | { readonly unsupported: string };

export interface ColumnDescription {
  readonly name: string;
  readonly type: DescribedType;
  /** The type as the database itself writes it, for people. */
  readonly nativeType: string;
  readonly nullable: boolean;
  /** Computed by the database (generated always, identity always): readable, never written. */
  readonly generated: boolean;
  /** The database fills it when an insert leaves it out. */
  readonly hasDefault: boolean;
}

export interface ForeignKey {
  readonly columns: readonly string[];
  readonly toTable: TableRef;
  readonly toColumns: readonly string[];
}

export interface TableDescription {
  readonly ref: TableRef;
  readonly kind: 'table' | 'view';
  /** In the table's own order; dropped and hidden columns are absent. */
  readonly columns: readonly ColumnDescription[];
  /** Columns of the primary key in key order; empty when there is none. */
  readonly primaryKey: readonly string[];
  /** Every set of columns proven unique AND NOT NULL (primary key included); partial, expression and deferrable ones are left out. */
  readonly uniqueKeys: readonly (readonly string[])[];
  readonly foreignKeys: readonly ForeignKey[];
  /** A cheap guess (statistics), for progress and the share of deleteGuard's message; undefined when unknown. */
  readonly estimatedRows?: number | undefined;
  /** One row read at most. */
  isEmpty(): Promise<boolean>;
}

/** What a bridge wants to read from one table. */
export interface SourceTable {
  /** Label of the table in problems and sections. */
  readonly table: string;
  readonly ref: TableRef;
  /** Default: the primary key. */
  readonly key?: readonly string[] | undefined;
  /** Default: every column. */
  readonly columns?: readonly string[] | undefined;
  /** Column by which the table is read, with capture `cursor`; it need not be among `columns`. */
  readonly cursor?: string | undefined;
  /** It is to be followed by the log. */
  readonly log?: boolean | undefined;
}

/** What a bridge sends for one table, after transforms: the other half of every pair of types that `checkTarget` judges. */
export interface SourceShape {
  readonly columns: readonly ShapeColumn[];
}

export interface ShapeColumn {
  readonly name: string;
  readonly type: ColumnType;
  readonly nullable: boolean;
  /** The column that its values come from as they are; undefined where a transform makes them, or nobody knows. */
  readonly stored?: StoredColumn | undefined;
}

/** A column of a database, as far as it bounds what its values may be. */
export interface StoredColumn {
  readonly adapter: string;
  /** As the database writes it. */
  readonly nativeType: string;
}

/**
 * One database.
 *
 * D1 `probe` never throws for a database that is away: it answers with a code and a sentence (no password in it).
 * D2 `tables` names every table and view the connection may see, except the ones Qiao keeps itself (`qiao_…`).
 * D3 `describe` answers undefined for a missing table and never reads rows.
 * D4 `checkSource` and `checkTarget` report every problem at once, never only the first, and change nothing. `path` is
 *    `<label>`, `<label>.<column>` or `mark`; codes: TABLE_MISSING, COLUMN_MISSING, KEYLESS_TABLE (no unique NOT NULL key and none is named),
 *    KEY_NULLABLE, KEY_NOT_UNIQUE (named columns, source or target), TYPE_UNSUPPORTED (source column), COLUMN_LARGE (warning: bytes past what a row may have), OWNERSHIP_INVALID, TYPE_REFUSED (pair), TYPE_LOSSY
 *    and TYPE_NARROW (warnings, see pairs.ts), RIGHTS_MISSING, COLUMN_GENERATED, COLUMN_REQUIRED (target column NOT NULL without default that the bridge does not
 *    send), NULLABLE_TO_REQUIRED (warning), KEY_COLLATION_COARSE, ROW_SECURITY, TARGET_TRIGGER (warning), TRIGGERS_UNSEEN (warning: this account may not see them), TARGET_CONSTRAINTS (warning: UNIQUE and CHECK beside the key, by name), TARGET_RULE, FOREIGN_KEY_OUTSIDE
 *    (warning), FOREIGN_KEY_CYCLE (a warning where rows with nulls can be the first), FOREIGN_KEY_CASCADES (rows of others would go with those that are deleted; a warning
 *    between tables of the bridge), FOREIGN_KEYS_UNSEEN (warning: this account may not see every such key), MARK_REFUSED (hint = the DDL for the DBA), MARK_COLUMN_MISSING, JOURNAL_COLUMN_MISSING, ENGINE_WITHOUT_TRANSACTIONS (target: rows and mark cannot be
 *    one transaction; source: a warning, as it has no snapshot).
 *    Of a table that is read by a cursor also CURSOR_TYPE (the column has no order that rises), and the warnings CURSOR_NOT_INDEXED (hint =
 *    the DDL), CURSOR_NULLABLE, CURSOR_HORIZON_UNPROVEN (open transactions cannot be seen, C4) and CURSOR_SEQUENCE_CACHED (numbers that
 *    sessions take ahead). Of a server of another house than the protocol, by itself, SERVER_LACKS (it does not do what reading or writing relies on:
 *    nothing else is asked), or the warning SERVER_UNVERIFIED. Of a target that its adapter only reads, TARGET_UNSUPPORTED. Of one that is followed by the log also LOG_OFF, LOG_RIGHTS, those of G2, and the warnings LOG_PUBLICATION (hint = the
 *    statement for the DBA), LOG_NO_ROOM, LOG_UNBOUNDED (nothing bounds what is kept while nobody reads) and LOG_RETENTION (it is kept for a
 *    short time only).
 * D5 `close` ends everything opened through it that is still open; it may be called twice.
 */
export interface DataSource {
  readonly name: string;
  readonly adapter: DataSourceConfig['adapter'];
  probe(): Promise<Probe>;
  tables(): Promise<TableRef[]>;
  describe(table: TableRef): Promise<TableDescription | undefined>;
  checkSource(tables: readonly SourceTable[]): Promise<Problem[]>;
  /** `shapes` by `TargetTable.table`; a missing shape skips the judgement of types. */
  checkTarget(tables: readonly TargetTable[], shapes: ReadonlyMap<string, SourceShape>): Promise<Problem[]>;
  /** One read-only view of all tables; throws SNAPSHOT_TOO_LONG (transient) from `rows` when it is read longer than `maxMs`. */
  snapshot(options: SnapshotOptions): Promise<SourceSnapshot>;
  /** See C5. Present where snapshots have a `cursor`. */
  remainsOpen?(horizon: string): Promise<string | undefined>;
  /** See T1–T8 in triggers.ts; absent where no table has any. */
  readonly triggers?: Triggers | undefined;
  /** Present where the database's log can be read. */
  readonly log?: SourceLog | undefined;
  openTarget(): Promise<Target>;
  /**
   * Makes a target table with exactly these columns (types from `columns`, NOT NULL key as primary key, journal columns when it lands as a
   * journal); `describe` then gives the same types back, or for another system's own type one that holds its values as they are. Existing table: does nothing. Throws TYPE_REFUSED for what it cannot hold.
   */
  createTable(table: TargetTable): Promise<void>;
  close(): Promise<void>;
}

export interface SnapshotOptions {
  readonly signal: AbortSignal;
  readonly maxMs: number;
  /**
   * No transaction is held longer than the reading of about so many rows, and `consistency` is 'chunks': every row is as committed at
   * some moment of the reading, and a row that stays is seen exactly once. Without it: one view of all tables (S1).
   */
  readonly stepRows?: number | undefined;
}

export type Probe =
  | {
      readonly reachable: true;
      /** With the name of the product. */
      readonly version: string;
      /** What a person should know of it: no test runs on this version. */
      readonly remark?: string | undefined;
    }
  | { readonly reachable: false; readonly code: string; readonly message: string; readonly hint: string };
