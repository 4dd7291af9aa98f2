// What this node answers for one delivery, as a Receipt: the matrix of rows, the cancelled rows of a void, the empty matrix
// of an opening. Pure; answer.ts signs, stores and queues it.

import type { ExtraRows } from '@qiao/adapters';
import type { DeliveryHeader } from '@qiao/contract/delivery';
import { Receipt } from '@qiao/contract/receipt';
import { countsOf, KINDS, type KindCount, Matrix, type OutcomeCell, rowsOf } from '@qiao/exchange';

export interface AnsweredRows {
  readonly outcomes: readonly OutcomeCell[];
  readonly extras: readonly ExtraRows[];
  /** The mark's, so that it outlives this node's own memory. */
  readonly revision: number;
}

export interface ReceiptFacts {
  readonly header: DeliveryHeader;
  /** What the target's mark says. Its outcomes are ignored for voids, whose rows are all cancelled. */
  readonly answer: AnsweredRows;
  readonly receivedAtMs: number;
  readonly appliedAtMs: number;
}

/** The receipt for a delivery that the target database has committed. */
export function receiptOf({ header, answer, receivedAtMs, appliedAtMs }: ReceiptFacts): Receipt {
  const matrix = Matrix.from(header.role?.$case === 'void' ? cancelled(header) : answer.outcomes);
  return Receipt.fromPartial({
    format: 1,
    platformId: header.platformId,
    laneId: header.laneId,
    bridgeId: header.bridgeId,
    bridgeVersion: header.bridgeVersion,
    senderId: header.senderId,
    receiverId: header.receiverId,
    ...(header.epoch === undefined ? {} : { epoch: header.epoch }),
    sequence: header.sequence,
    contentHash: header.contentHash,
    revision: answer.revision,
    outcomes: matrix.contract(),
    extras: answer.extras.map(({ table, deleted, kept }) => ({
      table,
      deleted: BigInt(deleted),
      kept: BigInt(kept),
    })),
    settled: matrix.openRows() === 0,
    receivedAtMs: BigInt(receivedAtMs),
    appliedAtMs: BigInt(appliedAtMs),
  });
}

/** The receipt after open rows moved: everything else stays what it was. */
export function revisedReceipt(before: Receipt, answer: AnsweredRows): Receipt {
  const matrix = Matrix.from(answer.outcomes);
  return {
    ...before,
    revision: answer.revision,
    outcomes: matrix.contract(),
    settled: matrix.openRows() === 0,
  };
}

/** Every row of a delivery as cancelled. */
export function cancelled(header: DeliveryHeader): OutcomeCell[] {
  return cellsFor(countsOf(header.counts), 'cancelled');
}

function cellsFor(counts: readonly KindCount[], outcome: 'cancelled'): OutcomeCell[] {
  return counts.flatMap((count) =>
    KINDS.filter((kind) => rowsOf(count, kind) > 0).map((kind) => ({
      table: count.table,
      sent: kind,
      outcome,
      rows: rowsOf(count, kind),
    })),
  );
}
