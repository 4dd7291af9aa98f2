// Owns the renewal of a certificate that ends: the same key, proven by the signing request, gets another end. It needs no person, because
// it gives nothing that was not given; whoever was revoked, or let the certificate end, needs an invitation.

import type { Renewal } from '@qiao/contract/control';
import { parseId, QiaoError } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import { readCertificate, sameKey } from '@qiao/security';
import { appendAudit } from '../audit/audit.ts';
import type { NodeRow } from '../hubDatabase.ts';
import { recordCertificate } from '../registry/certificates.ts';
import type { IdentityPorts } from './identity.ts';

const MAX_CSR_BYTES = 4_096;

/** Renews the certificate of a joined node, monitor or operator. Throws NODE_REVOKED, CERTIFICATE_EXPIRED, CSR_INVALID, KEY_CHANGED. */
export async function renew(ports: IdentityPorts, node: NodeRow, csr: Uint8Array): Promise<Renewal> {
  const nowMs = ports.clock.nowMs();
  const hint = `qiao node invite ${node.code}  # then join again on that machine`;
  if (node.status !== 'joined' || node.certificate === null) {
    throw new QiaoError('NODE_REVOKED', `"${node.code}" has no rights that could be renewed`, { hint });
  }
  const before = readCertificate(node.certificate);
  if (nowMs > before.notAfterMs) {
    const ended = new Date(before.notAfterMs).toISOString();
    throw new QiaoError('CERTIFICATE_EXPIRED', `the certificate of "${node.code}" ended at ${ended}`, { hint });
  }
  if (csr.length > MAX_CSR_BYTES) {
    throw new QiaoError(
      'CSR_INVALID',
      `found a signing request of ${csr.length} bytes, expected at most ${MAX_CSR_BYTES}`,
    );
  }
  const certificate = await ports.authority.issue({
    csr,
    role: node.role,
    nodeId: parseId(node.id),
    code: node.code,
    hosts: node.role === 'monitor' ? ports.hostsOf(node.certificate) : [],
    nowMs,
  });
  if (!sameKey(certificate, node.certificate)) {
    throw new QiaoError(
      'KEY_CHANGED',
      `the signing request of "${node.code}" is for another key than its certificate`,
      { hint },
    );
  }
  const facts = readCertificate(certificate);
  await ports.store.transaction().execute(async (store) => {
    await recordCertificate(store, {
      certificate,
      fingerprint: facts.fingerprint,
      nodeId: node.id,
      natsUser: node.nats_user,
      issuedAtMs: nowMs,
    });
    await store
      .updateTable('nodes')
      .set({ certificate, fingerprint: facts.fingerprint, certificate_ends_at_ms: facts.notAfterMs })
      .where('id', '=', node.id)
      .execute();
    await appendAudit(store, {
      atMs: nowMs,
      actor: node.role === 'operator' ? `operator:${node.code}` : `node:${node.code}`,
      action: 'node.renew',
      subject: node.code,
      success: true,
      detail: { role: node.role, fingerprint: facts.fingerprint, endsAtMs: facts.notAfterMs },
    });
  });
  crashPoint('renewal.stored');
  await ports.changed();
  const natsJwt =
    node.role === 'operator' || node.nats_user === null
      ? ''
      : await ports.busRights.userJwt(node.nats_user, node.role, node.code);
  return { certificate, natsJwt, hubCertificate: ports.hubCertificate, authority: ports.authority.certificateDer };
}
