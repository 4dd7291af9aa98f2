// Book entries into the books: each is verified against the authority, counted once, and moves the tallies, all in the one
// transaction that also moves the node's position. A crash leaves either all of a batch or nothing of it.

import { BookEntries, type BookEntry } from '@qiao/contract/control';
import { Receipt, Statement } from '@qiao/contract/receipt';
import { isStoreFault } from '@qiao/database';
import { idText, QiaoError, readMessage, safeCount } from '@qiao/exchange';
import { verifyIssued } from '@qiao/security';
import { sql, type Transaction } from 'kysely';
import type { MonitorDatabase, MonitorSchema } from '../monitorDatabase.ts';
import { momentOf } from '../reconciliation/line.ts';
import { bookEntry, type EntriesPorts, hexOf, type Taking } from './bookEntry.ts';

/** How far a node's books are here, and whether a hole shows. */
export interface BooksPosition {
  readonly nodeId: string;
  readonly databaseId: string;
  readonly through: number;
  /** Mark of entry `through`, hexadecimal; empty when it has none. */
  readonly mark: string;
  readonly hasHole: boolean;
  /** Entries came that are here already: the node is told again where its books stand, and by which mark. */
  readonly repeats: boolean;
}

/** How far the books of a node and exchange database are here. */
export async function readPosition(
  database: MonitorDatabase,
  nodeId: string,
  databaseId: string,
): Promise<BooksPosition> {
  const row = await database
    .selectFrom('book_position')
    .select(['through', 'mark'])
    .where('node_id', '=', nodeId)
    .where('database_id', '=', databaseId)
    .executeTakeFirst();
  return { nodeId, databaseId, through: row?.through ?? 0, mark: row?.mark ?? '', hasHole: false, repeats: false };
}

/** Entries that one bus message may carry (control.proto). */
const ENTRIES_MAX = 1_000;

/**
 * Takes one bus message of entries. Entries at or below the position are duplicates and are passed over; at a hole it stops.
 * Throws CERTIFICATE_* or ENTRIES_INVALID when the message is not a node's of this platform, or of one whose rights were ended.
 */
export async function takeEntries(ports: EntriesPorts, bytes: Uint8Array, nodeCode: string): Promise<BooksPosition> {
  const { entries, certificate } = decode(bytes);
  const signer = verifyIssued(certificate, ports.authority, ports.nowMs());
  if (signer.code !== nodeCode) {
    throw new QiaoError(
      'ENTRIES_INVALID',
      `entries on the subject of ${nodeCode} carry the certificate of ${signer.code}`,
    );
  }
  if (signer.role !== 'agent') {
    throw new QiaoError('ENTRIES_INVALID', `entries carry the certificate of ${signer.role} ${signer.code}`);
  }
  if (ports.isCertificateRevoked(signer)) {
    // A thief holds the key from now on, and nothing tells its entries from those written before. The node that joins again
    // signs what was not held here anew.
    throw new QiaoError(
      'CERTIFICATE_REVOKED',
      `entries carry a certificate of ${signer.code} whose rights were ended`,
      {
        hint: `qiao node show ${signer.code}`,
      },
    );
  }
  const nodeId = idText(signer.nodeId);
  const databaseId = idText(entries[0]?.exchangeDatabaseId ?? new Uint8Array(16));
  return ports.database.transaction().execute(async (transaction) => {
    const before = await transaction
      .selectFrom('book_position')
      .select(['through', 'mark', 'begins_at_ms'])
      .where('node_id', '=', nodeId)
      .where('database_id', '=', databaseId)
      .executeTakeFirst();
    if (before === undefined) {
      const firstAtMs = madeAtMs(entries[0], ports.nowMs());
      await transaction
        .insertInto('book_position')
        .values({ node_id: nodeId, database_id: databaseId, through: 0, first_at_ms: firstAtMs })
        .execute();
    }
    let through = before?.through ?? 0;
    let mark = before?.mark ?? '';
    let beginsAtMs = before?.begins_at_ms ?? 0;
    let hasHole = false;
    let repeats = false;
    for (const entry of entries) {
      const number = safeCount(entry.number);
      if (number <= through) {
        repeats = true;
        continue;
      }
      if (entry.entry?.$case === 'forgotten' && idText(entry.exchangeDatabaseId) === databaseId) {
        // The node keeps them no longer: a monitor before this one held them. The books begin there, and say so.
        beginsAtMs = Math.max(beginsAtMs, pastMs(entry.entry.value.booksBeginAtMs, ports.nowMs()));
        through = number;
        mark = '';
        continue;
      }
      if (number !== through + 1 || idText(entry.exchangeDatabaseId) !== databaseId) {
        hasHole = true;
        break;
      }
      if (entry.entry?.$case === 'restored') {
        const atMs = pastMs(entry.entry.value.atMs, ports.nowMs());
        if (!(await heardBefore(transaction, nodeId, databaseId, atMs))) beginsAtMs = Math.max(beginsAtMs, atMs);
      } else await takeEntry({ ...ports, transaction, signer, certificate, nodeId, databaseId }, entry, number);
      through = number;
      mark = hexOf(entry.mark);
    }
    await transaction
      .updateTable('book_position')
      .set({ through, mark, begins_at_ms: beginsAtMs })
      .where('node_id', '=', nodeId)
      .where('database_id', '=', databaseId)
      .execute();
    return { nodeId, databaseId, through, mark, hasHole, repeats };
  });
}

