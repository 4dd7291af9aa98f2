// Answers: the receipt is made from what the mark says, signed, stored, queued for its sender and entered into the books in one
// transaction of the exchange database, which also takes the delivery out of the inbox. Whoever asks again gets the stored receipt
// word for word; only its signature is made anew when this node has joined again under another key.

import { ControlMessage } from '@qiao/contract/control';
import type { DeliveryHeader } from '@qiao/contract/delivery';
import { Receipt } from '@qiao/contract/receipt';
import { Signed } from '@qiao/contract/signed';
import { idText, type LanePoint, QiaoError, sameBytes } from '@qiao/exchange';
import type { Clock } from '@qiao/runtime';
import type { ExchangeDatabase, LanePlace, ReceiptOut } from '../exchange-database/index.ts';
import { type AnsweredRows, receiptOf, revisedReceipt } from './receipt.ts';

export interface AnswerPorts {
  readonly database: Pick<
    ExchangeDatabase,
    'transaction' | 'receiptsOut' | 'controlOut' | 'books' | 'inbox' | 'lanesIn'
  >;
  readonly sign: (context: 'qiao.receipt.v1', payload: Uint8Array) => Signed;
  /** The same receipt under this node's present key, when it was signed before the node joined again. */
  readonly renew: (context: 'qiao.receipt.v1', signed: Signed) => Signed;
  readonly clock: Clock;
  /** Something waits for the bus. */
  readonly onQueued: () => void;
}

export interface AppliedDelivery {
  readonly header: DeliveryHeader;
  readonly answer: AnsweredRows;
  readonly receivedAtMs: number;
  readonly appliedAtMs: number;
  /** Where the target's mark stands now; undefined when it stands further on than this delivery. */
  readonly point: LanePoint | undefined;
}

export interface Answers {
  /** The target committed: answers it and forgets the delivery. */
  give(applied: AppliedDelivery): void;
  /**
   * Open rows of an answered delivery moved: writes the receipt's new revision, queues it and enters it into the books. Nothing
   * happens for a revision that was given already, nor without the receipt that it revises.
   */
  revise(place: LanePlace, answer: AnsweredRows): void;
  /** Queues the stored receipt again; false when there is none for this place and content. */
  giveAgain(place: LanePlace, contentHash: Uint8Array, senderId: Uint8Array): boolean;
  /** The sender holds this revision: queues a newer one. `unknown` when nothing is stored for this place and nonce. */
  giveNewer(
    place: LanePlace & { readonly nonce: Uint8Array },
    revision: number,
    senderId: Uint8Array,
  ): 'given' | 'same' | 'unknown';
}

export function createAnswers({ database, sign, renew, clock, onQueued }: AnswerPorts): Answers {
  function queue(place: LanePlace, senderId: Uint8Array, receipt: Signed): void {
    const message = ControlMessage.encode({ toNodeId: senderId, body: { $case: 'receipt', value: receipt } }).finish();
    // One topic per delivery: a newer revision takes the place of one that still waits.
    database.controlOut.add(message, clock.nowMs(), `receipt:${idText(place.lane)}:${place.epoch}:${place.sequence}`);
  }

  function store(place: LanePlace, receipt: Receipt): Signed {
    const signed = sign('qiao.receipt.v1', Receipt.encode(receipt).finish());
    database.receiptsOut.put({
      ...place,
      nonce: receipt.epoch?.nonce ?? new Uint8Array(0),
      contentHash: receipt.contentHash,
      revision: receipt.revision,
      settled: receipt.settled,
      receipt: Signed.encode(signed).finish(),
      appliedAtMs: Number(receipt.appliedAtMs),
    });
    queue(place, receipt.senderId, signed);
    return signed;
  }

  return {
    give({ header, answer, receivedAtMs, appliedAtMs, point }) {
      const place = placeOf(header);
      database.transaction(() => {
        const signed = store(place, receiptOf({ header, answer, receivedAtMs, appliedAtMs }));
        // An opening carries no rows: the books count rows.
        if (header.role?.$case !== 'opening') {
          database.books.append({ $case: 'receipt', value: signed }, clock.nowMs());
        }
        database.inbox.remove(place);
        if (point !== undefined) database.lanesIn.setPoint(place.lane, point, appliedAtMs);
        forgetSettled(place, header.settledThrough, header.receipts?.settled ?? []);
      });
      onQueued();
    },
    revise(place, answer) {
      database.transaction(() => {
        const before = database.receiptsOut.get(place);
        if (before === undefined || before.revision >= answer.revision) return;
        const receipt = Receipt.decode(Signed.decode(before.receipt).payload);
        const signed = store(place, revisedReceipt(receipt, answer));
        database.books.append({ $case: 'receipt', value: signed }, clock.nowMs());
      });
      onQueued();
    },
    giveAgain(place, contentHash, senderId) {
      const stored = database.receiptsOut.get(place);
      if (stored === undefined || Buffer.compare(stored.contentHash, contentHash) !== 0) return false;
      queueStored(stored, senderId);
      return true;
    },
    giveNewer(place, revision, senderId) {
      const stored = database.receiptsOut.get(place);
      if (stored === undefined || !sameBytes(stored.nonce, place.nonce)) return 'unknown';
      if (stored.revision <= revision) return 'same';
      queueStored(stored, senderId);
      return 'given';
    },
  };

  function queueStored(stored: ReceiptOut, senderId: Uint8Array): void {
    queue(stored, senderId, renew('qiao.receipt.v1', Signed.decode(stored.receipt)));
    onQueued();
  }

  function forgetSettled(
    place: LanePlace,
    settledThrough: bigint,
    runs: readonly { first: bigint; last: bigint }[],
  ): void {
    database.lanesIn.setSettledThrough(place.lane, settledThrough);
    database.receiptsOut.removeSettledThrough(place.lane, place.epoch, settledThrough);
    for (const run of runs) database.receiptsOut.removeSettledRun(place.lane, place.epoch, run);
    if (place.sequence === 0n) database.receiptsOut.removeEpochsBefore(place.lane, place.epoch);
  }
}

/** The place a verified header names. Throws HEADER_INVALID without an epoch. */
export function placeOf(header: DeliveryHeader): LanePlace & { readonly nonce: Uint8Array } {
  if (header.epoch === undefined) throw new QiaoError('HEADER_INVALID', 'the header names no epoch');
  return {
    lane: header.laneId,
    epoch: header.epoch.ordinal,
    sequence: header.sequence,
    nonce: header.epoch.nonce,
  };
}
