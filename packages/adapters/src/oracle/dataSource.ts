/** A database of Oracle as a data source that is read: what `../source-only` asks of it, each from the file beside that knows. Not verified here. */
import type { Problem } from '@qiao/exchange';
import type { DataSource } from '../adapter.ts';
import type { Trial } from '../product.ts';
import { checkPort } from '../serverDataSource.ts';
import { quoted } from '../source-only/cursor.ts';
import { sourceOnly } from '../source-only/dataSource.ts';
import { type Dictionary, identifier, identity, readTable, readTables } from '../source-only/dictionary.ts';
import type { ReadColumn, Reader, ReadTable, SourceDatabase } from '../source-only/reader.ts';
import { schemaOf } from '../source-only/schemaOf.ts';
import { cannotSee, read, remains } from './horizon.ts';
import { connectString, type OracleConfig, openSession, type Session } from './session.ts';
import { type CatalogType, nativeType, travelOf } from './types.ts';

/** A data source that has not connected yet. Throws CONFIG_INVALID for settings that can never work. */
export function openOracle(config: OracleConfig): DataSource {
  checkPort(config, 'Oracle usually listens on 1521, and by TLS (TCPS) on 2484');
  connectString(config);
  return sourceOnly(config.name, oracleDatabase(config));
}

export function oracleDatabase(config: OracleConfig): SourceDatabase<Session> {
  return {
    name: 'Oracle',
    adapter: 'oracle',
    schema: schemaOf(config),
    placeholder: (place) => `:${place}`,
    identifier,
    fromNothing: ' FROM DUAL',
    clock: "SELECT TO_CHAR(SYS_EXTRACT_UTC(SYSTIMESTAMP), 'YYYY-MM-DD HH24:MI:SS') FROM DUAL",
    mostBound: 10_000,
    trials,
    open: (options) => openSession(config, options),
    begin: async (session, what) => {
      // A statement alone sees one moment by itself.
      if (what === 'steps') return;
      // It has to be the first statement of its transaction, and queries count.
      await session.run('COMMIT');
      await session.run('SET TRANSACTION READ ONLY');
    },
    readTables: (session) => readTables(session, dictionary),
    readTable: (session, schema, name) => readTable(session, dictionary, schema, name),
    identity,
    hindrances: (session, tables) => hindrances(config, session, tables),
    grantSelect: (table) => `GRANT SELECT ON ${quoted({ identifier }, table)} TO ${config.user};`,
    horizon: { cannotSee, read, remains },
  };
}

const dictionary: Dictionary = {
  columns: `
    SELECT c.COLUMN_NAME, c.DATA_TYPE, c.DATA_TYPE_OWNER, c.DATA_LENGTH, c.DATA_PRECISION, c.DATA_SCALE, c.CHAR_LENGTH, c.NULLABLE,
           c.DEFAULT_LENGTH, c.VIRTUAL_COLUMN, c.IDENTITY_COLUMN
      FROM ALL_TAB_COLS c WHERE c.OWNER = :1 AND c.TABLE_NAME = :2 AND c.HIDDEN_COLUMN = 'NO' ORDER BY c.COLUMN_ID`,
  columnOf,
  isSystem: "o.ORACLE_MAINTAINED = 'Y'",
  holds: " AND c.VALIDATED = 'VALIDATED' AND c.DEFERRABLE = 'NOT DEFERRABLE'",
  // One over an expression has a type of its own.
  uniqueIndexes: `
    SELECT i.OWNER || '.' || i.INDEX_NAME, 'U', k.COLUMN_NAME
      FROM ALL_INDEXES i JOIN ALL_IND_COLUMNS k ON k.INDEX_OWNER = i.OWNER AND k.INDEX_NAME = i.INDEX_NAME
     WHERE i.TABLE_OWNER = :1 AND i.TABLE_NAME = :2 AND i.UNIQUENESS = 'UNIQUE' AND i.INDEX_TYPE = 'NORMAL' AND i.STATUS IN ('VALID', 'N/A')
     ORDER BY 1, k.COLUMN_POSITION`,
};

