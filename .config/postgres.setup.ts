// One PostgreSQL for the tests of hub and monitor that run on it; each test makes a database of its own there.

import { startPostgres } from '@qiao/adapters/testing';

export default async function setup(): Promise<() => Promise<void>> {
  const server = await startPostgres(['max_connections=300']);
  process.env.QIAO_TEST_POSTGRES = String(server.port);
  return () => server[Symbol.asyncDispose]();
}
