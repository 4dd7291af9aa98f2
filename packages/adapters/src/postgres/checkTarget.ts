/**
 * The preflight of the writing end: the table by its description, types by pair, foreign keys, collations of the key, rights, triggers,
 * rules and the mark. Changes nothing.
 */
import type { Problem } from '@qiao/exchange';
import type { SourceShape, TargetTable } from '../adapter.ts';
import { foreignKeyProblems, type KeyedTable, type TargetKey } from '../foreignKeys.ts';
import { MARK_TABLE } from '../mark.ts';
import { missingTableHint } from '../missingTable.ts';
import { pairProblems } from '../pairs.ts';
import {
  constraintProblems,
  type FoundConstraint,
  ownColumns,
  type Report,
  reporter,
  retypes,
  targetProblems,
} from '../preflight.ts';
import { isOfCapture } from '../triggers.ts';
import { quoted, remedies, rowSecurity, where } from './check.ts';
import { createTableSql } from './createTable.ts';
import { type PostgresForeignKey, type PostgresTable, readTable } from './describe.ts';
import { markDdl } from './markTable.ts';
import type { Session } from './session.ts';
import { identifier, qualified } from './sql.ts';

/** Can these tables take the rows, exactly, without hurting others? */
export async function checkTarget(
  session: Session,
  schema: string,
  tables: readonly TargetTable[],
  shapes: ReadonlyMap<string, SourceShape>,
): Promise<Problem[]> {
  const problems: Problem[] = [];
  await checkMark(
    session,
    schema,
    problems,
    tables.some((table) => table.landing === 'mirror'),
  );
  const keyed: KeyedTable[] = [];
  for (const target of tables) {
    const report = reporter(problems, target.table);
    const table = await readTable(session, target.ref.schema ?? schema, target.ref.name);
    if (table === undefined) {
      report('', 'TABLE_MISSING', `table ${where(schema, target.ref)} does not exist or cannot be seen`, {
        hint: missingTableHint(target, () => createTableSql(schema, target)),
      });
      continue;
    }
    if (table.relationKind !== 'r' && table.relationKind !== 'p') {
      report('', 'TARGET_NOT_TABLE', `${where(schema, target.ref)} is a view or a foreign table`, {
        hint: 'rows can only land in a table of the database itself',
      });
      continue;
    }
    const shape = shapes.get(target.table);
    const columnOf = (name: string) => table.columns.find((column) => column.name === name);
    const ways = remedies(table);
    targetProblems(report, target, table, shape, ways);
    problems.push(...pairProblems(target, shape, 'postgres', columnOf, retypes(columnOf, ways)));
    if (target.landing === 'mirror') keyCollations(report, target, table);
    await targetRights(session, report, target, table);
    constraintProblems(report, target, await readConstraints(session, table));
    keyed.push({
      target,
      ref: table.ref,
      referrers: table.referrers,
      columns: table.columns,
      keys: table.foreignKeys.map(released(table)),
    });
  }
  return [...problems, ...foreignKeyProblems(keyed)];
}

/** A landing that has to defers what can be deferred. */
function released(table: PostgresTable): (key: PostgresForeignKey) => TargetKey {
  return (key) => ({
    ...key,
    release: `ALTER TABLE ${quoted(table)} ALTER CONSTRAINT ${identifier(key.constraint)} DEFERRABLE;`,
  });
}

function keyCollations(report: Report, { key }: TargetTable, table: PostgresTable): void {
  for (const { name, hasCoarseCollation } of table.columns) {
    if (!hasCoarseCollation || !key.includes(name)) continue;
    report(name, 'KEY_COLLATION_COARSE', `key column ${name} takes different texts for equal`, {
      hint: `ALTER TABLE ${quoted(table)} ALTER COLUMN ${identifier(name)} TYPE text COLLATE "C";`,
    });
  }
}

/** The table and every partition under it: rows that land meet what stands at the one that takes them. */
const FAMILY = `
  WITH RECURSIVE family (oid) AS (
    SELECT $1::oid UNION ALL
    SELECT i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.oid
      JOIN pg_catalog.pg_class c ON c.oid = f.oid AND c.relkind = 'p')`;

