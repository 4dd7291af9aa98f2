/**
 * What the three share, on a real server that is here: PostgreSQL as a database that is only read, under the same suite by which SQL Server, Oracle
 * and 达梦 are to be verified. It proves `source-only/` and the suite's words, and nothing of any of the three.
 */
import { afterAll, beforeAll } from 'vitest';
import { adapterContract } from '../contractSuite.ts';
import { type PostgresServer, startPostgres } from '../postgres/server.testing.ts';
import { openSession, type PostgresConfig, type Session as PostgresSession } from '../postgres/session.ts';
import { identifier } from '../postgres/sql.ts';
import { type SourceWorld, sourceOnlyFixture, sourceOnlyWaivers } from './contract.testing.ts';
import { foreignKeysOf, keysOf, provenBy } from './describe.ts';
import type { ReadColumn, Reader, SourceDatabase, Statement, Travel, Value } from './reader.ts';
import {
  asIs,
  booleanText,
  bytesText,
  dateText,
  decimalText,
  float,
  integerText,
  timestampText,
  wellFormed,
} from './values.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

adapterContract('a database that is only read', async () => sourceOnlyFixture(worldOf(await server.database())), {
  ...sourceOnlyWaivers,
  horizon: 'this one does not tell who is open',
});

/** A cursor at the server gives rows some at a time, as drivers of the three do. */
class Session implements Reader {
  readonly product = { name: 'PostgreSQL, only read', version: '15', isKin: true, isVerified: false };
  readonly #inner: PostgresSession;
  #reading = 0;

  constructor(inner: PostgresSession) {
    this.#inner = inner;
  }

  get isBroken(): boolean {
    return this.#inner.isBroken;
  }

  rows({ sql, values }: Statement): Promise<(string | null)[][]> {
    return this.#inner.rows(sql, values);
  }

  async *stream({ sql, values }: Statement, batchRows: number): AsyncGenerator<readonly (readonly Value[])[]> {
    this.#reading += 1;
    const name = `reading_${this.#reading}`;
    await this.#inner.rows(`DECLARE ${name} NO SCROLL CURSOR WITH HOLD FOR ${sql}`, values);
    for (;;) {
      const rows = await this.#inner.rows(`FETCH ${batchRows} FROM ${name}`);
      if (rows.length === 0) break;
      yield rows;
    }
    await this.#inner.run(`CLOSE ${name}`);
  }

  async run(sql: string): Promise<void> {
    await this.#inner.run(sql);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  abandon(): void {
    this.#inner.abandon();
  }
}

const COLUMNS = `
  SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef FROM pg_attribute a
   WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`;
const KEYS = `
  SELECT i.indexrelid, CASE WHEN i.indisprimary THEN 'P' ELSE 'U' END, a.attname, k.place
    FROM pg_index i CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
   WHERE i.indrelid = to_regclass($1) AND i.indisunique ORDER BY i.indexrelid, k.place`;
const FOREIGN = `
  SELECT f.conname, a.attname, 'public', c.relname, b.attname FROM pg_constraint f JOIN pg_class c ON c.oid = f.confrelid
    JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = f.conkey[1]
    JOIN pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = f.confkey[1]
   WHERE f.conrelid = to_regclass($1) AND f.contype = 'f'`;
const INDEXED = `
  SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
   WHERE i.indrelid = to_regclass($1)`;

