import { Client, type CustomTypesConfig } from 'pg';
import { afterAll, beforeAll } from 'vitest';
import { adapterContract, type Fixture } from '../contractSuite.ts';
import { openPostgres } from './dataSource.ts';
import { type PostgresServer, startPostgres } from './server.testing.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

adapterContract('PostgreSQL', async (): Promise<Fixture> => {
  const config = await server.database();
  const department = new Client({
    ...config,
    types: { getTypeParser: () => (value: unknown) => value } as unknown as CustomTypesConfig,
  });
  await department.connect();
  const dataSource = openPostgres(config);
  const restricted: ReturnType<typeof openPostgres>[] = [];
  return {
    dataSource,
    async sql(text) {
      await department.query(text);
    },
    async query(text) {
      return (await department.query<(string | null)[]>({ text, rowMode: 'array' })).rows;
    },
    dialect: { bytesType: 'bytea', bytes: (hex) => `'\\x${hex}'::bytea`, unsupportedType: 'money' },
    async restricted() {
      await department.query(`
        DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
        GRANT USAGE ON SCHEMA public TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;`);
      const reader = openPostgres({ ...config, user: 'reader' });
      restricted.push(reader);
      return reader;
    },
    async [Symbol.asyncDispose]() {
      for (const each of [...restricted, dataSource]) await each.close();
      await department.end();
    },
  };
});
