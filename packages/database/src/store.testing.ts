// For tests only: a fresh store of the kind that this run of the tests is about. The same test files run once on SQLite and
// once on a real PostgreSQL (.config/vitest.config.ts); what they open is decided here.

import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { DatabaseTarget } from './target.ts';

/** Set by the project `postgres` of the tests: the port of its server, where `qiao_test` may do everything. */
const PORT = process.env.QIAO_TEST_STORE === 'postgres' ? process.env.QIAO_TEST_POSTGRES : undefined;

/** An empty database on the server of this run; in a run on SQLite `file`. */
export async function testStore(file: string): Promise<DatabaseTarget> {
  if (PORT === undefined) return { url: file };
  const name = `store_${randomBytes(6).toString('hex')}`;
  const admin = new pg.Client({ host: '127.0.0.1', port: Number(PORT), user: 'qiao_test', database: 'postgres' });
  await admin.connect();
  // From the bare template, whose rules of order are not those of bytes: what we write must not lean on them.
  await admin.query(`CREATE DATABASE ${name}`);
  await admin.end();
  return { url: `postgres://qiao_test@127.0.0.1:${PORT}/${name}` };
}

export const isPostgresRun = PORT !== undefined;
