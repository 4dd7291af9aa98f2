/**
 * The apply side of one SQLite file: mark, transaction, and the order of things inside it. Rows belong to `rows.ts`, loads to `load.ts`, the
 * decision whether a delivery is next to `../mark.ts`.
 *
 * A crash before COMMIT leaves nothing, after COMMIT everything: mark and rows are one transaction with synchronous = FULL.
 */
import { randomBytes } from 'node:crypto';
import { QiaoError } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import type { AmendResult, AmendWork, AppliedPoint, ApplyResult, ApplyWork, StoredAnswer, Target } from '../adapter.ts';
import {
  amendedAnswer,
  answerText,
  decide,
  EMPTY_ANSWER,
  firstAnswer,
  MARK_TABLE,
  notOpen,
  parseAnswer,
  TARGET_LANE,
} from '../mark.ts';
import { LoadNotes } from './load.ts';
import { RowApplier } from './rows.ts';
import { type Connection, failure, openWriter, patiently, sqliteCode } from './session.ts';

/** For the DBA, and for `prepare`. */
export const MARK_DDL = `CREATE TABLE IF NOT EXISTS ${MARK_TABLE} (
  lane TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  nonce BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  chain BLOB NOT NULL,
  content_hash BLOB NOT NULL,
  answer TEXT NOT NULL,
  applied_at_ms INTEGER NOT NULL,
  PRIMARY KEY (lane, epoch, sequence)
) STRICT, WITHOUT ROWID`;

const HAS_MARK = `SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '${MARK_TABLE}'`;
const READ_TARGET = `SELECT nonce FROM ${MARK_TABLE} WHERE lane = '${TARGET_LANE}' AND epoch = 0 AND sequence = 0`;
const WRITE_TARGET = `INSERT INTO ${MARK_TABLE} VALUES ('${TARGET_LANE}', 0, ?, 0, x'', x'', '${answerText(EMPTY_ANSWER)}', ?)`;
const POINTS_OF = `SELECT epoch, nonce, sequence, chain, content_hash AS contentHash, answer, applied_at_ms AS appliedAtMs FROM ${MARK_TABLE} WHERE lane = @lane`;
const POINTS = `${POINTS_OF} ORDER BY epoch, sequence`;
// One open row keeps every delivery behind it in the mark, for as long as a person takes: a decision reads two of them.
const DECIDING_POINTS = `${POINTS_OF} AND epoch = @epoch AND sequence = @sequence
 UNION SELECT * FROM (${POINTS_OF} ORDER BY epoch DESC, sequence DESC LIMIT 1) ORDER BY epoch, sequence`;
const WRITE_POINT = `INSERT INTO ${MARK_TABLE} (lane, epoch, nonce, sequence, chain, content_hash, answer, applied_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`;
const WRITE_ANSWER = `UPDATE ${MARK_TABLE} SET answer = ? WHERE lane = ? AND epoch = ? AND sequence = ?`;
const PURGE_SETTLED = `DELETE FROM ${MARK_TABLE} WHERE lane = ? AND epoch = ? AND sequence BETWEEN ? AND ? AND sequence < ?`;
const PURGE_EPOCH = `DELETE FROM ${MARK_TABLE} WHERE lane = ? AND epoch = ? AND sequence <= ? AND sequence < ?`;
const FORGET_LANE = `DELETE FROM ${MARK_TABLE} WHERE lane = ?`;
// Answers of the epoch before stay until the new one is known to run: a sender may still ask for them.
const PURGE_OLDER = `DELETE FROM ${MARK_TABLE} WHERE lane = ? AND epoch < ?`;

/** Opens the apply side; `nowMs` dates the target id. Throws FILE_MISSING, TARGET_UNAVAILABLE. */
export function openTarget(
  file: string,
  onClose: () => void = () => undefined,
  nowMs: () => number = Date.now,
): SqliteTarget {
  return new SqliteTarget(openWriter(file), file, onClose, nowMs);
}

