import { defineConfig } from 'vitest/config';

/**
 * Three projects: unit tests beside the code; those of hub and monitor once more on PostgreSQL; and whole-system stories that
 * start real servers.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: { name: 'unit', include: ['packages/*/src/**/*.test.ts'], testTimeout: 60_000, hookTimeout: 60_000 },
      },
      {
        test: {
          name: 'postgres',
          include: ['packages/{database,hub,monitor}/src/**/*.test.ts'],
          // These bring a store of their own, or need none.
          exclude: ['**/{replicas,lock,ddl,hub,monitor,verifyControl,verifyDelivery}.test.ts'],
          env: { QIAO_TEST_STORE: 'postgres' },
          globalSetup: ['.config/postgres.setup.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'stories',
          include: ['test/**/*.test.ts'],
          globalSetup: ['test/program.setup.ts'],
          testTimeout: 240_000,
          hookTimeout: 120_000,
          // One story at a time: each starts a whole platform, and the machine may have two cores.
          fileParallelism: false,
        },
      },
    ],
  },
});
