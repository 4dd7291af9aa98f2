/**
 * The one contract that every adapter keeps on its real database: each test states a promise numbered in `adapter.ts`. For tests only.
 */
import { describe } from 'vitest';
import { amendContract } from './contract-suite/amend.suite.ts';
import { checkContract } from './contract-suite/check.suite.ts';
import { describeContract } from './contract-suite/describe.suite.ts';
import type { Fixture, Waivers } from './contract-suite/fixture.ts';
import { loadContract } from './contract-suite/load.suite.ts';
import { markContract } from './contract-suite/mark.suite.ts';
import { namesContract } from './contract-suite/names.suite.ts';
import { pairsContract } from './contract-suite/pairs.suite.ts';
import { quarantineContract } from './contract-suite/quarantine.suite.ts';
import { rowsContract } from './contract-suite/rows.suite.ts';
import { snapshotContract } from './contract-suite/snapshot.suite.ts';

export type { Dialect, Fixture, Waivers } from './contract-suite/fixture.ts';

/** Declares the suite; `make` gives a database of its own to each test. A waiver is a line with a reason. */
export function adapterContract(name: string, make: () => Promise<Fixture>, waivers: Waivers = {}): void {
  describe(`${name} keeps the adapter contract`, () => {
    describeContract(make);
    snapshotContract(make);
    pairsContract(make);
    markContract(make);
    rowsContract(make);
    quarantineContract(make);
    amendContract(make);
    loadContract(make);
    namesContract(make);
    checkContract(make, waivers);
  });
}
