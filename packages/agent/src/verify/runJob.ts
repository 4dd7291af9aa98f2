/**
 * One job from where its row on disk says: find (compare both ends, or gather keys), send what was found, wait for the
 * receipts. Each phase ends in a transaction; a process that dies goes on with the phase it was in.
 */
import { conflictText, ProblemsError, parseId, QiaoError } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import { type PlannedTable, planTables } from '../capture/plan.ts';
import type { Desired, DesiredBridge, DesiredLane } from '../control/desired.ts';
import { findLane } from '../control/desired.ts';
import { revokedCause, unconfirmedCause } from '../control/peerKeys.ts';
import { exposeProblems } from '../control/permissions.ts';
import type { CaptureTable, Job, LaneOut, TableCounts } from '../exchange-database/index.ts';
import { endsAsBegun } from '../send/lanes.ts';
import { compareTable } from './compareTable.ts';
import type { Comparing } from './comparing.ts';
import { Conversation } from './conversation.ts';
import { gatherRows, retentionPassed } from './gather.ts';
import type { VerifyPorts } from './ports.ts';
import type { References } from './references.ts';
import { type Sending, sendRows } from './sendRows.ts';
import type { Turn } from './turns.ts';

/** A job that is not over by then gives up: the destination has not answered for so long. */
export const JOB_EXPIRES_MS = 24 * 60 * 60 * 1000;
const CLEAR_STEP = 10_000;
const RECEIPT_LOOK_MS = 250;

export interface Running {
  readonly ports: VerifyPorts;
  readonly signal: AbortSignal;
  /** The conversation that answers of this job go to, while there is one. */
  talk(conversation: Conversation | undefined): void;
  /** The job begins with it. */
  readonly turn: Turn;
}

interface Facts {
  readonly desired: Desired;
  readonly bridge: DesiredBridge;
  readonly lane: DesiredLane;
  readonly place: LaneOut;
  readonly tables: readonly { readonly table: PlannedTable; readonly held: CaptureTable }[];
  readonly sending: Omit<Sending, 'findings' | 'job'>;
  readonly references: References;
}

/** Runs the job to its end. Throws transient failures to be tried again, permanent ones that end it. */
export async function runJob(running: Running, job: Job): Promise<void> {
  const { ports, signal } = running;
  const { database, clock } = ports;
  const facts = await factsOf(running, job);
  let now = job;
  if (now.phase === 'finding') {
    const findings = await find(running, now, facts);
    const isOver = now.kind === 'verify' || now.options.dryRun;
    crashPoint('job.found');
    database.jobs.set(job.job, clock.nowMs(), {
      findings,
      step: '',
      ...(isOver ? { state: 'done' } : { phase: 'sending' }),
    });
    if (isOver) return;
    now = database.jobs.get(job.job) as Job;
  }
  if (now.phase === 'sending') {
    requireGuard(now, facts);
    await running.turn.take(signal);
    for (const counts of now.findings) {
      const one = facts.tables.find(({ table }) => table.name === counts.table);
      if (one === undefined || counts.skipped !== '') continue;
      database.jobs.set(job.job, clock.nowMs(), { step: `${counts.table}: sends what was found` });
      const sending = { ...facts.sending, job: now, findings: now.findings };
      await sendRows(sending, one.table, one.held.id, counts);
    }
    database.jobs.set(job.job, clock.nowMs(), {
      phase: 'sent',
      findings: now.findings,
      step: 'waits for the receipts',
    });
    now = database.jobs.get(job.job) as Job;
  }
  running.turn.rest();
  await untilAnswered(ports, now, facts.place.epoch, signal);
  database.jobs.set(job.job, clock.nowMs(), { state: 'done', step: '' });
}

