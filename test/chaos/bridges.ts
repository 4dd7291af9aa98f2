// The bridges of a seed as an operator writes them, their tables, and the hub's calls that bring them to life and to an end.

import { join } from 'node:path';
import { type DataSourceConfig, openDataSource } from '@qiao/adapters';
import { idText, QiaoError } from '@qiao/exchange';
import { readIdentity } from '@qiao/security';
import type { BusinessDatabase } from '@qiao/testkit';
import { persist } from './databaseFaults.ts';
import type { NodeCode } from './departments.ts';
import type { BridgePlan, DestinationPlan } from './plan.ts';
import type { Play } from './play.ts';
import { COLUMNS, journalTable, mirrorTable, sourceTable } from './schema.ts';
import type { Stage } from './stage.ts';

export function bridgeText(bridge: BridgePlan, destinations: readonly DestinationPlan[], title = bridge.name): string {
  const { from, table, city, capture } = bridge;
  return `kind: Bridge
name: ${bridge.name}
title: ${title}
source:
  node: ${from.node}
  dataSource: ${from.dataSource}
  capture: ${capture}
  tables:
    - name: ${table}
      key: [id]
      columns: [${COLUMNS}]
${capture === 'cursor' ? '      cursor: { column: changed, lag: 1s, timeZone: UTC }\n' : ''}${city === undefined ? '' : `      where: "city = '${city}'"\n`}schedule: realtime
lateAfter: 1h
destinations:
${destinations.map((destination) => destinationText(bridge, destination, '  ')).join('')}`;
}

/** One entry of `destinations:`. */
export function destinationText(bridge: BridgePlan, { node, dataSource, table }: DestinationPlan, indent = ''): string {
  const landing =
    bridge.shape === 'journal'
      ? 'landing: journal'
      : `ownership: ${bridge.city === undefined ? 'whole' : `{ where: "city = '${bridge.city}'" }`}`;
  return [
    `- node: ${node}`,
    `  dataSource: ${dataSource}`,
    '  tables:',
    `    ${bridge.table}: { to: ${table}, ${landing} }`,
    '',
  ]
    .map((line) => (line === '' ? '' : indent + line))
    .join('\n');
}

/** Makes the tables at both ends with the rows that are there before anything runs. */
export async function makeTables({ stage, plan }: Play): Promise<void> {
  const made = new Set<string>();
  for (const bridge of plan.bridges) {
    const { node, dataSource } = bridge.from;
    const first = bridge.workload.transactions.filter(({ atMs }) => atMs < 0).flatMap(({ statements }) => statements);
    const database = stage.database(node, dataSource);
    // MySQL commits at a CREATE.
    await database.run(...sourceTable(bridge.table, database.adapter));
    if (bridge.capture === 'trigger') await installTriggers(nodeIdOf(stage, node), dataSource, bridge.table, database);
    await database.run(...first);
    const landings = [...bridge.destinations, ...(bridge.spare === undefined ? [] : [bridge.spare])];
    for (const landing of landings) await makeLanding(stage, bridge, landing, made);
  }
}

function nodeIdOf({ platform }: Stage, node: NodeCode): string {
  return idText(readIdentity(join(platform.agentDirectory(node), 'identity')).nodeId);
}

/** As `qiao agent triggers install` does on the node. */
async function installTriggers(
  nodeId: string,
  name: string,
  table: string,
  { config }: BusinessDatabase,
): Promise<void> {
  const dataSource = await openDataSource({ name, ...config } as DataSourceConfig);
  try {
    const { triggers } = dataSource;
    const plan = await triggers?.plan({ table, ref: { name: table }, key: ['id'], owner: `${nodeId}/${name}` });
    if (triggers === undefined || plan === undefined) throw new Error(`${dataSource.adapter} has no triggers`);
    await triggers.run(plan.install);
  } finally {
    await dataSource.close();
  }
}

/** N:1 bridges share one. */
async function makeLanding(
  stage: Stage,
  bridge: BridgePlan,
  { node, dataSource, table }: DestinationPlan,
  made: Set<string>,
): Promise<void> {
  const key = `${node} ${dataSource} ${table}`;
  if (made.has(key)) return;
  made.add(key);
  const database = stage.database(node, dataSource);
  const make = bridge.shape === 'journal' ? journalTable : mirrorTable;
  await database.run(make(table, database.adapter));
}

/** Creates, deploys and starts every bridge of the seed; throws with the problems when a check refuses one. */
export async function startBridges({ stage, plan }: Play): Promise<void> {
  const { centre } = stage.platform;
  await Promise.all(
    plan.bridges.map(async (bridge) => {
      const { name } = bridge;
      await centre.createBridge({ yaml: bridgeText(bridge, bridge.destinations) });
      const { problems } = await centre.deployBridge({ name, yaml: '', rollbackTo: 0, backfill: true });
      const refused = problems.filter(({ warning }) => !warning);
      if (refused.length > 0)
        throw new Error(`${name} is refused: ${refused.map(({ message }) => message).join('; ')}`);
      await centre.startBridge({ name });
    }),
  );
}

/** Ends every bridge of the seed, so that the next seed's platform is as quiet as this one's was. */
export async function retireBridges({ stage, plan }: Play): Promise<void> {
  for (const { name } of plan.bridges) {
    await persist(async () => {
      try {
        await stage.platform.centre.retireBridge({ name });
      } catch (error) {
        // It was retired by the attempt before, whose answer was lost.
        if (!(error instanceof QiaoError) || error.code !== 'BRIDGE_UNKNOWN') throw error;
      }
    });
  }
}
