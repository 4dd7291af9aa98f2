/** A 达梦 as a data source that is read: what `../source-only` asks of it, each from the file beside that knows. Not verified here. */
import type { DataSource } from '../adapter.ts';
import type { Trial } from '../product.ts';
import { checkPort } from '../serverDataSource.ts';
import { quoted } from '../source-only/cursor.ts';
import { sourceOnly } from '../source-only/dataSource.ts';
import { type Dictionary, identifier, identity, readTable, readTables } from '../source-only/dictionary.ts';
import type { ReadColumn, SourceDatabase } from '../source-only/reader.ts';
import { schemaOf } from '../source-only/schemaOf.ts';
import { checkLine, type DamengConfig, openSession, type Session } from './session.ts';
import { type CatalogType, nativeType, travelOf } from './types.ts';

/** A data source that has not connected yet. Throws CONFIG_INVALID for settings that can never work. */
export function openDameng(config: DamengConfig): DataSource {
  checkPort(config, '达梦 usually listens on 5236');
  checkLine(config);
  return sourceOnly(config.name, damengDatabase(config));
}

export function damengDatabase(config: DamengConfig): SourceDatabase<Session> {
  return {
    name: '达梦',
    adapter: 'dameng',
    schema: schemaOf(config),
    placeholder: (place) => `:${place}`,
    identifier,
    fromNothing: ' FROM DUAL',
    clock: "SELECT TO_CHAR(SYS_EXTRACT_UTC(SYSTIMESTAMP), 'YYYY-MM-DD HH24:MI:SS') FROM DUAL",
    mostBound: 1_000,
    trials,
    open: () => openSession(config),
    // A statement alone sees one moment by itself.
    begin: async (session, what) => (what === 'view' ? await beginView(session) : undefined),
    readTables: (session) => readTables(session, dictionary),
    readTable: (session, schema, name) => readTable(session, dictionary, schema, name),
    identity,
    // Policies that hide rows are not told by any view that this adapter knows.
    hindrances: async () => [],
    grantSelect: (table) =>
      `GRANT SELECT ON ${quoted({ identifier }, table)} TO ${identifier(config.user.toUpperCase())};`,
    horizon: {
      // When a transaction comes into V$TRX, and what it shows of the other nodes of a cluster, is not known here.
      cannotSee: async () => ({
        why: 'whether 达梦 shows every open transaction is not known here',
        fix: 'Write capture: compare',
      }),
      read: async () => undefined,
      remains: async () => undefined,
    },
  };
}

const dictionary: Dictionary = {
  columns: `
    SELECT c.COLUMN_NAME, c.DATA_TYPE, c.DATA_LENGTH, c.DATA_PRECISION, c.DATA_SCALE, c.NULLABLE,
           CASE WHEN c.DATA_DEFAULT IS NULL THEN 'N' ELSE 'Y' END
      FROM ALL_TAB_COLUMNS c WHERE c.OWNER = :1 AND c.TABLE_NAME = :2 ORDER BY c.COLUMN_ID`,
  columnOf,
  isSystem: "o.OWNER IN ('SYS', 'SYSAUDITOR', 'SYSSSO', 'SYSDBO', 'CTISYS')",
  // Whether an index covers whole columns its dictionary may not tell: constraints alone prove a key.
  holds: '',
};

function columnOf(row: readonly (string | null)[]): ReadColumn {
  const number = (place: number) => (row[place] === null || row[place] === undefined ? undefined : Number(row[place]));
  const catalog: CatalogType = {
    name: (row[1] ?? '').toUpperCase(),
    length: number(2) ?? 0,
    precision: number(3),
    scale: number(4),
  };
  const travel = travelOf(catalog);
  const native = nativeType(catalog);
  return {
    name: row[0] ?? '',
    type: travel?.type ?? { unsupported: native },
    nativeType: native,
    nullable: row[5] !== 'N',
    generated: false,
    hasDefault: row[6] === 'Y',
    travel,
  };
}

const trials: readonly Trial<Session>[] = [
  yields(
    'numbers of 38 digits',
    'SELECT CAST(12345678901234567890123456789012345.678 AS VARCHAR(100)) FROM DUAL',
    '12345678901234567890123456789012345.678',
  ),
  yields(
    'times with microseconds',
    "SELECT TO_CHAR(TO_TIMESTAMP('2024-02-29 08:00:00.000001', 'YYYY-MM-DD HH24:MI:SS.FF6'), 'YYYY-MM-DD HH24:MI:SS.FF6') FROM DUAL",
    '2024-02-29 08:00:00.000001',
  ),
  yields(
    'dates without a time',
    "SELECT TO_CHAR(TO_DATE('2024-02-29', 'YYYY-MM-DD'), 'YYYY-MM-DD') FROM DUAL",
    '2024-02-29',
  ),
  yields('bytes as hex', "SELECT RAWTOHEX(HEXTORAW('00FF')) FROM DUAL", '00FF'),
  yields('Han beyond the basic plane', "SELECT '𠮷' FROM DUAL", '𠮷'),
  yields('sizes of large objects (DBMS_LOB)', "SELECT DBMS_LOB.GETLENGTH(TO_CLOB('abc')) FROM DUAL", '3'),
  yields('the first rows of an order', 'SELECT 1 FROM DUAL ORDER BY 1 OFFSET 0 ROWS FETCH NEXT 1 ROWS ONLY', '1'),
  yields(
    'values bound to a statement',
    'SELECT CAST(CAST(:1 AS BIGINT) AS VARCHAR(20)) FROM DUAL',
    '9007199254740993',
    ['9007199254740993'],
  ),
  { what: 'one view of all tables', side: 'SOURCE', run: readsOneView },
  {
    what: 'the dictionary of tables, columns and keys',
    run: async (session) => (await readTables(session, dictionary)).length >= 0,
  },
];

/** A query of one value. */
function yields(what: string, sql: string, expected: string, values: readonly string[] = []): Trial<Session> {
  return { what, run: async (session) => (await session.rows({ sql, values }))[0]?.[0] === expected };
}

async function readsOneView(session: Session): Promise<boolean> {
  await beginView(session);
  await session.run('ROLLBACK');
  return true;
}

async function beginView(session: Session): Promise<void> {
  // What follows has to be the first of its transaction, and queries count.
  await session.run('COMMIT');
  // READ ONLY alone keeps the isolation as it is, of one statement at a time; a server that takes it otherwise fails its trial.
  await session.run('SET TRANSACTION ISOLATION LEVEL SERIALIZABLE');
  await session.run('SET TRANSACTION READ ONLY');
}
