/**
 * The preflight of both ends: reads the catalog, changes nothing, and reports every problem at once with its fix. What the
 * catalog says is read by `describe.ts`; what two types do to a value is judged by `fit` of the domain.
 */

import { type ColumnType, filterColumns, fit, type Problem } from '@qiao/exchange';
import type { SourceShape, SourceTable, TargetTable } from '../adapter.ts';
import { MARK_TABLE } from '../mark.ts';
import { type PostgresColumn, type PostgresTable, readTable } from './describe.ts';
import { markDdl } from './markTable.ts';
import type { Session } from './session.ts';
import { identifier, qualified } from './sql.ts';

/** Can these tables be read whole, with a key, in types that travel? */
export async function checkSource(
  session: Session,
  schema: string,
  tables: readonly SourceTable[],
): Promise<Problem[]> {
  const problems: Problem[] = [];
  const [encoding] = await session.rows("SELECT current_setting('server_encoding')");
  if (encoding?.[0] === 'SQL_ASCII') {
    problems.push({
      code: 'ENCODING_UNKNOWN',
      path: '',
      message: 'the source database is SQL_ASCII: it does not know the encoding of its own text',
      hint: 'rows that are not UTF-8 stay behind and are counted; convert the database to UTF8 to share them',
      warning: true,
    });
  }
  for (const asked of tables) {
    const report = reporter(problems, asked.table);
    const table = await readTable(session, asked.ref.schema ?? schema, asked.ref.name);
    if (table === undefined) {
      report('', 'TABLE_MISSING', `table ${where(schema, asked.ref)} does not exist or cannot be seen`, {
        hint: 'compare with: qiao agent datasource tables',
      });
      continue;
    }
    const known = new Map(table.columns.map((column) => [column.name, column]));
    const key = asked.key ?? table.primaryKey;
    const columns = asked.columns ?? table.columns.map((column) => column.name);
    for (const name of new Set([...key, ...columns])) {
      const column = known.get(name);
      if (column === undefined) {
        report(name, 'COLUMN_MISSING', `column ${name} does not exist`, {
          hint: `the table has: ${[...known.keys()].join(', ')}`,
        });
      } else if ('unsupported' in column.type) {
        report(name, 'TYPE_UNSUPPORTED', `type ${column.type.unsupported} of column ${name} cannot travel`, {
          hint: 'leave the column out of `columns`, or share a view that turns it into text',
        });
      }
    }
    sourceKey(report, table, key, known);
    await sourceRights(
      session,
      report,
      table,
      [...new Set([...key, ...columns])].filter((name) => known.has(name)),
    );
  }
  return problems;
}

function sourceKey(report: Report, table: PostgresTable, key: readonly string[], known: Known): void {
  if (key.length === 0) {
    report('', 'KEYLESS_TABLE', 'the table has no primary key and the bridge names no key', {
      hint: 'write `key: [column, …]` with columns that are NOT NULL and unique, or add a primary key',
    });
    return;
  }
  if (table.kind === 'view') {
    if (table.uniqueIndexes.some((index) => index.every((name) => key.includes(name)))) return;
    report('', 'KEY_NOT_UNIQUE', `a view cannot prove that (${key.join(', ')}) is unique and never null`, {
      hint: 'share the table, or a materialised view with a unique index, if you are not sure',
      warning: true,
    });
    return;
  }
  for (const name of key) {
    if (known.get(name)?.nullable === true) {
      report(name, 'KEY_NULLABLE', `key column ${name} may be null`, { hint: notNull(table, name) });
    }
  }
  if (
    key.every((name) => known.has(name)) &&
    !table.uniqueIndexes.some((index) => index.every((name) => key.includes(name)))
  ) {
    report('', 'KEY_NOT_UNIQUE', `no unique index proves the key (${key.join(', ')})`, {
      hint: uniqueIndex(table, key),
    });
  }
}

