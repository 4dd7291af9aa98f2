/** The preflight of a table that is read by a cursor: what the catalog says of its column, its index, its sequence and of who can be seen. */
import type { Problem } from '@qiao/exchange';
import { cursorProblems, horizonUnproven, notIndexed } from '../cursorProblems.ts';
import type { PostgresTable } from './describe.ts';
import { canSeeOpen } from './horizon.ts';
import type { Session } from './session.ts';
import { identifier, qualified } from './sql.ts';

const IS_INDEXED = `
  SELECT EXISTS (
    SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = c.relam
      JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
     WHERE i.indrelid = $1 AND a.attname = $2 AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree')`;

/** Sequences that the column owns, or that its default names, when they do not hand out rising numbers one by one. */
const SEQUENCES = `
  SELECT DISTINCT n.nspname, c.relname, s.seqcache
    FROM pg_catalog.pg_attribute a
    LEFT JOIN pg_catalog.pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
    JOIN pg_catalog.pg_depend d ON
         (d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
          AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum)
      OR (d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass)
    JOIN pg_catalog.pg_class c ON c.oid = CASE WHEN d.classid = 'pg_catalog.pg_class'::regclass THEN d.objid ELSE d.refobjid END
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid
   WHERE a.attrelid = $1 AND a.attname = $2 AND s.seqcache > 1`;

/** What speaks against reading `table` by `name`; the column's absence is somebody else's finding. */
export async function cursorTableProblems(
  session: Session,
  label: string,
  table: PostgresTable,
  name: string,
): Promise<Problem[]> {
  const column = table.columns.find((each) => each.name === name);
  if (column === undefined) return [];
  const problems = cursorProblems(label, column);
  if (problems.some(({ warning }) => warning !== true)) return problems;
  const own = qualified(table.schema, table.ref.name);
  // The indexes of a view's tables serve it, or do not: its definition would have to be understood.
  if (table.relationKind !== 'v' && table.relationKind !== 'f') {
    const [row] = await session.rows(IS_INDEXED, [table.oid, name]);
    if (row?.[0] !== 't') {
      problems.push(notIndexed(label, name, `CREATE INDEX CONCURRENTLY ON ${own} (${identifier(name)});`));
    }
  }
  for (const [schema, sequence, cache] of await session.rows(SEQUENCES, [table.oid, name])) {
    problems.push({
      code: 'CURSOR_SEQUENCE_CACHED',
      path: `${label}.${name}`,
      message: `sequence ${sequence ?? ''} gives each session ${cache ?? ''} numbers ahead, which come in later transactions`,
      hint: `ALTER SEQUENCE ${qualified(schema ?? '', sequence ?? '?')} CACHE 1; or write a lag: of ${cache ?? ''} for each session of the department at least.`,
      warning: true,
    });
  }
  if (table.relationKind === 'f') {
    const why = 'the table lies in another database, whose open transactions are not seen here';
    problems.push(horizonUnproven(label, name, why, 'Point the data source to that database'));
  } else if (session.product.isKin) {
    const why = `whether ${session.product.name} shows every open transaction is not known here`;
    problems.push(horizonUnproven(label, name, why, 'Write capture: compare'));
  } else if (!(await canSeeOpen(session))) {
    const why =
      'open transactions cannot be seen (a standby, or pg_locks, pg_stat_activity or pg_prepared_xacts may not be read)';
    problems.push(
      horizonUnproven(label, name, why, 'Point the data source to the primary and let this user read them'),
    );
  }
  return problems;
}
