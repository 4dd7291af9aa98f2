// A sender asks for receipts that the bus lost, or that were revised since: what is stored goes out again, and what this node
// never stored (its exchange database is a new one) is asked for as a delivery, so that the target's mark can answer.

import type { ReceiptsWanted } from '@qiao/contract/control';
import { parseId } from '@qiao/exchange';
import type { Answers } from './answer.ts';
import type { Asker } from './ask.ts';

/** Answers a verified question. Returns how many receipts go out. */
export function giveReceipts(
  wanted: ReceiptsWanted,
  senderId: string,
  { answers, ask }: { readonly answers: Answers; readonly ask: Asker },
): number {
  const { laneId: lane, epoch } = wanted;
  if (epoch === undefined) return 0;
  let given = 0;
  let missing: { first: bigint; last: bigint } | undefined;
  for (const { sequence, revision } of wanted.known) {
    const place = { lane, epoch: epoch.ordinal, nonce: epoch.nonce, sequence };
    const answer = answers.giveNewer(place, revision, parseId(senderId));
    if (answer === 'given') given += 1;
    // One request for a range: what lies between is known, and answered from what is stored. What never had a receipt is sent anyway.
    if (answer === 'unknown' && revision > 0) missing = { first: missing?.first ?? sequence, last: sequence };
  }
  if (missing !== undefined) {
    const { first, last } = missing;
    ask.resend({ lane, senderId, epoch: epoch.ordinal, nonce: epoch.nonce, first, last, reason: 'receipt lost' });
  }
  return given;
}