async function sourceRights(session: Session, report: Report, table: PostgresTable, columns: string[]): Promise<void> {
  const [row] = await session.rows(
    `SELECT pg_catalog.has_schema_privilege($2, 'USAGE'), pg_catalog.row_security_active($1::oid),
            (SELECT pg_catalog.json_agg(c) FROM pg_catalog.unnest($3::text[]) c WHERE NOT pg_catalog.has_column_privilege($1::oid, c, 'SELECT')),
            current_user`,
    [table.oid, table.schema, columns],
  );
  const user = identifier(row?.[3] ?? '?');
  if (row?.[0] !== 't') {
    report('', 'RIGHTS_MISSING', `schema ${table.schema} may not be used`, {
      hint: `GRANT USAGE ON SCHEMA ${identifier(table.schema)} TO ${user};`,
    });
  }
  for (const name of JSON.parse(row?.[2] ?? '[]') as string[]) {
    report(name, 'RIGHTS_MISSING', `column ${name} may not be read`, {
      hint: `GRANT SELECT (${identifier(name)}) ON ${quoted(table)} TO ${user};`,
    });
  }
  if (row?.[1] === 't') rowSecurity(report, table, user);
}

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
  for (const target of tables) {
    const report = reporter(problems, target.table);
    const table = await readTable(session, target.ref.schema ?? schema, target.ref.name);
    if (table === undefined) {
      report('', 'TABLE_MISSING', `table ${where(schema, target.ref)} does not exist or cannot be seen`, {
        hint: 'create it, or let the bridge create it: qiao bridge create --create-tables',
      });
      continue;
    }
    if (table.relationKind !== 'r' && table.relationKind !== 'p') {
      report('', 'TARGET_NOT_TABLE', `${where(schema, target.ref)} is a view or a foreign table`, {
        hint: 'rows can only land in a table of the database itself',
      });
      continue;
    }
    const known = new Map(table.columns.map((column) => [column.name, column]));
    targetColumns(report, target, table, known);
    targetTypes(report, target, shapes.get(target.table), known);
    if (target.landing === 'mirror') targetKey(report, target, table, known);
    await targetRights(session, report, target, table);
  }
  return problems;
}

/** Columns that Qiao itself writes: the mark of deletes or the journal's own. */
function ownColumns(target: TargetTable): string[] {
  if (target.landing === 'journal') return Object.values(target.journalColumns);
  return target.onDelete === 'mark' && target.markColumn !== undefined ? [target.markColumn] : [];
}

function targetColumns(report: Report, target: TargetTable, table: PostgresTable, known: Known): void {
  const sent = target.columns.map((column) => column.name);
  const filtered =
    target.landing === 'mirror' && typeof target.ownership === 'object' ? filterColumns(target.ownership) : [];
  for (const name of new Set([...sent, ...target.key, ...filtered])) {
    const column = known.get(name);
    if (column === undefined) {
      report(name, 'COLUMN_MISSING', `column ${name} does not exist`, {
        hint: `the table has: ${[...known.keys()].join(', ')}`,
      });
    } else if (column.generated && sent.includes(name)) {
      report(name, 'COLUMN_GENERATED', `column ${name} is filled by the database itself`, {
        hint: column.isIdentityAlways
          ? `ALTER TABLE ${quoted(table)} ALTER COLUMN ${identifier(name)} SET GENERATED BY DEFAULT;`
          : 'leave the column out of `columns`',
      });
    }
  }
  if (target.landing === 'journal') {
    for (const name of Object.values(target.journalColumns)) {
      if (!known.has(name)) {
        report(name, 'JOURNAL_COLUMN_MISSING', `the journal column ${name} does not exist`, {
          hint: `ALTER TABLE ${quoted(table)} ADD COLUMN ${identifier(name)} text; or name the column in \`journalColumns\``,
        });
      }
    }
  } else if (target.onDelete === 'mark') {
    const column = known.get(target.markColumn ?? '');
    if (column === undefined || !canMark(column)) {
      report(
        target.markColumn ?? '',
        'MARK_COLUMN_MISSING',
        `a column of boolean, integer or text for deletes is expected`,
        {
          hint: `ALTER TABLE ${quoted(table)} ADD COLUMN ${identifier(target.markColumn || 'deleted')} boolean NOT NULL DEFAULT false;`,
        },
      );
    }
  }
  const written = new Set([...sent, ...ownColumns(target)]);
  for (const column of table.columns) {
    if (!column.nullable && !column.hasDefault && !column.generated && !written.has(column.name)) {
      report(
        column.name,
        'COLUMN_REQUIRED',
        `column ${column.name} is NOT NULL without a default and the bridge does not send it`,
        {
          hint: `send it, or: ALTER TABLE ${quoted(table)} ALTER COLUMN ${identifier(column.name)} SET DEFAULT …;`,
        },
      );
    }
    const isDeletesGap =
      target.landing === 'journal' && sent.includes(column.name) && !target.key.includes(column.name);
    if (isDeletesGap && !column.nullable && !column.hasDefault) {
      report(
        column.name,
        'NULLABLE_TO_REQUIRED',
        `a journal's deletes carry the key only, but column ${column.name} is NOT NULL`,
        {
          hint: `ALTER TABLE ${quoted(table)} ALTER COLUMN ${identifier(column.name)} DROP NOT NULL;`,
          warning: true,
        },
      );
    }
  }
}

