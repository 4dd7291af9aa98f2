/**
 * Reads the catalog of one database: which tables there are and what one of them is. Never reads rows, except the one
 * that `isEmpty` asks for. Judging what was found belongs to `check.ts`.
 */

import type { ColumnDescription, ForeignKey, TableDescription, TableRef } from '../adapter.ts';
import type { Referrer } from '../cascades.ts';
import { OWN_PREFIX } from '../mark.ts';
import type { Session } from './session.ts';
import { qualified } from './sql.ts';
import { type CatalogType, describedType } from './types.ts';

/** A description with what only this adapter's own files need. */
export interface PostgresTable extends Omit<TableDescription, 'isEmpty'> {
  readonly oid: string;
  readonly schema: string;
  /** pg_class.relkind: r table, p partitioned, v view, m materialised view, f foreign table. */
  readonly relationKind: string;
  readonly columns: readonly PostgresColumn[];
  /** Every whole, valid, immediate unique index, nullable columns included. */
  readonly uniqueIndexes: readonly (readonly string[])[];
  readonly foreignKeys: readonly PostgresForeignKey[];
  /** Keys of other tables that act by themselves. */
  readonly referrers: readonly Referrer[];
}

export interface PostgresForeignKey extends ForeignKey {
  readonly constraint: string;
  readonly isDeferrable: boolean;
}

export interface PostgresColumn extends ColumnDescription {
  /** Equality under the column's collation may join texts whose bytes differ. */
  readonly hasCoarseCollation: boolean;
  readonly isIdentityAlways: boolean;
}

const TABLES = `
  SELECT n.nspname, c.relname
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
     AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
     AND NOT c.relispartition
     AND left(c.relname, length($1)) <> $1
     AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
     AND (pg_catalog.has_any_column_privilege(c.oid, 'SELECT') OR pg_catalog.has_any_column_privilege(c.oid, 'INSERT'))
   ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`;

const RELATION = `
  SELECT c.oid, c.relkind, CASE WHEN c.reltuples < 0 THEN NULL ELSE c.reltuples::bigint END
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')`;

/** A domain is followed to its base by a bounded recursion; its own modifier counts when the column has none. */
const COLUMNS = `
  SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated, a.attidentity,
         a.atthasdef, e.typname, en.nspname, e.typtype, b.is_array, b.modifier,
         pg_catalog.format_type(e.oid, b.modifier),
         COALESCE((SELECT pg_catalog.json_agg(l.enumlabel ORDER BY l.enumsortorder) FROM pg_catalog.pg_enum l WHERE l.enumtypid = e.oid), '[]'),
         EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = e.oid AND d.deptype = 'e'),
         COALESCE(NOT co.collisdeterministic, false) OR e.typname = 'citext'
    FROM pg_catalog.pg_attribute a
    LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
   CROSS JOIN LATERAL (
      WITH RECURSIVE base (oid, modifier, depth) AS (
        SELECT a.atttypid, a.atttypmod, 0
        UNION ALL
        SELECT t.typbasetype, CASE WHEN base.modifier >= 0 THEN base.modifier ELSE t.typtypmod END, base.depth + 1
          FROM base JOIN pg_catalog.pg_type t ON t.oid = base.oid
         WHERE t.typtype = 'd' AND base.depth < 32
      )
      SELECT CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN t.typelem ELSE t.oid END AS oid,
             t.typcategory = 'A' AND t.typelem <> 0 AS is_array, base.modifier
        FROM base JOIN pg_catalog.pg_type t ON t.oid = base.oid ORDER BY depth DESC LIMIT 1
   ) b
    JOIN pg_catalog.pg_type e ON e.oid = b.oid
    JOIN pg_catalog.pg_namespace en ON en.oid = e.typnamespace
   WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
   ORDER BY a.attnum`;

/** Unique, valid, immediate, whole, on plain columns: what may serve as a key. INCLUDE columns are no part of it. */
const UNIQUE_KEYS = `
  SELECT i.indisprimary,
         (SELECT pg_catalog.json_agg(a.attname ORDER BY k.place)
            FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
           WHERE k.place <= i.indnkeyatts),
         (SELECT pg_catalog.bool_and(a.attnotnull)
            FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
           WHERE k.place <= i.indnkeyatts)
    FROM pg_catalog.pg_index i
   WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
   ORDER BY i.indisprimary DESC, i.indexrelid`;

const FOREIGN_KEYS = `
  SELECT n.nspname, c.relname,
         (SELECT pg_catalog.json_agg(a.attname ORDER BY k.place) FROM pg_catalog.unnest(f.conkey) WITH ORDINALITY k (attnum, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.attnum),
         (SELECT pg_catalog.json_agg(a.attname ORDER BY k.place) FROM pg_catalog.unnest(f.confkey) WITH ORDINALITY k (attnum, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.attnum),
         f.conname, f.condeferrable
    FROM pg_catalog.pg_constraint f
    JOIN pg_catalog.pg_class c ON c.oid = f.confrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE f.conrelid = $1 AND f.contype = 'f'
   ORDER BY f.conname`;

const RULE = (column: string) =>
  `CASE ${column} WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT' ELSE 'RESTRICT' END`;