/**
 * Indexes and constraints of the table, of a partition those that are its own, and what the table's domains check; a constraint that an index
 * carries is told as the index.
 */
const CONSTRAINTS = `${FAMILY}
  SELECT 'UNIQUE', ic.relname,
         (SELECT pg_catalog.json_agg(a.attname ORDER BY k.place)
            FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
           WHERE k.place <= i.indnkeyatts AND i.indpred IS NULL AND i.indexprs IS NULL)
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
   WHERE i.indrelid IN (SELECT oid FROM family) AND i.indisunique
     AND (i.indrelid = $1 OR NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = i.indexrelid))
   UNION ALL
  SELECT CASE f.contype WHEN 'x' THEN 'EXCLUDE' ELSE 'CHECK' END, f.conname, NULL FROM pg_catalog.pg_constraint f
   WHERE f.conrelid IN (SELECT oid FROM family) AND (f.conrelid = $1 OR f.conislocal) AND f.contype IN ('c', 'x')
      OR f.contype = 'c' AND f.contypid IN (SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0)
   ORDER BY 1, 2`;

async function readConstraints(session: Session, { oid }: PostgresTable): Promise<FoundConstraint[]> {
  return (await session.rows(CONSTRAINTS, [oid])).map(([kind, name, columns]) => ({
    kind: kind as FoundConstraint['kind'],
    name: name ?? '',
    columns: columns == null ? undefined : (JSON.parse(columns) as string[]),
  }));
}

const TARGET_FACTS = `${FAMILY}
  SELECT pg_catalog.has_schema_privilege($2, 'USAGE'), pg_catalog.row_security_active($1::oid), current_user,
         pg_catalog.has_table_privilege($1::oid, 'DELETE'),
         (SELECT pg_catalog.json_agg(c || ' ' || p)
            FROM pg_catalog.unnest($3::text[]) c CROSS JOIN pg_catalog.unnest($4::text[]) p
           WHERE NOT pg_catalog.has_column_privilege($1::oid, c, p)),
         (SELECT pg_catalog.json_agg(DISTINCT tgname ORDER BY tgname) FROM pg_catalog.pg_trigger
           WHERE tgrelid IN (SELECT oid FROM family) AND NOT tgisinternal AND tgenabled IN ('O', 'A')),
         (SELECT pg_catalog.json_agg(rulename ORDER BY rulename) FROM pg_catalog.pg_rewrite WHERE ev_class = $1::oid)`;

async function targetRights(
  session: Session,
  report: Report,
  target: TargetTable,
  table: PostgresTable,
): Promise<void> {
  const written = [...new Set([...target.columns.map((column) => column.name), ...ownColumns(target)])];
  const existing = written.filter((name) => table.columns.some((column) => column.name === name));
  const needed = target.landing === 'journal' ? ['INSERT', 'SELECT'] : ['INSERT', 'SELECT', 'UPDATE'];
  const [row] = await session.rows(TARGET_FACTS, [table.oid, table.schema, existing, needed]);
  const user = identifier(row?.[2] ?? '?');
  if (row?.[0] !== 't') {
    report('', 'RIGHTS_MISSING', `schema ${table.schema} may not be used`, {
      hint: `GRANT USAGE ON SCHEMA ${identifier(table.schema)} TO ${user};`,
    });
  }
  const missing = new Map<string, string[]>();
  for (const pair of JSON.parse(row?.[4] ?? '[]') as string[]) {
    const cut = pair.lastIndexOf(' ');
    const right = pair.slice(cut + 1);
    missing.set(right, [...(missing.get(right) ?? []), pair.slice(0, cut)]);
  }
  for (const [right, columns] of missing) {
    report('', 'RIGHTS_MISSING', `${right} is missing on ${columns.join(', ')}`, {
      hint: `GRANT ${right} (${columns.map(identifier).join(', ')}) ON ${quoted(table)} TO ${user};`,
    });
  }
  if (target.landing === 'mirror' && target.onDelete === 'delete' && row?.[3] !== 't') {
    report('', 'RIGHTS_MISSING', 'DELETE is missing', { hint: `GRANT DELETE ON ${quoted(table)} TO ${user};` });
  }
  if (row?.[1] === 't') rowSecurity(report, table, user);
  for (const name of JSON.parse(row?.[5] ?? '[]') as string[]) {
    if (isOfCapture(name)) continue;
    report('', 'TARGET_TRIGGER', `trigger ${name} runs for every row that lands and may change it`, {
      hint: 'rows that a trigger alters differ from the source when both ends are verified; one that swallows rows stops the lane',
      warning: true,
    });
  }
  for (const name of JSON.parse(row?.[6] ?? '[]') as string[]) {
    report('', 'TARGET_RULE', `rule ${name} rewrites what is written, so rows cannot be counted`, {
      hint: `DROP RULE ${identifier(name)} ON ${quoted(table)}; or land in a table without rules`,
    });
  }
}

