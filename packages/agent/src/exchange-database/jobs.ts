/**
 * Jobs: comparisons of both ends of a lane and what they send (verify, resync, resend). A job survives its process: its state,
 * and the rows it found, are on disk, and it goes on where that says. Also remembers which lanes gave rows up.
 */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';

export type JobKind = 'verify' | 'resync' | 'resend';
export type JobState = 'waiting' | 'running' | 'done' | 'failed';
/** finding: both ends are compared, or keys gathered. sending: what was found is complete. sent: receipts are waited for. */
export type JobPhase = 'finding' | 'sending' | 'sent';

export interface JobOptions {
  /** Source tables; empty for all. */
  readonly tables: readonly string[];
  readonly rowsPerSecond: number;
  /** A filter over the columns as they leave; empty for all rows. */
  readonly where: string;
  readonly dryRun: boolean;
  readonly allowedDeletes: number;
  /** resend: rows packed in this time, milliseconds since 1970 UTC, both included. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly reason: string;
  readonly includeJournals: boolean;
}

export interface NewJob {
  /** 16 random bytes. */
  readonly job: Uint8Array;
  readonly kind: JobKind;
  readonly bridge: Uint8Array;
  readonly lane: Uint8Array;
  readonly options: JobOptions;
  readonly operator: string;
  readonly createdAtMs: number;
}

/** Counts of one table; the words are those of TableFindings in the contract. */
export interface TableCounts {
  readonly table: string;
  sourceRows: number;
  targetRows: number;
  missing: number;
  differing: number;
  extraOwned: number;
  extraKept: number;
  inMotion: number;
  neverApplied: number;
  changedAtTarget: number;
  unknown: number;
  refusedAtSource: number;
  unreadableAtTarget: number;
  notCompared: readonly string[];
  skipped: string;
  /** Absent in jobs of an older program. */
  readonly conflict?: string;
  /** Absent in jobs of an older program, as what follows. */
  stale?: number;
  standing?: string;
  sentRows: number;
  sentDeletes: number;
  left: number;
}

export interface Job extends NewJob {
  readonly state: JobState;
  readonly phase: JobPhase;
  readonly step: string;
  readonly findings: readonly TableCounts[];
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly lastSequence: bigint;
  readonly changedAtMs: number;
}

export type Finding = 'missing' | 'differing' | 'extra' | 'resend';
export type Cause = 'neverApplied' | 'changedAtTarget' | 'unknown';

export interface JobRow {
  readonly table: string;
  /** As the digests name the row; LF and the key's hash for one whose key the destination keeps to itself. */
  readonly key: string;
  readonly reference: string;
  readonly finding: Finding;
  readonly cause: Cause;
  readonly owned: boolean;
}

interface StoredJob {
  job: Buffer;
  kind: JobKind;
  bridge: Buffer;
  lane: Buffer;
  options: string;
  operator: string;
  state: JobState;
  phase: JobPhase;
  step: string;
  findings: string;
  code: string;
  message: string;
  hint: string;
  last_sequence: number;
  created_at_ms: number;
  changed_at_ms: number;
}

interface StoredRow {
  table_name: string;
  row_key: string;
  reference: string;
  finding: Finding;
  cause: Cause;
  owned: number;
}

const ADD = `INSERT INTO job (job, kind, bridge, lane, options, operator, state, phase, created_at_ms, changed_at_ms)
 VALUES (@job, @kind, @bridge, @lane, @options, @operator, 'waiting', 'finding', @createdAtMs, @createdAtMs)`;
const GET = 'SELECT * FROM job WHERE job = ?';
const OF_BRIDGE = 'SELECT * FROM job WHERE bridge = ? ORDER BY created_at_ms DESC, job LIMIT ?';
export const NEXT_JOB = `SELECT * FROM job WHERE state = ? ORDER BY created_at_ms, job LIMIT 1`;
const UNFINISHED = `SELECT * FROM job WHERE lane = ? AND state IN ('waiting', 'running') ORDER BY created_at_ms`;
const AGAIN = "UPDATE job SET state = 'waiting' WHERE state = 'running'";
const SET = `UPDATE job SET state = coalesce(@state, state), phase = coalesce(@phase, phase), step = coalesce(@step, step),
 findings = coalesce(@findings, findings), last_sequence = coalesce(@lastSequence, last_sequence), changed_at_ms = @atMs
 WHERE job = @job`;
const FAIL = `UPDATE job SET state = 'failed', step = '', code = @code, message = @message, hint = @hint, changed_at_ms = @atMs
 WHERE job = @job`;
