// Owns the seals between the chains of the audit: now and then each replica writes the newest head of every other chain into
// its own. Whoever would rewrite one chain must then rewrite all of them.

import type { AuditEntry } from '@qiao/contract/hub';
import type { Clock, Part } from '@qiao/runtime';
import { sql } from 'kysely';
import type { HubDatabase } from '../hubDatabase.ts';
import { appendAudit, chainsOf, replicaOf } from './audit.ts';

export const SEAL_ACTION = 'audit.seal';
/** Literally, as the index says it. */
const IS_SEAL = sql<boolean>`action = 'audit.seal'`;
const SEAL_EVERY_MS = 300_000;

export interface Seal {
  readonly replica: string;
  readonly number: bigint;
  /** Hexadecimal. */
  readonly hash: string;
}

/** The head that a seal names; undefined when its detail is none. */
export function sealOf(entry: AuditEntry): Seal | undefined {
  try {
    const { number, hash } = JSON.parse(entry.detailJson) as { number?: unknown; hash?: unknown };
    if (typeof number !== 'number' || !Number.isSafeInteger(number) || typeof hash !== 'string') return undefined;
    return { replica: entry.subject, number: BigInt(number), hash };
  } catch {
    return undefined;
  }
}

/** Seals at the start and every five minutes. */
export function sealPart({ store, clock }: { readonly store: HubDatabase; readonly clock: Clock }): Part {
  return {
    name: 'audit-seal',
    async run(signal) {
      while (!signal.aborted) {
        await sealOthers(store, clock.nowMs());
        await clock.sleep(SEAL_EVERY_MS, signal);
      }
    },
  };
}

/** Writes one entry for each other chain that tells of something new. Answers how many. */
export async function sealOthers(store: HubDatabase, atMs: number): Promise<number> {
  const own = await replicaOf(store);
  const others = (await chainsOf(store)).filter((replica) => replica !== own);
  let written = 0;
  for (const replica of others) {
    if (await store.transaction().execute((transaction) => sealOne(transaction, replica, own, atMs))) written += 1;
  }
  return written;
}

async function sealOne(store: HubDatabase, replica: string, own: string, atMs: number): Promise<boolean> {
  // A chain that only sealed since says nothing new: two replicas would otherwise seal each other's seals for ever.
  const newest = await store
    .selectFrom('audit')
    .select('number')
    .where('replica', '=', replica)
    .where(sql<boolean>`action <> 'audit.seal'`)
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst();
  const last = await store
    .selectFrom('audit')
    .select('detail_json')
    .where('replica', '=', own)
    .where(IS_SEAL)
    .where('subject', '=', replica)
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst();
  const sealed = last === undefined ? 0 : (JSON.parse(last.detail_json) as { number: number }).number;
  if (newest === undefined || newest.number <= sealed) return false;
  const head = await store
    .selectFrom('audit')
    .select(['number', 'hash'])
    .where('replica', '=', replica)
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirstOrThrow();
  const detail = { number: head.number, hash: Buffer.from(head.hash).toString('hex') };
  await appendAudit(store, { atMs, actor: 'hub', action: SEAL_ACTION, subject: replica, success: true, detail });
  return true;
}
