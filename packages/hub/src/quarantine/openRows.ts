// Owns the road of operators to rows in quarantine: which nodes keep selected rows, asking them all, and adding their answers up. The hub
// relays references and ciphertext; contents are sealed between operator and node. Every view and every change is written down.

import type {
  ListOpenRowsRequest,
  ListOpenRowsResponse,
  NodeAnswer,
  SettleRowsRequest,
  SettleRowsResponse,
  ShowOpenRowRequest,
} from '@qiao/contract/hub';
import { type CheckProblem, type Command, type CommandResult, RowAction, type RowSelector } from '@qiao/contract/node';
import type { Signed } from '@qiao/contract/signed';
import { QiaoError } from '@qiao/exchange';
import { type Clock, crashPoint } from '@qiao/runtime';
import { appendAudit } from '../audit/audit.ts';
import type { HubDatabase, NodeRow } from '../hubDatabase.ts';
import { getNode } from '../registry/nodes.ts';

export interface OpenRowPorts {
  readonly store: HubDatabase;
  readonly clock: Clock;
  /** Asks one node; throws a QiaoError when it does not answer. */
  ask(
    node: NodeRow,
    operator: string,
    command: NonNullable<Command['command']>,
  ): Promise<{ readonly result: CommandResult; readonly signed: Signed }>;
}

/** References in one audit entry: the rest is counted. */
const REFS_WRITTEN = 50;
const REFS_MAX = 1_000;

/** Rows of every node concerned. Nodes that do not answer are problems beside the rows of the others. */
export async function listOpenRows(
  ports: OpenRowPorts,
  { list, node }: ListOpenRowsRequest,
  operator: string,
): Promise<ListOpenRowsResponse> {
  const nodes = await nodesOf(ports.store, list?.rows, node);
  const limit = list?.limit ?? 0;
  const request = { rows: list?.rows, includeSettled: list?.includeSettled ?? false, limit };
  const { answers, problems } = await askAll(ports, nodes, operator, (code) => ({
    $case: 'listOpenRows',
    value: { ...request, rows: ownRefs(request.rows, code) },
  }));
  const rows = answers.flatMap(({ result }) => result.openRows);
  const total = answers.reduce((sum, { result }) => sum + result.openRowsTotal, 0n);
  return { rows: rows.slice(0, limit === 0 ? rows.length : limit), total, problems };
}

/** The node's own signed answer. Throws ROW_UNKNOWN and what the node refuses. */
export async function showOpenRow(
  ports: OpenRowPorts,
  { show }: ShowOpenRowRequest,
  operator: string,
): Promise<NodeAnswer> {
  const ref = show?.ref ?? '';
  const node = await getNode(ports.store, nodeOfRef(ref));
  const { result, signed } = await ports.ask(node, operator, { $case: 'showOpenRow', value: show as never });
  throwProblem(result);
  crashPoint('rows.asked');
  await written(ports, operator, 'rows.show', ref, {});
  return { result: signed, certificate: node.certificate ?? new Uint8Array(0) };
}

/** Carries a decision to every node that keeps selected rows. Throws SELECTION_MISSING, ROWS_TOO_MANY. */
export async function settleRows(
  ports: OpenRowPorts,
  { settle, node }: SettleRowsRequest,
  operator: string,
): Promise<SettleRowsResponse> {
  if (settle === undefined || isEverything(settle.rows, node)) {
    throw new QiaoError('SELECTION_MISSING', 'found no selection; expected references, a bridge, a lane or a node', {
      hint: 'name rows, or add --bridge NAME',
    });
  }
  const nodes = await nodesOf(ports.store, settle.rows, node);
  const { answers, problems } = await askAll(ports, nodes, operator, (code) => ({
    $case: 'settleRows',
    value: { ...settle, rows: ownRefs(settle.rows, code) },
  }));
  const settled = { decided: 0, settled: 0, refused: 0, pending: 0, refusedRows: [] as CommandResult['openRows'] };
  for (const { result } of answers) {
    const report = result.settledRows;
    settled.decided += report?.decided ?? 0;
    settled.settled += report?.settled ?? 0;
    settled.refused += report?.refused ?? 0;
    settled.pending += report?.pending ?? 0;
    settled.refusedRows.push(...(report?.refusedRows ?? []));
  }
  const { refs = [], bridge = '', table = '', code = '' } = settle.rows ?? {};
  const { refusedRows: _rows, ...counts } = settled;
  const subject = refs.length === 1 ? (refs[0] as string) : bridge || node || nodes.map((one) => one.code).join(',');
  crashPoint('rows.asked');
  await written(ports, operator, `rows.${actionWord(settle.action)}`, subject, {
    ...counts,
    reason: settle.reason,
    ...(bridge === '' ? {} : { bridge }),
    ...(table === '' ? {} : { table }),
    ...(code === '' ? {} : { code }),
    ...(refs.length === 0 ? {} : { refs: refs.slice(0, REFS_WRITTEN), refsTotal: refs.length }),
    ...(problems.length === 0 ? {} : { problems: problems.map((problem) => problem.code) }),
  });
  return { settled, problems };
}

