/**
 * A certificate that ends soon is replaced by another for the same key: when that is due, the request for it, and taking the answer.
 * The key stays, so everything that was signed or sealed with it stays good; a new key needs a new joining. How request and answer
 * travel is the caller's business.
 */
import type { Renewal } from '@qiao/contract/control';
import { QiaoError, sameBytes } from '@qiao/exchange';
import { isSameAuthority, lifeOf, readCertificate, sameKey, verifyIssued } from './certificate.ts';
import { type NodeIdentity, writeIdentity } from './identityFiles.ts';
import { createCsr } from './request.ts';

/** The last third of its life, so that a machine that is off for months still comes back in time. */
const DUE_SHARE = 2 / 3;

/** Whether the certificate should be renewed: from two thirds of its life until its end. */
export function isRenewalDue(certificate: Uint8Array, nowMs: number): boolean {
  const { notBeforeMs, notAfterMs } = lifeOf(certificate);
  return nowMs > notBeforeMs + (notAfterMs - notBeforeMs) * DUE_SHARE && nowMs <= notAfterMs;
}

/** The signing request for the same key (DER). */
export async function renewalRequest(identity: Pick<NodeIdentity, 'nodeCode' | 'keyPem'>): Promise<Uint8Array> {
  return await createCsr(identity.nodeCode, identity.keyPem);
}

/** Takes the hub's answer and writes it. Throws RENEWAL_INVALID when it is not this node's, for this key, of this authority, and later. */
export function takeRenewal(directory: string, identity: NodeIdentity, renewal: Renewal, nowMs: number): NodeIdentity {
  const invalid = (why: string) =>
    new QiaoError('RENEWAL_INVALID', `the renewed certificate cannot be used: ${why}`, { hint: 'qiao node list' });
  const before = readCertificate(identity.certificate);
  const after = verifyIssued(renewal.certificate, identity.authority, nowMs);
  if (after.role !== identity.role || !sameBytes(after.nodeId, identity.nodeId) || after.code !== identity.nodeCode) {
    throw invalid(`it names ${after.role} ${after.code}`);
  }
  if (!sameKey(renewal.certificate, identity.certificate)) throw invalid('it is for another key');
  if (after.notAfterMs <= before.notAfterMs) throw invalid('it ends no later than the present one');
  const hubCertificate = renewedHub(identity, renewal);
  const nats =
    identity.nats === undefined || renewal.natsJwt === '' ? identity.nats : { ...identity.nats, jwt: renewal.natsJwt };
  const authority = renewedAuthority(identity.authority, renewal.authority);
  const renewed: NodeIdentity = { ...identity, certificate: renewal.certificate, authority, hubCertificate, nats };
  writeIdentity(directory, renewed);
  return renewed;
}

/** The authority that is trusted from here on: the one that came when it is the present one with a later end, or the present one. */
export function renewedAuthority(present: Uint8Array, came: Uint8Array): Uint8Array {
  return came.length > 0 && isSameAuthority(came, present) ? came : present;
}

/** The hub renews its own too; another key than the one that was pinned at joining is never taken this way. */
function renewedHub(identity: NodeIdentity, { hubCertificate }: Renewal): Uint8Array {
  if (hubCertificate.length === 0 || identity.hubCertificate.length === 0) return identity.hubCertificate;
  return sameKey(hubCertificate, identity.hubCertificate) ? hubCertificate : identity.hubCertificate;
}
