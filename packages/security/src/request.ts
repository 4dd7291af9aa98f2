/** Keys of a node or a person, and the signing request with which the authority is asked for their certificate. */
import { requireCode } from './certificate.ts';
import { p256Sha256 } from './cryptoSuite.ts';
import { fromPem, toPem } from './pem.ts';

/**
 * Makes a key pair and a signing request that proves its possession. `subject` is a code; it is for people only, the authority
 * writes its own. Throws CODE_INVALID.
 */
export async function createKeyAndCsr(subject: string): Promise<{ keyPem: string; csrDer: Uint8Array }> {
  const keyPem = toPem(p256Sha256.generateKey().privateKey, 'PRIVATE KEY');
  return { keyPem, csrDer: await createCsr(subject, keyPem) };
}

/** A signing request (DER) for a key that is there already, to renew its certificate. Throws CODE_INVALID, PEM_INVALID. */
export async function createCsr(subject: string, keyPem: string): Promise<Uint8Array> {
  requireCode(subject);
  const { writeRequest } = await import('./x509.ts');
  return await writeRequest(subject, fromPem(keyPem, 'PRIVATE KEY'));
}