function actionWord(action: RowAction): string {
  switch (action) {
    case RowAction.EDIT:
      return 'edit';
    case RowAction.REPLAY:
      return 'replay';
    case RowAction.ABANDON:
      return 'abandon';
    case RowAction.SHOW:
    case RowAction.PREVIEW:
    case RowAction.UNSPECIFIED:
    case RowAction.UNRECOGNIZED:
      throw new QiaoError('ACTION_UNKNOWN', `found action ${action}; expected edit, replay or abandon`);
    default:
      return action satisfies never;
  }
}

function isEverything(rows: RowSelector | undefined, node: string): boolean {
  if (rows === undefined) return node === '';
  return rows.refs.length === 0 && rows.bridge === '' && rows.laneId.length === 0 && node === '';
}

/** Who may keep such rows: the nodes that references name, the destinations of the bridge, or every agent. */
async function nodesOf(store: HubDatabase, rows: RowSelector | undefined, node: string): Promise<NodeRow[]> {
  if (node !== '') return [await getNode(store, node)];
  const { refs = [], bridge = '', laneId = new Uint8Array(0) } = rows ?? {};
  if (refs.length > REFS_MAX) {
    throw new QiaoError('ROWS_TOO_MANY', `found ${refs.length} references, expected at most ${REFS_MAX}`, {
      hint: 'select in bulk: --bridge, --table, --code',
    });
  }
  if (refs.length > 0) {
    return await Promise.all([...new Set(refs.map(nodeOfRef))].map((code) => getNode(store, code)));
  }
  let query = store
    .selectFrom('nodes')
    .selectAll()
    .where('role', '=', 'agent')
    .where('status', '=', 'joined')
    .orderBy('code');
  if (bridge !== '' || laneId.length > 0) {
    const lanes = await store
      .selectFrom('lanes')
      .innerJoin('bridges', 'bridges.id', 'lanes.bridge_id')
      .select('receiver_id')
      .$if(bridge !== '', (some) => some.where('bridges.name', '=', bridge))
      .$if(laneId.length > 0, (some) => some.where('lanes.id', '=', Buffer.from(laneId).toString('hex')))
      .execute();
    if (lanes.length === 0) {
      throw new QiaoError('BRIDGE_UNKNOWN', `no lane of ${bridge || 'that identity'} is known`, {
        hint: 'qiao bridge list',
      });
    }
    query = query.where('id', 'in', [...new Set(lanes.map((lane) => lane.receiver_id))]);
  }
  return await query.execute();
}

function nodeOfRef(ref: string): string {
  const code = /^([a-z][a-z0-9-]{0,31})\/[0-9a-f]{20}$/.exec(ref)?.[1];
  if (code !== undefined) return code;
  throw new QiaoError('ROW_UNKNOWN', `${JSON.stringify(ref.slice(0, 60))} is no reference of a row`, {
    hint: 'qiao quarantine list',
  });
}

/** A node is asked for its own rows only: it refuses references of others. */
function ownRefs(rows: RowSelector | undefined, code: string): RowSelector | undefined {
  if (rows === undefined || rows.refs.length === 0) return rows;
  return { ...rows, refs: rows.refs.filter((ref) => nodeOfRef(ref) === code) };
}

async function askAll(
  ports: OpenRowPorts,
  nodes: readonly NodeRow[],
  operator: string,
  command: (code: string) => NonNullable<Command['command']>,
): Promise<{ answers: { result: CommandResult }[]; problems: CheckProblem[] }> {
  const answers: { result: CommandResult }[] = [];
  const problems: CheckProblem[] = [];
  await Promise.all(
    nodes.map(async (node) => {
      try {
        const answer = await ports.ask(node, operator, command(node.code));
        // Refused as a whole; rows that the target refused again are counted, and no problem of the node's.
        const refused = answer.result.problems.filter(({ warning }) => !warning);
        if (refused.length > 0) problems.push(...refused.map((problem) => ({ ...problem, path: node.code })));
        else answers.push(answer);
      } catch (error) {
        if (!(error instanceof QiaoError)) throw error;
        const { code, message, hint } = error;
        problems.push({ code, path: node.code, message, hint, warning: false });
      }
    }),
  );
  // One node asked, one node refusing: its own words are the answer.
  if (answers.length === 0 && nodes.length === 1 && problems[0] !== undefined) throw fromProblem(problems[0]);
  return { answers, problems };
}

export function throwProblem({ problems }: CommandResult): void {
  const problem = problems.find(({ warning }) => !warning);
  if (problem !== undefined) throw fromProblem(problem);
}

function fromProblem({ code, message, hint }: CheckProblem): QiaoError {
  return new QiaoError(code, message, {
    hint,
    fate: /^(NODE_SILENT|BUS_)/.test(code) ? 'transient' : 'permanent',
  });
}

export async function written(
  { store, clock }: OpenRowPorts,
  operator: string,
  action: string,
  subject: string,
  detail: Readonly<Record<string, string | number | boolean | readonly string[]>>,
): Promise<void> {
  const event = { atMs: clock.nowMs(), actor: `operator:${operator}`, action, subject, success: true, detail };
  await store.transaction().execute((transaction) => appendAudit(transaction, event));
}