/** A moment that a node names; one past all time is now. */
function pastMs(saidMs: bigint, nowMs: number): number {
  return Math.min(Number(saidMs), nowMs);
}

/**
 * Whether these books were kept while the node still wrote into the exchange database that went before this one. A monitor that is younger,
 * or was put back from a backup that is older, holds a hole there that nobody fills.
 */
async function heardBefore(
  transaction: Transaction<MonitorSchema>,
  nodeId: string,
  databaseId: string,
  atMs: number,
): Promise<boolean> {
  const former = await transaction
    .selectFrom('book_position')
    .select('through')
    .where('node_id', '=', nodeId)
    .where('database_id', '<>', databaseId)
    .where('through', '>', 0)
    .executeTakeFirst();
  if (former === undefined) return false;
  const missed = await transaction
    .selectFrom('restoration')
    .select('made_at_ms')
    .where('made_at_ms', '<', atMs)
    .where('restored_at_ms', '>', atMs)
    .executeTakeFirst();
  return missed === undefined;
}

/** When an entry was made, as far as it says; nothing is verified here. */
function madeAtMs(first: BookEntry | undefined, nowMs: number): number {
  const entry = first?.entry;
  try {
    switch (entry?.$case) {
      case 'statement':
        return momentOf(readMessage(Statement, entry.value.payload, 'statement').sealedAtMs);
      case 'receipt':
        return momentOf(readMessage(Receipt, entry.value.payload, 'receipt').receivedAtMs);
      default:
        return nowMs;
    }
  } catch {
    // A broken entry says nothing of when.
    return nowMs;
  }
}

function decode(bytes: Uint8Array): BookEntries {
  let message: BookEntries;
  try {
    message = readMessage(BookEntries, bytes, 'entries of the books');
  } catch (cause) {
    throw new QiaoError('ENTRIES_INVALID', 'a message on a books subject is not BookEntries', { cause });
  }
  if (message.entries.length > ENTRIES_MAX) {
    throw new QiaoError('ENTRIES_INVALID', `found ${message.entries.length} entries, expected at most ${ENTRIES_MAX}`);
  }
  return message;
}

async function takeEntry(taking: Taking, entry: BookEntry, number: number): Promise<void> {
  const { transaction } = taking;
  await sql`SAVEPOINT entry`.execute(transaction);
  try {
    await bookEntry(taking, entry, number);
  } catch (error) {
    // A broken entry must not stop the books of its node, nor leave half of itself in them: it is kept, and it is a deviation.
    if (isStoreFault(error)) throw error;
    await sql`ROLLBACK TO entry`.execute(transaction);
    await transaction
      .insertInto('broken_entry')
      .values({
        node_id: taking.nodeId,
        database_id: taking.databaseId,
        number,
        lane_id: '',
        reason:
          error instanceof QiaoError ? `${error.code}: ${error.message}` : 'ENTRY_INVALID: a field has no meaning',
        at_ms: taking.nowMs(),
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
  await sql`RELEASE entry`.execute(transaction);
}