function columnOf(row: readonly (string | null)[]): ReadColumn {
  const number = (place: number) => (row[place] === null || row[place] === undefined ? undefined : Number(row[place]));
  const catalog: CatalogType = {
    name: row[1] ?? '',
    owner: row[2] ?? undefined,
    length: number(3) ?? 0,
    precision: number(4),
    scale: number(5),
    charLength: number(6) ?? 0,
  };
  const travel = travelOf(catalog);
  const native = nativeType(catalog);
  return {
    name: row[0] ?? '',
    type: travel?.type ?? { unsupported: native },
    nativeType: native,
    nullable: row[7] === 'Y',
    generated: row[9] === 'YES' || row[10] === 'YES',
    hasDefault: (number(8) ?? 0) > 0 || row[10] === 'YES',
    travel,
  };
}

const trials: readonly Trial<Session>[] = [
  yields('numbers with every digit', "SELECT TO_CHAR(-0.05, 'TM9', 'NLS_NUMERIC_CHARACTERS=''.,''') FROM DUAL", '-.05'),
  yields(
    'times with nine digits',
    "SELECT TO_CHAR(TIMESTAMP '2024-02-29 08:00:00.123456789', 'YYYY-MM-DD HH24:MI:SS.FF9') FROM DUAL",
    '2024-02-29 08:00:00.123456789',
  ),
  yields(
    'instants in UTC',
    "SELECT TO_CHAR(SYS_EXTRACT_UTC(TIMESTAMP '2024-01-01 08:00:00 +08:00'), 'YYYY-MM-DD HH24:MI:SS') FROM DUAL",
    '2024-01-01 00:00:00',
  ),
  yields('Han beyond the basic plane', "SELECT UNISTR('\\D842\\DFB7') FROM DUAL", '𠮷'),
  yields('texts compared by their bytes', "SELECT CASE WHEN 'a' = 'A' THEN 'same' ELSE 'other' END FROM DUAL", 'other'),
  yields('the first rows of an order', 'SELECT 1 FROM DUAL ORDER BY 1 OFFSET 0 ROWS FETCH NEXT 1 ROWS ONLY', '1'),
  { what: 'the dictionary of tables, columns and keys', run: readsDictionary },
];

/** A query of one value. */
function yields(what: string, sql: string, expected: string): Trial<Session> {
  return { what, run: async (session) => (await session.rows({ sql, values: [] }))[0]?.[0] === expected };
}

async function readsDictionary(session: Session): Promise<boolean> {
  const table = await readTable(session, dictionary, 'SYS', 'ALL_TABLES');
  return table?.columns.some(({ name }) => name === 'TABLE_NAME') === true;
}

const POLICIES = `
  SELECT COUNT(*) FROM ALL_POLICIES WHERE OBJECT_OWNER = :1 AND OBJECT_NAME = :2 AND SEL = 'YES' AND ENABLE = 'YES'
     AND NOT EXISTS (SELECT 1 FROM SESSION_PRIVS WHERE PRIVILEGE = 'EXEMPT ACCESS POLICY')`;

async function hindrances(
  { user }: OracleConfig,
  session: Reader,
  tables: readonly { label: string; table: ReadTable }[],
): Promise<Problem[]> {
  const problems: Problem[] = [];
  // Manual, SET TRANSACTION: READ ONLY has no effect for SYS.
  if (user.toUpperCase() === 'SYS') {
    problems.push({
      code: 'SNAPSHOT_ISOLATION_OFF',
      path: '',
      message: 'the user SYS never sees one moment of all tables',
      hint: 'make an account of its own that may only read: CREATE USER …; GRANT CREATE SESSION, SELECT …',
    });
  }
  for (const { label, table } of tables) {
    const [row] = await session.rows({ sql: POLICIES, values: [table.schema, table.name] });
    if (Number(row?.[0] ?? 0) === 0) continue;
    problems.push({
      code: 'ROW_SECURITY',
      path: label,
      message: 'a policy (VPD) may hide rows of this table from this user: missing rows would look deleted',
      hint: `GRANT EXEMPT ACCESS POLICY TO ${user}; or share another table`,
    });
  }
  return problems;
}
