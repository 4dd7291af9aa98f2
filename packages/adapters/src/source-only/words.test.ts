/** The contract suite's SQL, as databases are told it that nobody here can run. */
import { expect, test } from 'vitest';
import { damengWorld } from '../dameng/contract.testing.ts';
import { mssqlWorld } from '../mssql/contract.testing.ts';
import { oracleWorld } from '../oracle/contract.testing.ts';
import { sayIn } from './words.testing.ts';

const place = { name: 'contract', host: 'db', port: 1, user: 'qiao', password: '' };
const mssql = mssqlWorld({ ...place, adapter: 'mssql', database: 'his', schema: 'suite' }).words;
const oracle = oracleWorld({ ...place, adapter: 'oracle', database: 'his' }).words;
const dameng = damengWorld({ ...place, adapter: 'dameng' }).words;

test('names stay small, types are the database’s own, and SQL Server’s tables lie in the run’s schema', () => {
  const sql = 'CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, f double precision, d decimal(10,2), x text)';
  expect(sayIn(mssql, sql)).toEqual([
    'CREATE TABLE [suite].[t] ([id] BIGINT NOT NULL PRIMARY KEY, [f] FLOAT(53), [d] DECIMAL(10,2), [x] NVARCHAR(MAX))',
  ]);
  expect(sayIn(oracle, sql)).toEqual([
    'CREATE TABLE "t" ("id" NUMBER(19) NOT NULL PRIMARY KEY, "f" BINARY_DOUBLE, "d" NUMBER(10,2), "x" CLOB)',
  ]);
});

test('rows go as many at a time as the database takes, literals as they are', () => {
  const sql = "INSERT INTO t (id, x) VALUES (1, 'it''s (a), \"b\"'), (2, TRUE)";
  expect(sayIn(mssql, sql)).toEqual(["INSERT INTO [suite].[t] ([id], [x]) VALUES (1, N'it''s (a), \"b\"'), (2, 1)"]);
  expect(sayIn(dameng, sql)).toEqual([
    `BEGIN INSERT INTO "t" ("id", "x") VALUES (1, 'it''s (a), "b"'); INSERT INTO "t" ("id", "x") VALUES (2, 1); END;`,
  ]);
  const many = Array.from({ length: 501 }, (_, n) => `(${n}, ${n}.5e3)`).join(', ');
  expect(sayIn(mssql, `INSERT INTO t VALUES ${many}`).length).toBe(2);
  expect(sayIn(oracle, `INSERT INTO t VALUES ${many}`).length).toBe(6);
  expect(sayIn(oracle, 'INSERT INTO t VALUES (1, 1e300)')).toEqual(['INSERT INTO "t" VALUES (1, 1e300D)']);
});

test('a text that is longer than a literal may be is put together, and no character is cut', () => {
  const [said = ''] = sayIn(oracle, `INSERT INTO t VALUES (1, '${"𠮷''".repeat(1_000)}')`);
  const pieces = [...said.matchAll(/TO_CLOB\('((?:[^']|'')*)'\)/g)].map(([, piece = '']) =>
    piece.replaceAll("''", "'"),
  );
  expect(pieces.join('')).toBe("𠮷'".repeat(1_000));
  expect(pieces.every((piece) => piece.isWellFormed())).toBe(true);
});

test('what a check prints as a remedy is understood as it stands', () => {
  expect(sayIn(oracle, 'CREATE INDEX "qiao_at" ON "QIAO"."t" ("at");')).toEqual([
    'CREATE INDEX "qiao_at" ON "QIAO"."t" ("at")',
  ]);
  expect(sayIn(mssql, 'CREATE INDEX good_at ON good (at)')).toEqual([
    'CREATE INDEX [good_at] ON [suite].[good] ([at])',
  ]);
});