function targetTypes(report: Report, target: TargetTable, shape: SourceShape | undefined, known: Known): void {
  for (const source of shape?.columns ?? []) {
    const column = known.get(source.name);
    if (column === undefined) continue;
    const found: { kind: string; why?: string } =
      'unsupported' in column.type
        ? { kind: 'refused', why: `${column.type.unsupported} cannot be written exactly` }
        : fit(source.type, column.type);
    if (found.kind !== 'exact') {
      const isLossy = found.kind === 'lossy';
      report(
        source.name,
        isLossy ? 'TYPE_LOSSY' : 'TYPE_REFUSED',
        `column ${source.name}: ${typeText(source.type)} does not fit into ${column.nativeType}: ${found.why ?? ''}`,
        { hint: 'widen the column of the target, or leave it out of `columns`', warning: isLossy },
      );
    }
    if (source.nullable && !column.nullable && !target.key.includes(source.name)) {
      report(
        source.name,
        'NULLABLE_TO_REQUIRED',
        `column ${source.name} may be null at the source but not at the target`,
        {
          hint: `rows with null will be quarantined; ALTER COLUMN ${identifier(source.name)} DROP NOT NULL, or add a check at the source`,
          warning: true,
        },
      );
    }
  }
}

function targetKey(report: Report, target: TargetTable, table: PostgresTable, known: Known): void {
  for (const name of target.key) {
    const column = known.get(name);
    if (column?.nullable === true) {
      report(name, 'KEY_NULLABLE', `key column ${name} may be null`, { hint: notNull(table, name) });
    }
    if (column?.hasCoarseCollation === true) {
      report(name, 'KEY_COLLATION_COARSE', `key column ${name} takes different texts for equal`, {
        hint: `ALTER TABLE ${quoted(table)} ALTER COLUMN ${identifier(name)} TYPE text COLLATE "C";`,
      });
    }
  }
  const isProven = table.uniqueIndexes.some(
    (index) => index.length === target.key.length && index.every((name) => target.key.includes(name)),
  );
  if (!isProven && target.key.every((name) => known.has(name))) {
    report('', 'KEY_NOT_UNIQUE', `no immediate, unconditional unique index is exactly on (${target.key.join(', ')})`, {
      hint: uniqueIndex(table, target.key),
    });
  }
}

const TARGET_FACTS = `
  SELECT pg_catalog.has_schema_privilege($2, 'USAGE'), pg_catalog.row_security_active($1::oid), current_user,
         pg_catalog.has_table_privilege($1::oid, 'DELETE'),
         (SELECT pg_catalog.json_agg(c || ' ' || p)
            FROM pg_catalog.unnest($3::text[]) c CROSS JOIN pg_catalog.unnest($4::text[]) p
           WHERE NOT pg_catalog.has_column_privilege($1::oid, c, p)),
         (SELECT pg_catalog.json_agg(tgname ORDER BY tgname) FROM pg_catalog.pg_trigger
           WHERE tgrelid = $1::oid AND NOT tgisinternal AND tgenabled IN ('O', 'A')),
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

type Known = ReadonlyMap<string, PostgresColumn>;
type Report = (column: string, code: string, message: string, more: { hint: string; warning?: boolean }) => void;

function reporter(problems: Problem[], label: string): Report {
  return (column, code, message, { hint, warning }) => {
    const path = column === '' ? label : `${label}.${column}`;
    problems.push({ code, path, message, hint, ...(warning === true ? { warning } : {}) });
  };
}

function rowSecurity(report: Report, table: PostgresTable, user: string): void {
  report('', 'ROW_SECURITY', 'row security hides rows from this user: missing rows would look deleted', {
    hint: `ALTER ROLE ${user} BYPASSRLS; or ALTER TABLE ${quoted(table)} DISABLE ROW LEVEL SECURITY;`,
  });
}

function canMark(column: PostgresColumn): boolean {
  return 'type' in column.type && ['boolean', 'integer', 'text'].includes(column.type.type);
}

function quoted(table: PostgresTable): string {
  return qualified(table.schema, table.ref.name);
}

function where(schema: string, ref: { readonly schema?: string | undefined; readonly name: string }): string {
  return `${ref.schema ?? schema}.${ref.name}`;
}

function notNull(table: PostgresTable, column: string): string {
  return `ALTER TABLE ${quoted(table)} ALTER COLUMN ${identifier(column)} SET NOT NULL;`;
}

function uniqueIndex(table: PostgresTable, key: readonly string[]): string {
  return `CREATE UNIQUE INDEX CONCURRENTLY ON ${quoted(table)} (${key.map(identifier).join(', ')});`;
}

function typeText(type: ColumnType): string {
  return type.type === 'native' ? type.name : type.type;
}
