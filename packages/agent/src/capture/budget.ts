/** Whether the outbox has room for more of a bridge: capture waits for it, it never buffers. */
import type { CapturePorts } from './ports.ts';

/** How long a capture without room waits before it looks again; receipts wake it earlier. */
export const BUDGET_LOOK_AGAIN_MS = 1_000;

/**
 * True while every lane of the bridge that takes rows holds more than the budget. Asked of the lanes as they are now: one
 * that was bound meanwhile must not wait for a silent neighbour.
 */
export function isOverBudget(
  { database, limits }: Pick<CapturePorts, 'database' | 'limits'>,
  bridgeId: Uint8Array,
  retentionBytes: number | undefined,
): boolean {
  const lanes = database.lanesOut
    .ofBridge(bridgeId)
    .filter(({ phase }) => phase === 'loading' || phase === 'streaming');
  // A bridge whose retention is smaller waits for its lanes already there: what is over it would only be given up.
  const budgetBytes = Math.min(limits.outboxBudgetBytes, retentionBytes ?? limits.outboxBudgetBytes);
  return lanes.length > 0 && lanes.every(({ waitingBytes }) => waitingBytes > budgetBytes);
}
