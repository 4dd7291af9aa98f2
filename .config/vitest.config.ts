import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Stories that use the whole machine, or measure what it does: each has it alone. */
const HEAVY = ['test/{chaos,million}.test.ts'];

/** They share one server. */
const MYSQL = ['packages/adapters/src/mysql/**/*.test.ts', 'packages/*/src/**/*.mysql.test.ts'];

const story = { globalSetup: ['test/program.setup.ts'], testTimeout: 240_000, hookTimeout: 120_000 };

/**
 * Unit tests clean up after themselves: a worker reads the sources once, not once for each of its files. Two of them: half of the time a
 * test waits for a server or a disk, and by itself vitest would leave one of two cores idle.
 */
const unit = { isolate: false, testTimeout: 60_000, hookTimeout: 60_000, maxWorkers: 2 };

/** Small files that take minutes: they begin first, or the run waits for one of them alone at its end. */
const LONG = /\/test\/(crash-points|drills-hub|quarantine|drills-monitor|verify|replicas)\.test\.ts$/;

class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification) => LONG.test(moduleId);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

/**
 * Unit tests beside the code, those that need a MariaDB on one of them, those of hub and monitor once more on PostgreSQL, and whole-system stories that start real servers:
 * three at a time, and after them those that need the machine for themselves.
 */
export default defineConfig({
  test: {
    sequence: { sequencer: LongFirst },
    projects: [
      {
        test: { ...unit, name: 'unit', include: ['packages/*/src/**/*.test.ts'], exclude: MYSQL },
      },
      {
        test: { ...unit, name: 'mysql', include: MYSQL, globalSetup: ['.config/mysql.setup.ts'] },
      },
      {
        test: {
          ...unit,
          name: 'postgres',
          include: ['packages/{database,hub,monitor}/src/**/*.test.ts'],
          // These bring a store of their own, or need none.
          exclude: ['**/{replicas,serverCopy,lock,ddl,hub,monitor,verifyControl,verifyDelivery}.test.ts'],
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
