// What a newer epoch of a lane ends. A receiver applies one epoch after another and enters its receipts into its books in that order, so
// once it has answered rows of an epoch, with the very content that the sender stated, it will answer no delivery of an earlier one
// that it has not answered yet. Such a delivery is closed here: mostly its own sender closes it, but a copy of a sender that lost the lane,
// or an exchange database that is gone, cannot.

import { sql, type Transaction } from 'kysely';
import type { DeliveryRow, MonitorSchema } from '../monitorDatabase.ts';

/** Code of the closing, where a settlement would name its own. */
export const EPOCH_SUPERSEDED = 'EPOCH_SUPERSEDED';

type Books = Transaction<MonitorSchema>;

/** Sender and receiver agree about this delivery: its epoch was opened at the receiver. */
export function isAgreed(line: DeliveryRow): boolean {
  return line.day !== '' && line.revision > 0 && line.sent_hash === line.received_hash;
}

/** Notes the epoch of an agreed delivery; true when it is newer than every one before. */
export async function noteEpoch(books: Books, { lane_id, epoch, nonce }: DeliveryRow): Promise<boolean> {
  const newest = await newestEpoch(books, lane_id);
  if (newest !== undefined && newest.epoch >= epoch) return false;
  await books
    .insertInto('lane_epoch')
    .values({ lane_id, epoch, nonce })
    .onConflict((conflict) => conflict.column('lane_id').doUpdateSet({ epoch, nonce }))
    .execute();
  return true;
}

/** Whether a delivery of a newer epoch was agreed, or of another one that took the same number. */
export async function isSuperseded(books: Books, { lane_id, epoch, nonce }: DeliveryRow): Promise<boolean> {
  const newest = await newestEpoch(books, lane_id);
  return newest !== undefined && (newest.epoch > epoch || (newest.epoch === epoch && newest.nonce !== nonce));
}

function newestEpoch(books: Books, laneId: string): Promise<{ epoch: number; nonce: string } | undefined> {
  return books.selectFrom('lane_epoch').select(['epoch', 'nonce']).where('lane_id', '=', laneId).executeTakeFirst();
}

/** Deliveries of the lane that nobody answered, outside this epoch and not of a later one. */
export function unanswered(books: Books, { lane_id, epoch, nonce }: DeliveryRow): Promise<DeliveryRow[]> {
  return (
    books
      .selectFrom('delivery')
      .selectAll()
      // Spelled out, so that the index of what is under way serves: a lane's whole history is long.
      .where(sql<boolean>`state = 'inFlight'`)
      .where('lane_id', '=', lane_id)
      .where('epoch', '<=', epoch)
      .where((is) => is.or([is('epoch', '<', epoch), is('nonce', '<>', nonce)]))
      .execute()
  );
}

/** Clocks of sender and receiver may differ by this much; the hub tells of differences that are far smaller. */
const CLOCKS_DIFFER_MS = 600_000;

/**
 * Whether the receiver’s books that are here reach back to when the delivery was sealed. Where they do not, an answer may be lost with
 * the exchange database that held it, or forgotten since: that stays for a person to look into.
 */
export async function coversDelivery(books: Books, line: DeliveryRow): Promise<boolean> {
  const positions = await books
    .selectFrom('book_position')
    .select(['first_at_ms', 'begins_at_ms'])
    .where('node_id', '=', line.receiver_id)
    .execute();
  const [only, ...others] = positions;
  const isWhole = only?.begins_at_ms === 0 && others.length === 0;
  const beginMs = Math.max(0, ...positions.flatMap(({ first_at_ms, begins_at_ms }) => [first_at_ms, begins_at_ms]));
  return positions.length > 0 && line.sealed_at_ms >= beginMs + (isWhole ? 0 : CLOCKS_DIFFER_MS);
}
