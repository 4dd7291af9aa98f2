// Whether everything that other nodes sent into a table is in it. A database that is put back as it was has lost rows that landed since: they come
// again, and until they are there nobody may conclude from their absence that people took them away. Nor while they are being loaded.

import type { DataSource } from '@qiao/adapters';
import { idText, isSameTable, parseId, type TablePlace } from '@qiao/exchange';
import { type DesiredState, isOver } from '../control/desired.ts';
import type { ExchangeDatabase, LaneIn } from '../exchange-database/index.ts';
import { isLost } from './nextDelivery.ts';

export interface Landings {
  /** The first lane of which rows of one of these tables are missing, as far as this node knows; asks the target. Throws what that throws. */
  behind(tables: readonly TablePlace[]): Promise<{ readonly bridge: string; readonly isLoading: boolean } | undefined>;
}

export interface LandingPorts {
  readonly database: Pick<ExchangeDatabase, 'lanesIn'>;
  readonly desired: Pick<DesiredState, 'current'>;
  open(dataSource: string): Promise<DataSource>;
  /** The target stands behind what is remembered: its marks are to be looked at. */
  onBehind(dataSource: string): void;
}

export function createLandings({ database, desired, open, onBehind }: LandingPorts): Landings {
  return {
    async behind(tables) {
      const now = desired.current();
      const lanes = [...(now?.bridges.values() ?? [])].flatMap((bridge) =>
        bridge.lanes.flatMap((lane) => {
          const { destination, receiverId } = lane;
          if (receiverId !== now?.nodeId || destination === undefined || isOver(bridge, lane)) return [];
          const places = Object.values(destination.tables).map(
            ({ to, schema }): TablePlace => ({
              node: receiverId,
              dataSource: destination.dataSource,
              schema,
              table: to,
            }),
          );
          const isMeant = places.some((place) => tables.some((table) => isSameTable(table, place)));
          const state = isMeant ? database.lanesIn.get(parseId(lane.laneId)) : undefined;
          // What has not begun has brought nothing that could be missing.
          if (state === undefined || state.epoch === 0n) return [];
          return [{ bridge: bridge.name, isLoading: state.isLoading, dataSource: destination.dataSource, state }];
        }),
      );
      const waiting = lanes.find(({ state }) => state.isLoading || isLost(state));
      if (waiting !== undefined) return waiting;
      for (const lane of lanes) {
        if (await isAtMark(await open(lane.dataSource), lane.state)) continue;
        onBehind(lane.dataSource);
        return lane;
      }
      return undefined;
    },
  };
}

async function isAtMark(source: DataSource, { lane, targetId, epoch, appliedSequence }: LaneIn): Promise<boolean> {
  const target = await source.openTarget();
  try {
    const prepared = await target.prepare();
    if (prepared.targetId !== targetId) return false;
    const newest = (await target.points(idText(lane))).at(-1);
    return (
      newest !== undefined && (newest.epoch > epoch || (newest.epoch === epoch && newest.sequence >= appliedSequence))
    );
  } finally {
    await target.close().catch(() => undefined);
  }
}

/** Data sources whose marks somebody wants looked at. */
export class MarkLooks {
  readonly #wanted = new Set<string>();

  want(dataSource: string): void {
    this.#wanted.add(dataSource);
  }

  /** True once for each time that it was wanted. */
  take(dataSource: string): boolean {
    return this.#wanted.delete(dataSource);
  }
}
