// Messages that the broker loses, repeats and reorders although it had acknowledged them. To catch messages in a stream at all, the
// reader is kept away while the fault lasts (a node behind its proxy, the hub, which has none, frozen); what waited is spoilt at the end,
// before the reader is let back.

import type { BusTap, HeardMessage } from '@qiao/bus/testing';
import type { Fault, Reader } from './faultPlan.ts';
import type { Heal } from './faults.ts';
import type { Stage } from './stage.ts';

/** Loses a share of what waits. */
export async function lose(stage: Stage, fault: Extract<Fault, { kind: 'lose' }>): Promise<Heal> {
  return spoilWaiting(stage, fault, async (tap, waiting) => {
    if (fault.share === 1) {
      await tap.purge(fault.stream);
      return;
    }
    // Every n-th, so that holes come between messages that arrive.
    const every = Math.round(1 / fault.share);
    for (const sequence of waiting.filter((_none, index) => index % every === 0))
      await tap.take(fault.stream, sequence);
  });
}

/** What waits comes back in the opposite order. */
export async function reorder(stage: Stage, fault: Extract<Fault, { kind: 'reorder' }>): Promise<Heal> {
  return spoilWaiting(stage, fault, async (tap, waiting) => {
    const taken: HeardMessage[] = [];
    for (const sequence of waiting) {
      const message = await tap.take(fault.stream, sequence);
      if (message !== undefined) taken.push(message);
    }
    for (const message of taken.reverse()) tap.publish(message);
  });
}

/** Messages of the past once more: what a replaying attacker has, or a broker restored from a snapshot. */
export function repeat(stage: Stage, { subjectEnd, messages }: Extract<Fault, { kind: 'repeat' }>): void {
  const heard = stage.tap.heard(subjectEnd);
  const every = Math.max(1, Math.floor(heard.length / messages));
  heard.filter((_none, index) => index % every === 0).forEach((message) => stage.tap.publish(message));
}

async function spoilWaiting(
  stage: Stage,
  fault: Extract<Fault, { kind: 'lose' | 'reorder' }>,
  spoil: (tap: BusTap, waiting: readonly number[]) => Promise<void>,
): Promise<Heal> {
  const { tap } = stage;
  const letBack = keepAway(stage, fault.reader);
  return async () => {
    try {
      await spoil(tap, await tap.waiting(fault.stream));
    } catch {
      // The bus itself is away in another fault: there is nothing to spoil.
    } finally {
      letBack();
    }
  };
}

function keepAway(stage: Stage, reader: Reader): () => void {
  if (reader === 'hub') return stage.freeze('hub');
  const line = stage.link(reader);
  line.refuse(true);
  line.cut();
  return () => line.refuse(false);
}
