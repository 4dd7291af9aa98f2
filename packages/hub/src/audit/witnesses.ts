// Owns what the monitor's word is worth to an auditor: heads of the chains that it was shown as the hub wrote them. A chain that was
// rewritten whole, or cut, follows from itself; it does not hold what somebody else has seen of it.

import type { AuditEntry } from '@qiao/contract/hub';
import type { AuditHead } from '@qiao/contract/monitor';

export interface WitnessFinding {
  /** Heads that are in the chains as they were shown. */
  readonly same: number;
  /** Heads of before a restore that a person confirmed, and that the backup lacks. */
  readonly lost: readonly AuditHead[];
  /** Heads that no restore explains. */
  readonly denied: readonly AuditHead[];
  /** Restores that a person confirmed, in the order of the chains. */
  readonly restores: readonly { readonly begun: AuditEntry; readonly confirmed: AuditEntry }[];
}

/** Clocks of monitor and hub may differ by this much. */
const CLOCKS_DIFFER_MS = 600_000n;

/** Compares every head with the chains. Heads are held in memory: about one a minute for as long as the books. */
export async function compareWitnesses(
  entries: AsyncIterable<AuditEntry>,
  witnesses: Iterable<AuditHead>,
): Promise<WitnessFinding> {
  const shown = new Map<string, AuditHead>();
  for (const one of witnesses) shown.set(`${one.replica}\0${one.number}`, one);
  const holds: AuditEntry[] = [];
  const confirmations: AuditEntry[] = [];
  /** When the entry in the place of a contradicted head was written. */
  const replacedAtMs = new Map<AuditHead, bigint>();
  let same = 0;
  for await (const entry of entries) {
    if (entry.action === 'hub.hold') holds.push(entry);
    if (entry.action === 'hub.confirm' && entry.success) confirmations.push(entry);
    const key = `${entry.replica}\0${entry.number}`;
    const witness = shown.get(key);
    if (witness === undefined) continue;
    if (Buffer.compare(witness.hash, entry.hash) !== 0) {
      replacedAtMs.set(witness, entry.atMs);
      continue;
    }
    same += 1;
    shown.delete(key);
  }
  const restores = holds.flatMap((begun) => {
    const confirmed = confirmations.find(({ atMs }) => atMs >= begun.atMs);
    return confirmed === undefined ? [] : [{ begun, confirmed }];
  });
  // Shown before the restore, and what stands there now was written after it; a store that was put back without a word worked a while
  // before an agent noticed.
  const isLost = (witness: AuditHead): boolean =>
    restores.some(
      ({ begun }) =>
        witness.atMs <= begun.atMs + CLOCKS_DIFFER_MS &&
        (replacedAtMs.get(witness) ?? begun.atMs) >= begun.atMs - CLOCKS_DIFFER_MS,
    );
  const left = [...shown.values()];
  return { same, lost: left.filter(isLost), denied: left.filter((one) => !isLost(one)), restores };
}
