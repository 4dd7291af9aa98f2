/**
 * What a SQLite file says about its tables: columns, keys, foreign keys, collations. Reads the schema only, never rows (but one for `isEmpty`).
 */
import type { ColumnType } from '@qiao/exchange';
import type { ColumnDescription, ForeignKey, TableDescription, TableRef } from '../adapter.ts';
import type { Referrer } from '../cascades.ts';
import { OWN_PREFIX } from '../mark.ts';
import type { FoundConstraint } from '../preflight.ts';
import { type Connection, quote } from './session.ts';
import { columnTypeOf } from './types.ts';

/** What the adapter itself needs beyond the common description. */
export interface SqliteTable {
  readonly name: string;
  readonly kind: 'table' | 'view' | 'virtual';
  readonly withoutRowid: boolean;
  readonly columns: readonly SqliteColumn[];
  readonly primaryKey: readonly string[];
  /** Unique sets of columns that are NOT NULL, and whether every one of them is compared byte by byte. */
  readonly uniqueKeys: readonly { readonly columns: readonly string[]; readonly isBinary: boolean }[];
  readonly foreignKeys: readonly ForeignKey[];
  /** Keys of other tables that act by themselves. */
  readonly referrers: readonly Referrer[];
  readonly hasTriggers: boolean;
}

export interface SqliteColumn extends ColumnDescription {
  readonly declared: string;
}

const TABLES = `SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'view', 'virtual') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name`;
const TABLE = `SELECT name, type, wr AS withoutRowid FROM pragma_table_list(?) WHERE schema = 'main'`;
const COLUMNS = `SELECT name, type, "notnull" AS isNotNull, dflt_value AS defaultSql, pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid`;
const INDEXES = `SELECT name, origin, partial FROM pragma_index_list(?) WHERE "unique" = 1 ORDER BY seq`;
const INDEX_COLUMNS = `SELECT name, cid, coll FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno`;
const FOREIGN_KEYS = `SELECT id, "table" AS toTable, "from" AS fromColumn, "to" AS toColumn FROM pragma_foreign_key_list(?) ORDER BY id, seq`;
const REFERRERS = `SELECT m.name AS "table", f.id, f."from" AS fromColumn, f."to" AS toColumn, f.on_delete AS onDelete, f.on_update AS onUpdate
  FROM sqlite_schema m JOIN pragma_foreign_key_list(m.name) f
 WHERE m.type = 'table' AND lower(f."table") = lower(?) AND (f.on_delete || f.on_update LIKE '%CASCADE%' OR f.on_delete || f.on_update LIKE '%SET %')
 ORDER BY m.name, f.id, f.seq`;
