/** The preflight of a table that is read by a cursor: what the catalog says of its column, its index and of who can be seen. */
import type { Problem } from '@qiao/exchange';
import { cursorProblems, horizonUnproven, notIndexed } from '../cursorProblems.ts';
import { currentUser, type MysqlTable, whereTable } from './describe.ts';
import { cannotSee } from './horizon.ts';
import type { Session } from './session.ts';
import { bytesOf, identifier, literal, qualified } from './sql.ts';

/** What speaks against reading `table` by `name`; the column's absence is somebody else's finding. */
export async function cursorTableProblems(
  session: Session,
  label: string,
  table: MysqlTable,
  name: string,
): Promise<Problem[]> {
  const column = table.columns.find((each) => each.name === name);
  if (column === undefined) return [];
  const problems = cursorProblems(label, column);
  if (problems.some(({ warning }) => warning !== true)) return problems;
  // The indexes of a view's tables serve it, or do not: its definition would have to be understood.
  if (table.kind === 'table' && !(await isIndexed(session, table, name))) {
    const own = qualified(table.database, table.ref.name);
    problems.push(notIndexed(label, name, `ALTER TABLE ${own} ADD INDEX (${identifier(name)}), LOCK = NONE;`));
  }
  const why = await cannotSee(session);
  if (why === 'rights') {
    const fix = `GRANT PROCESS ON *.* TO ${await currentUser(session)};`;
    problems.push(horizonUnproven(label, name, 'open transactions cannot be seen without the right PROCESS', fix));
  } else if (why === 'product') {
    const said = `whether ${session.server.product.name} shows every open transaction is not known here`;
    problems.push(horizonUnproven(label, name, said, 'Write capture: compare'));
  } else if (why === 'replica') {
    const said = 'rows come from another server, whose open transactions are not seen here';
    problems.push(horizonUnproven(label, name, said, 'Point the data source to the primary'));
  }
  return problems;
}

async function isIndexed(session: Session, table: MysqlTable, name: string): Promise<boolean> {
  const rows = await session.rows(
    `SELECT 1 FROM information_schema.STATISTICS
      WHERE ${whereTable(session, table.database, table.ref.name, 'TABLE_SCHEMA', 'TABLE_NAME')}
        AND ${bytesOf('COLUMN_NAME')} = ${literal(name)} AND SEQ_IN_INDEX = 1 AND SUB_PART IS NULL AND INDEX_TYPE = 'BTREE' LIMIT 1`,
  );
  return rows.length > 0;
}
