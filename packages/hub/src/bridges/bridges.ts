// Owns what operators do with bridges: check, create, deploy, start, stop, retire, run, bind, unbind. Slow work (asking the
// ends) comes first and holds nothing; then one transaction moves rows, lanes and audit together, and refuses when somebody
// else changed the bridge meanwhile.

import type { TableShape } from '@qiao/contract/node';
import { type BridgeDefinition, type Problem, ProblemsError, parseBridgeJson, QiaoError } from '@qiao/exchange';
import { type Clock, crashPoint } from '@qiao/runtime';
import { type AuditEvent, appendAudit } from '../audit/audit.ts';
import type { BridgeRow, HubDatabase } from '../hubDatabase.ts';
import { type CheckPorts, checkAtHub, checkEverywhere, nodesByCode, problemsAcross } from './check.ts';
import { withDestination, withoutDestination } from './destinations.ts';
import { effectsOf } from './effects.ts';
import { endLanes, livingLanes, planLanes, writeLanes } from './lanes.ts';
import { type BridgeVerb, stateAfter } from './life.ts';
import {
  currentVersion,
  findLiving,
  getBridge,
  getVersion,
  isBlocking,
  otherDefinitions,
  parseFile,
  storeVersion,
} from './versions.ts';

export interface BridgePorts extends CheckPorts {
  readonly store: HubDatabase;
  readonly clock: Clock;
  /** A new identity: 32 hexadecimal characters. */
  readonly newId: () => string;
  /** Bridges or lanes changed: routing and desired state look again. */
  readonly changed: () => Promise<void>;
}

export interface Deployed {
  readonly bridge: BridgeRow;
  /** With a problem that is no warning nothing was stored and nothing deployed. */
  readonly problems: readonly Problem[];
  readonly effects: readonly string[];
}

export interface DeployOptions {
  /** The next version; empty deploys the newest stored one. */
  readonly yaml: string;
  /** A stored version to go back to; 0 for none. */
  readonly rollbackTo: number;
  readonly backfill: boolean;
}

/** Checks at every end; starts nothing and stores nothing. */
export async function checkBridge(
  ports: BridgePorts,
  yaml: string,
  operator: string,
): Promise<{ name: string; problems: Problem[]; tables: TableShape[] }> {
  const parsed = parseFile(yaml);
  if (parsed.definition === undefined) return { name: '', problems: parsed.problems, tables: [] };
  const checked = await checkEverywhere(ports.store, ports, parsed.definition, { operator });
  return {
    name: parsed.definition.name,
    problems: [...parsed.problems, ...checked.problems],
    tables: checked.tables,
  };
}

/** Stores a first version. Throws BRIDGE_INVALID with every problem, BRIDGE_EXISTS. */
export async function createBridge(ports: BridgePorts, yaml: string, operator: string): Promise<BridgeRow> {
  const { definition, problems } = parseFile(yaml);
  if (definition === undefined) throw new ProblemsError(problems, { code: 'BRIDGE_INVALID' });
  const id = ports.newId();
  const nowMs = ports.clock.nowMs();
  await ports.store.transaction().execute(async (store) => {
    const found = (await checkAtHub(store, definition)).filter(isBlocking);
    if (found.length > 0) throw new ProblemsError(found, { code: 'BRIDGE_INVALID' });
    if ((await findLiving(store, definition.name)) !== undefined) {
      throw new QiaoError('BRIDGE_EXISTS', `a bridge is called "${definition.name}" already`, {
        hint: `qiao bridge deploy ${definition.name} -f FILE  # stores the next version`,
      });
    }
    const source = (await nodesByCode(store)).get(definition.source.node);
    await store
      .insertInto('bridges')
      .values({
        id,
        name: definition.name,
        title: definition.title,
        state: 'created',
        version: 1,
        deployed_version: 0,
        source_node_id: source?.id ?? '',
        run_number: 0,
        allowed_deletes: 0,
        created_at_ms: nowMs,
        changed_at_ms: nowMs,
      })
      .execute();
    await storeVersion(store, id, 1, { yaml, definition, storedBy: operator, nowMs });
    await appendAudit(store, event(nowMs, operator, 'bridge.create', definition.name, { version: 1 }));
  });
  crashPoint('bridge.stored');
  await ports.changed();
  return await getBridge(ports.store, definition.name);
}

