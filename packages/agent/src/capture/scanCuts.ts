/** Scans of one bridge that a limit of the agent cut. One may have met a slow hour; two in a row will not end by themselves, and a person is told. */
import { QiaoError } from '@qiao/exchange';
import type { CaptureLimits } from './ports.ts';

export type CuttingLimit = 'snapshotMaxMs' | 'logBudgetBytes';

/** From so many in a row on. */
const TOLD_FROM = 2;

export class ScanCuts {
  readonly #limits: CaptureLimits;
  #limit: CuttingLimit | undefined;
  #times = 0;

  constructor(limits: CaptureLimits) {
    this.#limits = limits;
  }

  /** A scan ended. Gives what a person is told, SCAN_TOO_LONG; it is tried again all the same, for what it finds is sent. */
  ended(cutBy: CuttingLimit | undefined): QiaoError | undefined {
    this.#times = cutBy === this.#limit ? this.#times + 1 : 1;
    this.#limit = cutBy;
    if (cutBy === undefined || this.#times < TOLD_FROM) return undefined;
    const { snapshotMaxMs, logBudgetBytes } = this.#limits;
    const why = {
      snapshotMaxMs: `took longer than limits.snapshotMaxMs (${snapshotMaxMs} ms) and began again`,
      logBudgetBytes: `had more of the log written beside them than limits.logBudgetBytes (${logBudgetBytes}): it was given up, and the tables are scanned again`,
    }[cutBy];
    return new QiaoError('SCAN_TOO_LONG', `${this.#times} scans in a row ${why}`, {
      fate: 'transient',
      hint: 'raise limits.snapshotMaxMs and limits.logBudgetBytes of the agent, as far as the disk of the database has room for its log, and start it anew; or let fewer tables or rows be read by one bridge, or more rowsPerSecond',
    });
  }
}
