// Owns the audit: rows that name who did what to what, each sealed to the row before by its hash, written in the transaction
// of the event they tell of. Detail carries facts, never rows, keys or secrets: callers choose fields, this file adds none.

import { createHash } from 'node:crypto';
import type { AuditRow, HubDatabase } from '../hub-database.ts';

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

/** What `verifyAudit` found: every row follows from the one before, or the first that does not. */
export type AuditFinding =
  | { readonly kind: 'intact'; readonly entries: number; readonly head: string }
  | { readonly kind: 'broken'; readonly number: number; readonly why: string };

/** Previous hash of entry 1. */
const GENESIS = Buffer.alloc(32);
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
  };
  const previousHash = last === undefined ? GENESIS : last.hash;
  await store
    .insertInto('audit')
    .values({ ...row, previous_hash: previousHash, hash: auditHash(previousHash, row) })
    .execute();
}

/** Entries from `from` on, oldest first, read in batches so that a long audit is never held in memory. */
export async function* readAudit(store: HubDatabase, from: number, limit = Number.MAX_SAFE_INTEGER): AsyncGenerator<AuditRow> {
  let next = from;
  let left = limit;
  while (left > 0) {
    const rows = await store
      .selectFrom('audit')
      .selectAll()
      .where('number', '>=', next)
      .orderBy('number')
      .limit(Math.min(left, BATCH_ROWS))
      .execute();
    yield* rows;
    if (rows.length < BATCH_ROWS) return;
    next += rows.length;
    left -= rows.length;
  }
}

/**
 * Checks the whole chain. An entry changed, removed from the middle, inserted or renumbered is found. Entries cut off the
 * end are not: compare `head` and `entries` with a copy kept elsewhere.
 */
export async function verifyAudit(entries: AsyncIterable<AuditRow>): Promise<AuditFinding> {
  let previous: Uint8Array = GENESIS;
  let expected = 1;
  for await (const row of entries) {
    if (row.number !== expected) {
      return { kind: 'broken', number: expected, why: `entry ${expected} is missing: ${row.number} comes next` };
    }
    if (Buffer.compare(row.previous_hash, previous) !== 0) {
      return { kind: 'broken', number: row.number, why: 'it does not name the hash of the entry before it' };
    }
    if (Buffer.compare(row.hash, auditHash(previous, row)) !== 0) {
      return { kind: 'broken', number: row.number, why: 'its fields do not give its hash: it was edited' };
    }
    previous = row.hash;
    expected += 1;
  }
  return { kind: 'intact', entries: expected - 1, head: Buffer.from(previous).toString('hex') };
}

/** SHA-256 over the previous hash and the fields as one JSON array: an encoding that an auditor can rebuild with any tool. */
function auditHash(previous: Uint8Array, row: Omit<AuditRow, 'hash' | 'previous_hash'>): Buffer {
  const fields = [row.number, row.at_ms, row.actor, row.action, row.subject, row.success, row.detail_json];
  return createHash('sha256').update(previous).update(JSON.stringify(fields)).digest();
}