/**
 * Deploys the file given, the newest stored version, or a rollback; each after a check at every end.
 * Throws BRIDGE_UNKNOWN, BRIDGE_VERSION_UNKNOWN, BRIDGE_STATE, BRIDGE_CHANGED.
 */
export async function deployBridge(
  ports: BridgePorts,
  name: string,
  options: DeployOptions,
  operator: string,
): Promise<Deployed> {
  const bridge = await getBridge(ports.store, name);
  stateAfter(name, bridge.state, 'deploy');
  const candidate = await candidateOf(ports.store, bridge, options);
  const refuse = (problems: readonly Problem[], effects: readonly string[] = []) => ({ bridge, problems, effects });
  if (candidate.definition === undefined) return refuse(candidate.problems);
  const definition = candidate.definition;
  const before =
    bridge.deployed_version === 0
      ? undefined
      : parseBridgeJson((await getVersion(ports.store, bridge, bridge.deployed_version)).definition_json);
  const effects = effectsOf(before, definition);
  const problems = [...candidate.problems, ...identityProblems(bridge, before, definition)];
  if (effects.changesRows && !options.backfill) {
    problems.push({
      code: 'BACKFILL_NEEDED',
      path: '',
      message: `capture compare brings the destinations to the new version by itself, which changes rows they hold: ${effects.sentences.join(' ')}`,
      hint: `qiao bridge deploy ${name} --backfill`,
    });
  }
  const checked = await checkEverywhere(ports.store, ports, definition, { operator, createMissing: true });
  problems.push(...checked.problems);
  if (problems.some(isBlocking)) return refuse(problems, effects.sentences);
  crashPoint('bridge.checked');
  const deployed = await activate(ports, bridge, { ...candidate, definition }, operator, 'bridge.deploy');
  return { bridge: deployed, problems, effects: effects.sentences };
}

export async function startBridge(ports: BridgePorts, name: string, operator: string): Promise<BridgeRow> {
  return await move(ports, name, 'start', operator);
}

export async function stopBridge(ports: BridgePorts, name: string, operator: string): Promise<BridgeRow> {
  return await move(ports, name, 'stop', operator);
}

/** Ends the bridge and its lanes for good. */
export async function retireBridge(ports: BridgePorts, name: string, operator: string): Promise<BridgeRow> {
  return await move(ports, name, 'retire', operator);
}

/** Asks the source for one run; `allowedDeletes` is past the deleteGuard, for this run only. */
export async function runBridge(
  ports: BridgePorts,
  name: string,
  allowedDeletes: number,
  operator: string,
): Promise<BridgeRow> {
  return await move(ports, name, 'run', operator, allowedDeletes);
}

/** Adds a destination; only the source and the new end are asked, so that a silent neighbour stops nothing. */
export async function bindDestination(
  ports: BridgePorts,
  name: string,
  destinationYaml: string,
  operator: string,
): Promise<BridgeRow> {
  const bridge = await getBridge(ports.store, name);
  const yaml = withDestination((await currentVersion(ports.store, bridge)).yaml, destinationYaml);
  const { definition, problems } = parseFile(yaml);
  if (definition === undefined) throw new ProblemsError(problems, { code: 'BRIDGE_INVALID' });
  const added = definition.destinations.length - 1;
  const checked =
    bridge.state === 'created'
      ? await checkAtHub(ports.store, definition)
      : (
          await checkEverywhere(ports.store, ports, definition, {
            operator,
            destinations: [added],
            createMissing: true,
          })
        ).problems;
  const blocking = checked.filter(isBlocking);
  if (blocking.length > 0) throw new ProblemsError(blocking, { code: 'BRIDGE_INVALID' });
  crashPoint('bridge.checked');
  return await activate(ports, bridge, { yaml, definition }, operator, 'bridge.bind');
}