function databaseOf(config: PostgresConfig): SourceDatabase<Session> {
  const rows = async (session: Reader, sql: string, name: string) =>
    await session.rows({ sql, values: [`public.${identifier(name)}`] });
  return {
    name: 'PostgreSQL',
    adapter: 'dameng',
    schema: 'public',
    placeholder: (place) => `$${place}`,
    identifier,
    fromNothing: '',
    clock: "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')",
    mostBound: 700,
    trials: [],
    open: async () => {
      const limits = { statementMs: 0, lockMs: 10_000, idleInTransactionMs: 0 };
      return new Session(await openSession(config, { side: 'TARGET', purpose: 'test', limits }));
    },
    begin: async (session, what) => {
      if (what === 'steps') return;
      await session.run('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
      await session.rows({ sql: 'SELECT 1', values: [] });
    },
    readTables: async (session) => {
      const sql =
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') AND left(relname, 5) <> 'qiao_'";
      return (await session.rows({ sql, values: [] })).map(([name]) => ({ schema: 'public', name: name ?? '' }));
    },
    readTable: async (session, schema, name) => {
      const sql = 'SELECT relkind FROM pg_class WHERE oid = to_regclass($1)';
      const [found] = await rows(session, sql, name);
      if (found === undefined) return undefined;
      const columns = (await rows(session, COLUMNS, name)).map(columnOf);
      return {
        schema,
        name,
        kind: found[0] === 'v' ? 'view' : 'table',
        columns,
        ...provenBy(keysOf(await rows(session, KEYS, name)), columns),
        indexed: new Set((await rows(session, INDEXED, name)).map(([column]) => column ?? '')),
        foreignKeys: foreignKeysOf(await rows(session, FOREIGN, name)),
      };
    },
    identity: async (session, _, name) => JSON.stringify(await rows(session, 'SELECT to_regclass($1)::oid', name)),
    hindrances: async () => [],
    grantSelect: () => 'GRANT',
    horizon: {
      cannotSee: async () => ({ why: 'open transactions are not asked for here', fix: 'Write capture: compare' }),
      read: async () => undefined,
      remains: async () => undefined,
    },
  };
}

function columnOf([name, native, isRequired, hasDefault]: (string | null)[]): ReadColumn {
  const travel = travelOf(native ?? '');
  return {
    name: name ?? '',
    type: travel?.type ?? { unsupported: native ?? '' },
    nativeType: native ?? '',
    nullable: isRequired !== 't',
    generated: false,
    hasDefault: hasDefault === 't',
    travel,
  };
}

function travelOf(native: string): Travel | undefined {
  const [, base = native, size] = /^([a-z ]+?)(?:\((\d+)(?:,\d+)?\))?(?: without time zone)?$/.exec(native) ?? [];
  const plain = { select: (at: string) => `${at}::text`, mostBytes: 40 };
  const compared: NonNullable<Travel['compared']> = (text, bind) => `CAST(${bind(text)}::text AS ${native})`;
  switch (base) {
    case 'bigint':
      return { ...plain, compared, type: { type: 'integer', bits: 64 }, text: integerText };
    case 'integer':
      return { ...plain, compared, type: { type: 'integer', bits: 32 }, text: integerText };
    case 'numeric': {
      const [precision = 0, scale = 0] = /\d+,\d+/.exec(native)?.[0].split(',').map(Number) ?? [];
      return {
        ...plain,
        compared,
        type: { type: 'decimal', precision, scale },
        text: (value) => decimalText(value, scale),
      };
    }
    case 'double precision':
      return {
        ...plain,
        type: { type: 'float', bits: 64 },
        text: float(64),
        compared: (text, bind) => `${bind(Number(text))}::float8`,
      };
    case 'boolean':
      return {
        ...plain,
        compared,
        select: (at) => `CASE WHEN ${at} THEN 't' WHEN NOT ${at} THEN 'f' END`,
        type: { type: 'boolean' },
        text: booleanText,
      };
    case 'bytea':
      return {
        type: { type: 'bytes' },
        select: (at) => `encode(${at}, 'hex')`,
        text: bytesText,
        compared: (text, bind) => `decode(${bind(text.slice(2))}, 'hex')`,
        size: (at) => `length(${at})`,
        mostBytes: 2 ** 31,
      };
    case 'date':
      return { ...plain, compared, type: { type: 'date' }, text: dateText };
    case 'timestamp':
      return { ...plain, compared, type: { type: 'timestamp', digits: 6 }, text: timestampText };
    case 'uuid':
      return { ...plain, compared, type: { type: 'uuid' }, text: asIs };
    case 'text':
      return {
        ...plain,
        compared: (text, bind) => bind(text),
        type: { type: 'text' },
        text: wellFormed,
        mostBytes: 2 ** 31,
      };
    case 'character':
    case 'character varying': {
      const maxLength = Number(size);
      const padded = base === 'character' ? { padded: true } : {};
      return { ...plain, compared, select: (at) => at, type: { type: 'text', maxLength, ...padded }, text: wellFormed };
    }
    default:
      return undefined;
  }
}

function worldOf(config: PostgresConfig): SourceWorld<Session> {
  const types = [
    'bigint',
    'int',
    'text',
    'boolean',
    'date',
    'decimal',
    'numeric',
    'varchar',
    'char',
    'double precision',
  ];
  return {
    database: databaseOf(config),
    dialect: {
      bytesType: 'BYTEA',
      bytes: (hex) => `DECODE('${hex}', 'HEX')`,
      keyTextType: 'TEXT',
      timestampType: 'TIMESTAMP',
      uuidType: 'UUID',
      nowSeconds: 'SELECT floor(extract(epoch FROM clock_timestamp()))',
      unsupportedType: 'MONEY',
    },
    words: {
      types: Object.fromEntries(types.map((type) => [type, type.toUpperCase()])),
      quote: identifier,
      text: asIs,
      exponent: (number) => number,
      truth: { TRUE: 'TRUE', FALSE: 'FALSE' },
      rowsAtOnce: 500,
    },
  };
}
