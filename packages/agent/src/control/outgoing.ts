// Control messages leave in order from their durable queue: receipts, resend requests, refusals, what this node runs. Nothing
// leaves before the hub knew this start; what the bus has not acknowledged stays and goes again.

import { ControlMessage } from '@qiao/contract/control';
import { crashPoint, type Part, type Wakeup } from '@qiao/runtime';
import type { ExchangeDatabase } from '../exchange-database/index.ts';
import type { Fence } from './fence.ts';
import { type ControlSigner, encodeControl } from './messages.ts';

export interface OutgoingPorts {
  readonly database: Pick<ExchangeDatabase, 'controlOut' | 'lazyTransaction'>;
  readonly fence: Fence;
  readonly signer: ControlSigner;
  readonly publish: (bytes: Uint8Array) => Promise<void>;
  /** Woken when something was queued. */
  readonly wakeup: Wakeup;
}

const BATCH = 64;
const POLL_MS = 2_000;

export function outgoingControlPart({ database, fence, signer, publish, wakeup }: OutgoingPorts): Part {
  return {
    name: 'control-out',
    mostPauseMs: 5_000,
    async run(signal) {
      while (!signal.aborted) {
        await fence.whenGiven(signal);
        if (signal.aborted) return;
        const waiting = database.controlOut.next(BATCH);
        if (waiting.length === 0) {
          await wakeup.wait(POLL_MS, signal);
          continue;
        }
        // Published side by side, for the order between lanes means nothing and the bus keeps the order of publishing. Bus
        // first, then the queue: a crash between sends a message twice, which its reader knows.
        const outcomes = await Promise.allSettled(
          waiting.map(async ({ number, message }) => {
            await publish(encodeControl(ControlMessage.decode(message), signer));
            crashPoint('receipt.published');
            database.lazyTransaction(() => database.controlOut.sent(number));
          }),
        );
        const failed = outcomes.find((outcome) => outcome.status === 'rejected');
        if (failed !== undefined) throw failed.reason;
      }
    },
  };
}
