/**
 * Jobs of this agent: taken from operators and from other parts, kept on disk, run a few at a time, one per lane. What failed
 * in passing is tried again until the job is too old.
 */
import { idText, parseFilter, QiaoError } from '@qiao/exchange';
import { crashPoint, createWakeup, describeError, type Part } from '@qiao/runtime';
import { findLane } from '../control/desired.ts';
import type { Job, JobOptions } from '../exchange-database/index.ts';
import { createAnswering } from './answerQuestions.ts';
import { type Conversation, DestinationProblem } from './conversation.ts';
import type { VerifyPorts, VerifyService, WantedJob } from './ports.ts';
import { JOB_EXPIRES_MS, requireKept, runJob } from './runJob.ts';
import { createTurns, type Turn } from './turns.ts';

/** Jobs that work side by side: each reads a whole table at the source. */
const MOST_AT_WORK = 2;
const LOOK_AGAIN_MS = 30_000;
const TRY_AGAIN_MS = 3_000;
/** Jobs that ended are remembered so long, and shown this many at a time. */
const REMEMBERED_MS = 7 * 24 * 60 * 60 * 1000;
const MOST_SHOWN = 100;
const CLEAR_STEP = 10_000;

const NO_OPTIONS: JobOptions = {
  tables: [],
  rowsPerSecond: 0,
  where: '',
  dryRun: false,
  allowedDeletes: 0,
  fromMs: 0,
  toMs: 0,
  reason: '',
  includeJournals: false,
};

interface RunningJob {
  readonly lane: string;
  conversation: Conversation | undefined;
  readonly done: Promise<void>;
}

export function createVerifyService(ports: VerifyPorts): VerifyService {
  const { database } = ports;
  const wakeup = createWakeup();
  const running = new Map<string, RunningJob>();
  const answering = createAnswering(ports);
  return {
    parts: [jobsPart(ports, running, wakeup), answering.part],
    start(wanted) {
      const jobs = database.transaction(() => wanted.map((one) => startJob(ports, one)));
      crashPoint('job.stored');
      wakeup.wake();
      return jobs;
    },
    job: (id) => database.jobs.get(id),
    jobs: (bridge) => database.jobs.ofBridge(bridge, MOST_SHOWN),
    rows: (job, table, limit) => database.jobs.someRows(job, table, limit),
    takeRequest: (request) => answering.take(request),
    takeAnswer(answer) {
      running.get(idText(answer.jobId))?.conversation?.take(answer);
    },
  };
}

function startJob({ database, desired, clock, newId, limits }: VerifyPorts, wanted: WantedJob): Job {
  const now = desired.current();
  const found = findLane(now, idText(wanted.lane));
  if (now === undefined || found === undefined || found.lane.senderId !== now.nodeId || found.lane.ended) {
    throw new QiaoError('LANE_UNKNOWN', 'that lane does not begin at this node', { hint: 'qiao bridge show NAME' });
  }
  const { bridge } = found;
  const options = { ...NO_OPTIONS, ...wanted.options };
  const names = bridge.definition.source.tables.map(({ name }) => name);
  const unknown = options.tables.find((table) => !names.includes(table));
  if (unknown !== undefined) throw invalid(`found table ${unknown}; the bridge has ${names.join(', ')}`);
  const problem = options.where === '' ? undefined : parseFilter(options.where).problem;
  if (problem !== undefined) throw invalid(problem);
  if (wanted.kind === 'resend') {
    if (options.reason === '') throw invalid('a resend needs a reason');
    if (options.fromMs > options.toMs) throw invalid('the time ends before it begins');
    requireKept({ clock, limits }, { options });
  }
  return database.transaction(() => {
    const [other] = database.jobs.unfinished(wanted.lane);
    if (other !== undefined) {
      // Asked for twice (an answer was lost on the way): there is one.
      if (other.kind === wanted.kind && JSON.stringify(other.options) === JSON.stringify(options)) return other;
      throw new QiaoError(
        'JOB_UNDER_WAY',
        `a ${other.kind} of this lane is under way since ${new Date(other.createdAtMs).toISOString()}`,
        {
          hint: `wait for it: qiao bridge jobs ${bridge.name}`,
          fate: 'transient',
        },
      );
    }
    const job = newId();
    const { kind, lane, operator } = wanted;
    database.jobs.add({ job, kind, bridge: wanted.bridge, lane, options, operator, createdAtMs: clock.nowMs() });
    return database.jobs.get(job) as Job;
  });
}

