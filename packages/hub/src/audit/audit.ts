// Owns the audit: rows that name who did what to what, each sealed to the row before by its hash, written in the transaction
// of the event they tell of. Detail carries facts, never rows, keys or secrets: callers choose fields, this file adds none.

import type { AuditEntry } from '@qiao/contract/hub';
import type { AuditRow, HubDatabase } from '../hubDatabase.ts';
import { AUDIT_GENESIS, auditHash } from './auditHash.ts';

export interface AuditEvent {
  readonly atMs: number;
  /** "operator:<name>", "node:<code>" or "hub". */
  readonly actor: string;
  /** "<noun>.<verb>", for example "bridge.deploy". */
  readonly action: string;
  readonly subject: string;
  readonly success: boolean;
  readonly detail?: Readonly<Record<string, string | number | boolean | readonly string[]>>;
}

/** What `verifyAudit` found: every entry follows from the one before, or the first that does not. */
export type AuditFinding =
  | { readonly kind: 'intact'; readonly entries: bigint; readonly head: string }
  | { readonly kind: 'broken'; readonly number: bigint; readonly why: string };

const BATCH_ROWS = 1_000;

/** Appends one entry. Hand in the transaction of the event, so that neither exists without the other. */
export async function appendAudit(store: HubDatabase, event: AuditEvent): Promise<void> {
  const last = await store
    .selectFrom('audit')
    .select(['number', 'hash'])
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst();
  const row = {
    number: (last?.number ?? 0) + 1,
    at_ms: event.atMs,
    actor: event.actor,
    action: event.action,
    subject: event.subject,
    success: event.success ? 1 : 0,
    detail_json: JSON.stringify(event.detail ?? {}),
    previous_hash: last?.hash ?? AUDIT_GENESIS,
  };
  const hash = auditHash(auditEntry({ ...row, hash: AUDIT_GENESIS }));
  await store
    .insertInto('audit')
    .values({ ...row, hash })
    .execute();
}

/** Entries from number `from` on, oldest first, read in batches so that a long audit is never held in memory. 0 means all. */
export async function* readAudit(store: HubDatabase, from = 0, limit = 0): AsyncGenerator<AuditEntry> {
  let next = from;
  let left = limit === 0 ? Number.MAX_SAFE_INTEGER : limit;
  while (left > 0) {
    const rows = await store
      .selectFrom('audit')
      .selectAll()
      .where('number', '>=', next)
      .orderBy('number')
      .limit(Math.min(left, BATCH_ROWS))
      .execute();
    for (const row of rows) yield auditEntry(row);
    const last = rows.at(-1);
    if (last === undefined || rows.length < BATCH_ROWS) return;
    next = last.number + 1;
    left -= rows.length;
  }
}

/**
 * Checks the whole chain. An entry changed, removed from the middle, inserted or renumbered is found. Entries cut off the
 * end are not: compare `head` and `entries` with a copy kept elsewhere.
 */
export async function verifyAudit(entries: AsyncIterable<AuditEntry>): Promise<AuditFinding> {
  let previous: Uint8Array = AUDIT_GENESIS;
  let expected = 1n;
  for await (const entry of entries) {
    if (entry.number !== expected) {
      return { kind: 'broken', number: expected, why: `entry ${expected} is missing: ${entry.number} comes next` };
    }
    if (Buffer.compare(entry.previousHash, previous) !== 0) {
      return { kind: 'broken', number: entry.number, why: 'it does not name the hash of the entry before it' };
    }
    if (Buffer.compare(entry.hash, auditHash(entry)) !== 0) {
      return { kind: 'broken', number: entry.number, why: 'its fields do not give its hash: it was edited' };
    }
    previous = entry.hash;
    expected += 1n;
  }
  return { kind: 'intact', entries: expected - 1n, head: Buffer.from(previous).toString('hex') };
}

function auditEntry(row: AuditRow): AuditEntry {
  return {
    number: BigInt(row.number),
    atMs: BigInt(row.at_ms),
    actor: row.actor,
    action: row.action,
    subject: row.subject,
    success: row.success === 1,
    detailJson: row.detail_json,
    hash: row.hash,
    previousHash: row.previous_hash,
  };
}