async function factsOf({ ports, signal }: Running, job: Job): Promise<Facts> {
  const { database } = ports;
  const desired = ports.desired.current();
  const found = findLane(desired, Buffer.from(job.lane).toString('hex'));
  if (desired === undefined || found === undefined || found.lane.ended || found.lane.senderId !== desired.nodeId) {
    throw new QiaoError('LANE_UNKNOWN', 'the lane does not begin here any more', { hint: 'qiao bridge show NAME' });
  }
  const { bridge, lane } = found;
  const problems = exposeProblems(bridge.definition, ports.permissions);
  if (problems.length > 0) throw new ProblemsError(problems);
  const place = database.lanesOut.get(job.lane);
  if (place === undefined || place.phase !== 'streaming') {
    throw new QiaoError('LANE_LOADS', 'the lane’s load is not finished', {
      hint: 'it runs by itself as soon as the load is finished',
      fate: 'transient',
    });
  }
  if (!endsAsBegun(lane, place)) {
    throw new QiaoError('RECEIVER_CHANGED', 'the hub lets the lane end at another node than it began towards', {
      hint: 'qiao bridge show NAME; ask the hub’s operators who moved it',
    });
  }
  const dataSource = await ports.dataSources.open(bridge.definition.source.dataSource);
  const planned = await planTables(dataSource, bridge.definition, ports.hasher);
  const bridgeId = parseId(bridge.bridgeId);
  const wanted = job.options.tables;
  const tables = planned
    .filter(({ name }) => wanted.length === 0 || wanted.includes(name))
    .map((table) => {
      const held = database.captures.table(bridgeId, table.name);
      if (held === undefined) {
        throw new QiaoError('LANE_LOADS', `table ${table.name} was not captured yet`, {
          hint: 'it runs by itself as soon as the first run is finished',
          fate: 'transient',
        });
      }
      return { table, held };
    });
  const references = { secret: database.meta.referenceSecret(() => ports.newSecret()), laneId: job.lane };
  const sending = { ports, desired, bridge, dataSource, epoch: place.epoch, signal };
  return { desired, bridge, lane, place, tables, sending, references };
}

async function find(running: Running, job: Job, facts: Facts): Promise<TableCounts[]> {
  const { ports, signal } = running;
  const { database, clock } = ports;
  // What an attempt before found is found again.
  while (database.jobs.clearSomeRows(job.job, CLEAR_STEP) > 0) await new Promise(setImmediate);
  const findings = facts.tables.map(({ table: { name } }) => ({
    ...countsOf(name, skipReason(job, facts.lane, name)),
    conflict: conflictText(facts.lane.destination?.tables[name]?.conflict),
  }));
  if (job.kind === 'resend') {
    database.jobs.set(job.job, clock.nowMs(), { step: 'gathers what travelled in that time' });
    const gathered = facts.tables.filter((_, index) => findings[index]?.skipped === '').map(({ table }) => table);
    requireKept(ports, job);
    await gatherRows(database, job, gathered, facts.references, signal);
    return findings;
  }
  const peer = facts.desired.peers.get(facts.lane.receiverId);
  if (peer === undefined) {
    throw new QiaoError('PEER_UNKNOWN', 'the destination has not joined', {
      fate: 'transient',
      hint: 'qiao node list',
    });
  }
  const unconfirmed = unconfirmedCause(peer);
  if (unconfirmed !== undefined) {
    throw new QiaoError(unconfirmed.code, unconfirmed.message, { fate: 'transient', hint: unconfirmed.hint });
  }
  const revoked = revokedCause(peer);
  if (revoked !== undefined) throw new QiaoError(revoked.code, revoked.message, { hint: revoked.hint });
  if (job.kind === 'resync' && !job.options.dryRun) {
    // What changed while its column stayed as it was, only a scan of the whole table finds.
    for (const { table, held } of facts.tables) if (table.cursor !== undefined) database.cursors.forget(held.id);
    // And what no trigger saw.
    for (const { held } of facts.tables) database.triggers.owe(held.id);
  }
  const laneAndJob = { laneId: job.lane, jobId: job.job };
  const conversation = await Conversation.begin(ports, laneAndJob, peer, job.createdAtMs + JOB_EXPIRES_MS);
  running.talk(conversation);
  try {
    for (const [index, { table, held }] of facts.tables.entries()) {
      const counts = findings[index] as TableCounts;
      if (counts.skipped !== '') continue;
      const comparing: Comparing = {
        ports,
        conversation,
        kind: job.kind,
        dataSource: facts.sending.dataSource,
        table,
        tableId: held.id,
        tableRows: held.digestCount,
        laneId: job.lane,
        epoch: facts.place.epoch,
        references: facts.references,
        options: { ...job.options, rowsPerSecond: rateOf(job, facts.bridge) },
        turn: running.turn,
        signal,
        keep: (rows) => database.transaction(() => database.jobs.addRows(job.job, rows)),
        step: (step) => database.jobs.set(job.job, clock.nowMs(), { step: step.slice(0, 200), findings }),
        standing: () => ports.captureTrouble(facts.bridge.bridgeId),
      };
      await compareTable(comparing, counts);
      database.jobs.set(job.job, clock.nowMs(), { findings });
    }
  } finally {
    running.talk(undefined);
  }
  return findings;
}

