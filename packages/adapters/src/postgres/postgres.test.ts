import { afterAll, beforeAll } from 'vitest';
import { adapterContract } from '../contractSuite.ts';
import { postgresFixture } from './contract.testing.ts';
import { departmentSession, type PostgresServer, startPostgres } from './server.testing.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres(['wal_level=logical']);
  await using owner = await departmentSession(await server.database());
  await owner.query('CREATE ROLE reader LOGIN');
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

adapterContract('PostgreSQL', async () => {
  const config = await server.database();
  return await postgresFixture(config, { ...config, user: 'reader' });
});
