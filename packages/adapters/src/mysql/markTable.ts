/**
 * The mark in the target database: made once, read before and written first in every transaction of a lane. The decision what a stored
 * mark means is shared by all adapters (`../mark.ts`).
 */

import { randomBytes } from 'node:crypto';
import { QiaoError } from '@qiao/exchange';
import type { AppliedPoint, ApplyWork, StoredAnswer } from '../adapter.ts';
import { answerText, MARK_TABLE, parseAnswer, TARGET_LANE } from '../mark.ts';
import { currentUser } from './describe.ts';
import { NOTES_TABLE, ownTables, ownTablesForDba } from './markDdl.ts';
import type { Session } from './session.ts';
import { bytesLiteral, literal, qualified } from './sql.ts';

const COLUMNS = 'lane, epoch, nonce, sequence, chain, content_hash, answer, applied_at_ms';

/** The mark of one database, over one session. */
export class MarkTable {
  readonly #name: string;

  constructor(database: string) {
    this.#name = qualified(database, MARK_TABLE);
  }

  /** Makes both tables and the target id when missing. Throws MARK_REFUSED with the DDL as hint. */
  async prepare(session: Session): Promise<{ targetId: string; created: boolean }> {
    try {
      const made = await session.rows(
        `SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ${literal(session.database)}
          AND TABLE_NAME IN (${literal(MARK_TABLE)}, ${literal(NOTES_TABLE)})`,
      );
      if (made.length < 2) for (const ddl of ownTables(session.database)) await session.run(ddl);
      const inserted = await session.run(
        `INSERT IGNORE INTO ${this.#name} (${COLUMNS})
         VALUES (${literal(TARGET_LANE)}, 0, ${bytesLiteral(randomBytes(16))}, 0, '', '', '', 0)`,
      );
      const [row] = await session.rows(
        `SELECT LOWER(HEX(nonce)) FROM ${this.#name} WHERE lane = ${literal(TARGET_LANE)} AND epoch = 0 AND sequence = 0`,
      );
      return { targetId: row?.[0] ?? '', created: inserted > 0 };
    } catch (error) {
      if (error instanceof QiaoError && (error.code === 'TARGET_RIGHTS' || error.code === 'TARGET_SCHEMA')) {
        const ddl = ownTablesForDba(session.database, await currentUser(session));
        throw new QiaoError(
          'MARK_REFUSED',
          `${MARK_TABLE} cannot be made in database ${session.database}: ${error.message}`,
          { hint: `ask the DBA to run:\n${ddl}`, cause: error },
        );
      }
      throw error;
    }
  }

  /** Begins a transaction once no other works on the lane; before anything is read. */
  async begin(session: Session, laneId: string): Promise<void> {
    await session.run('START TRANSACTION');
    // A lane without a row has only its opening to wait for, and of two openings one finds the other's row (`insert`).
    await session.rows(
      `SELECT 1 FROM ${this.#name} WHERE lane = ${literal(laneId)} ORDER BY epoch DESC, sequence DESC LIMIT 1 FOR UPDATE`,
    );
  }

  /** What decides about a delivery: its own row and the lane's highest, newest last. */
  deciding(session: Session, at: Pick<ApplyWork, 'laneId' | 'epoch' | 'sequence'>): Promise<AppliedPoint[]> {
    const rows = this.#select(at.laneId);
    return this.#points(
      session,
      `(${rows} AND epoch = ${at.epoch} AND sequence = ${at.sequence}) UNION (${rows} ORDER BY epoch DESC, sequence DESC LIMIT 1)`,
    );
  }

  /** Stored rows of the lane, newest last. */
  points(session: Session, laneId: string): Promise<AppliedPoint[]> {
    return this.#points(session, this.#select(laneId));
  }

  #select(laneId: string): string {
    return `SELECT epoch, HEX(nonce), sequence, HEX(chain), HEX(content_hash), answer, applied_at_ms
              FROM ${this.#name} WHERE lane = ${literal(laneId)}`;
  }

  async #points(session: Session, select: string): Promise<AppliedPoint[]> {
    const rows = await session.rows(`${select} ORDER BY epoch, sequence`);
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
    const values = [
      literal(work.laneId),
      work.epoch,
      bytesLiteral(work.nonce),
      work.sequence,
      bytesLiteral(work.chain),
      bytesLiteral(work.contentHash),
      literal(answerText(answer)),
      Math.trunc(work.appliedAtMs),
    ];
    const inserted = await session.run(`INSERT IGNORE INTO ${this.#name} (${COLUMNS}) VALUES (${values.join(', ')})`);
    return inserted > 0;
  }

  /** Replaces the stored answer of one delivery. */
  async answer(
    session: Session,
    at: { laneId: string; epoch: bigint; sequence: bigint },
    answer: StoredAnswer,
  ): Promise<void> {
    await session.run(
      `UPDATE ${this.#name} SET answer = ${literal(answerText(answer))}
        WHERE lane = ${literal(at.laneId)} AND epoch = ${at.epoch} AND sequence = ${at.sequence}`,
    );
  }

  /** Removes what the sender settled; the delivery just written is the lane's highest and stays. */
  async purge(session: Session, work: ApplyWork): Promise<void> {
    const of = `DELETE FROM ${this.#name} WHERE lane = ${literal(work.laneId)}`;
    const runs = (work.settled ?? []).map(({ first, last }) => `sequence BETWEEN ${first} AND ${last}`);
    if (runs.length > 0) {
      await session.run(`${of} AND epoch = ${work.epoch} AND sequence < ${work.sequence} AND (${runs.join(' OR ')})`);
    }
    if (work.settledThrough === 0n) return; // nothing yet, not: the opening
    await session.run(
      `${of} AND (epoch < ${work.epoch} OR epoch = ${work.epoch} AND sequence <= ${work.settledThrough} AND sequence < ${work.sequence})`,
    );
  }

  /** Removes every row of a lane. */
  async forget(session: Session, laneId: string): Promise<void> {
    // The row that keeps the target id is no lane's.
    if (laneId === TARGET_LANE) return;
    await session.run(`DELETE FROM ${this.#name} WHERE lane = ${literal(laneId)}`);
  }

  /** An epoch that opens leaves the one it closes readable for late deliveries; older ones cannot come any more. */
  async purgeOlderEpochs(session: Session, laneId: string, closed: bigint): Promise<void> {
    await session.run(`DELETE FROM ${this.#name} WHERE lane = ${literal(laneId)} AND epoch < ${closed}`);
  }
}

function bytesOf(hex: string | null | undefined): Uint8Array {
  return new Uint8Array(Buffer.from(hex ?? '', 'hex'));
}
