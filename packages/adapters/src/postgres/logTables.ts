/** Whether a table can be followed by the log: what the catalog says of it, and what stands against it. Publishes nothing. */
import type { Problem } from '@qiao/exchange';
import type { AskedTable } from '../log/asked.ts';
import type { Product } from '../product.ts';
import type { LoggedColumn } from './pgoutput.ts';
import type { Row, Session } from './session.ts';
import { identifier, qualified } from './sql.ts';

/** What the server and the account allow. */
export interface LogFacts {
  readonly walLevel: string;
  readonly isStandby: boolean;
  readonly mayReplicate: boolean;
  readonly mayPublish: boolean;
  readonly user: string;
  readonly encoding: string;
  /** server_version_num. */
  readonly version: number;
  readonly product: Product;
}

export interface LogTable {
  readonly label: string;
  readonly oid: string;
  readonly schema: string;
  readonly name: string;
  /** Its owner is a role of the account's. */
  readonly isOwned: boolean;
  /** The table, and every partition under it. */
  readonly family: readonly Relation[];
  /** Partitioned tables that it is a partition of. */
  readonly ancestors: readonly string[];
  /** Other tables inherit from it, and have rows of it. */
  readonly hasHeirs: boolean;
  readonly columns: readonly CatalogColumn[];
  readonly key: readonly string[];
  /** All that the catalog says of the table and of its columns, also of those beside the plan. */
  readonly catalog: string;
}

interface Relation {
  readonly oid: string;
  readonly kind: string;
  readonly persistence: string;
  /** Columns that name a row in the log; undefined for none, 'full' for the whole row. */
  readonly identity: readonly string[] | 'full' | undefined;
  /** Another one when a partition was emptied or written anew; empty for the table itself, whose TRUNCATE is in the log. */
  readonly fileNode: string;
}

interface CatalogColumn extends LoggedColumn {
  /** pg_attribute.attnum: another one when a column of the same name was made anew. */
  readonly number: number;
  readonly isGenerated: boolean;
}

/** Of every table asked for, itself first, then every partition: the server asks the one that is written for its identity. */
const TABLES = `
  WITH RECURSIVE family (place, root, oid, kind) AS (
    SELECT a.place, c.oid, c.oid, c.relkind
      FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) WITH ORDINALITY AS a (schema, name, place)
      JOIN pg_catalog.pg_namespace n ON n.nspname = a.schema JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = a.name
    UNION ALL
    SELECT f.place, f.root, c.oid, c.relkind
      FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.oid JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
     WHERE f.kind = 'p')
  SELECT f.place, c.oid, c.relkind, c.relpersistence, pg_catalog.pg_has_role(c.relowner, 'USAGE'), c.relreplident,
         (SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum)
            FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
           WHERE i.indrelid = c.oid AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary AND i.indimmediate END),
         CASE WHEN c.oid = f.root THEN '' ELSE c.relfilenode::text END,
         (SELECT pg_catalog.json_agg(p.relid::oid::text) FROM pg_catalog.pg_partition_ancestors(f.root) p WHERE p.relid <> f.root),
         f.kind <> 'p' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = f.oid)
    FROM family f JOIN pg_catalog.pg_class c ON c.oid = f.oid ORDER BY f.place, c.oid <> f.root, c.oid`;

const COLUMNS = `
  SELECT a.attrelid, a.attname, a.attnum, a.atttypid, a.atttypmod, a.attgenerated <> ''
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
   ORDER BY a.attrelid, a.attnum`;

/** In the order asked for. */
export async function readLogTables(
  session: Session,
  schema: string,
  asked: readonly AskedTable[],
): Promise<(LogTable | Problem)[]> {
  const names = [asked.map(({ ref }) => ref.schema ?? schema), asked.map(({ ref }) => ref.name)];
  const relations = Map.groupBy(await session.rows(TABLES, names), ([place]) => Number(place) - 1);
  const oids = new Set([...relations.values()].map((family) => family[0]?.[1]));
  const columns = Map.groupBy(await session.rows(COLUMNS, [[...oids]]), ([oid]) => oid);
  return asked.map((each, place) => {
    const family = relations.get(place) ?? [];
    return logTable(each, schema, family, columns.get(family[0]?.[1] ?? null) ?? []);
  });
}