/** Ends a destination's lane. Asks nobody: it must work when the destination is gone. */
export async function unbindDestination(
  ports: BridgePorts,
  name: string,
  nodeCode: string,
  operator: string,
): Promise<BridgeRow> {
  const bridge = await getBridge(ports.store, name);
  const yaml = withoutDestination((await currentVersion(ports.store, bridge)).yaml, name, nodeCode);
  const { definition, problems } = parseFile(yaml);
  if (definition === undefined) throw new ProblemsError(problems, { code: 'BRIDGE_INVALID' });
  return await activate(ports, bridge, { yaml, definition }, operator, 'bridge.unbind');
}

interface Candidate {
  /** Set when it is to be stored as the next version; else `version` is stored already. */
  readonly yaml?: string;
  readonly version?: number;
  readonly definition: BridgeDefinition;
}

async function candidateOf(
  store: HubDatabase,
  bridge: BridgeRow,
  options: DeployOptions,
): Promise<Partial<Candidate> & { problems: Problem[] }> {
  if (options.rollbackTo > 0 && options.yaml !== '') {
    throw new QiaoError('BAD_DEPLOY', 'a file and a version to go back to were both given', {
      hint: `qiao bridge deploy ${bridge.name} --rollback-to ${options.rollbackTo}`,
    });
  }
  if (options.yaml !== '') {
    const { definition, problems, yaml } = parseFile(options.yaml);
    if (definition === undefined) return { problems };
    const newest = await getVersion(store, bridge, bridge.version);
    // The same text again is the same version: deploying a file twice makes no history.
    return newest.yaml === yaml ? { version: newest.version, definition, problems } : { yaml, definition, problems };
  }
  const version = await getVersion(store, bridge, options.rollbackTo > 0 ? options.rollbackTo : bridge.version);
  return { version: version.version, definition: parseBridgeJson(version.definition_json), problems: [] };
}

/** A bridge keeps its name and its source: lanes, positions and books belong to them. */
function identityProblems(bridge: BridgeRow, before: BridgeDefinition | undefined, after: BridgeDefinition): Problem[] {
  const problems: Problem[] = [];
  const hint = 'make a new bridge and retire this one';
  if (after.name !== bridge.name) {
    problems.push({
      code: 'NAME_CHANGED',
      path: 'name',
      message: `found "${after.name}", expected "${bridge.name}"`,
      hint,
    });
  }
  if (before !== undefined && after.source.node !== before.source.node) {
    problems.push({
      code: 'SOURCE_CHANGED',
      path: 'source.node',
      message: `found "${after.source.node}", expected "${before.source.node}"`,
      hint,
    });
  }
  return problems;
}