export const OLD_JOBS = `SELECT job FROM job WHERE state = ? AND changed_at_ms < ? LIMIT 20`;
const REMOVE = 'DELETE FROM job WHERE job = ?';
const ADD_ROW = `INSERT INTO job_row (job, table_name, row_key, reference, finding, cause, owned)
 VALUES (@job, @table, @key, @reference, @finding, @cause, @owned) ON CONFLICT DO NOTHING`;
const GET_ROW = 'SELECT * FROM job_row WHERE job = ? AND table_name = ? AND row_key = ?';
export const ROWS_AFTER = `SELECT * FROM job_row WHERE job = ? AND table_name = ? AND row_key > ? AND state = 'found'
 ORDER BY row_key LIMIT ?`;
const SOME_ROWS = `SELECT * FROM job_row WHERE job = ? AND table_name = ? ORDER BY row_key LIMIT ?`;
const COUNT_ROWS = `SELECT count(*) FROM job_row WHERE job = ? AND table_name = ? AND finding = ? AND owned >= ? AND state = 'found'`;
const SET_ROW = 'UPDATE job_row SET state = ? WHERE job = ? AND table_name = ? AND row_key = ?';
const CLEAR_ROWS = `DELETE FROM job_row WHERE (job, table_name, row_key) IN
 (SELECT job, table_name, row_key FROM job_row WHERE job = ? LIMIT ?)`;
const LOSE = 'INSERT INTO lane_loss (lane, epoch) VALUES (?, ?) ON CONFLICT DO NOTHING';
const FORGET_LOSSES = 'DELETE FROM lane_loss WHERE lane = ? AND epoch < ?';
const FORGET_LANE = 'DELETE FROM lane_loss WHERE lane = ?';
const HAS_LOST = 'SELECT count(*) FROM lane_loss WHERE lane = ? AND epoch = ?';

export class JobStore {
  readonly #add: Statement;
  readonly #get: Statement<[Uint8Array], StoredJob>;
  readonly #ofBridge: Statement<[Uint8Array, number], StoredJob>;
  readonly #next: Statement<[JobState], StoredJob>;
  readonly #unfinished: Statement<[Uint8Array], StoredJob>;
  readonly #again: Statement;
  readonly #set: Statement;
  readonly #fail: Statement;
  readonly #old: Statement<[JobState, number], Buffer>;
  readonly #remove: Statement;
  readonly #addRow: Statement;
  readonly #getRow: Statement<[Uint8Array, string, string], StoredRow & { state: string }>;
  readonly #rowsAfter: Statement<[Uint8Array, string, string, number], StoredRow>;
  readonly #someRows: Statement<[Uint8Array, string, number], StoredRow>;
  readonly #countRows: Statement<[Uint8Array, string, Finding, number], number>;
  readonly #setRow: Statement;
  readonly #clearRows: Statement<[Uint8Array, number]>;
  readonly #lose: Statement;
  readonly #forgetLosses: Statement;
  readonly #forgetLane: Statement;
  readonly #hasLost: Statement<[Uint8Array, bigint], number>;

  constructor(sqlite: Sqlite) {
    this.#add = sqlite.prepare(ADD);
    this.#get = sqlite.prepare(GET);
    this.#ofBridge = sqlite.prepare(OF_BRIDGE);
    this.#next = sqlite.prepare(NEXT_JOB);
    this.#unfinished = sqlite.prepare(UNFINISHED);
    this.#again = sqlite.prepare(AGAIN);
    this.#set = sqlite.prepare(SET);
    this.#fail = sqlite.prepare(FAIL);
    this.#old = sqlite.prepare<[JobState, number], Buffer>(OLD_JOBS).pluck();
    this.#remove = sqlite.prepare(REMOVE);
    this.#addRow = sqlite.prepare(ADD_ROW);
    this.#getRow = sqlite.prepare(GET_ROW);
    this.#rowsAfter = sqlite.prepare(ROWS_AFTER);
    this.#someRows = sqlite.prepare(SOME_ROWS);
    this.#countRows = sqlite.prepare<[Uint8Array, string, Finding, number], number>(COUNT_ROWS).pluck();
    this.#setRow = sqlite.prepare(SET_ROW);
    this.#clearRows = sqlite.prepare(CLEAR_ROWS);
    this.#lose = sqlite.prepare(LOSE);
    this.#forgetLosses = sqlite.prepare(FORGET_LOSSES);
    this.#forgetLane = sqlite.prepare(FORGET_LANE);
    this.#hasLost = sqlite.prepare<[Uint8Array, bigint], number>(HAS_LOST).pluck();
  }

  add(job: NewJob): void {
    this.#add.run({ ...job, options: JSON.stringify(job.options) });
  }

  get(job: Uint8Array): Job | undefined {
    const row = this.#get.get(job);
    return row && jobOf(row);
  }

