// One line of the books per delivery: how statement, receipt and settlement come together, in whatever order they arrive.

import type { Origin } from '@qiao/contract/delivery';
import type { Receipt, Settlement, Statement } from '@qiao/contract/receipt';
import {
  captureCountsOf,
  countsOf,
  idText,
  type KindCount,
  Matrix,
  type OutcomeCell,
  QiaoError,
  safeCount,
  totalRows,
  verdictOfCapture,
  verdictOfDelivery,
} from '@qiao/exchange';
import type { DeliveryRow, DeliveryState } from '../monitorDatabase.ts';

export interface LineKey {
  readonly lane_id: string;
  readonly epoch: number;
  readonly nonce: string;
  readonly sequence: number;
}

/** The identity of the delivery that a statement or receipt speaks of. */
export function lineKey(entry: Statement | Receipt): LineKey {
  return {
    lane_id: idText(entry.laneId),
    epoch: safeCount(entry.epoch?.ordinal ?? 0n),
    nonce: hex(entry.epoch?.nonce ?? new Uint8Array()),
    sequence: safeCount(entry.sequence),
  };
}

/** A line with nothing in it yet. */
export function emptyLine(key: LineKey, entry: Statement | Receipt): DeliveryRow {
  return {
    ...key,
    bridge_id: idText(entry.bridgeId),
    sender_id: idText(entry.senderId),
    receiver_id: idText(entry.receiverId),
    day: '',
    sealed_at_ms: 0,
    received_at_ms: 0,
    applied_at_ms: 0,
    sent_hash: '',
    received_hash: '',
    counts: '[]',
    outcomes: '[]',
    extras: '[]',
    revision: 0,
    settlement_code: '',
    origin: '',
    state: 'unstated',
    reason: '',
    capture_reason: '',
    rows: 0,
    statement: null,
    receipt: null,
  };
}

/** Said of a line for ever: no receipt can agree with two statements. */
const FORKED = 'two statements of one delivery name different contents (fork)';

/** The line once the sender's statement is in. A second statement of the same delivery says the same (it is signed) or is a deviation. */
export function withStatement(line: DeliveryRow, statement: Statement, signed: Uint8Array, day: string): DeliveryRow {
  const counts = countsOf(statement.counts);
  const sentHash = hex(statement.contentHash);
  const isOther = line.sent_hash !== sentHash || line.counts !== JSON.stringify(counts);
  if (line.day !== '' && isOther) return { ...line, state: 'deviation', reason: FORKED };
  const capture = verdictOfCapture(captureCountsOf(statement.capture), counts);
  return judged({
    ...line,
    capture_reason: capture.verdict === 'deviation' ? capture.reason : '',
    day,
    sealed_at_ms: momentOf(statement.sealedAtMs),
    sent_hash: sentHash,
    origin: originWord(statement.origin),
    counts: JSON.stringify(counts),
    rows: totalRows(counts),
    statement: signed,
  });
}

/** RESYNC and the others as one lower-case word. */
function originWord(origin: Origin): string {
  return origin.replace('ORIGIN_', '').toLowerCase();
}

/** The line once a receipt is in; an older revision changes nothing. */
export function withReceipt(
  line: DeliveryRow,
  receipt: Receipt,
  signed: Uint8Array,
  receivedAtMs: number,
): DeliveryRow {
  if (receipt.revision <= line.revision) return line;
  return judged({
    ...line,
    revision: receipt.revision,
    received_hash: hex(receipt.contentHash),
    outcomes: JSON.stringify(Matrix.ofContract(receipt.outcomes).cells()),
    extras: JSON.stringify(
      receipt.extras.map(({ table, deleted, kept }) => ({ table, deleted: safeCount(deleted), kept: safeCount(kept) })),
    ),
    received_at_ms: receivedAtMs,
    applied_at_ms: momentOf(receipt.appliedAtMs),
    receipt: signed,
  });
}

/** The line once it was closed without a receipt: every row is cancelled. A receipt that did come stands. */
export function withSettlement(line: DeliveryRow, { code }: Pick<Settlement, 'code'>): DeliveryRow {
  if (line.revision > 0) return line;
  const outcomes = Matrix.from(
    (JSON.parse(line.counts) as KindCount[]).flatMap(({ table, inserts, updates, deletes }) => [
      { table, sent: 'insert', outcome: 'cancelled', rows: inserts } as const,
      { table, sent: 'update', outcome: 'cancelled', rows: updates } as const,
      { table, sent: 'delete', outcome: 'cancelled', rows: deletes } as const,
    ]),
  ).cells();
  return judged({ ...line, settlement_code: code, outcomes: JSON.stringify(outcomes) });
}

/** State and reason from what is in the line; the clock is left out, lateness is asked when the books are read. */
function judged(line: DeliveryRow): DeliveryRow {
  if (line.reason === FORKED) return line;
  if (line.day === '') return { ...line, state: 'unstated', reason: 'a receipt without the sender’s statement' };
  if (line.capture_reason !== '') return { ...line, state: 'deviation', reason: `抽取: ${line.capture_reason}` };
  const { verdict, reason } = verdictOfDelivery({
    counts: JSON.parse(line.counts) as KindCount[],
    contentHash: Buffer.from(line.sent_hash, 'hex'),
    sealedAtMs: line.sealed_at_ms,
    ...(line.revision === 0
      ? {}
      : {
          receipt: {
            outcomes: JSON.parse(line.outcomes) as OutcomeCell[],
            contentHash: Buffer.from(line.received_hash, 'hex'),
          },
        }),
    ...(line.settlement_code === '' ? {} : { settlement: { code: line.settlement_code } }),
    nowMs: line.sealed_at_ms,
    lateAfterMs: Number.MAX_SAFE_INTEGER,
  });
  const state: DeliveryState = verdict;
  return { ...line, state, reason };
}

/** 9999-12-31, the last day with four digits. */
const LAST_MS = 253_402_300_799_999n;

/** Milliseconds since 1970 UTC that have a day in the books. Throws TIME_INVALID. */
export function momentOf(ms: bigint): number {
  if (ms >= 0n && ms <= LAST_MS) return Number(ms);
  throw new QiaoError('TIME_INVALID', `found ${ms} ms since 1970, expected a moment before the year 10000`);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
