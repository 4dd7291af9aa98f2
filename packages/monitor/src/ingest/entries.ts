// Book entries into the books: each is verified against the authority, counted once, and moves the tallies, all in the one
// transaction that also moves the node's position. A crash leaves either all of a batch or nothing of it.

import { createHash } from 'node:crypto';
import { BookEntries, type BookEntry, UnpackedCounts } from '@qiao/contract/control';
import { Receipt, Settlement, Statement } from '@qiao/contract/receipt';
import { Signed } from '@qiao/contract/signed';
import { isStoreFault } from '@qiao/database';
import { hasAtMost, idText, MAX_TABLES, QiaoError, repeatedField, safeCount, sameBytes } from '@qiao/exchange';
import { type CertificateFacts, type Context, type Verifier, verifyIssued } from '@qiao/security';
import { sql, type Transaction } from 'kysely';
import type { DeliveryRow, MonitorDatabase, MonitorSchema } from '../monitorDatabase.ts';
import {
  coversDelivery,
  EPOCH_SUPERSEDED,
  isAgreed,
  isSuperseded,
  noteEpoch,
  unanswered,
} from '../reconciliation/epochs.ts';
import { emptyLine, lineKey, momentOf, withReceipt, withSettlement, withStatement } from '../reconciliation/line.ts';
import { addAmendment, addCapture, moveTallies } from '../reconciliation/tallies.ts';
import { readMessage } from './readMessage.ts';

export interface EntriesPorts {
  readonly database: MonitorDatabase;
  readonly verifier: Verifier;
  /** The platform's authority (DER). */
  readonly authority: Uint8Array;
  readonly booksDay: (ms: number) => string;
  /** The ends of a lane and the source of a bridge, as the directory names them; undefined for what it does not name. */
  readonly laneOf: (laneId: Uint8Array) => LaneEnds | undefined;
  readonly sourceOf: (bridgeId: Uint8Array) => Uint8Array | undefined;
  /** Whether the hub ended the rights of this certificate (SHA-256, hexadecimal). */
  readonly isCertificateRevoked: (signer: CertificateFacts) => boolean;
  readonly nowMs: () => number;
}

export interface LaneEnds {
  readonly bridgeId: Uint8Array;
  readonly senderId: Uint8Array;
  readonly receiverId: Uint8Array;
}

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
/** Counts of one entry: three kinds of change for each table of a bridge. */
const COUNTS_MAX = 3 * MAX_TABLES;
/** Numbers of the fields in BookEntries, BookEntry and UnpackedCounts. */
const ENTRIES_FIELD = 1;
const UNPACKED_FIELD = 7;
const CAPTURE_FIELD = 2;

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
        beginsAtMs = Math.max(beginsAtMs, safeCount(entry.entry.value.booksBeginAtMs));
        through = number;
        mark = '';
        continue;
      }
      if (number !== through + 1 || idText(entry.exchangeDatabaseId) !== databaseId) {
        hasHole = true;
        break;
      }
      await takeEntry({ ...ports, transaction, signer, certificate, nodeId, databaseId }, entry, number);
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

/** When an entry was made, as far as it says; nothing is verified here. */
function madeAtMs(first: BookEntry | undefined, nowMs: number): number {
  const entry = first?.entry;
  try {
    switch (entry?.$case) {
      case 'statement':
        return momentOf(Statement.decode(entry.value.payload).sealedAtMs);
      case 'receipt':
        return momentOf(Receipt.decode(entry.value.payload).receivedAtMs);
      default:
        return nowMs;
    }
  } catch {
    // A broken entry says nothing of when.
    return nowMs;
  }
}

function decode(bytes: Uint8Array): BookEntries {
  requireFewParts(bytes);
  let message: BookEntries;
  try {
    message = BookEntries.decode(bytes);
  } catch (cause) {
    throw new QiaoError('ENTRIES_INVALID', 'a message on a books subject is not BookEntries', { cause });
  }
  return message;
}