const TABLE_SQL = `SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?`;
const TEXT_OR_COMMENT = /'(?:[^']|'')*'|--[^\n]*|\/\*[\s\S]*?\*\//g;
const CHECK = /(?:\bCONSTRAINT\s+(?:"((?:[^"]|"")*)"|([^\s"(]+))\s+)?\bCHECK\s*\(/gi;
const TRIGGERS = `SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND lower(tbl_name) = lower(?)`;

/** Every table and view of the department, in order of name; tables that Qiao keeps are left out. */
export function listTables(db: Connection): TableRef[] {
  const names = db.prepare(TABLES).pluck().all() as string[];
  return names.filter((name) => !name.startsWith(OWN_PREFIX)).map((name) => ({ name }));
}

/** The name as the file has it: SQLite finds tables whatever their case. */
export function storedName(db: Connection, name: string): string {
  return (db.prepare(TABLE).get(name) as { name: string } | undefined)?.name ?? name;
}

/** Undefined when there is no such table or view; a schema other than `main` has none. */
export function readTable(db: Connection, ref: TableRef): SqliteTable | undefined {
  if (ref.schema !== undefined && ref.schema !== 'main') return undefined;
  const found = db.prepare(TABLE).get(ref.name) as { name: string; type: string; withoutRowid: number } | undefined;
  if (!found || found.type === 'shadow') return undefined;
  const rows = db.prepare(COLUMNS).all(found.name) as {
    name: string;
    type: string;
    isNotNull: number;
    defaultSql: string | null;
    pk: number;
    hidden: number;
  }[];
  const indexes = db.prepare(INDEXES).all(found.name) as { name: string; origin: string; partial: number }[];
  const keyRows = rows.filter((row) => row.pk > 0).toSorted((a, b) => a.pk - b.pk);
  const primaryKey = keyRows.map((row) => row.name);
  const withoutRowid = found.withoutRowid === 1;
  // An INTEGER PRIMARY KEY is the rowid itself and has no index of its own.
  const isRowid = keyRows.length === 1 && !withoutRowid && !indexes.some((index) => index.origin === 'pk');
  const columns = rows
    .filter((row) => row.hidden !== 1)
    .map(
      (row): SqliteColumn => ({
        name: row.name,
        type: columnTypeOf(row.type),
        nativeType: row.type,
        declared: row.type,
        nullable: row.isNotNull === 0 && !(row.pk > 0 && (withoutRowid || isRowid)),
        generated: row.hidden !== 0,
        hasDefault: row.defaultSql !== null || (row.pk > 0 && isRowid),
      }),
    );
  const notNull = new Set(columns.filter((column) => !column.nullable).map((column) => column.name));
  const uniqueKeys: { columns: string[]; isBinary: boolean }[] = isRowid
    ? [{ columns: primaryKey, isBinary: true }]
    : [];
  for (const index of indexes) {
    if (index.partial === 1) continue;
    const parts = db.prepare(INDEX_COLUMNS).all(index.name) as { name: string | null; cid: number; coll: string }[];
    if (parts.every((part) => part.cid >= 0 && part.name !== null && notNull.has(part.name))) {
      uniqueKeys.push({
        columns: parts.map((part) => part.name as string),
        isBinary: parts.every((part) => part.coll.toUpperCase() === 'BINARY'),
      });
    }
  }
  return {
    name: found.name,
    kind: found.type === 'table' || found.type === 'view' ? found.type : 'virtual',
    withoutRowid,
    columns,
    primaryKey,
    uniqueKeys,
    foreignKeys: foreignKeysOf(db, found.name),
    referrers: referrersOf(db, found.name, primaryKey),
    hasTriggers: (db.prepare(TRIGGERS).pluck().get(found.name) as number) > 0,
  };
}

/** Unique indexes, by their columns where SQLite named them itself, and checks, which only the statement of the table tells. */
export function readConstraints(db: Connection, { name }: SqliteTable): FoundConstraint[] {
  const indexes = db.prepare(INDEXES).all(name) as { name: string; origin: string; partial: number }[];
  const unique = indexes.map((index): FoundConstraint => {
    const parts = db.prepare(INDEX_COLUMNS).all(index.name) as { name: string | null }[];
    const columns = parts.map((part) => part.name ?? '');
    const isPlain = index.partial === 0 && !columns.includes('');
    return { kind: 'UNIQUE', name: index.origin === 'c' ? index.name : '', columns: isPlain ? columns : undefined };
  });
  const sql = db.prepare(TABLE_SQL).pluck().get(name) as string | null;
  const checks = [...(sql ?? '').replaceAll(TEXT_OR_COMMENT, ' ').matchAll(CHECK)].map(
    ([, quoted, plain]): FoundConstraint => ({ kind: 'CHECK', name: quoted?.replaceAll('""', '"') ?? plain ?? '' }),
  );
  return [...unique, ...checks];
}

function foreignKeysOf(db: Connection, table: string): ForeignKey[] {
  const rows = db.prepare(FOREIGN_KEYS).all(table) as {
    id: number;
    toTable: string;
    fromColumn: string;
    toColumn: string | null;
  }[];
  return [...Map.groupBy(rows, (row) => row.id).values()].map((parts) => {
    const toTable = parts[0]?.toTable ?? '';
    // A reference that names no columns means the parent's primary key.
    const implied = parts.some((part) => part.toColumn === null) ? primaryKeyOf(db, toTable) : [];
    return {
      columns: parts.map((part) => part.fromColumn),
      toTable: { name: toTable },
      toColumns: parts.map((part, index) => part.toColumn ?? implied[index] ?? ''),
    };
  });
}

function referrersOf(db: Connection, table: string, primaryKey: readonly string[]): Referrer[] {
  const rows = db.prepare(REFERRERS).all(table) as {
    table: string;
    id: number;
    fromColumn: string;
    toColumn: string | null;
    onDelete: string;
    onUpdate: string;
  }[];
  return [...Map.groupBy(rows, (row) => `${row.id} ${row.table}`).values()].flatMap((parts) => {
    const [first] = parts;
    if (first === undefined) return [];
    const key = `(${parts.map((part) => part.fromColumn).join(', ')})`;
    const toColumns = parts.map((part, index) => part.toColumn ?? primaryKey[index] ?? '');
    return [{ table: { name: first.table }, key, toColumns, onDelete: first.onDelete, onUpdate: first.onUpdate }];
  });
}

function primaryKeyOf(db: Connection, table: string): string[] {
  const rows = db.prepare(COLUMNS).all(table) as { name: string; pk: number }[];
  return rows
    .filter((row) => row.pk > 0)
    .toSorted((a, b) => a.pk - b.pk)
    .map((row) => row.name);
}

/** The common description; `open` lends a connection for `isEmpty`. */
export function description(
  db: Connection,
  table: SqliteTable,
  open: <T>(read: (db: Connection) => T) => Promise<T>,
): TableDescription {
  return {
    ref: { name: table.name },
    kind: table.kind === 'view' ? 'view' : 'table',
    columns: table.columns.map(publicColumn),
    primaryKey: table.primaryKey,
    uniqueKeys: table.uniqueKeys.map((key) => key.columns),
    foreignKeys: table.foreignKeys,
    estimatedRows: estimate(db, table),
    isEmpty: () => open((reader) => isEmpty(reader, table.name)),
  };
}

/** Without what only this adapter needs. */
function publicColumn({ name, type, nativeType, nullable, generated, hasDefault }: SqliteColumn): ColumnDescription {
  return { name, type, nativeType, nullable, generated, hasDefault };
}

export function isEmpty(db: Connection, table: string): boolean {
  return db.prepare(`SELECT 1 FROM ${quote(table)} LIMIT 1`).get() === undefined;
}

/** The greatest rowid: one step down the tree, an upper guess where rows were deleted. */
function estimate(db: Connection, table: SqliteTable): number | undefined {
  if (table.kind !== 'table' || table.withoutRowid) return undefined;
  const last = db
    .prepare(`SELECT max(rowid) FROM ${quote(table.name)}`)
    .pluck()
    .get() as number | null;
  return last ?? 0;
}

/** The unique key that is exactly these columns in any order, if the table has one. */
export function uniqueKeyOf(table: SqliteTable, key: readonly string[]): { isBinary: boolean } | undefined {
  const matches = table.uniqueKeys.filter(
    (unique) => unique.columns.length === key.length && unique.columns.every((column) => key.includes(column)),
  );
  return matches.find((unique) => unique.isBinary) ?? matches[0];
}

export function isSupported(column: SqliteColumn): column is SqliteColumn & { type: ColumnType } {
  return !('unsupported' in column.type);
}