async function checkMark(session: Session, schema: string, problems: Problem[], needsNotes: boolean): Promise<void> {
  const [row] = await session.rows(
    `SELECT pg_catalog.to_regclass($1) IS NOT NULL,
            COALESCE(pg_catalog.has_table_privilege(pg_catalog.to_regclass($1)::oid, 'SELECT')
                 AND pg_catalog.has_table_privilege(pg_catalog.to_regclass($1)::oid, 'INSERT')
                 AND pg_catalog.has_table_privilege(pg_catalog.to_regclass($1)::oid, 'UPDATE')
                 AND pg_catalog.has_table_privilege(pg_catalog.to_regclass($1)::oid, 'DELETE'), false),
            COALESCE((SELECT pg_catalog.has_schema_privilege(oid, 'CREATE') FROM pg_catalog.pg_namespace WHERE nspname = $2), false),
            pg_catalog.has_database_privilege(current_database(), 'TEMP'), current_user, current_database(),
            current_setting('transaction_read_only'), current_setting('server_encoding')`,
    [qualified(schema, MARK_TABLE), schema],
  );
  const [exists, isWritable, mayCreate, mayTemp, user, database, readOnly, encoding] = row ?? [];
  const report = (code: string, message: string, hint: string, warning = false) =>
    problems.push({ code, path: 'mark', message, hint, ...(warning ? { warning } : {}) });
  const role = identifier(user ?? '?');
  if (readOnly === 'on') {
    report(
      'TARGET_READ_ONLY',
      'the database takes no writes at the moment',
      'point the data source to the primary server',
    );
  }
  if (exists === 't' && isWritable !== 't') {
    report(
      'MARK_REFUSED',
      `${MARK_TABLE} exists but may not be written`,
      `GRANT SELECT, INSERT, UPDATE, DELETE ON ${qualified(schema, MARK_TABLE)} TO ${role};`,
    );
  } else if (exists !== 't' && mayCreate !== 't') {
    report(
      'MARK_REFUSED',
      `${MARK_TABLE} cannot be made in schema ${schema}`,
      `${markDdl(schema)};\nGRANT SELECT, INSERT, UPDATE, DELETE ON ${qualified(schema, MARK_TABLE)} TO ${role};`,
    );
  } else if (needsNotes && mayCreate !== 't') {
    report(
      'RIGHTS_MISSING',
      `a load notes the rows it finds in a table of its own, but none may be made in schema ${schema}`,
      `GRANT CREATE ON SCHEMA ${identifier(schema)} TO ${role};`,
    );
  }
  if (mayTemp !== 't') {
    report(
      'RIGHTS_MISSING',
      'temporary tables may not be made',
      `GRANT TEMP ON DATABASE ${identifier(database ?? '?')} TO ${role};`,
    );
  }
  if (encoding !== 'UTF8') {
    report(
      'ENCODING_NARROW',
      `the database stores ${encoding}: rows with characters that it does not have will be quarantined`,
      'use a database with encoding UTF8 if names of persons or places are shared',
      true,
    );
  }
}
