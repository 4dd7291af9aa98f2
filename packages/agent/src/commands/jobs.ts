// Commands about jobs: verify, resync, resend, and how they stand. A job is stored and carried out later, one per lane; the
// answer says what was stored. Rows are named by opaque references only: what this returns passes through the hub.

import { type BridgeJob, JobKind, JobState, type TableFindings } from '@qiao/contract/job';
import type { Command, JobScope } from '@qiao/contract/node';
import { QiaoError } from '@qiao/exchange';
import type { Job, JobRow, TableCounts } from '../exchange-database/index.ts';
import type { VerifyService, WantedJob } from '../verify/index.ts';

export type JobDoor = Pick<VerifyService, 'start' | 'job' | 'jobs' | 'rows'>;

type JobCommand = Extract<
  NonNullable<Command['command']>,
  { $case: 'verifyBridge' | 'resyncBridge' | 'resendRange' | 'jobStatus' }
>;

/** Differences that an answer names. */
const MOST_ROWS = 100;
const KINDS = { verify: JobKind.VERIFY, resync: JobKind.RESYNC, resend: JobKind.RESEND } as const;
const STATES = {
  waiting: JobState.WAITING,
  running: JobState.RUNNING,
  done: JobState.DONE,
  failed: JobState.FAILED,
} as const;

/** Throws JOB_OPTIONS_INVALID, LANE_UNKNOWN, JOB_UNDER_WAY, RETENTION_PASSED. */
export function answerJobs(command: JobCommand, operator: string, door: JobDoor): BridgeJob[] {
  switch (command.$case) {
    case 'verifyBridge': {
      const { scope, rowsPerSecond } = command.value;
      return start(scope, { kind: 'verify', operator, options: { rowsPerSecond } }, door);
    }
    case 'resyncBridge': {
      const { scope, rowsPerSecond, where, dryRun, allowedDeletes } = command.value;
      const options = { rowsPerSecond, where, dryRun, allowedDeletes: Number(allowedDeletes) };
      return start(scope, { kind: 'resync', operator, options }, door);
    }
    case 'resendRange': {
      const { scope, fromMs, toMs, reason, includeJournals } = command.value;
      const options = { fromMs: Number(fromMs), toMs: Number(toMs), reason: reason.slice(0, 200), includeJournals };
      return start(scope, { kind: 'resend', operator, options }, door);
    }
    case 'jobStatus': {
      const { bridgeId, jobIds } = command.value;
      const jobs = jobIds.length === 0 ? door.jobs(bridgeId) : jobIds.flatMap((id) => door.job(id) ?? []);
      return jobs.filter((job) => Buffer.compare(job.bridge, bridgeId) === 0).map((job) => viewOf(job, door));
    }
    default:
      return command satisfies never;
  }
}

function start(
  scope: JobScope | undefined,
  wanted: Pick<WantedJob, 'kind' | 'operator' | 'options'>,
  door: JobDoor,
): BridgeJob[] {
  if (scope === undefined || scope.laneIds.length === 0) {
    throw new QiaoError('JOB_OPTIONS_INVALID', 'the command names no lane', { hint: 'update the hub' });
  }
  const options = { ...wanted.options, tables: scope.tables };
  const { bridgeId: bridge, laneIds } = scope;
  return door.start(laneIds.map((lane) => ({ ...wanted, options, bridge, lane }))).map((job) => viewOf(job, door));
}

function viewOf(job: Job, door: JobDoor): BridgeJob {
  return {
    jobId: job.job,
    kind: KINDS[job.kind],
    bridgeId: job.bridge,
    laneId: job.lane,
    bridge: '',
    destinationNode: '',
    state: STATES[job.state],
    step: job.step,
    tables: job.findings.map((counts) => tableView(counts, door.rows(job.job, counts.table, MOST_ROWS))),
    dryRun: job.options.dryRun,
    code: job.code,
    message: job.message,
    hint: job.hint,
    createdAtMs: BigInt(job.createdAtMs),
    changedAtMs: BigInt(job.changedAtMs),
    operator: job.operator,
    reason: job.options.reason,
  };
}

function tableView(counts: TableCounts, rows: readonly JobRow[]): TableFindings {
  return {
    table: counts.table,
    sourceRows: BigInt(counts.sourceRows),
    targetRows: BigInt(counts.targetRows),
    missing: BigInt(counts.missing),
    differing: BigInt(counts.differing),
    extraOwned: BigInt(counts.extraOwned),
    extraKept: BigInt(counts.extraKept),
    inMotion: BigInt(counts.inMotion),
    neverApplied: BigInt(counts.neverApplied),
    changedAtTarget: BigInt(counts.changedAtTarget),
    unknown: BigInt(counts.unknown),
    refusedAtSource: BigInt(counts.refusedAtSource),
    unreadableAtTarget: BigInt(counts.unreadableAtTarget),
    notCompared: [...counts.notCompared],
    skipped: counts.skipped,
    conflict: counts.conflict ?? '',
    stale: BigInt(counts.stale ?? 0),
    standing: counts.standing ?? '',
    sentRows: BigInt(counts.sentRows),
    sentDeletes: BigInt(counts.sentDeletes),
    left: BigInt(counts.left),
    rows: rows
      .filter(({ finding }) => finding !== 'resend')
      .map(({ reference, finding, cause, owned }) => ({ reference, finding, cause, owned })),
  };
}
