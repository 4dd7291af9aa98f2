/**
 * The mark in the target database: made once, read before and written first in every transaction of a lane. The decision
 * what a stored mark means is shared by all adapters (`mark.ts`).
 */

import { createHash, randomBytes } from 'node:crypto';
import { QiaoError } from '@qiao/exchange';
import type { AppliedPoint, ApplyWork, StoredAnswer } from '../adapter.ts';
import { answerText, MARK_TABLE, parseAnswer, TARGET_LANE } from '../mark.ts';
import type { Session } from './session.ts';
import { qualified } from './sql.ts';

/** The DDL that `bridge check` prints for the DBA. */
export function markDdl(schema: string): string {
  return `CREATE TABLE IF NOT EXISTS ${qualified(schema, MARK_TABLE)} (
  lane text NOT NULL,
  epoch bigint NOT NULL,
  nonce bytea NOT NULL,
  sequence bigint NOT NULL,
  chain bytea NOT NULL,
  content_hash bytea NOT NULL,
  answer text NOT NULL,
  applied_at_ms bigint NOT NULL,
  PRIMARY KEY (lane, epoch, sequence)
)`;
}

/** The mark of one database, over one session. */
export class MarkTable {
  readonly #name: string;
  readonly #schema: string;

  constructor(schema: string) {
    this.#schema = schema;
    this.#name = qualified(schema, MARK_TABLE);
  }