export class SqliteTarget implements Target {
  readonly #db: Connection;
  readonly #file: string;
  readonly #onClose: () => void;
  readonly #nowMs: () => number;
  /** One transaction at a time: its awaits must not let another call write on the same connection. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(db: Connection, file: string, onClose: () => void, nowMs: () => number) {
    this.#db = db;
    this.#file = file;
    this.#onClose = onClose;
    this.#nowMs = nowMs;
  }

  prepare(): Promise<{ targetId: string; created: boolean }> {
    return this.#inTurn(async () => {
      const existing = await patiently(() => this.#targetId());
      if (existing) return { targetId: existing, created: false };
      try {
        return await this.#transaction(async () => {
          this.#db.exec(MARK_DDL);
          const found = this.#targetId();
          if (found) return { targetId: found, created: false };
          const id = randomBytes(16);
          this.#db.prepare(WRITE_TARGET).run(id, this.#nowMs());
          return { targetId: id.toString('hex'), created: true };
        });
      } catch (error) {
        if (!/^SQLITE_(READONLY|PERM|AUTH|CANTOPEN)/.test(sqliteCode(error))) throw error;
        throw new QiaoError('MARK_REFUSED', `${MARK_TABLE} cannot be created in ${this.#file}: ${sqliteCode(error)}`, {
          hint: `Give the user of the agent the right to write the file and its directory, or run: ${MARK_DDL};`,
          cause: error,
        });
      }
    });
  }

  points(laneId: string): Promise<AppliedPoint[]> {
    return this.#inTurn(() => patiently(() => this.#points(POINTS, { lane: laneId })));
  }

  apply(work: ApplyWork): Promise<ApplyResult> {
    return this.#inTurn(() => this.#transaction((rollback) => this.#apply(work, rollback)));
  }

  amend(work: AmendWork): Promise<AmendResult> {
    return this.#inTurn(() => this.#transaction((rollback) => this.#amend(work, rollback)));
  }

  forgetLane(laneId: string): Promise<void> {
    return this.#inTurn(() =>
      this.#transaction(async () => {
        // The row that keeps the target id is no lane's.
        if (laneId === TARGET_LANE) return;
        this.#db.prepare(FORGET_LANE).run(laneId);
        new LoadNotes(this.#db, laneId, new Map()).drop();
      }),
    );
  }

  async close(): Promise<void> {
    await this.#turn.catch(() => undefined);
    if (!this.#db.open) return;
    this.#db.close();
    this.#onClose();
  }

  async #apply(work: ApplyWork, rollback: () => void): Promise<ApplyResult> {
    const { laneId: lane, epoch, sequence } = work;
    const decision = decide(this.#points(DECIDING_POINTS, { lane, epoch, sequence }), work);
    if (decision.kind !== 'apply') return decision;
    this.#writePoint(work);
    crashPoint('apply.marked');
    const notes = new LoadNotes(this.#db, work.laneId, work.tables);
    if (work.opensEpoch || work.load.isBroken === true) notes.drop();
    if (work.load.begins) await notes.begin();
    const rows = new RowApplier(this.#db, work.tables, work, { notes, mostIsolated: work.mostIsolated });
    await rows.apply(work.sections);
    rows.keep(work.held?.sections ?? []);
    let extras: StoredAnswer['extras'] = [];
    if (work.load.ends) {
      const end = await notes.end(work);
      if (end.kind === 'guard') {
        rollback();
        return end;
      }
      extras = end.extras;
    }
    crashPoint('apply.landed');
    const answer = firstAnswer(work, { cells: rows.matrix.cells(), isolated: rows.isolated }, extras);
    this.#db.prepare(WRITE_ANSWER).run(answerText(answer), work.laneId, work.epoch, work.sequence);
    if (rows.isolated.length > 0) await work.beforeCommit(rows.isolated);
    crashPoint('apply.written');
    return { kind: 'applied', answer, quarantined: rows.isolated };
  }

  /** First write of the transaction; what the sender has settled goes. */
  #writePoint(work: ApplyWork): void {
    const { laneId, epoch, nonce, sequence, chain, contentHash, settledThrough, appliedAtMs } = work;
    const settled = this.#db.prepare(PURGE_SETTLED);
    for (const { first, last } of work.settled ?? []) settled.run(laneId, epoch, first, last, sequence);
    this.#db
      .prepare(WRITE_POINT)
      .run(laneId, epoch, nonce, sequence, chain, contentHash, answerText(EMPTY_ANSWER), appliedAtMs);
    this.#db.prepare(PURGE_EPOCH).run(laneId, epoch, settledThrough, sequence);
    if (settledThrough > 0n) this.#db.prepare(PURGE_OLDER).run(laneId, epoch);
    else if (work.opensEpoch) this.#db.prepare(PURGE_OLDER).run(laneId, epoch - 1n);
  }

  async #amend(work: AmendWork, rollback: () => void): Promise<AmendResult> {
    const { laneId: lane, epoch, sequence } = work;
    const point = this.#points(DECIDING_POINTS, { lane, epoch, sequence }).find(
      (one) => one.epoch === epoch && one.sequence === sequence,
    );
    if (!point) {
      return { kind: 'unknown', why: `sequence ${work.sequence} of epoch ${work.epoch} is not in the mark` };
    }
    const stranger = notOpen(point.answer, work);
    if (stranger) {
      rollback();
      return { kind: 'unknown', why: `row ${stranger.section}/${stranger.index} of the delivery is not open` };
    }
    const rows = new RowApplier(this.#db, work.tables, work, { mostIsolated: work.mostIsolated });
    await rows.apply(work.sections);
    const answer = amendedAnswer(point.answer, work, { cells: rows.matrix.cells(), isolated: rows.isolated });
    this.#db.prepare(WRITE_ANSWER).run(answerText(answer), work.laneId, work.epoch, work.sequence);
    await work.beforeCommit(answer, rows.isolated);
    return { kind: 'amended', answer, quarantined: rows.isolated };
  }

  #points(sql: string, of: { lane: string; epoch?: bigint; sequence?: bigint }): AppliedPoint[] {
    const rows = this.#db.prepare(sql).safeIntegers().all(of) as {
      epoch: bigint;
      nonce: Buffer;
      sequence: bigint;
      chain: Buffer;
      contentHash: Buffer;
      answer: string;
      appliedAtMs: bigint;
    }[];
    return rows.map((row) => ({ ...row, answer: parseAnswer(row.answer), appliedAtMs: Number(row.appliedAtMs) }));
  }

  #targetId(): string | undefined {
    if (this.#db.prepare(HAS_MARK).get() === undefined) return undefined;
    const id = this.#db.prepare(READ_TARGET).pluck().get() as Buffer | undefined;
    return id?.toString('hex');
  }

  /** Runs `body` between BEGIN IMMEDIATE and COMMIT; `rollback` inside it ends the transaction without committing. */
  async #transaction<T>(body: (rollback: () => void) => Promise<T>): Promise<T> {
    const rollback = (): void => {
      if (this.#db.inTransaction) this.#db.exec('ROLLBACK');
    };
    await patiently(() => this.#db.exec('BEGIN IMMEDIATE'));
    try {
      const result = await body(rollback);
      // Readers of a rollback-journal database may hold the lock that COMMIT needs; the transaction stays open meanwhile.
      if (this.#db.inTransaction) await patiently(() => this.#db.exec('COMMIT'));
      return result;
    } catch (error) {
      rollback();
      throw error;
    }
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#turn
      .catch(() => undefined)
      .then(async () => {
        try {
          return await action();
        } catch (error) {
          throw failure(error, 'TARGET_UNAVAILABLE', this.#file);
        }
      });
    this.#turn = result;
    return result;
  }
}
