// One entry into the books: a statement, a receipt, a settlement, a refusal, or counts. Whoever signed it speaks for itself alone, and only of
// a lane whose end it is; what was counted once is not counted again.

import { createHash } from 'node:crypto';
import { type BookEntry, UnpackedCounts } from '@qiao/contract/control';
import { Receipt, Settlement, Statement } from '@qiao/contract/receipt';
import { Signed } from '@qiao/contract/signed';
import { type Codec, idText, MAX_TABLES, QiaoError, readMessage, safeCount, sameBytes } from '@qiao/exchange';
import type { CertificateFacts, Context, Verifier } from '@qiao/security';
import type { Transaction } from 'kysely';
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

/** Three kinds of change for each table of a bridge. */
const MAX_CAPTURE_COUNTS = 3 * MAX_TABLES;

/** The transaction that an entry is taken in, and who signed it. */
export interface Taking extends EntriesPorts {
  readonly transaction: Transaction<MonitorSchema>;
  readonly signer: CertificateFacts;
  readonly certificate: Uint8Array;
  readonly nodeId: string;
  readonly databaseId: string;
}

/**
 * Takes one entry. Throws what is wrong with it: SIGNATURE_INVALID, KEY_MISMATCH, MESSAGE_UNREADABLE, PLATFORM_UNKNOWN, AUTHOR_MISMATCH,
 * LANE_FOREIGN, BRIDGE_FOREIGN, ENTRY_INVALID, ENTRY_UNKNOWN.
 */
export async function bookEntry(taking: Taking, { entry }: BookEntry, number: number): Promise<void> {
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
      requireFew(capture.length, 'capture counts', MAX_CAPTURE_COUNTS);
      if (!(await isFirst(taking, `unpacked ${unpackedName(taking.nodeId, entry.value)}`))) return;
      return await addCapture(taking.transaction, idText(bridgeId), taking.booksDay(momentOf(atMs)), capture);
    }
    case 'forgotten':
    case 'restored':
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
  requireFew(statement.counts.length, 'tables', MAX_TABLES);
  requireFew(statement.capture.length, 'capture counts', MAX_CAPTURE_COUNTS);
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
function opened<T>(taking: Taking, context: Context, signed: Signed, codec: Codec<T>): T {
  taking.verifier.verify(context, signed, taking.certificate);
  return readMessage(codec, signed.payload, context);
}

function requireFew(found: number, what: string, most: number): void {
  if (found > most) throw new QiaoError('ENTRY_INVALID', `found ${found} ${what}, expected at most ${most}`);
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

export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
