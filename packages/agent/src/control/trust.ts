// Whose word counts: certificates and signatures as the agent's parts need them, as one small port over @qiao/security.
// Tests give a port of their own; only compose.ts builds the real one.

import type { Signed } from '@qiao/contract/signed';
import { idText, parseId, QiaoError, sameBytes } from '@qiao/exchange';
import { type CertificateFacts, type Context, keyIdOf, Verifier, verifyIssued } from '@qiao/security';

export interface Trust {
  /** Throws unless the certificate was issued by the platform's authority to this agent and has not ended. */
  checkPeer(certificate: Uint8Array, nodeId: string): void;
  /** Throws unless the certificate was issued by the platform's authority to a monitor and has not ended. */
  checkMonitor(certificate: Uint8Array): void;
  /** Throws SIGNATURE_INVALID or KEY_MISMATCH unless `signed` carries this certificate's signature for this context. */
  checkSigned(context: Context, signed: Signed, certificate: Uint8Array): void;
}

/** Who an operator is, by a certificate of this platform's authority. */
export interface OperatorTrust {
  /** Throws unless the certificate is an operator's of this platform and `signed` carries its signature for qiao.operator.v1. */
  operatorOf(signed: Signed, certificate: Uint8Array): { readonly name: string; readonly fingerprint: string };
}

// A node has tens of peers; past this the certificates are proven again, never refused.
const PROVEN_CERTIFICATES = 1_024;

export function createTrust(options: {
  authority: Uint8Array;
  platformId: string;
  nowMs(): number;
}): Trust & OperatorTrust {
  const verifier = new Verifier();
  const platformId = parseId(options.platformId);
  // What the authority vouched for does not change, only the time does: every delivery asks, so the proof is kept.
  const proven = new Map<string, CertificateFacts>();

  function factsOf(certificate: Uint8Array): CertificateFacts {
    const name = keyIdOf(certificate).toString('hex');
    const nowMs = options.nowMs();
    const known = proven.get(name);
    if (known !== undefined && nowMs >= known.notBeforeMs && nowMs <= known.notAfterMs) return known;
    const facts = verifyIssued(certificate, options.authority, nowMs);
    if (!sameBytes(facts.platformId, platformId)) {
      throw foreign(
        facts,
        `the certificate is of platform ${idText(facts.platformId)}, expected ${options.platformId}`,
      );
    }
    if (proven.size >= PROVEN_CERTIFICATES) proven.clear();
    proven.set(name, facts);
    return facts;
  }

  return {
    checkPeer(certificate, nodeId) {
      const facts = factsOf(certificate);
      if (facts.role === 'agent' && idText(facts.nodeId) === nodeId) return;
      throw foreign(facts, `the certificate is of ${facts.role} ${idText(facts.nodeId)}, expected agent ${nodeId}`);
    },
    checkMonitor(certificate) {
      const facts = factsOf(certificate);
      if (facts.role !== 'monitor') throw foreign(facts, `the certificate is of ${facts.role} ${facts.code}`);
    },
    checkSigned(context, signed, certificate) {
      verifier.verify(context, signed, certificate);
    },
    operatorOf(signed, certificate) {
      const facts = factsOf(certificate);
      if (facts.role !== 'operator') {
        throw new QiaoError('ROLE_REFUSED', `the certificate is of ${facts.role} ${facts.code}, expected an operator`, {
          hint: 'use an operator’s context: qiao --context DIR …',
        });
      }
      verifier.verify('qiao.operator.v1', signed, certificate);
      return { name: facts.code, fingerprint: facts.fingerprint };
    },
  };
}

function foreign({ code }: CertificateFacts, message: string): QiaoError {
  return new QiaoError('CERTIFICATE_FOREIGN', message, { hint: `qiao node show ${code}` });
}

/** Id bytes of a message as text; empty bytes become an empty text so that comparisons fail instead of throwing. */
export function idOrEmpty(id: Uint8Array): string {
  return id.length === 16 ? idText(id) : '';
}