  /** The newest jobs of a bridge, newest first. */
  ofBridge(bridge: Uint8Array, limit: number): Job[] {
    return this.#ofBridge.all(bridge, limit).map(jobOf);
  }

  /** The oldest job that waits for its turn. */
  nextWaiting(): Job | undefined {
    const row = this.#next.get('waiting');
    return row && jobOf(row);
  }

  /** Jobs of a lane that are not over. */
  unfinished(lane: Uint8Array): Job[] {
    return this.#unfinished.all(lane).map(jobOf);
  }

  /** What ran when the process ended waits for its turn again. */
  waitAgain(): void {
    this.#again.run();
  }

  /** Changes what is given; the rest stays. */
  set(
    job: Uint8Array,
    atMs: number,
    change: {
      readonly state?: JobState;
      readonly phase?: JobPhase;
      readonly step?: string;
      readonly findings?: readonly TableCounts[];
      readonly lastSequence?: bigint;
    },
  ): void {
    this.#set.run({
      job,
      atMs,
      state: change.state ?? null,
      phase: change.phase ?? null,
      step: change.step ?? null,
      findings: change.findings === undefined ? null : JSON.stringify(change.findings),
      lastSequence: change.lastSequence ?? null,
    });
  }

  fail(job: Uint8Array, atMs: number, problem: { code: string; message: string; hint: string }): void {
    this.#fail.run({ job, atMs, ...problem });
  }

  /** Some jobs that ended before `beforeMs`. */
  endedBefore(beforeMs: number): Uint8Array[] {
    return [...this.#old.all('done', beforeMs), ...this.#old.all('failed', beforeMs)];
  }

  /** Removes a job whose rows were cleared before. */
  remove(job: Uint8Array): void {
    this.#remove.run(job);
  }

  /** Adds rows; one that is there stays as it is. Call it in a transaction when there are many. */
  addRows(job: Uint8Array, rows: readonly JobRow[]): void {
    for (const row of rows) this.#addRow.run({ job, ...row, owned: row.owned ? 1 : 0 });
  }

  /** The row when the job has it and it still waits to be sent. */
  waitingRow(job: Uint8Array, table: string, key: string): JobRow | undefined {
    const row = this.#getRow.get(job, table, key);
    return row === undefined || row.state !== 'found' ? undefined : jobRow(row);
  }

  /** Rows that wait to be sent, ascending by key, after one. */
  waitingRows(job: Uint8Array, table: string, after: string, limit: number): JobRow[] {
    return this.#rowsAfter.all(job, table, after, limit).map(jobRow);
  }

  someRows(job: Uint8Array, table: string, limit: number): JobRow[] {
    return this.#someRows.all(job, table, limit).map(jobRow);
  }

  /** Rows of a finding that wait to be sent; `owned` counts those of the lane only. */
  countRows(job: Uint8Array, table: string, finding: Finding, owned: boolean): number {
    return this.#countRows.get(job, table, finding, owned ? 1 : 0) ?? 0;
  }

  setRow(job: Uint8Array, table: string, key: string, state: 'sent' | 'left'): void {
    this.#setRow.run(state, job, table, key);
  }

  /** Removes up to `limit` rows of a job; returns how many. Call until 0. */
  clearSomeRows(job: Uint8Array, limit: number): number {
    return this.#clearRows.run(job, limit).changes;
  }

  /** The lane gave rows up in this epoch. */
  noteLoss(lane: Uint8Array, epoch: bigint): void {
    this.#lose.run(lane, epoch);
    this.#forgetLosses.run(lane, epoch);
  }

  /** The lane is over: nothing asks any more what it gave up. */
  forgetLosses(lane: Uint8Array): void {
    this.#forgetLane.run(lane);
  }

  hasLost(lane: Uint8Array, epoch: bigint): boolean {
    return (this.#hasLost.get(lane, epoch) ?? 0) > 0;
  }
}

function jobOf(row: StoredJob): Job {
  return {
    job: row.job,
    kind: row.kind,
    bridge: row.bridge,
    lane: row.lane,
    options: JSON.parse(row.options) as JobOptions,
    operator: row.operator,
    state: row.state,
    phase: row.phase,
    step: row.step,
    findings: JSON.parse(row.findings) as TableCounts[],
    code: row.code,
    message: row.message,
    hint: row.hint,
    lastSequence: BigInt(row.last_sequence),
    createdAtMs: row.created_at_ms,
    changedAtMs: row.changed_at_ms,
  };
}

function jobRow(row: StoredRow): JobRow {
  return {
    table: row.table_name,
    key: row.row_key,
    reference: row.reference,
    finding: row.finding,
    cause: row.cause,
    owned: row.owned === 1,
  };
}
