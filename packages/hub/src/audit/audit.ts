// Owns the audit: rows that name who did what to what, each sealed to the row before by its hash, written in the transaction
// of the event they tell of. Each replica of the hub writes a chain of its own: the connection says whose it is. Detail carries
// facts, never rows, keys or secrets: callers choose fields, this file adds none.

import type { AuditEntry } from '@qiao/contract/hub';
import { sql } from 'kysely';
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

const BATCH_ROWS = 1_000;

/** Appends one entry. Hand in the transaction of the event, so that neither exists without the other. */
export async function appendAudit(store: HubDatabase, event: AuditEvent): Promise<void> {
  const replica = await replicaOf(store);
  const last = await store
    .selectFrom('audit')
    .select(['number', 'hash'])
    .where('replica', '=', replica)
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst();
  const row = {
    replica,
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

/** The replica whose connection this is. */
export async function replicaOf(store: HubDatabase): Promise<string> {
  const { rows } = await sql<{ name: string }>`SELECT qiao_replica() AS name`.execute(store);
  return rows[0]?.name ?? 'hub';
}

export interface AuditRange {
  /** First number of each chain. */
  readonly from?: number;
  /** At most so many entries in all; 0 for every one. */
  readonly limit?: number;
  /** One chain; empty for all of them. */
  readonly replica?: string;
}

/** Entries chain by chain, each oldest first, read in batches so that a long audit is never held in memory. */
export async function* readAudit(
  store: HubDatabase,
  { from = 0, limit = 0, replica = '' }: AuditRange = {},
): AsyncGenerator<AuditEntry> {
  let left = limit === 0 ? Number.MAX_SAFE_INTEGER : limit;
  for (const chain of replica === '' ? await chainsOf(store) : [replica]) {
    let next = from;
    while (left > 0) {
      const rows = await store
        .selectFrom('audit')
        .selectAll()
        .where('replica', '=', chain)
        .where('number', '>=', next)
        .orderBy('number')
        .limit(Math.min(left, BATCH_ROWS))
        .execute();
      for (const row of rows) yield auditEntry(row);
      left -= rows.length;
      const last = rows.at(-1);
      if (last === undefined || rows.length < BATCH_ROWS) break;
      next = last.number + 1;
    }
  }
}

/** Every replica that ever wrote, by name. */
export async function chainsOf(store: HubDatabase): Promise<string[]> {
  const rows = await store.selectFrom('audit').select('replica').distinct().orderBy('replica').execute();
  return rows.map((row) => row.replica);
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
    replica: row.replica,
  };
}