function jobsPart(ports: VerifyPorts, running: Map<string, RunningJob>, wakeup: ReturnType<typeof createWakeup>): Part {
  const { database, clock } = ports;
  return {
    name: 'jobs',
    async run(signal) {
      // What ran when this process, or an attempt of this part, ended.
      database.jobs.waitAgain();
      // A job that begins waits among those that go on: neither kind keeps the other from its turn.
      const newTurn = createTurns(MOST_AT_WORK);
      try {
        while (!signal.aborted) {
          await forget(ports);
          for (let next = database.jobs.nextWaiting(); next !== undefined; next = database.jobs.nextWaiting()) {
            const turn = newTurn();
            await turn.take(signal);
            if (signal.aborted) break;
            database.jobs.set(next.job, clock.nowMs(), { state: 'running' });
            const id = idText(next.job);
            const one: RunningJob = { lane: idText(next.lane), conversation: undefined, done: Promise.resolve() };
            running.set(id, one);
            const done = carryOut(ports, one, next, turn, signal).finally(() => {
              turn.rest();
              running.delete(id);
            });
            Object.assign(one, { done });
          }
          await wakeup.wait(LOOK_AGAIN_MS, signal);
        }
      } finally {
        await Promise.all([...running.values()].map(({ done }) => done));
      }
    },
  };
}

/** Runs one job to its end, or until the agent stops; never rejects for what is the job's own. */
async function carryOut(ports: VerifyPorts, one: RunningJob, job: Job, turn: Turn, signal: AbortSignal): Promise<void> {
  const { database, clock, log } = ports;
  const talk = (conversation: Conversation | undefined) => {
    one.conversation = conversation;
  };
  while (!signal.aborted) {
    await turn.take(signal);
    if (signal.aborted) return;
    try {
      await runJob({ ports, signal, talk, turn }, database.jobs.get(job.job) as Job);
      log.info({ job: idText(job.job), kind: job.kind, lane: one.lane }, 'job finished');
      return;
    } catch (error) {
      if (signal.aborted) return;
      const isPassing = error instanceof QiaoError && error.fate !== 'permanent';
      const { code, message } = describeError(error);
      // The destination's own words are another department's: they are for people, not for the log.
      const err = error instanceof DestinationProblem ? { code } : describeError(error);
      const hint = error instanceof QiaoError ? error.hint : 'read the agent’s log';
      if (!isPassing || clock.nowMs() > job.createdAtMs + JOB_EXPIRES_MS) {
        log.warn({ job: idText(job.job), kind: job.kind, lane: one.lane, err }, 'job failed');
        // What nobody foresaw may quote values of rows: people are told where to read, not what.
        const told = error instanceof QiaoError ? message : 'the job failed on the node';
        database.jobs.fail(job.job, clock.nowMs(), { code, message: told, hint });
        return;
      }
      database.jobs.set(job.job, clock.nowMs(), { step: `waits: ${message}`.slice(0, 200) });
      turn.rest();
      await clock.sleep(TRY_AGAIN_MS, signal);
    }
  }
}

async function forget({ database, clock }: VerifyPorts): Promise<void> {
  for (const job of database.jobs.endedBefore(clock.nowMs() - REMEMBERED_MS)) {
    while (database.jobs.clearSomeRows(job, CLEAR_STEP) > 0) await new Promise(setImmediate);
    database.jobs.remove(job);
  }
}

function invalid(message: string): QiaoError {
  return new QiaoError('JOB_OPTIONS_INVALID', message, { hint: 'qiao bridge show NAME' });
}
