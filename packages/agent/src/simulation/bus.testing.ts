// A bus as bad as buses get: messages wait in queues until somebody takes them, may be taken out of order, stay until they are
// acknowledged, and may be lost or doubled by whoever writes the schedule.

import type { BusMessage } from '@qiao/bus';
import type { Chance } from './chance.testing.ts';

export class SimulatedQueue {
  #messages: { readonly sequence: bigint; readonly data: Uint8Array; deliveries: number }[] = [];
  #last = 0n;

  get length(): number {
    return this.#messages.length;
  }

  push(data: Uint8Array): void {
    this.#last += 1n;
    this.#messages.push({ sequence: this.#last, data, deliveries: 0 });
  }

  clear(): void {
    this.#messages = [];
  }

  /** Loses one message. */
  lose(chance: Chance): void {
    if (this.length > 0) this.#messages.splice(chance.below(this.length), 1);
  }

  /** Puts one message in a second time, at the end: what a redelivery or an ambiguous publish looks like. */
  double(chance: Chance): void {
    const message = this.#messages[chance.below(this.length)];
    if (message !== undefined) this.push(message.data);
  }

  /** Moves one message to the end. */
  delay(chance: Chance): void {
    const [message] = this.length === 0 ? [] : this.#messages.splice(chance.below(this.length), 1);
    if (message !== undefined) this.#messages.push(message);
  }

  /** Takes one message off for good. */
  shift(): Uint8Array | undefined {
    return this.#messages.shift()?.data;
  }

  /** Hands out what waits now, at most `most`, in order; each stays until it is acknowledged. */
  async *consume(most: number): AsyncGenerator<BusMessage> {
    for (const message of this.#messages.slice(0, most)) {
      message.deliveries += 1;
      yield {
        subject: '',
        data: message.data,
        sequence: message.sequence,
        redelivered: message.deliveries > 1,
        ack: () => {
          this.#messages = this.#messages.filter((one) => one !== message);
        },
        retryLater: () => {},
        working: () => {},
      };
    }
  }
}
