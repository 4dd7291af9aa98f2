// Owns asking the source of a bridge to compare both ends of its lanes, to send differences, or to send rows again. The agent
// keeps the jobs; the hub finds the lanes, writes who asked into the audit, and gives the jobs their names.

import type { BridgeJob } from '@qiao/contract/job';
import type { Command, CommandResult, JobScope } from '@qiao/contract/node';
import { parseId, QiaoError } from '@qiao/exchange';
import { type Clock, crashPoint } from '@qiao/runtime';
import { type AuditEvent, appendAudit } from '../audit/audit.ts';
import type { BridgeRow, HubDatabase, LaneRow, NodeRow } from '../hubDatabase.ts';
import type { CheckPorts } from './check.ts';
import { livingLanes } from './lanes.ts';
import { getBridge } from './versions.ts';

export interface JobPorts extends CheckPorts {
  readonly store: HubDatabase;
  readonly clock: Clock;
}

/** Which lanes and tables: one destination's node by its code, or every destination. */
export interface WantedScope {
  readonly name: string;
  readonly destinationNode: string;
  readonly tables: readonly string[];
}

export type JobWork =
  | { readonly kind: 'verify'; readonly rowsPerSecond: number }
  | {
      readonly kind: 'resync';
      readonly rowsPerSecond: number;
      readonly where: string;
      readonly dryRun: boolean;
      readonly allowedDeletes: bigint;
    }
  | {
      readonly kind: 'resend';
      readonly fromMs: bigint;
      readonly toMs: bigint;
      readonly reason: string;
      readonly includeJournals: boolean;
    };

const REASON_MAX = 200;
const WHERE_MAX = 4_000;

/**
 * Starts one job per lane at the source. Throws BRIDGE_UNKNOWN, BRIDGE_STATE, DESTINATION_UNKNOWN, JOB_OPTIONS_INVALID, what the
 * source answered (JOB_UNDER_WAY, RETENTION_PASSED …), or NODE_UNREACHABLE.
 */
export async function startJobs(
  ports: JobPorts,
  wanted: WantedScope,
  work: JobWork,
  operator: string,
): Promise<BridgeJob[]> {
  requireOptions(work);
  const bridge = await getBridge(ports.store, wanted.name);
  if (bridge.state !== 'running' && bridge.state !== 'stopped') {
    throw new QiaoError('BRIDGE_STATE', `"${bridge.name}" is ${bridge.state}; expected a running or stopped bridge`, {
      hint: `qiao bridge show ${bridge.name}`,
    });
  }
  const { source, lanes, codes } = await endsOf(ports.store, bridge);
  const chosen = lanes.filter(
    (lane) => wanted.destinationNode === '' || codes.get(lane.receiver_id) === wanted.destinationNode,
  );
  if (chosen.length === 0) {
    throw new QiaoError('DESTINATION_UNKNOWN', `"${bridge.name}" has no destination "${wanted.destinationNode}"`, {
      hint: `qiao bridge show ${bridge.name}`,
    });
  }
  const scope: JobScope = {
    bridgeId: parseId(bridge.id),
    laneIds: chosen.map(({ id }) => parseId(id)),
    tables: [...wanted.tables],
  };
  const result = await ask(ports, source, operator, commandOf(work, scope));
  crashPoint('job.asked');
  const event: AuditEvent = {
    atMs: ports.clock.nowMs(),
    actor: `operator:${operator}`,
    action: `bridge.${work.kind}`,
    subject: bridge.name,
    success: true,
    detail: auditDetail(wanted, work),
  };
  await ports.store.transaction().execute((store) => appendAudit(store, event));
  return result.jobs.map((job) => named(job, bridge, chosen, codes));
}

/** How the jobs of a bridge stand. */
export async function bridgeJobs(
  ports: JobPorts,
  name: string,
  jobIds: readonly Uint8Array[],
  operator: string,
): Promise<BridgeJob[]> {
  const bridge = await getBridge(ports.store, name);
  const { source, lanes, codes } = await endsOf(ports.store, bridge);
  const result = await ask(ports, source, operator, {
    $case: 'jobStatus',
    value: { bridgeId: parseId(bridge.id), jobIds: [...jobIds] },
  });
  return result.jobs.map((job) => named(job, bridge, lanes, codes));
}

