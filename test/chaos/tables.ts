// Whether the tables of a lane are equal, by queries that share no code with the adapters: a mirror equals the rows of its source that
// pass the filter; a journal, played from its beginning, ends as its source.

import type { BusinessDatabase } from '@qiao/testkit';
import type { BridgePlan, DestinationPlan } from './plan.ts';
import { COLUMNS } from './schema.ts';
import type { Stage } from './stage.ts';

type Row = (string | null)[];

/** Sentences that say what differs, without contents; empty when the tables are equal. */
export async function compareTables(stage: Stage, bridge: BridgePlan, lane: DestinationPlan): Promise<string[]> {
  const source = await sourceRows(stage, bridge);
  const target = stage.database(lane.node, lane.dataSource);
  const landed =
    bridge.shape === 'journal' ? await playedJournal(target, lane.table) : await mirrorRows(target, bridge, lane);
  const touched = keysEverRefused(bridge);
  const problems: string[] = [];
  for (const [key, row] of source) {
    if (touched.has(key)) continue;
    const there = landed.get(key);
    if (there === undefined) problems.push(`row ${key} is missing`);
    else if (JSON.stringify(there) !== JSON.stringify(row)) problems.push(`row ${key} differs`);
  }
  for (const key of landed.keys()) {
    if (!source.has(key) && !touched.has(key)) problems.push(`row ${key} is there and should not be`);
  }
  const where = `${bridge.name} → ${lane.node} ${lane.dataSource}`;
  return problems.length === 0 ? [] : [`${where}: ${problems.length} rows: ${problems.slice(0, 5).join(', ')}`];
}

/** Keys that stand in quarantine with everything after, and may differ. */
export function keysEverRefused({ workload, shape }: BridgePlan): ReadonlySet<string> {
  // A journal takes every row.
  return shape === 'journal' ? new Set() : new Set([...workload.refused].map(String));
}

async function sourceRows(stage: Stage, bridge: BridgePlan): Promise<Map<string, Row>> {
  const { node, dataSource } = bridge.from;
  return byKey(await stage.database(node, dataSource).rows(select(bridge.table, bridge.city)));
}

async function mirrorRows(target: BusinessDatabase, bridge: BridgePlan, lane: DestinationPlan) {
  return byKey(await target.rows(select(lane.table, bridge.city)));
}

function select(table: string, city: string | undefined): string {
  return `SELECT ${COLUMNS} FROM ${table}${city === undefined ? '' : ` WHERE city = '${city}'`}`;
}

async function playedJournal(target: BusinessDatabase, table: string): Promise<Map<string, Row>> {
  const state = new Map<string, Row>();
  for (const [operation, ...row] of await target.rows(`SELECT qiao_operation, ${COLUMNS} FROM ${table} ORDER BY seq`)) {
    const key = String(row[0]);
    if (operation === 'D') state.delete(key);
    else state.set(key, row);
  }
  return state;
}

function byKey(rows: readonly Row[]): Map<string, Row> {
  return new Map(rows.map((row) => [String(row[0]), row]));
}
