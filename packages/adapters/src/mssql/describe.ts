/** Reads the catalog of one database of SQL Server: which tables there are and what one of them is. Never reads rows. */
import { OWN_PREFIX } from '../mark.ts';
import { foreignKeysOf, keysOf, provenBy } from '../source-only/describe.ts';
import type { ReadColumn, Reader, ReadTable } from '../source-only/reader.ts';
import { type CatalogType, nativeType, travelOf } from './types.ts';

const TABLES = `
  SELECT s.name, o.name FROM sys.objects o JOIN sys.schemas s ON s.schema_id = o.schema_id
   WHERE o.type IN ('U', 'V') AND o.is_ms_shipped = 0 AND LOWER(LEFT(o.name, ${OWN_PREFIX.length})) <> '${OWN_PREFIX}'
   ORDER BY s.name, o.name`;

/** The catalog compares names by the database's collation: which of two that differ in case is meant is decided here. */
const RELATION = `
  SELECT CONVERT(varchar(20), o.object_id), RTRIM(o.type),
         CONVERT(varchar(20), (SELECT SUM(p.rows) FROM sys.partitions p WHERE p.object_id = o.object_id AND p.index_id IN (0, 1)))
    FROM sys.objects o JOIN sys.schemas s ON s.schema_id = o.schema_id
   WHERE s.name COLLATE Latin1_General_BIN2 = @p1 AND o.name COLLATE Latin1_General_BIN2 = @p2 AND o.type IN ('U', 'V')`;

/** An alias type is followed to its system type; one of the CLR has none but itself. */
const COLUMNS = `
  SELECT c.name, COALESCE(y.name, t.name), CONVERT(varchar(10), c.max_length), CONVERT(varchar(10), c.precision), CONVERT(varchar(10), c.scale),
         c.collation_name, CASE c.is_nullable WHEN 1 THEN 'Y' ELSE 'N' END,
         CASE WHEN c.is_computed = 1 OR c.is_identity = 1 OR c.generated_always_type <> 0 OR c.system_type_id = 189 THEN 'Y' ELSE 'N' END,
         CASE WHEN c.default_object_id <> 0 OR c.is_identity = 1 THEN 'Y' ELSE 'N' END
    FROM sys.columns c JOIN sys.types t ON t.user_type_id = c.user_type_id
    LEFT JOIN sys.types y ON y.user_type_id = c.system_type_id AND t.is_user_defined = 1 AND t.is_assembly_type = 0
   WHERE c.object_id = CONVERT(int, @p1) AND c.is_hidden = 0 ORDER BY c.column_id`;

const INDEXES = `
  SELECT i.name, CASE i.is_primary_key WHEN 1 THEN 'P' ELSE 'U' END, c.name, CASE WHEN i.is_unique = 1 AND i.has_filter = 0 THEN 'Y' ELSE 'N' END
    FROM sys.indexes i JOIN sys.index_columns k ON k.object_id = i.object_id AND k.index_id = i.index_id AND k.key_ordinal > 0
    JOIN sys.columns c ON c.object_id = k.object_id AND c.column_id = k.column_id
   WHERE i.object_id = CONVERT(int, @p1) AND i.is_disabled = 0 AND i.is_hypothetical = 0 AND i.type IN (1, 2) ORDER BY i.index_id, k.key_ordinal`;

const FOREIGN_KEYS = `
  SELECT f.name, c.name, s.name, o.name, d.name
    FROM sys.foreign_keys f JOIN sys.foreign_key_columns k ON k.constraint_object_id = f.object_id
    JOIN sys.columns c ON c.object_id = k.parent_object_id AND c.column_id = k.parent_column_id
    JOIN sys.columns d ON d.object_id = k.referenced_object_id AND d.column_id = k.referenced_column_id
    JOIN sys.objects o ON o.object_id = f.referenced_object_id JOIN sys.schemas s ON s.schema_id = o.schema_id
   WHERE f.parent_object_id = CONVERT(int, @p1) ORDER BY f.name, k.constraint_column_id`;

/** With what only this adapter's own files need. */
export interface MssqlTable extends ReadTable {
  readonly objectId: string;
}

export async function readTables(session: Reader): Promise<{ schema: string; name: string }[]> {
  const rows = await session.rows({ sql: TABLES, values: [] });
  return rows.map(([schema, name]) => ({ schema: schema ?? '', name: name ?? '' }));
}

/** One table or view, or undefined when there is none of this name. */
export async function readTable(session: Reader, schema: string, name: string): Promise<MssqlTable | undefined> {
  const [relation] = await session.rows({ sql: RELATION, values: [schema, name] });
  if (relation === undefined) return undefined;
  const [objectId, type, estimate] = relation as [string, string, string | null];
  const columns = (await session.rows({ sql: COLUMNS, values: [objectId] })).map(columnOf);
  const indexes = await session.rows({ sql: INDEXES, values: [objectId] });
  const first = new Map(indexes.map(([index, , column]) => [index, column ?? '']).toReversed() as [string, string][]);
  return {
    objectId,
    schema,
    name,
    kind: type === 'V' ? 'view' : 'table',
    columns,
    ...provenBy(keysOf(indexes.filter(([, , , isUnique]) => isUnique === 'Y')), columns),
    indexed: new Set(first.values()),
    foreignKeys: foreignKeysOf(await session.rows({ sql: FOREIGN_KEYS, values: [objectId] })),
    estimatedRows: estimate === null ? undefined : Number(estimate),
  };
}

/** `object/made`, and the fork of the database that a restore begins, where this account may see it. */
export async function identity(session: Reader, schema: string, name: string): Promise<string> {
  const sql = `
    SELECT CONCAT(DB_NAME(), '/', o.object_id, '/', CONVERT(varchar(30), o.create_date, 126), '/',
           (SELECT CONVERT(char(36), r.recovery_fork_guid) FROM sys.database_recovery_status r WHERE r.database_id = DB_ID()))
      FROM sys.objects o JOIN sys.schemas s ON s.schema_id = o.schema_id
     WHERE s.name COLLATE Latin1_General_BIN2 = @p1 AND o.name COLLATE Latin1_General_BIN2 = @p2`;
  const [row] = await session.rows({ sql, values: [schema, name] });
  return row?.[0] ?? '';
}

function columnOf(row: (string | null)[]): ReadColumn {
  const text = (place: number) => row[place] ?? '';
  const catalog: CatalogType = {
    name: text(1),
    maxLength: Number(text(2)),
    precision: Number(text(3)),
    scale: Number(text(4)),
    collation: row[5] ?? undefined,
  };
  const travel = travelOf(catalog);
  const native = nativeType(catalog);
  return {
    name: text(0),
    type: travel?.type ?? { unsupported: native },
    nativeType: native,
    nullable: text(6) === 'Y',
    generated: text(7) === 'Y',
    hasDefault: text(8) === 'Y',
    travel,
  };
}
