// Owns departments and nodes as rows: who they are, what they may do, where their fencing token stands. How a node comes to
// join or is thrown out belongs to identity; what it should run belongs to desired.

import type { BridgeProblem } from '@qiao/contract/node';
import { MOST_TOKENS_AHEAD, QiaoError } from '@qiao/exchange';
import { sql } from 'kysely';
import type { HubDatabase, NodeRoleName, NodeRow } from '../hubDatabase.ts';

export interface NewNode {
  readonly id: string;
  readonly code: string;
  readonly title: string;
  readonly departmentCode: string;
  readonly departmentTitle: string;
  readonly role: NodeRoleName;
}

export interface NodeWithDepartment extends NodeRow {
  readonly department_title: string;
}

/** Whoever was not told a title says nothing or the code: neither replaces a title that is known. */
export function isTitle(title: string, code: string): boolean {
  return title !== '' && title !== code;
}

/** Makes the department, or gives it a new title when one is said. */
export async function ensureDepartment(store: HubDatabase, code: string, title: string): Promise<void> {
  await store
    .insertInto('departments')
    .values({ code, title: title === '' ? code : title })
    .onConflict((conflict) =>
      isTitle(title, code) ? conflict.column('code').doUpdateSet({ title }) : conflict.column('code').doNothing(),
    )
    .execute();
}

export async function insertNode(store: HubDatabase, node: NewNode): Promise<void> {
  await ensureDepartment(store, node.departmentCode, node.departmentTitle);
  await store
    .insertInto('nodes')
    .values({
      id: node.id,
      code: node.code,
      title: node.title === '' ? node.code : node.title,
      department_code: node.departmentCode,
      role: node.role,
      status: 'invited',
      certificate: null,
      fingerprint: null,
      certificate_ends_at_ms: null,
      sealing_key: null,
      reads_format: 1,
      nats_user: null,
      fencing_token: 0,
      joined_at_ms: null,
      last_seen_at_ms: 0,
      version: '',
      exchange_database_id: null,
      actual_generation: 0,
      actual_number: 0,
      problems_json: '[]',
    })
    .execute();
}

/** Every node with its department's title, by code. */
export async function listNodes(store: HubDatabase): Promise<NodeWithDepartment[]> {
  return await nodesWithDepartment(store).orderBy('nodes.code').execute();
}

export async function findNode(store: HubDatabase, code: string): Promise<NodeWithDepartment | undefined> {
  return await nodesWithDepartment(store).where('nodes.code', '=', code).executeTakeFirst();
}

export async function findNodeById(store: HubDatabase, id: string): Promise<NodeWithDepartment | undefined> {
  return await nodesWithDepartment(store).where('nodes.id', '=', id).executeTakeFirst();
}

/** Throws NODE_UNKNOWN. */
export async function getNode(store: HubDatabase, code: string): Promise<NodeWithDepartment> {
  const node = await findNode(store, code);
  if (node !== undefined) return node;
  throw new QiaoError('NODE_UNKNOWN', `no node has the code "${code}"`, { hint: 'qiao node list' });
}

/** What a receiver says is believed less far, so that the token after it is believed of its bearer by a hub restored once more. */
const MOST_TOKENS_SEEN_AHEAD = Number(MOST_TOKENS_AHEAD) / 2;

/** Gives the node its next fencing token: larger than every one before, durable before it is answered. */
export async function giveFencingToken(store: HubDatabase, nodeId: string, past = 0): Promise<number> {
  // What was given before a restore is learned first, within reason: a number that is no token must not use them up.
  const known = await store
    .selectFrom('nodes')
    .select('fencing_token')
    .where('id', '=', nodeId)
    .executeTakeFirstOrThrow();
  if (past > known.fencing_token && past <= known.fencing_token + Number(MOST_TOKENS_AHEAD)) {
    await learnFencingToken(store, nodeId, past);
  }
  const row = await store
    .updateTable('nodes')
    .set((column) => ({ fencing_token: sql<number>`fencing_token + fencing_leap + 1`, fencing_leap: column.lit(0) }))
    .where('id', '=', nodeId)
    .returning('fencing_token')
    .executeTakeFirstOrThrow();
  return row.fencing_token;
}

