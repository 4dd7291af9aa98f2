// Owns the list of certificates given out and which of them are revoked. The authority that signs them is in `security`;
// this list is why a stolen certificate is useless the moment an operator says so.

import { createHash } from 'node:crypto';
import { certifiedKey } from '@qiao/security';
import type { HubDatabase } from '../hubDatabase.ts';

export interface IssuedCertificate {
  /** DER. */
  readonly certificate: Uint8Array;
  /** SHA-256 of the DER, hexadecimal. */
  readonly fingerprint: string;
  readonly nodeId: string;
  readonly natsUser: string | null;
  readonly issuedAtMs: number;
}

export async function recordCertificate(store: HubDatabase, issued: IssuedCertificate): Promise<void> {
  await store
    .insertInto('certificates')
    .values({
      fingerprint: issued.fingerprint,
      key_sha256: keyName(issued.certificate),
      node_id: issued.nodeId,
      nats_user: issued.natsUser,
      issued_at_ms: issued.issuedAtMs,
      revoked_at_ms: null,
      reason: null,
    })
    .execute();
}

/** Revokes everything the node was ever given; answers the NATS users that the bus must cut. */
export async function revokeCertificates(
  store: HubDatabase,
  nodeId: string,
  reason: string,
  nowMs: number,
): Promise<string[]> {
  const rows = await store
    .updateTable('certificates')
    .set({ revoked_at_ms: nowMs, reason })
    .where('node_id', '=', nodeId)
    .where('revoked_at_ms', 'is', null)
    .returning('nats_user')
    .execute();
  return rows.flatMap((row) => (row.nats_user === null ? [] : [row.nats_user]));
}

/** The reason of a certificate whose node has joined with other keys since: nobody ended its rights. */
export const JOINED_AGAIN = 'joined again';

/**
 * Whether a person ended the rights of this certificate's public key, or of this bus user, at whatever node they were. `before` names a
 * certificate that is known to be for the same key.
 */
export async function wereEnded(
  store: HubDatabase,
  { certificate, natsUser, before }: { certificate: Uint8Array; natsUser: string | null; before: string | null },
): Promise<boolean> {
  const row = await store
    .selectFrom('certificates')
    .select('fingerprint')
    .where('revoked_at_ms', 'is not', null)
    .where('reason', '<>', JOINED_AGAIN)
    .where((on) =>
      on.or([
        on('key_sha256', '=', keyName(certificate)),
        on('nats_user', '=', natsUser ?? ''),
        on('fingerprint', '=', before ?? ''),
      ]),
    )
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}

/** Whether another node was ever given rights under this bus user. */
export async function isBusUserOfAnother(store: HubDatabase, nodeId: string, natsUser: string): Promise<boolean> {
  const row = await store
    .selectFrom('certificates')
    .select('fingerprint')
    .where('nats_user', '=', natsUser)
    .where('node_id', '<>', nodeId)
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}

/** The name of the public key that a certificate is for. */
export function keyName(certificate: Uint8Array): string {
  return createHash('sha256').update(certifiedKey(certificate)).digest('hex');
}

/** NATS users that no good certificate stands for any more: what a bus that lost its accounts must be told. */
export async function revokedBusUsers(store: HubDatabase): Promise<string[]> {
  const rows = await store
    .selectFrom('certificates')
    .select((column) => [
      'nats_user',
      column.fn.countAll<number>().as('given'),
      column.fn.count<number>('revoked_at_ms').as('ended'),
    ])
    .where('nats_user', 'is not', null)
    .groupBy('nats_user')
    .execute();
  return rows.flatMap((row) => (row.nats_user === null || row.given > row.ended ? [] : [row.nats_user]));
}

const MOST_REVOKED_KEYS = 10_000;

/** Fingerprints of certificates whose rights were ended, newest first, as many as the directory may name. */
export async function revokedFingerprints(store: HubDatabase): Promise<string[]> {
  const rows = await store
    .selectFrom('certificates')
    .select('fingerprint')
    .where('revoked_at_ms', 'is not', null)
    .orderBy('revoked_at_ms', 'desc')
    .orderBy('fingerprint')
    .limit(MOST_REVOKED_KEYS)
    .execute();
  return rows.map(({ fingerprint }) => fingerprint);
}

/** Whether a certificate was issued here and still holds. One that this hub never issued does not. */
export async function isCertificateGood(store: HubDatabase, fingerprint: string): Promise<boolean> {
  const row = await store
    .selectFrom('certificates')
    .select('revoked_at_ms')
    .where('fingerprint', '=', fingerprint)
    .executeTakeFirst();
  return row !== undefined && row.revoked_at_ms === null;
}
