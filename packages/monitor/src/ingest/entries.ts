// Book entries into the books: each is verified against the authority, counted once, and moves the tallies, all in the one
// transaction that also moves the node's position. A crash leaves either all of a batch or nothing of it.

import { BookEntries, type BookEntry } from '@qiao/contract/control';
import { Receipt, Settlement, Statement } from '@qiao/contract/receipt';
import { Signed } from '@qiao/contract/signed';
import { idText, QiaoError, safeCount, sameBytes } from '@qiao/exchange';
import { type CertificateFacts, type Context, type Verifier, verifyIssued } from '@qiao/security';
import type { Transaction } from 'kysely';
import type { DeliveryRow, MonitorDatabase, MonitorSchema } from '../monitorDatabase.ts';
import { emptyLine, lineKey, withReceipt, withSettlement, withStatement } from '../reconciliation/line.ts';
import { addCapture, moveTallies } from '../reconciliation/tallies.ts';

export interface EntriesPorts {
  readonly database: MonitorDatabase;
  readonly verifier: Verifier;
  /** The platform's authority (DER). */
  readonly authority: Uint8Array;
  readonly booksDay: (ms: number) => string;
  readonly nowMs: () => number;
}

/** How far a node's books are here, and whether a hole shows. */
export interface BooksPosition {
  readonly nodeId: string;
  readonly through: number;
  readonly hasHole: boolean;
}

/** Entries that one bus message may carry (control.proto). */
const ENTRIES_MAX = 1_000;

