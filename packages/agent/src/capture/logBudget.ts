/** How much of its log the database keeps for a data source's bridges, against what it may: a person is told twice, then it is over. */
import type { LogTrouble } from './logAside.ts';
import type { CapturePorts } from './ports.ts';

/** Of the budget: from here on a person is told, and told again. */
const WARN_SHARE = 0.5;
const HIGH_SHARE = 0.8;
/** So long it may take the database to throw away what was given up. */
const GIVEN_UP_MS = 60_000;

export class LogBudget {
  readonly #ports: CapturePorts;
  readonly #source: string;
  #keptBytes = 0;
  #gaveUpAtMs: number | undefined;

  constructor(ports: CapturePorts, source: string) {
    this.#ports = ports;
    this.#source = source;
  }

  /** What the database said last. */
  kept(bytes: number): void {
    this.#keptBytes = bytes;
  }

  /** The database keeps more than it may, and does not just throw away what was given up. Without a token nothing is. */
  get isOver(): boolean {
    const { clock, fence, limits } = this.#ports;
    if (fence.token() === undefined || this.#keptBytes < limits.logBudgetBytes) return false;
    return this.#gaveUpAtMs === undefined || clock.elapsedMs() - this.#gaveUpAtMs >= GIVEN_UP_MS;
  }

  /** Something was given up. `isPart`: the rest is kept, and the database has to find out how much less that is. */
  gaveUp(isPart: boolean): void {
    this.#keptBytes = 0;
    if (isPart) this.#gaveUpAtMs = this.#ports.clock.elapsedMs();
  }

  get trouble(): LogTrouble | undefined {
    const share = this.#keptBytes / this.#ports.limits.logBudgetBytes;
    if (share < WARN_SHARE) return undefined;
    return {
      code: share < HIGH_SHARE ? 'LOG_KEPT' : 'LOG_KEPT_HIGH',
      message: `the database of ${this.#source} keeps ${this.#keptBytes} bytes of its log for this node, ${Math.floor(share * 100)} % of the budget; at its end the log is given up, and the tables are scanned`,
      hint: 'find out why the bridge does not go on: qiao bridge show NAME; or raise limits.logBudgetBytes of the agent, if the disk has room',
    };
  }
}
