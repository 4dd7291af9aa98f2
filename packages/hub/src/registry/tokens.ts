// Owns one-time tokens as rows: of the 32 random bytes only a hash is stored; good once, until they expire. The text form
// is security's; who may make one, and what it buys, is identity's.

import { secretHash } from '@qiao/security';
import type { HubDatabase } from '../hubDatabase.ts';

export interface NewToken {
  readonly secret: Uint8Array;
  readonly nodeId: string;
  readonly createdBy: string;
  readonly nowMs: number;
  readonly expiresAtMs: number;
}

/** What became of a secret that was shown. Callers answer every kind but `taken` alike, so that guessing teaches nothing. */
export type TakenToken =
  | { readonly kind: 'taken'; readonly nodeId: string; readonly createdBy: string }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'used'; readonly nodeId: string }
  | { readonly kind: 'expired'; readonly nodeId: string };

/** Stores a token. Earlier unused tokens of the same node end: the newest invitation is the only one. */
export async function storeToken(store: HubDatabase, token: NewToken): Promise<void> {
  await store.deleteFrom('tokens').where('node_id', '=', token.nodeId).where('used_at_ms', 'is', null).execute();
  await store
    .insertInto('tokens')
    .values({
      secret_sha256: secretHash(token.secret),
      node_id: token.nodeId,
      created_at_ms: token.nowMs,
      created_by: token.createdBy,
      expires_at_ms: token.expiresAtMs,
      used_at_ms: null,
    })
    .execute();
}

/** Takes a token in one statement, so that of two who show it at once one alone gets it. */
export async function takeToken(store: HubDatabase, secret: Uint8Array, nowMs: number): Promise<TakenToken> {
  const hash = secretHash(secret);
  const taken = await store
    .updateTable('tokens')
    .set({ used_at_ms: nowMs })
    .where('secret_sha256', '=', hash)
    .where('used_at_ms', 'is', null)
    .where('expires_at_ms', '>', nowMs)
    .returning(['node_id', 'created_by'])
    .executeTakeFirst();
  if (taken !== undefined) return { kind: 'taken', nodeId: taken.node_id, createdBy: taken.created_by };
  const found = await store.selectFrom('tokens').selectAll().where('secret_sha256', '=', hash).executeTakeFirst();
  if (found === undefined) return { kind: 'unknown' };
  return { kind: found.used_at_ms === null ? 'expired' : 'used', nodeId: found.node_id };
}

/** A node that is thrown out takes its open invitations with it. */
export async function dropOpenTokens(store: HubDatabase, nodeId: string): Promise<void> {
  await store.deleteFrom('tokens').where('node_id', '=', nodeId).where('used_at_ms', 'is', null).execute();
}