/**
 * Takes one bus message of entries. Entries at or below the position are duplicates and are passed over; at a hole it stops.
 * Throws CERTIFICATE_* or ENTRIES_INVALID when the message is not a node's of this platform.
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
  const nodeId = idText(signer.nodeId);
  const databaseId = idText(entries[0]?.exchangeDatabaseId ?? new Uint8Array(16));
  return ports.database.transaction().execute(async (transaction) => {
    const before = await transaction
      .selectFrom('book_position')
      .select('through')
      .where('node_id', '=', nodeId)
      .where('database_id', '=', databaseId)
      .executeTakeFirst();
    let through = before?.through ?? 0;
    let hasHole = false;
    for (const entry of entries) {
      const number = safeCount(entry.number);
      if (number <= through) continue;
      if (number !== through + 1 || idText(entry.exchangeDatabaseId) !== databaseId) {
        hasHole = true;
        break;
      }
      await takeEntry({ ...ports, transaction, signer, certificate, nodeId, databaseId }, entry, number);
      through = number;
    }
    await transaction
      .insertInto('book_position')
      .values({ node_id: nodeId, database_id: databaseId, through })
      .onConflict((conflict) => conflict.columns(['node_id', 'database_id']).doUpdateSet({ through }))
      .execute();
    return { nodeId, through, hasHole };
  });
}

function decode(bytes: Uint8Array): BookEntries {
  let message: BookEntries;
  try {
    message = BookEntries.decode(bytes);
  } catch (cause) {
    throw new QiaoError('ENTRIES_INVALID', 'a message on a books subject is not BookEntries', { cause });
  }
  if (message.entries.length > ENTRIES_MAX) {
    throw new QiaoError('ENTRIES_INVALID', `found ${message.entries.length} entries, expected at most ${ENTRIES_MAX}`);
  }
  return message;
}

interface Taking extends EntriesPorts {
  readonly transaction: Transaction<MonitorSchema>;
  readonly signer: CertificateFacts;
  readonly certificate: Uint8Array;
  readonly nodeId: string;
  readonly databaseId: string;
}

async function takeEntry(taking: Taking, { entry }: BookEntry, number: number): Promise<void> {
  try {
    switch (entry?.$case) {
      case 'statement':
        return await takeStatement(taking, entry.value);
      case 'receipt':
        return await takeReceipt(taking, entry.value);
      case 'settlement':
        return await takeSettlement(taking, entry.value);
      case 'refusal':
        await taking.transaction
          .insertInto('refusal')
          .values({
            node_id: taking.nodeId,
            database_id: taking.databaseId,
            number,
            lane_id: hexOf(entry.value.laneId),
            code: entry.value.code,
            message: entry.value.message,
            hint: entry.value.hint,
          })
          .onConflict((conflict) => conflict.doNothing())
          .execute();
        return;
      case 'unpacked':
        return await addCapture(
          taking.transaction,
          idText(entry.value.bridgeId),
          taking.booksDay(Number(entry.value.atMs)),
          entry.value.capture,
        );
      case undefined:
        throw new QiaoError('ENTRY_UNKNOWN', 'a kind of entry that this monitor does not know; upgrade the monitor');
      default:
        entry satisfies never;
    }
  } catch (error) {
    // A broken entry must not stop the books of its node: it is kept, and it is a deviation.
    if (!(error instanceof QiaoError)) throw error;
    await taking.transaction
      .insertInto('broken_entry')
      .values({
        node_id: taking.nodeId,
        database_id: taking.databaseId,
        number,
        lane_id: '',
        reason: `${error.code}: ${error.message}`,
        at_ms: taking.nowMs(),
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
}

async function takeStatement(taking: Taking, signed: Signed): Promise<void> {
  const statement = opened(taking, 'qiao.statement.v1', signed, Statement);
  requireAuthor(taking, statement.senderId, 'sender');
  const day = taking.booksDay(Number(statement.sealedAtMs));
  const key = lineKey(statement);
  const before = await findLine(taking.transaction, key);
  const after = withStatement(before ?? emptyLine(key, statement), statement, Signed.encode(signed).finish(), day);
  await writeLine(taking.transaction, before, after);
  const parcelId = hexOf(statement.parcelId);
  if (parcelId === '') return;
  const { numInsertedOrUpdatedRows = 0n } = await taking.transaction
    .insertInto('counted_parcel')
    .values({ parcel_id: parcelId, counted_at_ms: taking.nowMs() })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  if (numInsertedOrUpdatedRows > 0n) {
    await addCapture(taking.transaction, idText(statement.bridgeId), day, statement.capture);
  }
}

async function takeReceipt(taking: Taking, signed: Signed): Promise<void> {
  const receipt = opened(taking, 'qiao.receipt.v1', signed, Receipt);
  requireAuthor(taking, receipt.receiverId, 'receiver');
  const key = lineKey(receipt);
  const before = await findLine(taking.transaction, key);
  const base = before ?? emptyLine(key, receipt);
  await writeLine(
    taking.transaction,
    before,
    withReceipt(base, receipt, Signed.encode(signed).finish(), taking.nowMs()),
  );
}

async function takeSettlement(taking: Taking, signed: Signed): Promise<void> {
  const settlement = opened(taking, 'qiao.settlement.v1', signed, Settlement);
  requireAuthor(taking, settlement.senderId, 'sender');
  const lines = await taking.transaction
    .selectFrom('delivery')
    .selectAll()
    .where('lane_id', '=', idText(settlement.laneId))
    .where('epoch', '=', safeCount(settlement.epoch?.ordinal ?? 0n))
    .where('nonce', '=', hexOf(settlement.epoch?.nonce ?? new Uint8Array()))
    .where('sequence', '>=', safeCount(settlement.firstSequence))
    .where('sequence', '<=', safeCount(settlement.lastSequence))
    .execute();
  for (const before of lines) await writeLine(taking.transaction, before, withSettlement(before, settlement));
}

/** Verifies and decodes what a node signed. Throws SIGNATURE_INVALID, KEY_MISMATCH. */
function opened<T>(taking: Taking, context: Context, signed: Signed, codec: { decode(bytes: Uint8Array): T }): T {
  taking.verifier.verify(context, signed, taking.certificate);
  return codec.decode(signed.payload);
}

/** A node speaks only for itself. */
function requireAuthor({ signer }: Taking, author: Uint8Array, side: string): void {
  if (!sameBytes(author, signer.nodeId)) {
    throw new QiaoError('AUTHOR_MISMATCH', `signed by ${signer.code}, but the ${side} named in it is another node`);
  }
}

async function findLine(
  transaction: Transaction<MonitorSchema>,
  key: ReturnType<typeof lineKey>,
): Promise<DeliveryRow | undefined> {
  return transaction
    .selectFrom('delivery')
    .selectAll()
    .where('lane_id', '=', key.lane_id)
    .where('epoch', '=', key.epoch)
    .where('nonce', '=', key.nonce)
    .where('sequence', '=', key.sequence)
    .executeTakeFirst();
}

async function writeLine(
  transaction: Transaction<MonitorSchema>,
  before: DeliveryRow | undefined,
  after: DeliveryRow,
): Promise<void> {
  if (before === after) return;
  const { lane_id, epoch, nonce, sequence, ...facts } = after;
  await transaction
    .insertInto('delivery')
    .values(after)
    .onConflict((conflict) => conflict.columns(['lane_id', 'epoch', 'nonce', 'sequence']).doUpdateSet(facts))
    .execute();
  await moveTallies(transaction, before, after);
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
