// Owns taking in a bridge out of a signed snapshot that is newer than the backup: a version, a state. Of two snapshots that name one
// bridge the newer one counts; its lanes are learned from every one (learnLanes.ts), because a snapshot shows only its node's own.
// The operator's own text is lost with the store; the definition is written out instead.

import type { BridgeAssignment, NodeSnapshot } from '@qiao/contract/node';
import { BridgeState } from '@qiao/contract/node';
import { type BridgeDefinition, idText, parseBridgeJson } from '@qiao/exchange';
import { stringify } from 'yaml';
import type { BridgeRow, BridgeStateName, HubDatabase } from '../hubDatabase.ts';
import { fitLanes, learnLane } from './learnLanes.ts';
import { isAfter, type Told } from './told.ts';

interface BridgeTold {
  readonly assignment: BridgeAssignment;
  readonly definition: BridgeDefinition;
  readonly told: Told;
  readonly nowMs: number;
}

/** Returns what is new, one sentence each. A definition that this version cannot read is left out and named. */
export async function learnBridge(
  store: HubDatabase,
  assignment: BridgeAssignment,
  snapshot: Pick<NodeSnapshot, 'generation' | 'number'>,
  nowMs: number,
): Promise<string[]> {
  if (assignment.bridgeId.length !== 16) return [];
  const id = idText(assignment.bridgeId);
  const told = { generation: Number(snapshot.generation), number: Number(snapshot.number) };
  const backup = await store
    .selectFrom('hub_state')
    .select(['generation', 'backup_number as number'])
    .executeTakeFirstOrThrow();
  if (!isAfter(told, backup)) return [];
  let definition: BridgeDefinition;
  try {
    definition = parseBridgeJson(assignment.definitionJson);
  } catch {
    return [`bridge ${assignment.name}: its newer definition cannot be read by this version`];
  }
  const learned = (await isNews(store, id, told))
    ? await learnFacts(store, id, { assignment, definition, told, nowMs })
    : [];
  const isKnown = await store.selectFrom('bridges').select('id').where('id', '=', id).executeTakeFirst();
  if (isKnown === undefined) return learned;
  for (const lane of assignment.lanes) {
    learned.push(...(await learnLane(store, assignment, definition, { lane, told, nowMs })));
  }
  learned.push(...(await fitLanes(store, id, nowMs)));
  return learned;
}

/** What is true of the bridge at every node. */
async function learnFacts(
  store: HubDatabase,
  id: string,
  { assignment, definition, told, nowMs }: BridgeTold,
): Promise<string[]> {
  const known = await store.selectFrom('bridges').selectAll().where('id', '=', id).executeTakeFirst();
  const shown = stateName(assignment.state);
  if (shown === undefined) return [];
  const source = known?.source_node_id ?? (await sourceOf(store, assignment, definition));
  if (source === undefined) return [`bridge ${assignment.name}: its source node is not known yet`];
  await remember(store, id, told);
  const { isGiven, learned } = await takeName(store, assignment.name, id, told, shown, nowMs);
  const state = isGiven ? shown : 'retired';
  if (known === undefined) {
    await store
      .insertInto('bridges')
      .values({
        id,
        name: assignment.name,
        title: definition.title,
        state,
        version: assignment.version,
        deployed_version: assignment.version,
        source_node_id: source,
        run_number: Number(assignment.runNumber),
        allowed_deletes: Number(assignment.allowedDeletes),
        created_at_ms: nowMs,
        changed_at_ms: nowMs,
      })
      .execute();
    learned.push(`bridge ${assignment.name} was made after the backup (version ${assignment.version}, ${state})`);
  } else {
    learned.push(...(await moveBridge(store, known, assignment, definition.title, state, nowMs)));
  }
  await storeVersions(store, id, assignment, definition, known?.version ?? 0, nowMs);
  return learned;
}

/** Whether this snapshot is newer than what another node told of this bridge. */
async function isNews(store: HubDatabase, bridgeId: string, told: Told): Promise<boolean> {
  const before = await store
    .selectFrom('restore_bridge')
    .select(['generation', 'number'])
    .where('bridge_id', '=', bridgeId)
    .executeTakeFirst();
  return before === undefined || isAfter(told, before);
}

async function remember(store: HubDatabase, bridgeId: string, told: Told): Promise<void> {
  await store
    .insertInto('restore_bridge')
    .values({ bridge_id: bridgeId, ...told })
    .onConflict((conflict) => conflict.column('bridge_id').doUpdateSet(told))
    .execute();
}

