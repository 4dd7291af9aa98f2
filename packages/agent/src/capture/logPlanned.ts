/** What the bridges of one log read, planned together: the log is asked for all their tables at once. */
import type { DataSource } from '@qiao/adapters';
import { QiaoError } from '@qiao/exchange';
import type { DesiredBridge } from '../control/desired.ts';
import { exposeProblems } from '../control/permissions.ts';
import { type PlannedTable, planTables } from './plan.ts';
import type { CapturePorts } from './ports.ts';

export interface Planned {
  readonly bridge: DesiredBridge;
  readonly tables: readonly PlannedTable[];
  /** Places of the tables in the log's plan. */
  readonly places: readonly number[];
}

/** By bridge, why it cannot be followed at all. */
export type Unfit = Map<string, QiaoError>;

/** A bridge that cannot be planned is none of the log's: its scan says what is wrong with it. */
export async function planBridges(
  ports: Pick<CapturePorts, 'permissions' | 'hasher'>,
  dataSource: DataSource,
  bridges: readonly DesiredBridge[],
  unfit: Unfit,
): Promise<Planned[]> {
  const planned: Planned[] = [];
  let place = 0;
  for (const bridge of bridges) {
    unfit.delete(bridge.bridgeId);
    try {
      if (exposeProblems(bridge.definition, ports.permissions).length > 0) continue;
      const tables = await planTables(dataSource, bridge.definition, ports.hasher);
      planned.push({ bridge, tables, places: tables.map(() => place++) });
    } catch (error) {
      if (!(error instanceof QiaoError) || error.fate !== 'permanent') throw error;
      unfit.set(bridge.bridgeId, error);
    }
  }
  return planned;
}

/** Whether the tables have the columns that they were planned with. */
export async function isSamePlan(
  { hasher }: Pick<CapturePorts, 'hasher'>,
  dataSource: DataSource,
  planned: readonly Planned[],
  unfit: Unfit,
): Promise<boolean> {
  for (const { bridge, tables } of planned) {
    if (unfit.has(bridge.bridgeId)) continue;
    try {
      const now = await planTables(dataSource, bridge.definition, hasher);
      const columns = (of: readonly PlannedTable[]) => JSON.stringify(of.map(({ layout }) => layout.columns));
      if (columns(now) !== columns(tables)) return false;
    } catch (error) {
      if (!(error instanceof QiaoError) || error.fate !== 'permanent') throw error;
      return false;
    }
  }
  return true;
}
