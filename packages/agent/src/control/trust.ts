// Whose word counts: certificates and signatures as the agent's parts need them, as one small port over @qiao/security.
// Tests give a port of their own; only agent.ts builds the real one.

import type { Signed } from '@qiao/contract/signed';
import { idText, parseId, QiaoError, sameBytes } from '@qiao/exchange';
import { type Context, Verifier, verifyIssued } from '@qiao/security';

export interface Trust {
  /** Throws unless the certificate was issued by the platform's authority to this node and has not ended. */
  checkPeer(certificate: Uint8Array, nodeId: string): void;
  /** Throws SIGNATURE_INVALID or KEY_MISMATCH unless `signed` carries this certificate's signature for this context. */
  checkSigned(context: Context, signed: Signed, certificate: Uint8Array): void;
}

export function createTrust(options: { authority: Uint8Array; platformId: string; nowMs(): number }): Trust {
  const verifier = new Verifier();
  const platformId = parseId(options.platformId);
  return {
    checkPeer(certificate, nodeId) {
      const facts = verifyIssued(certificate, options.authority, options.nowMs());
      if (idText(facts.nodeId) !== nodeId || !sameBytes(facts.platformId, platformId)) {
        throw new QiaoError(
          'CERTIFICATE_FOREIGN',
          `the certificate is of node ${idText(facts.nodeId)} on platform ${idText(facts.platformId)}, expected node ${nodeId} on platform ${options.platformId}`,
          { hint: 'qiao node show' },
        );
      }
    },
    checkSigned(context, signed, certificate) {
      verifier.verify(context, signed, certificate);
    },
  };
}

/** Id bytes of a message as text; empty bytes become an empty text so that comparisons fail instead of throwing. */
export function idOrEmpty(id: Uint8Array): string {
  return id.length === 16 ? idText(id) : '';
}