function logTable(
  { ref, columns, key }: AskedTable,
  defaultSchema: string,
  family: readonly Row[],
  catalogColumns: readonly Row[],
): LogTable | Problem {
  const { name, schema = defaultSchema } = ref;
  const [root] = family;
  if (root === undefined) {
    const hint = 'compare with: qiao agent datasource tables NAME';
    return { code: 'TABLE_MISSING', path: name, message: `table ${name} does not exist or cannot be seen`, hint };
  }
  const known = new Map(catalogColumns.map((row) => [row[1] ?? '', catalogColumn(row)]));
  const lost = columns.find((column) => !known.has(column));
  if (lost !== undefined) {
    const message = `table ${name} has no column ${lost}`;
    return { code: 'COLUMN_MISSING', path: name, message, hint: 'qiao bridge check -f FILE' };
  }
  return {
    label: name,
    oid: root[1] ?? '',
    schema,
    name,
    isOwned: root[4] === 't',
    family: family.map(([, oid, kind, persistence, , identity, named, fileNode]) => ({
      oid: oid ?? '',
      kind: kind ?? '',
      persistence: persistence ?? '',
      identity:
        identity === 'f' ? 'full' : identity === 'n' || named == null ? undefined : (JSON.parse(named) as string[]),
      fileNode: fileNode ?? '',
    })),
    ancestors: JSON.parse(root[8] ?? '[]') as string[],
    hasHeirs: root[9] === 't',
    columns: columns.map((column) => known.get(column) as CatalogColumn),
    key,
    catalog: JSON.stringify([family, catalogColumns]),
  };
}

function catalogColumn([, name, number, typeOid, typeModifier, isGenerated]: Row): CatalogColumn {
  return {
    name: name ?? '',
    number: Number(number),
    typeOid: Number(typeOid),
    typeModifier: Number(typeModifier),
    isGenerated: isGenerated === 't',
  };
}

/** Why the table cannot be followed: every reason; none when it can. */
export function tableProblems(found: LogTable): readonly Problem[] {
  const { label: path, schema, name, key } = found;
  const table = qualified(schema, name);
  const problems: Problem[] = [];
  const strange = found.family.find(({ kind, persistence }) => !['r', 'p'].includes(kind) || persistence !== 'p');
  if (strange !== undefined) {
    const what = strange.persistence === 'p' ? 'no table of its own' : 'unlogged or temporary';
    const message = `${strange.oid === found.oid ? name : `a partition of ${name}`} is ${what}: its changes are not in the log`;
    return [{ code: 'LOG_KIND', path, message, hint: 'name the tables that it reads, or write capture: compare' }];
  }
  if (found.hasHeirs) {
    const message = `other tables inherit from ${name}: their rows are read with it, but come in the log as their own`;
    problems.push({
      code: 'LOG_KIND',
      path,
      message,
      hint: 'partition the table instead, or write capture: compare',
    });
  }
  for (const { name: column } of found.columns.filter(({ isGenerated }) => isGenerated)) {
    const message = `column ${column} of ${name} is computed by the database, and not in its log`;
    problems.push({
      code: 'LOG_COLUMN',
      path,
      message,
      hint: 'leave the column out of the bridge (columns:), or write capture: compare',
    });
  }
  const isNamed = found.family.every(
    ({ identity }) =>
      identity === 'full' || (identity !== undefined && key.every((column) => identity.includes(column))),
  );
  if (isNamed) return problems;
  const message = `the log would not name the rows of ${name} by the bridge's key (${key.join(', ')}): its replica identity is another`;
  const hint = `ALTER TABLE ${table} REPLICA IDENTITY USING INDEX <a unique index on ${key.map(identifier).join(', ')}>; or REPLICA IDENTITY FULL; on every partition too`;
  return [...problems, { code: 'LOG_NO_IDENTITY', path, message, hint }];
}

/** Why a partition cannot be followed beside a table that it belongs to; undefined when none of those is published. */
export function partitionProblem(found: LogTable, isPublished: (oid: string) => boolean): Problem | undefined {
  const { label: path, name, ancestors } = found;
  if (!ancestors.some(isPublished)) return undefined;
  return {
    code: 'LOG_KIND',
    path,
    message: `${name} is a partition of a table that is followed, too: its changes come in the log as those of that table`,
    hint: 'let the bridge read the partitioned table with a filter, or write capture: compare',
  };
}
