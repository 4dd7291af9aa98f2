// Open rows of a lane that is over wait for nobody: each of its open receipts gets a last revision in which they are cancelled,
// signed, told to the sender and entered into the books, in the transaction that forgets the rows.

import { ControlMessage } from '@qiao/contract/control';
import { Outcome, type OutcomeCount } from '@qiao/contract/counts';
import { Receipt } from '@qiao/contract/receipt';
import { Signed } from '@qiao/contract/signed';
import { idText } from '@qiao/exchange';
import type { Clock } from '@qiao/runtime';
import type { ExchangeDatabase, LaneIn } from '../exchange-database/index.ts';

export interface CancelPorts {
  readonly database: Pick<ExchangeDatabase, 'receiptsOut' | 'controlOut' | 'books'>;
  readonly sign: (context: 'qiao.receipt.v1', payload: Uint8Array) => Signed;
  readonly clock: Clock;
  /** Something waits for the bus. */
  readonly onQueued: () => void;
}

/** Call it inside a transaction. Returns how many rows were cancelled. */
export function cancelOpenReceipts(lane: LaneIn, { database, sign, clock, onQueued }: CancelPorts): number {
  let rows = 0;
  for (const open of database.receiptsOut.openOf(lane.lane)) {
    const receipt = Receipt.decode(Signed.decode(open.receipt).payload);
    rows += receipt.outcomes.filter(isOpen).reduce((sum, cell) => sum + Number(cell.rows), 0);
    const closed = Receipt.fromPartial({
      ...receipt,
      revision: open.revision + 1,
      outcomes: withoutOpen(receipt.outcomes),
      settled: true,
    });
    const signed = sign('qiao.receipt.v1', Receipt.encode(closed).finish());
    database.receiptsOut.put({
      ...open,
      revision: closed.revision,
      settled: true,
      receipt: Signed.encode(signed).finish(),
    });
    const message = ControlMessage.encode({
      toNodeId: lane.sender,
      body: { $case: 'receipt', value: signed },
    }).finish();
    database.controlOut.add(message, clock.nowMs(), `receipt:${idText(open.lane)}:${open.epoch}:${open.sequence}`);
    database.books.append({ $case: 'receipt', value: signed }, clock.nowMs());
  }
  if (rows > 0) onQueued();
  return rows;
}

function withoutOpen(outcomes: readonly OutcomeCount[]): OutcomeCount[] {
  const cells = new Map<string, OutcomeCount>();
  for (const cell of outcomes) {
    const outcome = isOpen(cell) ? Outcome.CANCELLED : cell.outcome;
    const key = `${cell.table}\n${cell.sent}\n${outcome}`;
    cells.set(key, { ...cell, outcome, rows: cell.rows + (cells.get(key)?.rows ?? 0n) });
  }
  return [...cells.values()];
}

function isOpen({ outcome }: OutcomeCount): boolean {
  return outcome === Outcome.QUARANTINED || outcome === Outcome.HELD;
}