/** Before anything becomes an object: whose message this is, is known only after it was decoded. */
function requireFewParts(bytes: Uint8Array): void {
  if (!hasAtMost(bytes, ENTRIES_FIELD, ENTRIES_MAX)) {
    throw new QiaoError('ENTRIES_INVALID', `found more than ${ENTRIES_MAX} entries`);
  }
  for (const entry of repeatedField(bytes, ENTRIES_FIELD)) {
    for (const unpacked of repeatedField(entry, UNPACKED_FIELD)) {
      if (hasAtMost(unpacked, CAPTURE_FIELD, COUNTS_MAX)) continue;
      throw new QiaoError('ENTRIES_INVALID', `found an entry of more than ${COUNTS_MAX} counts`);
    }
  }
}

interface Taking extends EntriesPorts {
  readonly transaction: Transaction<MonitorSchema>;
  readonly signer: CertificateFacts;
  readonly certificate: Uint8Array;
  readonly nodeId: string;
  readonly databaseId: string;
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

async function bookEntry(taking: Taking, { entry }: BookEntry, number: number): Promise<void> {
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
    case 'unpacked': {
      const { bridgeId, atMs, capture } = entry.value;
      requireSource(taking, bridgeId);
      if (!(await isFirst(taking, `unpacked ${unpackedName(taking.nodeId, entry.value)}`))) return;
      return await addCapture(taking.transaction, idText(bridgeId), taking.booksDay(momentOf(atMs)), capture);
    }
    case 'forgotten':
      throw new QiaoError('ENTRY_INVALID', 'it stands for entries that were not missing');
    case undefined:
      throw new QiaoError('ENTRY_UNKNOWN', 'a kind of entry that this monitor does not know; upgrade the monitor');
    default:
      entry satisfies never;
  }
}

async function takeStatement(taking: Taking, signed: Signed): Promise<void> {
  const statement = opened(taking, 'qiao.statement.v1', signed, Statement);
  requireAuthor(taking, statement, statement.senderId, 'sender');
  requireEnds(taking, statement);
  const day = taking.booksDay(momentOf(statement.sealedAtMs));
  const key = lineKey(statement);
  const before = await findLine(taking.transaction, key);
  requireSameEnds(before, statement);
  const after = withStatement(before ?? emptyLine(key, statement), statement, Signed.encode(signed).finish(), day);
  await writeLine(taking.transaction, before, after);
  await closeSuperseded(taking, after);
  const parcelId = hexOf(statement.parcelId);
  if (parcelId === '') return;
  if (await isFirst(taking, parcelId)) {
    await addCapture(taking.transaction, idText(statement.bridgeId), day, statement.capture);
  }
}

/** Whether these capture counts come for the first time: lanes repeat them, and so does a node whose books are numbered anew. */
async function isFirst(taking: Taking, name: string): Promise<boolean> {
  const { numInsertedOrUpdatedRows = 0n } = await taking.transaction
    .insertInto('counted_parcel')
    .values({ parcel_id: name, counted_at_ms: taking.nowMs() })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return numInsertedOrUpdatedRows > 0n;
}

/** What says which round it was: who, which bridge, when, and every count. */
function unpackedName(nodeId: string, counts: UnpackedCounts): string {
  return createHash('sha256').update(nodeId).update(UnpackedCounts.encode(counts).finish()).digest('hex').slice(0, 32);
}

async function takeReceipt(taking: Taking, signed: Signed): Promise<void> {
  const receipt = opened(taking, 'qiao.receipt.v1', signed, Receipt);
  requireAuthor(taking, receipt, receipt.receiverId, 'receiver');
  requireEnds(taking, receipt);
  const key = lineKey(receipt);
  const before = await findLine(taking.transaction, key);
  requireSameEnds(before, receipt);
  const base = before ?? emptyLine(key, receipt);
  const after = withReceipt(base, receipt, Signed.encode(signed).finish(), taking.nowMs());
  if (before !== undefined && before.revision > 0 && after !== before) await keepAmended(taking, before, after);
  await writeLine(taking.transaction, before, after);
  await closeSuperseded(taking, after);
}

/** What was never answered of earlier epochs is closed, when the first delivery of a newer one is agreed or its statement comes late. */
async function closeSuperseded({ transaction }: Taking, line: DeliveryRow): Promise<void> {
  let left: readonly DeliveryRow[] = [];
  if (isAgreed(line)) {
    if (await noteEpoch(transaction, line)) left = await unanswered(transaction, line);
  } else if (line.state === 'inFlight' && (await isSuperseded(transaction, line))) {
    left = [line];
  }
  for (const before of left) {
    if (!(await coversDelivery(transaction, before))) continue;
    await writeLine(transaction, before, withSettlement(before, { code: EPOCH_SUPERSEDED }));
  }
}

