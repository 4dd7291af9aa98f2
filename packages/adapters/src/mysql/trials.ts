/** What this adapter relies on, tried at MySQL and other kin of MariaDB: the statements of reading and landing, and values that some of them keep otherwise. */
import type { Trial } from '../product.ts';
import { readTable, readTables } from './describe.ts';
import type { Session } from './session.ts';

const STAGE = 'qiao_trial';

export const trials: readonly Trial<Session>[] = [
  { what: "the catalog of tables, columns and keys as MySQL's", run: readsCatalog },
  yields('a text of no characters that is not null', "SELECT '' IS NOT NULL", ['1']),
  {
    what: 'a collation by which different bytes are different texts',
    run: async (session) => {
      const text = (value: string) => `_utf8mb4'${value}' COLLATE ${session.server.exactCollation}`;
      const [row] = await session.rows(`SELECT ${text('a')} = ${text('A')}, ${text('a')} = ${text('a ')}`);
      return row?.join() === '0,0';
    },
  },
  {
    what: 'floats as texts that read back',
    run: async (session) => {
      const values = [0.1, 0.30000000000000004, 1.7976931348623157e308];
      const [row] = await session.rows(`SELECT ${values.map((value) => value.toExponential()).join(', ')}`);
      return values.every((value, place) => Number(row?.[place]) === value);
    },
  },
  yields(
    'numbers of 65 digits',
    "SELECT CAST('99999999999999999999999999999999999.123456789012345678901234567891' AS DECIMAL(65,30))",
    ['99999999999999999999999999999999999.123456789012345678901234567891'],
  ),
  yields('microseconds', "SELECT CAST('2024-01-01 00:00:00.000001' AS DATETIME(6))", ['2024-01-01 00:00:00.000001']),
  yields('numbers of rows (window functions)', 'SELECT ROW_NUMBER() OVER ()', ['1']),
  within('SOURCE', 'one view of all tables', 'START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY', []),
  within('TARGET', 'savepoints', 'START TRANSACTION', ['SAVEPOINT a', 'ROLLBACK TO SAVEPOINT a']),
  { what: 'a strict mode that refuses what does not fit, in temporary tables', side: 'TARGET', run: isStrict },
];

/** A query of one row. */
function yields(what: string, sql: string, expected: readonly string[]): Trial<Session> {
  return { what, run: async (session) => (await session.rows(sql))[0]?.join() === expected.join() };
}

/** Statements of a transaction that is rolled back. */
function within(side: 'SOURCE' | 'TARGET', what: string, begin: string, statements: readonly string[]): Trial<Session> {
  return {
    what,
    side,
    async run(session) {
      await session.run(begin);
      try {
        for (const statement of statements) await session.run(statement);
        return true;
      } finally {
        await session.run('ROLLBACK');
      }
    },
  };
}

async function isStrict(session: Session): Promise<boolean> {
  await session.run(`CREATE TEMPORARY TABLE ${STAGE} (x tinyint)`);
  try {
    await session.run(`INSERT INTO ${STAGE} VALUES (127)`);
    const isTaken = await session.run(`INSERT INTO ${STAGE} VALUES (128)`).then(
      () => true,
      () => false,
    );
    return !isTaken;
  } finally {
    await session.run(`DROP TEMPORARY TABLE ${STAGE}`);
  }
}

async function readsCatalog(session: Session): Promise<boolean> {
  await readTables(session);
  const table = await readTable(session, 'information_schema', 'TABLES');
  return table?.columns.some(({ name }) => name === 'TABLE_NAME') === true;
}