/** A token that the hub gave before it was restored from a backup: learned from the node that carries it. */
export async function learnFencingToken(store: HubDatabase, nodeId: string, token: number): Promise<void> {
  await store
    .updateTable('nodes')
    .set({ fencing_token: token })
    .where('id', '=', nodeId)
    .where('fencing_token', '<', token)
    .execute();
}

/**
 * A token that a receiver says it has seen of this node, unproven: the next one lies above it. The present one stays as it is, or one
 * receiver's word would shut a living sender out everywhere.
 */
export async function learnSeenToken(store: HubDatabase, nodeId: string, token: bigint): Promise<void> {
  const node = await store.selectFrom('nodes').select('fencing_token').where('id', '=', nodeId).executeTakeFirst();
  if (node === undefined || token > BigInt(node.fencing_token + MOST_TOKENS_SEEN_AHEAD)) return;
  const leap = Number(token) - node.fencing_token;
  await store
    .updateTable('nodes')
    .set({ fencing_leap: leap })
    .where('id', '=', nodeId)
    .where('fencing_leap', '<', leap)
    .execute();
}

export interface Sighting {
  readonly atMs: number;
  readonly version: string;
  readonly readsFormat: number;
  readonly exchangeDatabaseId: string;
}

/** What a hello tells of the node itself. */
export async function recordHello(store: HubDatabase, nodeId: string, sighting: Sighting): Promise<void> {
  await store
    .updateTable('nodes')
    .set({
      last_seen_at_ms: sighting.atMs,
      version: sighting.version,
      reads_format: sighting.readsFormat,
      exchange_database_id: sighting.exchangeDatabaseId,
    })
    .where('id', '=', nodeId)
    .execute();
}

/** Last words of several nodes at once: node id to milliseconds since 1970 UTC. */
export async function recordSightings(store: HubDatabase, seen: ReadonlyMap<string, number>): Promise<void> {
  for (const [nodeId, atMs] of seen) {
    await store
      .updateTable('nodes')
      .set({ last_seen_at_ms: atMs })
      .where('id', '=', nodeId)
      .where('last_seen_at_ms', '<', atMs)
      .execute();
  }
}

export interface ActualReport {
  readonly generation: bigint;
  readonly number: bigint;
  readonly problems: readonly BridgeProblem[];
}

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/**
 * What a node reports that it runs. At most 100 problems are kept. Numbers that no snapshot ever had change nothing: an error
 * here would bring the report again and again, and the line is everybody's.
 */
export async function recordActualState(store: HubDatabase, nodeId: string, report: ActualReport): Promise<void> {
  if (report.generation > MAX_SAFE || report.number > MAX_SAFE) return;
  const problems = report.problems.slice(0, 100).map((problem) => ({
    bridgeId: Buffer.from(problem.bridgeId.subarray(0, 16)).toString('hex'),
    version: problem.version,
    code: problem.code.slice(0, 64),
    message: problem.message.slice(0, 1_000),
    hint: problem.hint.slice(0, 200),
  }));
  await store
    .updateTable('nodes')
    .set({
      actual_generation: Number(report.generation),
      actual_number: Number(report.number),
      problems_json: JSON.stringify(problems),
    })
    .where('id', '=', nodeId)
    .execute();
}

/** The problems that `recordActualState` kept. */
export function problemsOf(node: NodeRow): BridgeProblem[] {
  const stored = JSON.parse(node.problems_json) as (Omit<BridgeProblem, 'bridgeId'> & { bridgeId: string })[];
  return stored.map((problem) => ({ ...problem, bridgeId: Buffer.from(problem.bridgeId, 'hex') }));
}

function nodesWithDepartment(store: HubDatabase) {
  return store
    .selectFrom('nodes')
    .innerJoin('departments', 'departments.code', 'nodes.department_code')
    .selectAll('nodes')
    .select('departments.title as department_title');
}
