import { Verdict as ContractVerdict } from '@qiao/contract/monitor';
import type { KindCount } from './counts.ts';
import type { OutcomeCell } from './outcome.ts';
export type Verdict = 'balanced' | 'explained' | 'inFlight' | 'open' | 'deviation';
export interface DeliveryFacts {
  counts: readonly KindCount[];
  contentHash: Uint8Array;
  sealedAtMs: number;
  receipt?: { outcomes: readonly OutcomeCell[]; contentHash: Uint8Array } | undefined;
  settlement?: { code: string } | undefined;
  nowMs: number;
  lateAfterMs: number;
  signatureFailed?: boolean | undefined;
}
export function verdictOfDelivery(facts: DeliveryFacts): { verdict: Verdict; reason: string } {
  throw new Error(String(facts));
}
export function worst(verdicts: Iterable<Verdict>): Verdict {
  throw new Error(String(verdicts));
}
export function contractVerdict(verdict: Verdict): ContractVerdict {
  throw new Error(verdict + ContractVerdict.OPEN);
}
