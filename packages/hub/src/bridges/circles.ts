// Says which tables of which bridges lie in circles, for the agents: only there need a row be known for where it came from. Schemas are passed
// over, for only the nodes know which one is meant where none is named: a table too many costs some notes, one too few would echo.

import type { Circles } from '@qiao/contract/node';
import type { BridgeDefinition, TablePlace } from '@qiao/exchange';
import { flowsOf } from './twoWay.ts';

/** By name of the bridge; bridges without such a table are left out. */
export function circlesOf(definitions: readonly BridgeDefinition[]): ReadonlyMap<string, Circles> {
  let flows = definitions
    .flatMap(flowsOf)
    .map(({ bridge, from, to }) => ({ bridge, table: from.table, from: nameOf(from), to: nameOf(to) }));
  // What nothing leads to, or from, lies in no circle, nor does what only that leads to or from.
  for (let before = -1; before !== flows.length; ) {
    before = flows.length;
    const [begins, ends] = [new Set(flows.map(({ from }) => from)), new Set(flows.map(({ to }) => to))];
    flows = flows.filter(({ from, to }) => ends.has(from) && begins.has(to));
  }
  const ways = new Set(flows.map(({ from, to }) => `${from} ${to}`));
  const circles = new Map<string, Circles>();
  for (const { bridge, table, from, to } of flows) {
    const found = circles.get(bridge) ?? { pairs: [], rings: [] };
    circles.set(bridge, found);
    const tables = ways.has(`${to} ${from}`) ? found.pairs : found.rings;
    if (!tables.includes(table)) tables.push(table);
  }
  return circles;
}

function nameOf({ node, dataSource, table }: TablePlace): string {
  return JSON.stringify([node, dataSource, table]);
}
