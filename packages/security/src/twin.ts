/**
 * The other writing of a certificate. An ECDSA signature (r, s) holds as (r, n − s) too, and whoever has a certificate can write it
 * that way without any key: the same words of the authority under another fingerprint. Who refuses by fingerprint asks for both.
 */
import { bytesOf, element, elements, SEQUENCE } from './der.ts';

/** Order of the group of P-256 (FIPS 186-5, SEC 2). */
const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

const INTEGER = 0x02;
const BIT_STRING = 0x03;

/**
 * The certificate (DER) with its signature written the other way; undefined when it is not signed with ECDSA over P-256, and so
 * has one writing only. The twin's twin is the certificate.
 */
export function twinOf(certificate: Uint8Array): Uint8Array | undefined {
  const [whole] = elements(certificate);
  const [body, algorithm, bits] = whole?.tag === SEQUENCE ? elements(whole.value) : [];
  if (body === undefined || algorithm === undefined || bits?.tag !== BIT_STRING) return undefined;
  // The first byte counts unused bits.
  const [signature] = elements(bits.value.subarray(1));
  const [r, s] = signature?.tag === SEQUENCE ? elements(signature.value) : [];
  if (r?.tag !== INTEGER || s?.tag !== INTEGER || s.value.length > 33) return undefined;
  const number = BigInt(`0x${Buffer.from(s.value).toString('hex') || '0'}`);
  if (number <= 0n || number >= N) return undefined;
  const other = element(SEQUENCE, r.whole, element(INTEGER, bytesOf(N - number)));
  return element(SEQUENCE, body.whole, algorithm.whole, element(BIT_STRING, Buffer.of(0), other));
}
