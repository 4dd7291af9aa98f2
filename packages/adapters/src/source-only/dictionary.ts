/**
 * The dictionary of Oracle, and of databases that have one like it: the views ALL_…, each of which shows what this account may see. What
 * only one of them has is given by its adapter.
 */
import type { ForeignKey } from '../adapter.ts';
import { OWN_PREFIX } from '../mark.ts';
import { foreignKeysOf, keysOf, provenBy } from './describe.ts';
import type { ReadColumn, Reader, ReadTable } from './reader.ts';

export interface Dictionary {
  /** Bound to schema and table; a row for each column, in their order. */
  readonly columns: string;
  columnOf(row: readonly (string | null)[]): ReadColumn;
  /** Which of ALL_OBJECTS (`o`) are the server's own. */
  readonly isSystem: string;
  /** Which constraints (`c`) hold for every row, at once. */
  readonly holds: string;
  /** Rows of index, `U` and column, of unique indexes that are whole; bound to schema and table. */
  readonly uniqueIndexes?: string | undefined;
}

const KINDS = "('TABLE', 'VIEW', 'MATERIALIZED VIEW')";

const RELATION = `
  SELECT MIN(o.OBJECT_TYPE), (SELECT MAX(t.NUM_ROWS) FROM ALL_TABLES t WHERE t.OWNER = :1 AND t.TABLE_NAME = :2)
    FROM ALL_OBJECTS o WHERE o.OWNER = :3 AND o.OBJECT_NAME = :4 AND o.OBJECT_TYPE IN ${KINDS}`;

const KEYS = (holds: string) => `
  SELECT c.CONSTRAINT_NAME, c.CONSTRAINT_TYPE, k.COLUMN_NAME
    FROM ALL_CONSTRAINTS c JOIN ALL_CONS_COLUMNS k ON k.OWNER = c.OWNER AND k.CONSTRAINT_NAME = c.CONSTRAINT_NAME
   WHERE c.OWNER = :1 AND c.TABLE_NAME = :2 AND c.CONSTRAINT_TYPE IN ('P', 'U') AND c.STATUS = 'ENABLED'${holds}
   ORDER BY c.CONSTRAINT_NAME, k.POSITION`;

const FOREIGN_KEYS = `
  SELECT c.CONSTRAINT_NAME, k.COLUMN_NAME, r.OWNER, r.TABLE_NAME, d.COLUMN_NAME
    FROM ALL_CONSTRAINTS c JOIN ALL_CONSTRAINTS r ON r.OWNER = c.R_OWNER AND r.CONSTRAINT_NAME = c.R_CONSTRAINT_NAME
    JOIN ALL_CONS_COLUMNS k ON k.OWNER = c.OWNER AND k.CONSTRAINT_NAME = c.CONSTRAINT_NAME
    JOIN ALL_CONS_COLUMNS d ON d.OWNER = r.OWNER AND d.CONSTRAINT_NAME = r.CONSTRAINT_NAME AND d.POSITION = k.POSITION
   WHERE c.OWNER = :1 AND c.TABLE_NAME = :2 AND c.CONSTRAINT_TYPE = 'R' ORDER BY c.CONSTRAINT_NAME, k.POSITION`;

const INDEXED =
  'SELECT COLUMN_NAME FROM ALL_IND_COLUMNS WHERE TABLE_OWNER = :1 AND TABLE_NAME = :2 AND COLUMN_POSITION = 1';

/** Tables and views the connection may see, the server's and Qiao's own left out. */
export async function readTables(
  session: Reader,
  { isSystem }: Dictionary,
): Promise<{ schema: string; name: string }[]> {
  const sql = `
    SELECT DISTINCT o.OWNER, o.OBJECT_NAME FROM ALL_OBJECTS o
     WHERE o.OBJECT_TYPE IN ${KINDS} AND NOT (${isSystem})
       AND LOWER(SUBSTR(o.OBJECT_NAME, 1, ${OWN_PREFIX.length})) <> '${OWN_PREFIX}'
     ORDER BY 1, 2`;
  const rows = await session.rows({ sql, values: [] });
  return rows.map(([schema, name]) => ({ schema: schema ?? '', name: name ?? '' }));
}

/** One table or view, or undefined when there is none of this name. */
export async function readTable(
  session: Reader,
  dictionary: Dictionary,
  schema: string,
  name: string,
): Promise<ReadTable | undefined> {
  const at = [schema, name];
  const ask = (sql: string) => session.rows({ sql, values: at });
  const [relation] = await session.rows({ sql: RELATION, values: [...at, ...at] });
  const [kind, estimate] = relation ?? [];
  if (kind === undefined || kind === null) return undefined;
  const columns = (await ask(dictionary.columns)).map((row) => dictionary.columnOf(row));
  const unique = [
    ...(await ask(KEYS(dictionary.holds))),
    ...(dictionary.uniqueIndexes === undefined ? [] : await ask(dictionary.uniqueIndexes)),
  ];
  const foreignKeys: ForeignKey[] = foreignKeysOf(await ask(FOREIGN_KEYS));
  return {
    schema,
    name,
    // A materialised view is a table of its own, too: the first of the two kinds by name.
    kind: kind === 'VIEW' ? 'view' : 'table',
    columns,
    ...provenBy(keysOf(unique), columns),
    indexed: new Set((await ask(INDEXED)).map(([column]) => column ?? '')),
    foreignKeys,
    estimatedRows: estimate === null || estimate === undefined ? undefined : Number(estimate),
  };
}

/** Number and birth of the object. */
export async function identity(session: Reader, schema: string, name: string): Promise<string> {
  const sql = `
    SELECT MAX(o.OBJECT_ID), MAX(TO_CHAR(o.CREATED, 'YYYY-MM-DD HH24:MI:SS')) FROM ALL_OBJECTS o
     WHERE o.OWNER = :1 AND o.OBJECT_NAME = :2 AND o.OBJECT_TYPE IN ${KINDS}`;
  const [row] = await session.rows({ sql, values: [schema, name] });
  return JSON.stringify([schema, name, ...(row ?? [])]);
}

/** A name between double quotes, as such databases spell it. Throws RangeError for names that they cannot hold. */
export function identifier(name: string): string {
  if (name === '' || /["\0]/.test(name)) throw new RangeError('a name must not be empty nor contain quotes or NUL');
  return `"${name}"`;
}
