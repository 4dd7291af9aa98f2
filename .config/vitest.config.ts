import { defineConfig } from 'vitest/config';

/** Stories that use the whole machine, or measure what it does: each has it alone. */
const HEAVY = ['test/{chaos,million}.test.ts'];

const story = { globalSetup: ['test/program.setup.ts'], testTimeout: 240_000, hookTimeout: 120_000 };

/** Unit tests clean up after themselves: a worker reads the sources once, not once for each of its files. */
const unit = { isolate: false, testTimeout: 60_000, hookTimeout: 60_000 };

/**
 * Unit tests beside the code, those of hub and monitor once more on PostgreSQL, and whole-system stories that start real servers:
 * three at a time, and after them those that need the machine for themselves.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: { ...unit, name: 'unit', include: ['packages/*/src/**/*.test.ts'] },
      },
      {
        test: {
          ...unit,
          name: 'postgres',
          include: ['packages/{database,hub,monitor}/src/**/*.test.ts'],
          // These bring a store of their own, or need none.
          exclude: ['**/{replicas,lock,ddl,hub,monitor,verifyControl,verifyDelivery}.test.ts'],
          env: { QIAO_TEST_STORE: 'postgres' },
          globalSetup: ['.config/postgres.setup.ts'],
        },
      },
      {
        test: {
          ...story,
          name: 'stories',
          include: ['test/**/*.test.ts'],
          exclude: HEAVY,
          sequence: { groupOrder: 1 },
          // A story mostly waits: three of them share two cores.
          maxWorkers: 3,
        },
      },
      {
        test: {
          ...story,
          name: 'heavy',
          include: HEAVY,
          sequence: { groupOrder: 2 },
          fileParallelism: false,
        },
      },
    ],
  },
});