/** Stores the candidate when it is new, and makes it the desired state unless the bridge was never deployed and is only edited. */
async function activate(
  ports: BridgePorts,
  seen: BridgeRow,
  candidate: Candidate,
  operator: string,
  action: 'bridge.deploy' | 'bridge.bind' | 'bridge.unbind',
): Promise<BridgeRow> {
  const { definition } = candidate;
  const nowMs = ports.clock.nowMs();
  const isDeployed = action === 'bridge.deploy' || seen.state !== 'created';
  await ports.store.transaction().execute(async (store) => {
    const bridge = await getBridge(store, seen.name);
    requireUnchanged(seen, bridge);
    // Asked again inside: two bridges deployed at once must not both have found the table free.
    const across = problemsAcross(definition, await otherDefinitions(store, definition.name));
    if (across.length > 0) throw new ProblemsError(across, { code: 'BRIDGE_INVALID' });
    const version = candidate.version ?? bridge.version + 1;
    if (candidate.yaml !== undefined) {
      await storeVersion(store, bridge.id, version, { yaml: candidate.yaml, definition, storedBy: operator, nowMs });
    }
    const nodes = await nodesByCode(store);
    await store
      .updateTable('bridges')
      .set({
        title: definition.title,
        version: Math.max(bridge.version, version),
        source_node_id: nodes.get(definition.source.node)?.id ?? bridge.source_node_id,
        changed_at_ms: changeTime(bridge, nowMs),
        ...(isDeployed ? { state: stateAfter(bridge.name, bridge.state, 'deploy'), deployed_version: version } : {}),
      })
      .where('id', '=', bridge.id)
      .execute();
    if (isDeployed) {
      await markDeployed(store, bridge.id, version, nowMs);
      const plan = planLanes(definition, await livingLanes(store, bridge.id), nodes);
      const senderId = nodes.get(definition.source.node)?.id ?? bridge.source_node_id;
      await writeLanes(store, plan, { bridgeId: bridge.id, senderId, nowMs, newId: ports.newId });
    }
    await appendAudit(store, event(nowMs, operator, action, bridge.name, { version, deployed: isDeployed }));
  });
  crashPoint('bridge.stored');
  await ports.changed();
  return await getBridge(ports.store, seen.name);
}

async function markDeployed(store: HubDatabase, bridgeId: string, version: number, nowMs: number): Promise<void> {
  await store
    .updateTable('bridge_versions')
    .set({ deployed_at_ms: nowMs })
    .where('bridge_id', '=', bridgeId)
    .where('version', '=', version)
    .where('deployed_at_ms', 'is', null)
    .execute();
}

async function move(
  ports: BridgePorts,
  name: string,
  verb: Exclude<BridgeVerb, 'deploy'>,
  operator: string,
  allowedDeletes = 0,
): Promise<BridgeRow> {
  const nowMs = ports.clock.nowMs();
  const bridge = await ports.store.transaction().execute(async (store) => {
    const before = await getBridge(store, name);
    const state = stateAfter(name, before.state, verb);
    if (verb === 'retire') {
      const lanes = await livingLanes(store, before.id);
      await endLanes(
        store,
        lanes.map((lane) => lane.id),
        nowMs,
      );
    }
    const after = await store
      .updateTable('bridges')
      .set({
        state,
        changed_at_ms: changeTime(before, nowMs),
        ...(verb === 'run' ? { run_number: before.run_number + 1, allowed_deletes: allowedDeletes } : {}),
      })
      .where('id', '=', before.id)
      .returningAll()
      .executeTakeFirstOrThrow();
    const detail = verb === 'run' ? { run: after.run_number, allowedDeletes } : { state };
    await appendAudit(store, event(nowMs, operator, `bridge.${verb}`, name, detail));
    return after;
  });
  crashPoint('bridge.stored');
  await ports.changed();
  return bridge;
}

/** Strictly rising, so that it also tells two changes within one millisecond apart. */
function changeTime(bridge: BridgeRow, nowMs: number): number {
  return Math.max(nowMs, bridge.changed_at_ms + 1);
}

function requireUnchanged(seen: BridgeRow, found: BridgeRow): void {
  if (seen.id === found.id && seen.changed_at_ms === found.changed_at_ms) return;
  throw new QiaoError('BRIDGE_CHANGED', `somebody else changed "${seen.name}" while its ends were checked`, {
    hint: `qiao bridge show ${seen.name}  # then deploy again`,
    fate: 'transient',
  });
}

function event(
  atMs: number,
  operator: string,
  action: string,
  subject: string,
  detail: NonNullable<AuditEvent['detail']>,
): AuditEvent {
  return { atMs, actor: `operator:${operator}`, action, subject, success: true, detail };
}
