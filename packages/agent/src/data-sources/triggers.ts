// Triggers of a bridge for a person at the command line: the DDL, what is there, and its running, also under another account than the
// agent's. The bridge comes from its file, or from what the hub told this node last.

import { openDataSource, type TriggerPlan, type TriggerState } from '@qiao/adapters';
import { NodeSnapshot } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { type BridgeDefinition, idText, parseBridgeJson, QiaoError } from '@qiao/exchange';
import { readIdentity } from '@qiao/security';
import type { AgentConfig } from '../config.ts';
import { readCachedSnapshot } from '../exchange-database/readStatus.ts';
import { identityDirectory } from '../join/join.ts';
import { dataSourceNamed } from './manage.ts';
import { exchangeDatabaseFile } from './settings.ts';

export interface TableTriggers extends Pick<TriggerPlan, 'install' | 'remove' | 'blind'> {
  readonly table: string;
  /** Of the database that the statements are for. */
  readonly adapter: string;
  readonly state: TriggerState;
}

export interface Account {
  readonly user: string;
  readonly password: string;
}

/** The bridge as this node's cached snapshot has it. Throws BRIDGE_UNKNOWN. */
export function deployedBridge(config: AgentConfig, name: string): BridgeDefinition {
  const bytes = readCachedSnapshot(exchangeDatabaseFile(config));
  const snapshot = bytes === undefined ? undefined : NodeSnapshot.decode(Signed.decode(bytes).payload);
  const found = snapshot?.bridges.find((bridge) => bridge.name === name);
  if (found !== undefined) return parseBridgeJson(found.definitionJson);
  throw new QiaoError('BRIDGE_UNKNOWN', `this node knows no bridge ${name}`, {
    hint: 'name the file in which it is written: --file BRIDGE.yaml',
  });
}

/**
 * Who takes entries out of a change table: one data source of one node. Two data sources may be one database, and nodes of two platforms
 * may have one name: each has triggers of its own.
 */
export function triggerOwner(nodeId: string, dataSource: string): string {
  return `${nodeId}/${dataSource}`;
}

/** What each table of the bridge needs, and what is there. With `grants` the rights of the agent's own account are part of the DDL. */
export function bridgeTriggers(
  config: AgentConfig,
  definition: BridgeDefinition,
  { grants = false }: { grants?: boolean } = {},
): Promise<TableTriggers[]> {
  const { dataSource, tables } = definition.source;
  const owner = triggerOwner(idText(readIdentity(identityDirectory(config)).nodeId), dataSource);
  return withTriggers(config, dataSource, undefined, async (triggers, adapter) => {
    const found: TableTriggers[] = [];
    for (const { name, schema, key } of tables) {
      const ref = { ...(schema === undefined ? {} : { schema }), name };
      const plan = await triggers.plan({ table: name, ref, key, owner, grants });
      const { install, remove, blind } = plan;
      found.push({ table: name, adapter, install, remove, blind, state: await triggers.state(plan) });
    }
    return found;
  });
}

export function runTriggerStatements(
  config: AgentConfig,
  dataSource: string,
  statements: readonly string[],
  account?: Account,
): Promise<void> {
  return withTriggers(config, dataSource, account, (triggers) => triggers.run(statements));
}

async function withTriggers<T>(
  config: AgentConfig,
  name: string,
  account: Account | undefined,
  use: (triggers: NonNullable<Awaited<ReturnType<typeof openDataSource>>['triggers']>, adapter: string) => Promise<T>,
): Promise<T> {
  const settings = dataSourceNamed(config, name);
  const source = await openDataSource('password' in settings ? { ...settings, ...account } : settings);
  try {
    if (source.triggers !== undefined) return await use(source.triggers, source.adapter);
    throw new QiaoError('CAPTURE_NOT_AVAILABLE', `${source.adapter} has no triggers`, {
      hint: 'write capture: compare in the bridge',
    });
  } finally {
    await source.close();
  }
}
