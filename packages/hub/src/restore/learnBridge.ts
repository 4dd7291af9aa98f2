// Owns taking in a bridge out of a signed snapshot that is newer than the backup: a version, a state, lanes. Of two snapshots that
// name one bridge the newer one counts. The operator's own text is lost with the store; the definition is written out instead.

import type { BridgeAssignment, LaneAssignment, NodeSnapshot } from '@qiao/contract/node';
import { BridgeState } from '@qiao/contract/node';
import { type BridgeDefinition, idText, parseBridgeJson } from '@qiao/exchange';
import { stringify } from 'yaml';
import type { BridgeRow, BridgeStateName, HubDatabase } from '../hubDatabase.ts';

/** Returns what is new, one sentence each. A definition that this version cannot read is left out and named. */
export async function learnBridge(
  store: HubDatabase,
  assignment: BridgeAssignment,
  snapshot: Pick<NodeSnapshot, 'generation' | 'number'>,
  nowMs: number,
): Promise<string[]> {
  if (assignment.bridgeId.length !== 16) return [];
  const id = idText(assignment.bridgeId);
  if (!(await isNews(store, id, snapshot))) return [];
  let definition: BridgeDefinition;
  try {
    definition = parseBridgeJson(assignment.definitionJson);
  } catch {
    return [`bridge ${assignment.name}: its newer definition cannot be read by this version`];
  }
  const known = await store.selectFrom('bridges').selectAll().where('id', '=', id).executeTakeFirst();
  const state = stateName(assignment.state);
  if (state === undefined) return [];
  const learned: string[] = [];
  if (known === undefined) {
    const source = await sourceOf(store, assignment, definition);
    if (source === undefined) return [`bridge ${assignment.name}: its source node is not known yet`];
    learned.push(...(await freeName(store, assignment.name, id, state, nowMs)));
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
  for (const lane of assignment.lanes) learned.push(...(await learnLane(store, assignment, definition, lane, nowMs)));
  return learned;
}

/** Whether this snapshot is newer than the backup and than what another node told of this bridge. */
async function isNews(
  store: HubDatabase,
  bridgeId: string,
  { generation, number }: Pick<NodeSnapshot, 'generation' | 'number'>,
): Promise<boolean> {
  const isAfter = (before: { generation: number; number: number }) =>
    Number(generation) > before.generation ||
    (Number(generation) === before.generation && Number(number) > before.number);
  const backup = await store
    .selectFrom('hub_state')
    .select(['generation', 'backup_number as number'])
    .executeTakeFirstOrThrow();
  if (!isAfter(backup)) return false;
  const told = await store
    .selectFrom('restore_bridge')
    .select(['generation', 'number'])
    .where('bridge_id', '=', bridgeId)
    .executeTakeFirst();
  if (told !== undefined && !isAfter(told)) return false;
  const row = { generation: Number(generation), number: Number(number) };
  await store
    .insertInto('restore_bridge')
    .values({ bridge_id: bridgeId, ...row })
    .onConflict((conflict) => conflict.column('bridge_id').doUpdateSet(row))
    .execute();
  return true;
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

/** A bridge of the backup that bears the name has been retired since: only then could the name be given again. */
async function freeName(
  store: HubDatabase,
  name: string,
  exceptId: string,
  state: BridgeStateName,
  nowMs: number,
): Promise<string[]> {
  if (state === 'retired') return [];
  const older = await store
    .updateTable('bridges')
    .set({ state: 'retired', changed_at_ms: nowMs })
    .where('name', '=', name)
    .where('state', '<>', 'retired')
    .where('id', '<>', exceptId)
    .returning('id')
    .execute();
  for (const { id } of older) {
    await store
      .updateTable('lanes')
      .set({ ended_at_ms: nowMs })
      .where('bridge_id', '=', id)
      .where('ended_at_ms', 'is', null)
      .execute();
  }
  return older.length === 0 ? [] : [`bridge ${name} of the backup was retired and its name given anew`];
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

async function learnLane(
  store: HubDatabase,
  { bridgeId, name }: BridgeAssignment,
  definition: BridgeDefinition,
  lane: LaneAssignment,
  nowMs: number,
): Promise<string[]> {
  if (lane.laneId.length !== 16 || lane.senderId.length !== 16 || lane.receiverId.length !== 16) return [];
  const id = idText(lane.laneId);
  const ends = { sender: idText(lane.senderId), receiver: idText(lane.receiverId) };
  const known = await store.selectFrom('lanes').selectAll().where('id', '=', id).executeTakeFirst();
  if (known !== undefined) {
    const isEndedNow = lane.ended && known.ended_at_ms === null;
    await store
      .updateTable('lanes')
      .set({ destination: lane.destination, ...(isEndedNow ? { ended_at_ms: nowMs } : {}) })
      .where('id', '=', id)
      .execute();
    return isEndedNow ? [`a lane of bridge ${name} was ended after the backup`] : [];
  }
  const present = await store
    .selectFrom('nodes')
    .select('id')
    .where('id', 'in', [ends.sender, ends.receiver])
    .execute();
  if (present.length < new Set([ends.sender, ends.receiver]).size)
    return [`a lane of bridge ${name} ends at an unknown node`];
  const dataSource = definition.destinations[lane.destination]?.dataSource ?? '';
  // A destination bound anew: the lane that the backup knows for it has ended.
  await store
    .updateTable('lanes')
    .set({ ended_at_ms: nowMs })
    .where('bridge_id', '=', idText(bridgeId))
    .where('receiver_id', '=', ends.receiver)
    .where('data_source', '=', dataSource)
    .where('ended_at_ms', 'is', null)
    .execute();
  await store
    .insertInto('lanes')
    .values({
      id,
      bridge_id: idText(bridgeId),
      sender_id: ends.sender,
      receiver_id: ends.receiver,
      data_source: dataSource,
      destination: lane.destination,
      bound_at_ms: nowMs,
      ended_at_ms: lane.ended ? nowMs : null,
      highest_epoch: 0,
      highest_nonce: null,
      routed_sequence: 0,
      routed_deliveries: 0,
      refused_deliveries: 0,
    })
    .execute();
  return [`a destination of bridge ${name} was bound after the backup`];
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
