/**
 * DER (ITU-T X.690) as far as certificates need it: elements that follow one another, read and written. What they mean is said by
 * who asks; certificates come here once OpenSSL has read them.
 */

export const SEQUENCE = 0x30;

export interface Element {
  readonly tag: number;
  readonly value: Uint8Array;
  /** With tag and length. */
  readonly whole: Uint8Array;
}

/** The elements that follow one another in bytes of DER; those before the first that cannot be read. */
export function elements(bytes: Uint8Array): Element[] {
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

/** One element of these parts. */
export function element(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const value = Buffer.concat(parts);
  if (value.length < 0x80) return Buffer.concat([Buffer.of(tag, value.length), value]);
  const length = bytesOf(BigInt(value.length), false);
  return Buffer.concat([Buffer.of(tag, 0x80 | length.length), length, value]);
}

/** A whole number above 0, most significant byte first, as few bytes as it needs; signed ones begin with a bit of 0. */
export function bytesOf(number: bigint, isSigned = true): Uint8Array {
  const text = number.toString(16);
  const bytes = Buffer.from(text.length % 2 === 0 ? text : `0${text}`, 'hex');
  return isSigned && (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes;
}
