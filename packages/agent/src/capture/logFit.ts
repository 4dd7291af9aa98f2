/**
 * What the bridges of one log read, planned together, and which of them can be followed. One that cannot owes a scan, which says what is wrong and
 * waits for a person; once its tables are fit again, it goes on by itself.
 */
import type { DataSource } from '@qiao/adapters';
import { ProblemsError, parseId, QiaoError } from '@qiao/exchange';
import type { DesiredBridge } from '../control/desired.ts';
import { exposeProblems } from '../control/permissions.ts';
import type { LogOwes } from '../exchange-database/index.ts';
import { type PlannedTable, planTables } from './plan.ts';
import type { CapturePorts } from './ports.ts';

/** For these a capture sticks only while its tables are so: whoever finds them fit may let it go on. */
const OF_TABLES = new Set([
  ...['TABLE_MISSING', 'COLUMN_MISSING', 'KEYLESS_TABLE', 'TYPE_UNSUPPORTED'],
  ...['LOG_NO_IDENTITY', 'LOG_KIND', 'LOG_COLUMN', 'LOG_CASCADE', 'LOG_FILTERED'],
]);
/** A table that was altered under a scan may have come back before anybody else looked; this one has other causes, too. */
const OF_STATEMENT = 'SOURCE_SCHEMA';

export interface Planned {
  readonly bridge: DesiredBridge;
  readonly tables: readonly PlannedTable[];
  /** Places of the tables in the log's plan. */
  readonly places: readonly number[];
}

export class LogFit {
  readonly #ports: CapturePorts;
  /** By bridge, why it cannot be followed at all. */
  #unfit = new Map<string, QiaoError>();
  /** As it was in the round before. */
  #before: ReadonlyMap<string, QiaoError> = new Map();
  /** Unfit before the log was asked: no plan of it watches over their tables. */
  #unplanned: readonly DesiredBridge[] = [];

  constructor(ports: CapturePorts) {
    this.#ports = ports;
  }

  get unfit(): ReadonlyMap<string, QiaoError> {
    return this.#unfit;
  }

  /** Begins a round. */
  async plan(dataSource: DataSource, bridges: readonly DesiredBridge[]): Promise<Planned[]> {
    const { planned, unfit } = await this.#plan(dataSource, bridges);
    this.#before = this.#unfit;
    this.#unfit = unfit;
    this.#unplanned = bridges.filter(({ bridgeId }) => unfit.has(bridgeId));
    return planned;
  }

  /** The log does not carry its tables as it must. */
  refuse(bridgeId: string, error: QiaoError): void {
    this.#unfit.set(bridgeId, error);
  }

  /** Whether the tables have the columns that they were planned with. */
  async isSamePlan(dataSource: DataSource, planned: readonly Planned[]): Promise<boolean> {
    const fit = planned.filter(({ bridge }) => !this.#unfit.has(bridge.bridgeId));
    const now = await this.#plan(
      dataSource,
      fit.map(({ bridge }) => bridge),
    );
    const columns = (of: readonly Planned[]) =>
      JSON.stringify(of.map(({ tables }) => tables.map(({ layout }) => layout.columns)));
    return columns(now.planned) === columns(fit);
  }

  /** What follows from the round: who owes a scan because it is unfit, and who need not be stuck any more. */
  judge(planned: readonly Planned[]): { owing: [string, LogOwes][]; freed: string[] } {
    const { captures, logs } = this.#ports.database;
    const owing = [...this.#unfit].flatMap(([bridgeId, { message }]): [string, LogOwes][] => {
      const held = logs.get(parseId(bridgeId));
      return held === undefined || held.owes !== undefined ? [] : [[bridgeId, { code: 'LOG_TABLES', message }]];
    });
    const freed = planned
      .map(({ bridge }) => bridge.bridgeId)
      .filter((bridgeId) => {
        if (this.#unfit.has(bridgeId)) return false;
        const code = captures.get(parseId(bridgeId))?.stuck?.code ?? '';
        return OF_TABLES.has(code) || (code === OF_STATEMENT && this.#before.has(bridgeId));
      });
    return { owing, freed };
  }

  /** Whether one of those that no plan watches over could be planned now. */
  async isAnyFitAgain(dataSource: DataSource): Promise<boolean> {
    if (this.#unplanned.length === 0) return false;
    const { planned } = await this.#plan(dataSource, this.#unplanned);
    return planned.length > 0;
  }

  async #plan(
    dataSource: DataSource,
    bridges: readonly DesiredBridge[],
  ): Promise<{ planned: Planned[]; unfit: Map<string, QiaoError> }> {
    const { permissions, hasher } = this.#ports;
    const unfit = new Map<string, QiaoError>();
    const planned: Planned[] = [];
    let place = 0;
    for (const bridge of bridges) {
      try {
        const problems = exposeProblems(bridge.definition, permissions);
        if (problems.length > 0) throw new ProblemsError(problems);
        const tables = await planTables(dataSource, bridge.definition, hasher);
        planned.push({ bridge, tables, places: tables.map(() => place++) });
      } catch (error) {
        if (!(error instanceof QiaoError) || error.fate !== 'permanent') throw error;
        unfit.set(bridge.bridgeId, error);
      }
    }
    return { planned, unfit };
  }
}
