/** A database of SQL Server as a data source that is read: what `../source-only` asks of it, each from the file beside that knows. Not verified here. */
import type { Problem } from '@qiao/exchange';
import type { DataSource } from '../adapter.ts';
import type { Trial } from '../product.ts';
import { checkPort } from '../serverDataSource.ts';
import { quoted } from '../source-only/cursor.ts';
import { sourceOnly } from '../source-only/dataSource.ts';
import type { Reader, ReadTable, SourceDatabase } from '../source-only/reader.ts';
import { identity, readTable, readTables } from './describe.ts';
import { cannotSee, read, remains } from './horizon.ts';
import { type MssqlConfig, openSession, type Session } from './session.ts';

/** A data source that has not connected yet. Throws CONFIG_INVALID for settings that can never work. */
export function openMssql(config: MssqlConfig): DataSource {
  checkPort(config, 'SQL Server usually listens on 1433');
  return sourceOnly(config.name, mssqlDatabase(config));
}

export function mssqlDatabase(config: MssqlConfig): SourceDatabase<Session> {
  return {
    name: 'SQL Server',
    adapter: 'mssql',
    schema: config.schema ?? 'dbo',
    placeholder: (place) => `@p${place}`,
    identifier,
    fromNothing: '',
    clock: 'SELECT CONVERT(varchar(19), SYSUTCDATETIME(), 120)',
    // Of 2,100 that one statement may have.
    mostBound: 2_000,
    trials,
    open: (options) => openSession(config, options),
    begin,
    readTables,
    readTable,
    identity,
    hindrances,
    grantSelect: (table) => `GRANT SELECT ON ${quoted({ identifier }, table)} TO ${identifier(config.user)};`,
    horizon: { cannotSee, read, remains },
    risen: { fills: ({ nativeType }) => nativeType === 'timestamp', read: lowestActive },
  };
}

/** Throws RangeError for names that SQL Server cannot hold (empty, NUL). */
export function identifier(name: string): string {
  if (name === '' || name.includes('\0')) throw new RangeError('a name must not be empty nor contain NUL');
  return `[${name.replaceAll(']', ']]')}]`;
}

const trials: readonly Trial<Session>[] = [
  yields('money with its four digits', 'SELECT CONVERT(varchar(40), CONVERT(money, -1234.5678), 2)', '-1234.5678'),
  yields(
    'times with their seven digits',
    "SELECT CONVERT(varchar(40), CONVERT(datetime2(7), '2024-02-29 08:00:00.1234567', 121), 121)",
    '2024-02-29 08:00:00.1234567',
  ),
  yields(
    'instants in UTC',
    "SELECT CONVERT(varchar(40), SWITCHOFFSET(CONVERT(datetimeoffset(0), '2024-01-01 08:00:00 +08:00', 121), '+00:00'), 121)",
    '2024-01-01 00:00:00 +00:00',
  ),
  yields('numbers of 38 digits', 'SELECT CONVERT(varchar(40), CONVERT(decimal(38,2), -0.05))', '-0.05'),
  yields('Han beyond the basic plane', "SELECT CONVERT(nvarchar(10), N'𠮷')", '𠮷'),
  { what: 'the catalog of tables, columns and keys', run: async (session) => Array.isArray(await readTables(session)) },
];

/** A query of one value. */
function yields(what: string, sql: string, expected: string): Trial<Session> {
  return { what, run: async (session) => (await session.rows({ sql, values: [] }))[0]?.[0] === expected };
}

/** A table that this account may read; views last, for reading one may be much work. */
const READABLE = `
  SELECT TOP (1) s.name, o.name FROM sys.objects o JOIN sys.schemas s ON s.schema_id = o.schema_id
   WHERE o.type IN ('U', 'V') AND o.is_ms_shipped = 0
     AND HAS_PERMS_BY_NAME(QUOTENAME(s.name) + '.' + QUOTENAME(o.name), 'OBJECT', 'SELECT') = 1
   ORDER BY CASE o.type WHEN 'U' THEN 0 ELSE 1 END`;

/** The view begins when the transaction first reads a row's place, not when it begins: so it reads one at once. */
async function begin(session: Session, what: 'view' | 'steps'): Promise<void> {
  const [readable] = await session.rows({ sql: READABLE, values: [] });
  await session.run('SET TRANSACTION ISOLATION LEVEL SNAPSHOT');
  if (what === 'steps') return;
  await session.run('BEGIN TRANSACTION');
  if (readable === undefined) return;
  const table = quoted({ identifier }, { schema: readable[0] ?? '', name: readable[1] ?? '' });
  await session.rows({ sql: `SELECT TOP (1) 1 FROM ${table}`, values: [] });
}

/** Below it every rowversion is committed or gone, and the server tells so without a right. Asked before the view begins. */
async function lowestActive(session: Session): Promise<string | undefined> {
  const sql = 'SELECT CONVERT(varchar(20), CONVERT(bigint, MIN_ACTIVE_ROWVERSION()))';
  return (await session.rows({ sql, values: [] }))[0]?.[0] ?? undefined;
}

const DATABASE = `
  SELECT DB_NAME(), CONVERT(varchar(5), d.snapshot_isolation_state) FROM sys.databases d WHERE d.database_id = DB_ID()`;
const SNAPSHOTS_ON = '1';

const HIDDEN = `
  SELECT CASE WHEN EXISTS (
           SELECT 1 FROM sys.security_predicates p JOIN sys.security_policies y ON y.object_id = p.object_id
            WHERE p.target_object_id = OBJECT_ID(@p1) AND p.predicate_type = 0 AND y.is_enabled = 1) THEN 'Y' ELSE 'N' END,
         CASE WHEN EXISTS (SELECT 1 FROM sys.columns c WHERE c.object_id = OBJECT_ID(@p1) AND c.is_masked = 1)
               AND HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'UNMASK') = 0 THEN 'Y' ELSE 'N' END`;

async function hindrances(session: Reader, tables: readonly { label: string; table: ReadTable }[]): Promise<Problem[]> {
  const problems: Problem[] = [];
  const [row] = await session.rows({ sql: DATABASE, values: [] });
  const [name, snapshots] = row ?? [];
  if (snapshots !== SNAPSHOTS_ON) {
    problems.push({
      code: 'SNAPSHOT_ISOLATION_OFF',
      path: '',
      message: `database ${name ?? '?'} allows no snapshots: its tables cannot be read as of one moment without locks`,
      hint: `ALTER DATABASE ${identifier(name ?? '?')} SET ALLOW_SNAPSHOT_ISOLATION ON;`,
    });
  }
  for (const { label, table } of tables) {
    const own = quoted({ identifier }, table);
    const [hidden] = await session.rows({ sql: HIDDEN, values: [own] });
    if (hidden?.[0] === 'Y') {
      problems.push({
        code: 'ROW_SECURITY',
        path: label,
        message: 'a security policy filters rows of this table: missing rows would look deleted',
        hint: 'let its predicate pass every row to this user, or share another table',
      });
    }
    if (hidden?.[1] === 'Y') {
      problems.push({
        code: 'COLUMN_MASKED',
        path: label,
        message: 'columns of this table are masked for this user, who would read other values than are stored',
        hint: 'GRANT UNMASK to this user, or leave the columns out',
      });
    }
  }
  return problems;
}
