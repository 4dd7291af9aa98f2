/**
 * The other writing of a certificate. An ECDSA signature (r, s) holds as (r, n − s) too, and whoever has a certificate can write it
 * that way without any key: the same words of the authority under another fingerprint. Who refuses by fingerprint asks for both.
 */

/** Order of the group of P-256 (FIPS 186-5, SEC 2). */
const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

const INTEGER = 0x02;
const BIT_STRING = 0x03;
const SEQUENCE = 0x30;

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

interface Element {
  readonly tag: number;
  readonly value: Uint8Array;
  /** With tag and length. */
  readonly whole: Uint8Array;
}

/** The elements that follow one another in bytes of DER; those before the first that cannot be read. */
function elements(bytes: Uint8Array): Element[] {
  const found: Element[] = [];
  for (let at = 0; at + 2 <= bytes.length; ) {
    const tag = bytes[at] ?? 0;
    const short = bytes[at + 1] ?? 0;
    const sizeOfLength = short < 0x80 ? 0 : short & 0x7f;
    const start = at + 2 + sizeOfLength;
    if (sizeOfLength > 4 || start > bytes.length) return found;
    const length = sizeOfLength === 0 ? short : Buffer.from(bytes.subarray(at + 2, start)).readUIntBE(0, sizeOfLength);
    const end = start + length;
    if (end > bytes.length) return found;
    found.push({ tag, value: bytes.subarray(start, end), whole: bytes.subarray(at, end) });
    at = end;
  }
  return found;
}

function element(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const value = Buffer.concat(parts);
  if (value.length < 0x80) return Buffer.concat([Buffer.of(tag, value.length), value]);
  const length = bytesOf(BigInt(value.length), false);
  return Buffer.concat([Buffer.of(tag, 0x80 | length.length), length, value]);
}

/** A whole number above 0, most significant byte first, as few bytes as it needs; signed ones begin with a bit of 0. */
function bytesOf(number: bigint, isSigned = true): Uint8Array {
  const text = number.toString(16);
  const bytes = Buffer.from(text.length % 2 === 0 ? text : `0${text}`, 'hex');
  return isSigned && (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes;
}