/** Found by the triggers that do what the keys say, which an index serves: a partitioned table has them itself (15) or its partitions have. */
const REFERRERS = `
  WITH RECURSIVE tree (oid) AS (
    SELECT $1::oid UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid)
  SELECT n.nspname, r.relname, f.conname,
         (SELECT pg_catalog.json_agg(a.attname ORDER BY k.place) FROM pg_catalog.unnest(f.confkey) WITH ORDINALITY k (attnum, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.attnum),
         ${RULE('f.confdeltype')}, ${RULE('f.confupdtype')}
    FROM pg_catalog.pg_constraint f
    JOIN pg_catalog.pg_class r ON r.oid = f.conrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
   WHERE f.oid IN (SELECT g.tgconstraint FROM pg_catalog.pg_trigger g JOIN tree ON g.tgrelid = tree.oid)
     AND f.contype = 'f' AND f.confrelid IN (SELECT tree.oid FROM tree)
     AND (f.confdeltype IN ('c', 'n', 'd') OR f.confupdtype IN ('c', 'n', 'd'))
     AND (f.conislocal OR NOT r.relispartition)
   ORDER BY n.nspname, r.relname, f.conname`;

/** Foreign keys that act by themselves when rows of a table go. One to a partitioned table is kept once more for each of its partitions. */
export async function readReferrers(session: Session, oid: string): Promise<Referrer[]> {
  const keys = new Map<string, Referrer>();
  for (const [schema, name, key, toColumns, onDelete, onUpdate] of await session.rows(REFERRERS, [oid])) {
    const id = JSON.stringify([schema, name, toColumns, onDelete, onUpdate]);
    if (keys.has(id)) continue;
    keys.set(id, {
      table: { schema: schema ?? '', name: name ?? '' },
      key: key ?? '',
      toColumns: nameList(toColumns),
      onDelete: onDelete ?? '',
      onUpdate: onUpdate ?? '',
    });
  }
  return [...keys.values()];
}

/** Tables and views the connection may see, Qiao's own left out. */
export async function readTables(session: Session): Promise<TableRef[]> {
  const rows = await session.rows(TABLES, [OWN_PREFIX]);
  return rows.map(([schema, name]) => ({ schema: schema ?? '', name: name ?? '' }));
}

/** One table or view, or undefined when there is none of this name. */
export async function readTable(session: Session, schema: string, name: string): Promise<PostgresTable | undefined> {
  const [relation] = await session.rows(RELATION, [schema, name]);
  if (relation === undefined) return undefined;
  const [oid, relationKind, estimate] = relation as [string, string, string | null];
  const columns = (await session.rows(COLUMNS, [oid])).map(columnOf);
  const keys = await session.rows(UNIQUE_KEYS, [oid]);
  const foreignKeys = (await session.rows(FOREIGN_KEYS, [oid])).map(foreignKeyOf);
  const uniqueKeys = keys.filter(([, , notNull]) => notNull === 't').map(([, names]) => nameList(names));
  return {
    ref: { schema, name },
    oid,
    schema,
    relationKind,
    kind: relationKind === 'r' || relationKind === 'p' || relationKind === 'f' ? 'table' : 'view',
    columns,
    primaryKey: nameList(keys.find(([primary]) => primary === 't')?.[1] ?? '[]'),
    uniqueKeys,
    uniqueIndexes: keys.map(([, names]) => nameList(names)),
    foreignKeys,
    referrers: await readReferrers(session, oid),
    ...(estimate === null ? {} : { estimatedRows: Number(estimate) }),
  };
}

/** Reads at most one row. */
export async function isTableEmpty(session: Session, schema: string, name: string): Promise<boolean> {
  const rows = await session.rows(`SELECT 1 FROM ${qualified(schema, name)} LIMIT 1`);
  return rows.length === 0;
}

function columnOf(row: (string | null)[]): PostgresColumn {
  const text = (index: number) => row[index] ?? '';
  const found: CatalogType = {
    name: text(6),
    schema: text(7),
    kind: text(8),
    isArray: row[9] === 't',
    modifier: Number(text(10)),
    text: text(11),
    enumLabels: nameList(text(12)),
    isOfExtension: row[13] === 't',
  };
  const isIdentityAlways = text(4) === 'a';
  return {
    name: text(0),
    type: describedType(found),
    nativeType: text(1),
    nullable: row[2] !== 't',
    generated: text(3) !== '' || isIdentityAlways,
    hasDefault: row[5] === 't' || text(4) !== '',
    hasCoarseCollation: row[14] === 't',
    isIdentityAlways,
  };
}

function foreignKeyOf([schema, name, columns, toColumns, constraint, isDeferrable]: (
  | string
  | null
)[]): PostgresForeignKey {
  return {
    columns: nameList(columns ?? '[]'),
    toTable: { schema: schema ?? '', name: name ?? '' },
    toColumns: nameList(toColumns ?? '[]'),
    constraint: constraint ?? '',
    isDeferrable: isDeferrable === 't',
  };
}

/** Names that the catalog gave as a JSON array: metadata, never values of rows. */
function nameList(json: string | null | undefined): string[] {
  return JSON.parse(json ?? '[]') as string[];
}