async function sourceOf(
  store: HubDatabase,
  { lanes }: BridgeAssignment,
  definition: BridgeDefinition,
): Promise<string | undefined> {
  const byCode = await store
    .selectFrom('nodes')
    .select('id')
    .where('code', '=', definition.source.node)
    .executeTakeFirst();
  return byCode?.id ?? (lanes[0]?.senderId.length === 16 ? idText(lanes[0].senderId) : undefined);
}

/** Of two bridges that bear the name the one that was told of last has it; the other was retired, for only then could the name be given again. */
async function takeName(
  store: HubDatabase,
  name: string,
  id: string,
  told: Told,
  state: BridgeStateName,
  nowMs: number,
): Promise<{ isGiven: boolean; learned: string[] }> {
  const other =
    state === 'retired'
      ? undefined
      : await store
          .selectFrom('bridges')
          .leftJoin('restore_bridge', 'restore_bridge.bridge_id', 'bridges.id')
          .select(['bridges.id', 'restore_bridge.generation', 'restore_bridge.number'])
          .where('bridges.name', '=', name)
          .where('bridges.state', '<>', 'retired')
          .where('bridges.id', '<>', id)
          .executeTakeFirst();
  if (other === undefined) return { isGiven: true, learned: [] };
  const { generation, number } = other;
  if (generation !== null && number !== null && isAfter({ generation, number }, told)) {
    return { isGiven: false, learned: [] };
  }
  await store
    .updateTable('bridges')
    .set({ state: 'retired', changed_at_ms: nowMs })
    .where('id', '=', other.id)
    .execute();
  await store
    .updateTable('lanes')
    .set({ ended_at_ms: nowMs })
    .where('bridge_id', '=', other.id)
    .where('ended_at_ms', 'is', null)
    .execute();
  return { isGiven: true, learned: [`bridge ${name} of the backup was retired and its name given anew`] };
}

async function moveBridge(
  store: HubDatabase,
  known: BridgeRow,
  assignment: BridgeAssignment,
  title: string,
  state: BridgeStateName,
  nowMs: number,
): Promise<string[]> {
  const learned: string[] = [];
  if (assignment.version !== known.deployed_version) {
    learned.push(
      `bridge ${assignment.name} was deployed in version ${assignment.version} after the backup (the backup has ${known.deployed_version})`,
    );
  }
  if (state !== known.state) learned.push(`bridge ${assignment.name} is ${state} (the backup says ${known.state})`);
  await store
    .updateTable('bridges')
    .set({
      title,
      state,
      version: Math.max(known.version, assignment.version),
      deployed_version: assignment.version,
      run_number: Math.max(known.run_number, Number(assignment.runNumber)),
      allowed_deletes: Number(assignment.allowedDeletes),
      ...(learned.length > 0 ? { changed_at_ms: nowMs } : {}),
    })
    .where('id', '=', known.id)
    .execute();
  return learned;
}

/** The version that runs, and those between the backup and it: deliveries captured under them may still be on their way. */
async function storeVersions(
  store: HubDatabase,
  bridgeId: string,
  assignment: BridgeAssignment,
  definition: BridgeDefinition,
  knownVersion: number,
  nowMs: number,
): Promise<void> {
  for (let version = Math.min(knownVersion + 1, assignment.version); version <= assignment.version; version += 1) {
    const isShown = version === assignment.version;
    const yaml = isShown
      ? `# Recovered from a node's signed snapshot: the operator's own text was lost with the hub's store.\n${stringify(JSON.parse(assignment.definitionJson))}`
      : `# Version ${version} was stored after the backup; its text is lost. Shown is the one that followed.\n${stringify(JSON.parse(assignment.definitionJson))}`;
    await store
      .insertInto('bridge_versions')
      .values({
        bridge_id: bridgeId,
        version,
        yaml,
        definition_json: assignment.definitionJson,
        stored_at_ms: nowMs,
        stored_by: `recovered from ${definition.source.node}`,
        deployed_at_ms: nowMs,
      })
      .onConflict((conflict) => conflict.columns(['bridge_id', 'version']).doUpdateSet({ deployed_at_ms: nowMs }))
      .execute();
  }
}

function stateName(state: BridgeState): BridgeStateName | undefined {
  switch (state) {
    case BridgeState.CREATED:
      return 'created';
    case BridgeState.DEPLOYED:
      return 'deployed';
    case BridgeState.RUNNING:
      return 'running';
    case BridgeState.STOPPED:
      return 'stopped';
    case BridgeState.RETIRED:
      return 'retired';
    case BridgeState.UNSPECIFIED:
    case BridgeState.UNRECOGNIZED:
      return undefined;
    default:
      return state satisfies never;
  }
}