/** Parcels go only after their retention: what is younger is there. Throws RETENTION_PASSED. */
export function requireKept(
  { clock, limits }: Pick<VerifyPorts, 'clock' | 'limits'>,
  { options }: Pick<Job, 'options'>,
): void {
  if (options.fromMs < clock.nowMs() - limits.retentionMs) throw retentionPassed();
}

/** The source is never read faster than the bridge allows. */
function rateOf(job: Job, bridge: DesiredBridge): number {
  const own = bridge.definition.limits?.rowsPerSecond ?? 0;
  const asked = job.options.rowsPerSecond;
  return own > 0 && asked > 0 ? Math.min(own, asked) : Math.max(own, asked);
}

function skipReason(job: Job, lane: DesiredLane, table: string): string {
  const target = lane.destination?.tables[table];
  if (target === undefined) return 'the bridge does not land it at this destination';
  if (target.landing !== 'journal') return '';
  if (job.kind !== 'resend') return 'it lands as a journal, whose rows are changes: there is nothing to compare';
  return job.options.includeJournals
    ? ''
    : 'it lands as a journal, where every row would land once more: ask with --journals';
}

/** An emptied source must not empty its destinations by this door either. */
function requireGuard(job: Job, { bridge, tables, sending }: Facts): void {
  if (job.kind !== 'resync') return;
  const guard = bridge.definition.deleteGuard;
  for (const { table } of tables) {
    const counts = job.findings.find((one) => one.table === table.name);
    const rows = sending.ports.database.jobs.countRows(job.job, table.name, 'extra', true);
    const of = counts?.targetRows ?? 0;
    if (rows <= guard.rows || rows <= guard.share * of || rows <= job.options.allowedDeletes) continue;
    throw new QiaoError(
      'DELETE_GUARD',
      `${rows} of ${of} rows of ${table.name} would be deleted; the guard allows ${guard.rows} rows or ${guard.share * 100} %`,
      { hint: `look at both ends; if they shall go: qiao bridge resync ${bridge.name} --allow-deletes ${rows}` },
    );
  }
}

async function untilAnswered(ports: VerifyPorts, job: Job, epoch: bigint, signal: AbortSignal): Promise<void> {
  if (job.lastSequence === 0n) return;
  for (;;) {
    const delivery = ports.database.deliveriesOut.get({ lane: job.lane, epoch, sequence: job.lastSequence });
    // Purged, or of an epoch that was closed: its books say what became of it.
    if (delivery === undefined || delivery.answer !== 'awaited') return;
    if (signal.aborted) throw new QiaoError('JOB_STOPPED', 'the agent is stopping', { fate: 'transient' });
    await ports.clock.sleep(RECEIPT_LOOK_MS, signal);
  }
}

function countsOf(table: string, skipped: string): TableCounts {
  return {
    table,
    sourceRows: 0,
    targetRows: 0,
    missing: 0,
    differing: 0,
    extraOwned: 0,
    extraKept: 0,
    inMotion: 0,
    neverApplied: 0,
    changedAtTarget: 0,
    unknown: 0,
    refusedAtSource: 0,
    unreadableAtTarget: 0,
    stale: 0,
    standing: '',
    notCompared: [],
    skipped,
    sentRows: 0,
    sentDeletes: 0,
    left: 0,
  };
}
