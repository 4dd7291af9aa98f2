/**
 * Identities (random 128-bit ids, made elsewhere) and codes (labels that people type).
 */
import { QiaoError } from './errors.ts';

/** Bytes of an identity. */
export const ID_BYTES = 16;

/** What codes of platforms, nodes, departments, bridges and data sources look like. */
export const CODE = /^[a-z][a-z0-9-]{0,31}$/;

const ID_TEXT = /^[0-9a-f]{32}$/;

/** An identity as 32 lower-case hexadecimal digits. Throws BAD_ID when it is not 16 bytes. */
export function idText(id: Uint8Array): string {
  if (id.length !== ID_BYTES) {
    throw new QiaoError('BAD_ID', `Found an identity of ${id.length} bytes; expected ${ID_BYTES}.`);
  }
  return Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('hex');
}

/** Reads 32 lower-case hexadecimal digits. Throws BAD_ID for anything else. */
export function parseId(text: string): Uint8Array {
  if (!ID_TEXT.test(text)) {
    throw new QiaoError('BAD_ID', `Found an identity of ${text.length} characters; expected 32 lower-case hex digits.`);
  }
  return new Uint8Array(Buffer.from(text, 'hex'));
}

/** Whether two byte strings are equal. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}
