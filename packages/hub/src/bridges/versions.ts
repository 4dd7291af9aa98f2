// Owns the stored versions of bridges: numbered texts with their parsed definition, kept for ever. Which one is deployed, and
// what follows from it, is deploy.ts's.

import {
  type BridgeDefinition,
  bridgeJson,
  type Problem,
  parseBridge,
  parseBridgeJson,
  QiaoError,
} from '@qiao/exchange';
import type { BridgeRow, BridgeVersionRow, HubDatabase } from '../hubDatabase.ts';

const MAX_YAML_BYTES = 256 * 1024;

export interface ParsedBridge {
  readonly yaml: string;
  readonly definition?: BridgeDefinition;
  readonly problems: Problem[];
}

/** Parses what an operator sent; too large is a problem like any other. */
export function parseFile(yaml: string): ParsedBridge {
  const bytes = Buffer.byteLength(yaml);
  if (bytes > MAX_YAML_BYTES) {
    const message = `found ${bytes} bytes, expected at most ${MAX_YAML_BYTES}`;
    return { yaml, problems: [{ code: 'BRIDGE_TOO_LARGE', path: '', message, hint: 'split it into several bridges' }] };
  }
  return { yaml, ...parseBridge(yaml) };
}

export function isBlocking(problem: Problem): boolean {
  return problem.warning !== true;
}

/** The living bridge of this name. Throws BRIDGE_UNKNOWN. */
export async function getBridge(store: HubDatabase, name: string): Promise<BridgeRow> {
  const bridge = await findLiving(store, name);
  if (bridge !== undefined) return bridge;
  const retired = await store.selectFrom('bridges').select('name').where('name', '=', name).executeTakeFirst();
  throw new QiaoError(
    'BRIDGE_UNKNOWN',
    retired === undefined ? `no bridge is called "${name}"` : `the bridge "${name}" is retired for good`,
    {
      hint:
        retired === undefined
          ? 'qiao bridge list'
          : 'qiao bridge list --all; under its name another one may be made: qiao apply -f FILE',
    },
  );
}

export async function findLiving(store: HubDatabase, name: string): Promise<BridgeRow | undefined> {
  return await store
    .selectFrom('bridges')
    .selectAll()
    .where('name', '=', name)
    .where('state', '<>', 'retired')
    .executeTakeFirst();
}

/** Throws BRIDGE_VERSION_UNKNOWN. */
export async function getVersion(store: HubDatabase, bridge: BridgeRow, version: number): Promise<BridgeVersionRow> {
  const row = await store
    .selectFrom('bridge_versions')
    .selectAll()
    .where('bridge_id', '=', bridge.id)
    .where('version', '=', version)
    .executeTakeFirst();
  if (row !== undefined) return row;
  throw new QiaoError('BRIDGE_VERSION_UNKNOWN', `the bridge "${bridge.name}" has no version ${version}`, {
    hint: `qiao bridge show ${bridge.name}`,
  });
}

/** The version that counts: the deployed one, or the newest before the first deploy. */
export async function currentVersion(store: HubDatabase, bridge: BridgeRow): Promise<BridgeVersionRow> {
  return await getVersion(store, bridge, bridge.deployed_version === 0 ? bridge.version : bridge.deployed_version);
}

export interface NewVersion {
  readonly yaml: string;
  readonly definition: BridgeDefinition;
  readonly storedBy: string;
  readonly nowMs: number;
}

export async function storeVersion(
  store: HubDatabase,
  bridgeId: string,
  version: number,
  { yaml, definition, storedBy, nowMs }: NewVersion,
): Promise<void> {
  await store
    .insertInto('bridge_versions')
    .values({
      bridge_id: bridgeId,
      version,
      yaml,
      definition_json: bridgeJson(definition),
      stored_at_ms: nowMs,
      stored_by: storedBy,
      deployed_at_ms: null,
    })
    .execute();
}

/** Definitions that count of every living bridge but the one named. */
export async function otherDefinitions(store: HubDatabase, exceptName: string): Promise<BridgeDefinition[]> {
  const rows = await store
    .selectFrom('bridges')
    .innerJoin('bridge_versions', (join) =>
      join
        .onRef('bridge_versions.bridge_id', '=', 'bridges.id')
        .on((on) =>
          on.or([
            on('bridge_versions.version', '=', on.ref('bridges.deployed_version')),
            on.and([
              on('bridges.deployed_version', '=', 0),
              on('bridge_versions.version', '=', on.ref('bridges.version')),
            ]),
          ]),
        ),
    )
    .select('bridge_versions.definition_json')
    .where('bridges.state', '<>', 'retired')
    .where('bridges.name', '<>', exceptName)
    .orderBy('bridges.name')
    .execute();
  return rows.map((row) => parseBridgeJson(row.definition_json));
}
