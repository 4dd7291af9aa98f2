/**
 * The one contract that every adapter keeps on its real database: each test states a promise numbered in `adapter.ts`. For tests only.
 */
import { describe } from 'vitest';
import { amendContract } from './contract-suite/amend.suite.ts';
import { cascadesContract } from './contract-suite/cascades.suite.ts';
import { checkContract } from './contract-suite/check.suite.ts';
import { circlesContract } from './contract-suite/circles.suite.ts';
import { conflictContract } from './contract-suite/conflict.suite.ts';
import { cursorContract } from './contract-suite/cursor.suite.ts';
import { describeContract } from './contract-suite/describe.suite.ts';
import type { Fixture, Waivers } from './contract-suite/fixture.ts';
import { keysContract } from './contract-suite/keys.suite.ts';
import { loadContract } from './contract-suite/load.suite.ts';
import { logContract } from './contract-suite/log.suite.ts';
import { markContract } from './contract-suite/mark.suite.ts';
import { namesContract } from './contract-suite/names.suite.ts';
import { pairsContract } from './contract-suite/pairs.suite.ts';
import { quarantineContract } from './contract-suite/quarantine.suite.ts';
import { rowsContract } from './contract-suite/rows.suite.ts';
import { snapshotContract } from './contract-suite/snapshot.suite.ts';
import { triggerContract } from './contract-suite/trigger.suite.ts';

export type { Dialect, Fixture, Waivers } from './contract-suite/fixture.ts';

/** Declares the suite; `make` gives a database of its own to each test. A waiver is a line with a reason. */
export function adapterContract(name: string, make: () => Promise<Fixture>, waivers: Waivers = {}): void {
  describe(`${name} keeps the adapter contract`, () => {
    describeContract(make, waivers);
    snapshotContract(make);
    keysContract(make);
    cursorContract(make, waivers);
    checkContract(make, waivers);
    if (waivers.triggers === undefined) triggerContract(make, waivers);
    if (waivers.log === undefined) logContract(make);
    if (waivers.target !== undefined) return;
    pairsContract(make, waivers);
    markContract(make);
    rowsContract(make);
    conflictContract(make);
    quarantineContract(make);
    circlesContract(make);
    amendContract(make);
    loadContract(make);
    namesContract(make);
    cascadesContract(make);
  });
}
