/**
 * The verdict on one delivery: a function of its statement, its receipt and the time, and nothing else, so that anyone
 * with the books comes to the same one. Lines of several deliveries are made by books.ts.
 */
import { Verdict as ContractVerdict } from '@qiao/contract/monitor';
import { type KindCount, rowsOf, totalRows } from './counts.ts';
import { sameBytes } from './ids.ts';
import { KINDS, type Kind } from './kind.ts';
import { Matrix } from './matrix.ts';
import { intended, type OutcomeCell } from './outcome.ts';

/** From good to bad. */
export type Verdict = 'balanced' | 'explained' | 'inFlight' | 'open' | 'deviation';

/** The leg that a difference lies on: 抽取, 传输, 入库. */
export type Leg = 'capture' | 'transport' | 'apply';

/** Everything a verdict may depend on. */
export interface DeliveryFacts {
  /** The statement. */
  counts: readonly KindCount[];
  contentHash: Uint8Array;
  sealedAtMs: number;
  /** The newest revision of the receipt. */
  receipt?: { outcomes: readonly OutcomeCell[]; contentHash: Uint8Array } | undefined;
  /** The sender closed the delivery without a receipt. */
  settlement?: { code: string } | undefined;
  nowMs: number;
  lateAfterMs: number;
  /** The signature of statement, receipt or settlement does not verify. */
  signatureFailed?: boolean | undefined;
}

/** A verdict with its reason: a sentence, empty when balanced. `leg` names where the difference lies. */
export interface DeliveryVerdict {
  verdict: Verdict;
  reason: string;
  leg?: Leg;
}

const ORDER: readonly Verdict[] = ['balanced', 'explained', 'inFlight', 'open', 'deviation'];

/** Judges one delivery. A receipt outweighs a settlement: what the target committed has happened. */
export function verdictOfDelivery(facts: DeliveryFacts): DeliveryVerdict {
  if (facts.signatureFailed === true) {
    return { verdict: 'deviation', reason: 'A signature does not verify.', leg: 'transport' };
  }
  if (facts.receipt !== undefined) return verdictOfReceipt(facts, facts.receipt);

  const rows = totalRows(facts.counts);
  if (facts.settlement !== undefined) {
    if (rows === 0) return { verdict: 'balanced', reason: '' };
    return {
      verdict: 'explained',
      reason: `${rowsText(rows)} cancelled: the delivery was closed with ${facts.settlement.code}.`,
      leg: 'transport',
    };
  }
  const ageMs = facts.nowMs - facts.sealedAtMs;
  if (ageMs > facts.lateAfterMs) {
    return {
      verdict: 'deviation',
      reason: `No receipt for ${rowsText(rows)} after ${seconds(ageMs)}; expected within ${seconds(facts.lateAfterMs)}.`,
      leg: 'transport',
    };
  }
  return { verdict: 'inFlight', reason: `No receipt yet after ${seconds(ageMs)}.`, leg: 'transport' };
}

/** The worst of several verdicts; balanced for none. */
export function worst(verdicts: Iterable<Verdict>): Verdict {
  let rank = 0;
  for (const verdict of verdicts) rank = Math.max(rank, ORDER.indexOf(verdict));
  return ORDER[rank] as Verdict;
}

/** Whether the target stands as the row was sent to make it stand, by whatever way: what the books' 入库 column counts. */
export function hasLanded({ sent, outcome }: Pick<OutcomeCell, 'sent' | 'outcome'>): boolean {
  switch (outcome) {
    case 'unchanged':
    case 'deletedNothing':
    case 'insertedInsteadOfUpdate':
    case 'updatedInsteadOfInsert':
      return true;
    default:
      return outcome === intended(sent);
  }
}

/** Writes a verdict for the contract. */
export function contractVerdict(verdict: Verdict): ContractVerdict {
  switch (verdict) {
    case 'balanced':
      return ContractVerdict.BALANCED;
    case 'explained':
      return ContractVerdict.EXPLAINED;
    case 'inFlight':
      return ContractVerdict.IN_FLIGHT;
    case 'open':
      return ContractVerdict.OPEN;
    case 'deviation':
      return ContractVerdict.DEVIATION;
    default:
      return verdict satisfies never;
  }
}

function verdictOfReceipt(
  facts: DeliveryFacts,
  receipt: { outcomes: readonly OutcomeCell[]; contentHash: Uint8Array },
): DeliveryVerdict {
  if (!sameBytes(receipt.contentHash, facts.contentHash)) {
    return { verdict: 'deviation', reason: 'The receipt answers another content than was sent.', leg: 'transport' };
  }
  const matrix = Matrix.from(receipt.outcomes);
  const wrong = firstWrongSum(facts.counts, matrix);
  if (wrong !== undefined) {
    const { table, kind, sent, answered } = wrong;
    return {
      verdict: 'deviation',
      reason: `${table}: sent ${sent} ${kind} rows, the receipt answers for ${answered}.`,
      leg: 'apply',
    };
  }
  const open = matrix.openRows();
  if (open > 0) return { verdict: 'open', reason: `${rowsText(open)} in quarantine or held.`, leg: 'apply' };

  const differences = matrix.cells().filter(({ sent, outcome }) => outcome !== intended(sent));
  if (differences.length === 0) return { verdict: 'balanced', reason: '' };
  const list = differences.map(({ table, sent, outcome, rows }) => `${table}: ${rows} ${sent} ${outcome}`);
  const shown = list.length > 8 ? [...list.slice(0, 8), `and ${list.length - 8} more`] : list;
  return { verdict: 'explained', reason: `${shown.join('; ')}.`, leg: 'apply' };
}

function firstWrongSum(
  counts: readonly KindCount[],
  matrix: Matrix,
): { table: string; kind: Kind; sent: number; answered: number } | undefined {
  for (const count of counts) {
    for (const kind of KINDS) {
      const sent = rowsOf(count, kind);
      const answered = matrix.total(count.table, kind);
      if (sent !== answered) return { table: count.table, kind, sent, answered };
    }
  }
  const stated = new Set(counts.map(({ table }) => table));
  const stranger = matrix.cells().find(({ table }) => !stated.has(table));
  if (stranger === undefined) return undefined;
  return { table: stranger.table, kind: stranger.sent, sent: 0, answered: matrix.total(stranger.table, stranger.sent) };
}

function rowsText(rows: number): string {
  return rows === 1 ? '1 row' : `${rows} rows`;
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`;
}
