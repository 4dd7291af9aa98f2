// Owns the renewal of the hub's own certificate and of the authority's, which end together: in the last third of their life each gets
// another end for the same key, at a start of the hub and without a person. Whoever trusts the old one takes the new one, which comes with
// the renewal of its own certificate. Of several replicas one writes the authority's new certificate, and the others take it from hub.db.

import { type Clock, crashPoint, type Log, type Part } from '@qiao/runtime';
import {
  Authority,
  hostsOfCertificate,
  isRenewalDue,
  isSameAuthority,
  lifeOf,
  type NodeIdentity,
  renewalRequest,
  writeIdentity,
} from '@qiao/security';
import { appendAudit } from '../audit/audit.ts';
import type { HubDatabase } from '../hubDatabase.ts';

/** As long as the authority lives. */
export const HUB_CERTIFICATE_DAYS = 3650;
const LOOK_EVERY_MS = 86_400_000;

export interface OwnCertificates {
  readonly authority: Authority;
  readonly identity: NodeIdentity;
}

/**
 * Authority and identity of the hub in this directory, renewed where it is time. A crash leaves old and new ones side by side, which are for
 * the same keys; the next start goes on.
 */
export async function renewOwn(
  directory: string,
  own: OwnCertificates,
  store: HubDatabase,
  nowMs: number,
): Promise<OwnCertificates> {
  const authorityDer = await presentAuthority(own.authority, store, nowMs);
  const isAuthorityNew = lifeOf(authorityDer).notAfterMs > lifeOf(own.authority.certificateDer).notAfterMs;
  if (!isAuthorityNew && !isDue(own.identity.certificate, nowMs)) return own;
  crashPoint('authority.renewed');
  writeIdentity(directory, { ...own.identity, authority: authorityDer });
  const authority = await Authority.open(directory);
  const certificate = await authority.issue(await renewalRequest(own.identity), {
    role: 'hub',
    platformId: own.identity.platformId,
    nodeId: own.identity.nodeId,
    code: own.identity.nodeCode,
    days: HUB_CERTIFICATE_DAYS,
    hosts: hostsOfCertificate(own.identity.certificate),
    nowMs,
  });
  const identity = { ...own.identity, authority: authorityDer, certificate };
  writeIdentity(directory, identity);
  return { authority, identity };
}

/** In the last third of its life, or later: the hub need show it to nobody to renew it. */
function isDue(certificate: Uint8Array, nowMs: number): boolean {
  return isRenewalDue(certificate, nowMs) || nowMs > lifeOf(certificate).notAfterMs;
}

/** The authority's certificate (DER) that all replicas use: renewed by the first that finds it due. */
async function presentAuthority(own: Authority, store: HubDatabase, nowMs: number): Promise<Uint8Array> {
  return await store.transaction().execute(async (transaction) => {
    const kept = await transaction.selectFrom('hub_state').select('authority').executeTakeFirst();
    const shared = kept?.authority ?? null;
    const present = shared !== null && isSameAuthority(shared, own.certificateDer) ? shared : own.certificateDer;
    if (!isDue(present, nowMs)) return present;
    const authority = await own.renewed(nowMs);
    const { numUpdatedRows } = await transaction
      .updateTable('hub_state')
      .set({ authority })
      .where('authority', shared === null ? 'is' : '=', shared)
      .executeTakeFirst();
    // Another replica was quicker: its certificate is read at the next look.
    if (numUpdatedRows === 0n) return present;
    await appendAudit(transaction, {
      atMs: nowMs,
      actor: 'hub',
      action: 'authority.renew',
      subject: 'authority',
      success: true,
      detail: { endsAtMs: lifeOf(authority).notAfterMs },
    });
    return authority;
  });
}

/** Says once a day that the certificates are due while a hub runs on: it renews them at its next start. */
export function ownRenewalPart({ identity }: OwnCertificates, clock: Clock, log: Log): Part {
  return {
    name: 'ownRenewal',
    async run(signal) {
      while (!signal.aborted) {
        if (isDue(identity.certificate, clock.nowMs())) {
          const endsAt = new Date(lifeOf(identity.certificate).notAfterMs).toISOString();
          log.warn(
            { code: 'CERTIFICATE_ENDS', endsAt, hint: 'start the hub again: systemctl restart qiao-hub' },
            'the hub’s certificate is renewed at its next start',
          );
        }
        await clock.sleep(LOOK_EVERY_MS, signal);
      }
    },
  };
}
