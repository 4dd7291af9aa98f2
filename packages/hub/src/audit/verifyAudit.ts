// Owns the proof of the audit: every link of every chain, and every seal that one chain holds of another, so that whoever cuts
// or rewrites one replica's chain is told on by the others'.

import type { AuditEntry } from '@qiao/contract/hub';
import { AUDIT_GENESIS, auditHash } from './auditHash.ts';
import { SEAL_ACTION, sealOf } from './seal.ts';

export interface AuditChain {
  readonly replica: string;
  readonly entries: bigint;
  /** Hexadecimal. */
  readonly head: string;
}

/** What `verifyAudit` found: every entry follows from the one before and every seal holds, or the first thing that does not. */
export type AuditFinding =
  | { readonly kind: 'intact'; readonly entries: bigint; readonly chains: readonly AuditChain[] }
  | { readonly kind: 'broken'; readonly replica: string; readonly number: bigint; readonly why: string };

type Broken = Extract<AuditFinding, { kind: 'broken' }>;

/**
 * Checks all chains; `read` is called once for the links, and once more when there are seals to compare. An entry changed,
 * removed from the middle, inserted or renumbered is found. Entries cut off an end are found when another chain had sealed
 * them; else compare `head` and `entries` with a copy kept elsewhere. Seals are held in memory: at most one per replica and
 * five minutes.
 */
export async function verifyAudit(read: () => AsyncIterable<AuditEntry>): Promise<AuditFinding> {
  const ends = new Map<string, { entries: bigint; head: Uint8Array }>();
  const seals = new Map<string, Broken & { readonly hash: string }>();
  for await (const entry of read()) {
    const { replica } = entry;
    const end = ends.get(replica) ?? { entries: 0n, head: AUDIT_GENESIS };
    const why = flawOf(entry, end);
    if (why !== undefined) return { kind: 'broken', replica, number: end.entries + 1n, why };
    ends.set(replica, { entries: entry.number, head: entry.hash });
    if (entry.action !== SEAL_ACTION) continue;
    const seal = sealOf(entry);
    if (seal === undefined)
      return { kind: 'broken', replica, number: entry.number, why: 'it is a seal that cannot be read' };
    seals.set(`${seal.replica}\0${seal.number}`, {
      kind: 'broken',
      replica: seal.replica,
      number: seal.number,
      why: `entry ${entry.number} of "${replica}" sealed it, and it is not there as it was sealed`,
      hash: seal.hash,
    });
  }
  const broken = seals.size === 0 ? undefined : await compareSeals(read, seals);
  if (broken !== undefined) return broken;
  const chains = [...ends].map(([replica, { entries, head }]) => ({ replica, entries, head: hex(head) }));
  return { kind: 'intact', entries: chains.reduce((sum, { entries }) => sum + entries, 0n), chains };
}

function flawOf(entry: AuditEntry, end: { entries: bigint; head: Uint8Array }): string | undefined {
  const expected = end.entries + 1n;
  if (entry.number !== expected) return `entry ${expected} is missing: ${entry.number} comes next`;
  if (Buffer.compare(entry.previousHash, end.head) !== 0) return 'it does not name the hash of the entry before it';
  if (Buffer.compare(entry.hash, auditHash(entry)) !== 0) return 'its fields do not give its hash: it was edited';
  return undefined;
}

async function compareSeals(
  read: () => AsyncIterable<AuditEntry>,
  seals: Map<string, Broken & { readonly hash: string }>,
): Promise<Broken | undefined> {
  for await (const entry of read()) {
    const key = `${entry.replica}\0${entry.number}`;
    const seal = seals.get(key);
    if (seal === undefined) continue;
    if (seal.hash !== hex(entry.hash)) return told(seal);
    seals.delete(key);
  }
  const [left] = seals.values();
  return left === undefined ? undefined : told(left);
}

function told({ replica, number, why }: Broken): Broken {
  return { kind: 'broken', replica, number, why };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