  /** Makes the table and the target id when missing. Throws MARK_REFUSED with the DDL as hint. */
  async prepare(session: Session): Promise<{ targetId: string; created: boolean }> {
    await session.run('BEGIN');
    try {
      // One at a time: CREATE TABLE IF NOT EXISTS of two sessions may collide in the catalog.
      await session.rows('SELECT pg_advisory_xact_lock($1::bigint)', [lockKey(MARK_TABLE)]);
      const [found] = await session.rows('SELECT to_regclass($1)', [this.#name]);
      if (found?.[0] == null) await session.run(markDdl(this.#schema));
      const inserted = await session.run(
        `INSERT INTO ${this.#name} (lane, epoch, nonce, sequence, chain, content_hash, answer, applied_at_ms)
         VALUES ($1, 0, $2, 0, '', '', '', 0) ON CONFLICT DO NOTHING`,
        [TARGET_LANE, randomBytes(16)],
      );
      const [row] = await session.rows(
        `SELECT pg_catalog.encode(nonce, 'hex') FROM ${this.#name} WHERE lane = $1 AND epoch = 0 AND sequence = 0`,
        [TARGET_LANE],
      );
      await session.run('COMMIT');
      return { targetId: row?.[0] ?? '', created: inserted > 0 };
    } catch (error) {
      await session.run('ROLLBACK').catch(() => undefined);
      if (error instanceof QiaoError && (error.code === 'TARGET_RIGHTS' || error.code === 'TARGET_SCHEMA')) {
        throw new QiaoError(
          'MARK_REFUSED',
          `${MARK_TABLE} cannot be made in schema ${this.#schema}: ${error.message}`,
          {
            hint: `ask the DBA to run, and to grant SELECT, INSERT, UPDATE, DELETE on it:\n${markDdl(this.#schema)};`,
            cause: error,
          },
        );
      }
      throw error;
    }
  }

  /** Begins a transaction once no other works on the lane; before anything is read. */
  async begin(session: Session, laneId: string): Promise<void> {
    const lock = `SELECT pg_advisory_xact_lock(${lockKey(`lane ${laneId}`)})`;
    await session.run(`BEGIN ISOLATION LEVEL READ COMMITTED; ${lock}`);
  }

  /**
   * The rows of the lane that decide about one delivery: its own, if there is one, and the highest. One open row keeps every
   * delivery behind it in the mark, for as long as a person takes.
   */
  deciding(session: Session, at: Pick<ApplyWork, 'laneId' | 'epoch' | 'sequence'>): Promise<AppliedPoint[]> {
    const rows = this.#select();
    return this.#points(
      session,
      `(${rows} AND epoch = $2 AND sequence = $3) UNION (${rows} ORDER BY epoch DESC, sequence DESC LIMIT 1)`,
      [at.laneId, String(at.epoch), String(at.sequence)],
    );
  }

  /** Stored rows of the lane, newest last. */
  points(session: Session, laneId: string): Promise<AppliedPoint[]> {
    return this.#points(session, this.#select(), [laneId]);
  }

  #select(): string {
    return `SELECT epoch, pg_catalog.encode(nonce, 'hex'), sequence, pg_catalog.encode(chain, 'hex'),
              pg_catalog.encode(content_hash, 'hex'), answer, applied_at_ms
         FROM ${this.#name} WHERE lane = $1`;
  }

  async #points(session: Session, select: string, values: readonly string[]): Promise<AppliedPoint[]> {
    const { rows } = await session.asked(`${select} ORDER BY epoch, sequence`, values);
    return rows.map(([epoch, nonce, sequence, chain, contentHash, answer, appliedAt]) => ({
      epoch: BigInt(epoch ?? 0),
      nonce: bytesOf(nonce),
      sequence: BigInt(sequence ?? 0),
      chain: bytesOf(chain),
      contentHash: bytesOf(contentHash),
      answer: parseAnswer(answer ?? ''),
      appliedAtMs: Number(appliedAt),
    }));
  }

  /** The first write of a delivery. False when another transaction was first after all. */
  async insert(session: Session, work: ApplyWork, answer: StoredAnswer): Promise<boolean> {
    const { count } = await session.asked(
      `INSERT INTO ${this.#name} (lane, epoch, nonce, sequence, chain, content_hash, answer, applied_at_ms)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
      [
        work.laneId,
        String(work.epoch),
        Buffer.from(work.nonce),
        String(work.sequence),
        Buffer.from(work.chain),
        Buffer.from(work.contentHash),
        answerText(answer),
        String(work.appliedAtMs),
      ],
    );
    return count > 0;
  }

  /** Replaces the stored answer of one delivery. */
  async answer(
    session: Session,
    at: { laneId: string; epoch: bigint; sequence: bigint },
    answer: StoredAnswer,
  ): Promise<void> {
    await session.asked(`UPDATE ${this.#name} SET answer = $4 WHERE lane = $1 AND epoch = $2 AND sequence = $3`, [
      at.laneId,
      String(at.epoch),
      String(at.sequence),
      answerText(answer),
    ]);
  }

  /** Removes what the sender settled; the delivery just written is the lane's highest and stays. */
  async purge(session: Session, work: ApplyWork): Promise<void> {
    const settled = work.settled ?? [];
    if (settled.length > 0) {
      await session.run(
        `DELETE FROM ${this.#name} m USING unnest($3::bigint[], $4::bigint[]) AS run (first, last)
          WHERE m.lane = $1 AND m.epoch = $2 AND m.sequence BETWEEN run.first AND run.last AND m.sequence < $5`,
        [
          work.laneId,
          String(work.epoch),
          settled.map(({ first }) => String(first)),
          settled.map(({ last }) => String(last)),
          String(work.sequence),
        ],
      );
    }
    if (work.settledThrough === 0n) return; // nothing yet, not: the opening
    await session.asked(
      `DELETE FROM ${this.#name} WHERE lane = $1 AND (epoch < $2 OR epoch = $2 AND sequence <= $3 AND sequence < $4)`,
      [work.laneId, String(work.epoch), String(work.settledThrough), String(work.sequence)],
    );
  }

  /** Removes every row of a lane. */
  async forget(session: Session, laneId: string): Promise<void> {
    // The row that keeps the target id is no lane's.
    if (laneId === TARGET_LANE) return;
    await session.run(`DELETE FROM ${this.#name} WHERE lane = $1`, [laneId]);
  }

  /** An epoch that opens leaves the one it closes readable for late deliveries; older ones cannot come any more. */
  async purgeOlderEpochs(session: Session, laneId: string, closed: bigint): Promise<void> {
    await session.run(`DELETE FROM ${this.#name} WHERE lane = $1 AND epoch < $2`, [laneId, String(closed)]);
  }
}

/** A 64-bit key for an advisory lock out of any text. */
function lockKey(text: string): string {
  return String(createHash('sha256').update(`qiao ${text}`).digest().readBigInt64BE(0));
}

function bytesOf(hex: string | null | undefined): Uint8Array {
  return new Uint8Array(Buffer.from(hex ?? '', 'hex'));
}