/** The revision that a later one amends stays in the books beside it, and how many rows moved is counted in the line's day. */
async function keepAmended(taking: Taking, before: DeliveryRow, after: DeliveryRow): Promise<void> {
  const { lane_id, epoch, nonce, sequence, revision, outcomes, state, receipt } = before;
  await taking.transaction
    .insertInto('amendment')
    .values({ lane_id, epoch, nonce, sequence, revision, outcomes, state, amended_at_ms: taking.nowMs(), receipt })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  await addAmendment(taking.transaction, before, after);
}

async function takeSettlement(taking: Taking, signed: Signed): Promise<void> {
  const settlement = opened(taking, 'qiao.settlement.v1', signed, Settlement);
  requireAuthor(taking, settlement, settlement.senderId, 'sender');
  requireEnds(taking, settlement);
  const lines = await taking.transaction
    .selectFrom('delivery')
    .selectAll()
    .where('lane_id', '=', idText(settlement.laneId))
    .where('epoch', '=', safeCount(settlement.epoch?.ordinal ?? 0n))
    .where('nonce', '=', hexOf(settlement.epoch?.nonce ?? new Uint8Array()))
    .where('sequence', '>=', safeCount(settlement.firstSequence))
    .where('sequence', '<=', safeCount(settlement.lastSequence))
    .execute();
  for (const before of lines) {
    requireSameEnds(before, settlement);
    await writeLine(taking.transaction, before, withSettlement(before, settlement));
  }
}

/** Verifies and decodes what a node signed. Throws SIGNATURE_INVALID, KEY_MISMATCH, MESSAGE_UNREADABLE. */
function opened<T>(taking: Taking, context: Context, signed: Signed, codec: { decode(bytes: Uint8Array): T }): T {
  taking.verifier.verify(context, signed, taking.certificate);
  return readMessage(codec, signed.payload, context);
}

/** A node speaks only for itself, and on its own platform. */
function requireAuthor(
  { signer }: Taking,
  { platformId }: { platformId: Uint8Array },
  author: Uint8Array,
  side: string,
): void {
  if (!sameBytes(platformId, signer.platformId)) {
    throw new QiaoError('PLATFORM_UNKNOWN', `signed by ${signer.code} for another platform`);
  }
  if (!sameBytes(author, signer.nodeId)) {
    throw new QiaoError('AUTHOR_MISMATCH', `signed by ${signer.code}, but the ${side} named in it is another node`);
  }
}

/**
 * And only of a lane whose end it is, or a receiver could hide a delivery that it never took by closing it in the sender's
 * name. A lane that the directory does not name, yet or any more, is believed: no line shows it.
 */
function requireEnds({ laneOf, signer }: Taking, named: { laneId: Uint8Array } & LaneEnds): void {
  const lane = laneOf(named.laneId);
  if (lane === undefined) return;
  const isSame =
    sameBytes(lane.bridgeId, named.bridgeId) &&
    sameBytes(lane.senderId, named.senderId) &&
    sameBytes(lane.receiverId, named.receiverId);
  if (!isSame) throw new QiaoError('LANE_FOREIGN', `signed by ${signer.code} of a lane between other nodes`);
}

/** The same question for a lane without a name in the directory: whoever spoke first of a delivery named its ends. */
function requireSameEnds(line: DeliveryRow | undefined, named: LaneEnds): void {
  if (line === undefined) return;
  if (line.sender_id === hexOf(named.senderId) && line.receiver_id === hexOf(named.receiverId)) return;
  throw new QiaoError('LANE_FOREIGN', 'it speaks of a delivery between other nodes');
}

function requireSource({ sourceOf, signer }: Taking, bridgeId: Uint8Array): void {
  const source = sourceOf(bridgeId);
  if (source === undefined || sameBytes(source, signer.nodeId)) return;
  throw new QiaoError('BRIDGE_FOREIGN', `${signer.code} is not the source of that bridge`);
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