function requireOptions(work: JobWork): void {
  if (work.kind === 'resend' && (work.reason.trim() === '' || work.reason.length > REASON_MAX)) {
    throw invalid(`found a reason of ${work.reason.length} characters, expected 1 to ${REASON_MAX}`);
  }
  if (work.kind === 'resend' && work.fromMs > work.toMs) throw invalid('the time ends before it begins');
  if (work.kind === 'resync' && work.where.length > WHERE_MAX) {
    throw invalid(`found a filter of ${work.where.length} characters, expected at most ${WHERE_MAX}`);
  }
  if (work.kind === 'resync' && work.allowedDeletes > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw invalid(`found ${work.allowedDeletes} allowed deletes, expected a number of rows`);
  }
}

function commandOf(work: JobWork, scope: JobScope): NonNullable<Command['command']> {
  switch (work.kind) {
    case 'verify':
      return { $case: 'verifyBridge', value: { scope, rowsPerSecond: work.rowsPerSecond } };
    case 'resync': {
      const { rowsPerSecond, where, dryRun, allowedDeletes } = work;
      return { $case: 'resyncBridge', value: { scope, rowsPerSecond, where, dryRun, allowedDeletes } };
    }
    case 'resend': {
      const { fromMs, toMs, reason, includeJournals } = work;
      return { $case: 'resendRange', value: { scope, fromMs, toMs, reason, includeJournals } };
    }
    default:
      return work satisfies never;
  }
}

/** Filters may hold values of rows: the audit says that there was one, not which. */
function auditDetail(wanted: WantedScope, work: JobWork): NonNullable<AuditEvent['detail']> {
  const scope = { destination: wanted.destinationNode, tables: [...wanted.tables] };
  switch (work.kind) {
    case 'verify':
      return scope;
    case 'resync':
      return {
        ...scope,
        hasFilter: work.where !== '',
        dryRun: work.dryRun,
        allowedDeletes: Number(work.allowedDeletes),
      };
    case 'resend':
      return {
        ...scope,
        from: new Date(Number(work.fromMs)).toISOString(),
        to: new Date(Number(work.toMs)).toISOString(),
        reason: work.reason,
      };
    default:
      return work satisfies never;
  }
}

async function endsOf(store: HubDatabase, bridge: BridgeRow) {
  const lanes = await livingLanes(store, bridge.id);
  const nodes = await store.selectFrom('nodes').selectAll().execute();
  const source = nodes.find(({ id }) => id === bridge.source_node_id);
  if (source === undefined || source.status !== 'joined') {
    throw new QiaoError('NODE_NOT_JOINED', `the source of "${bridge.name}" has not joined`, { hint: 'qiao node list' });
  }
  return { source, lanes, codes: new Map(nodes.map(({ id, code }) => [id, code])) };
}

async function ask(
  ports: JobPorts,
  source: NodeRow,
  operator: string,
  command: NonNullable<Command['command']>,
): Promise<CommandResult> {
  const result = await ports.command(source, operator, command);
  const [problem] = result.problems;
  if (problem === undefined) return result;
  throw new QiaoError(problem.code, problem.message, { hint: problem.hint });
}

function named(
  job: BridgeJob,
  bridge: BridgeRow,
  lanes: readonly LaneRow[],
  codes: ReadonlyMap<string, string>,
): BridgeJob {
  const laneId = Buffer.from(job.laneId).toString('hex');
  const receiver = lanes.find(({ id }) => id === laneId)?.receiver_id ?? '';
  return { ...job, bridge: bridge.name, destinationNode: codes.get(receiver) ?? '' };
}

function invalid(message: string): QiaoError {
  return new QiaoError('JOB_OPTIONS_INVALID', message, { hint: 'qiao bridge resync --help' });
}
