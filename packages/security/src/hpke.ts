/**
 * HPKE (RFC 9180) in the one form the house uses: base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, one message under one
 * encapsulation. The KEM and the AEAD are OpenSSL's; what is written here is the key schedule between them (section 5.1).
 */
import {
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  decapsulate,
  encapsulate,
  type KeyObject,
} from 'node:crypto';
import { Mac } from './mac.ts';

export interface Aead {
  /** RFC 9180, section 7.3. */
  readonly id: number;
  readonly cipher: CipherGCMTypes;
  readonly keyBytes: number;
}

export const AES_256_GCM: Aead = { id: 0x0002, cipher: 'aes-256-gcm', keyBytes: 32 };

/** An uncompressed point; a compressed or a hybrid one is none. */
export const POINT_BYTES = 65;
export const SCALAR_BYTES = 32;
export const TAG_BYTES = 16;

const NONCE_BYTES = 12;
const UNCOMPRESSED = 0x04;
const NO_BYTES = Buffer.alloc(0);
const KEM_P256 = 0x0010;
const KDF_SHA256 = 0x0001;
const MODE_BASE = 0x00;
const ONE = Buffer.of(1);

// The DER that stands before a point (SPKI) and a scalar (PKCS #8, RFC 5958) of P-256.
const BEFORE_POINT = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d030107034200', 'hex');
const BEFORE_SCALAR = Buffer.from('3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420', 'hex');

/** The key of this point. Throws when it is no uncompressed point of P-256. */
export function importPoint(point: Uint8Array): KeyObject {
  requirePoint(point);
  return createPublicKey({ key: Buffer.concat([BEFORE_POINT, point]), format: 'der', type: 'spki' });
}

/** The key of this scalar, its point computed from it. Throws when it is none of P-256. */
export function importScalar(scalar: Uint8Array): KeyObject {
  if (scalar.length !== SCALAR_BYTES) throw new Error(`a scalar of ${scalar.length} bytes`);
  return createPrivateKey({ key: Buffer.concat([BEFORE_SCALAR, scalar]), format: 'der', type: 'pkcs8' });
}

/** One message for the holder of the key: the encapsulated key and the ciphertext with its tag (SealBase, no additional data). */
export function sealBase(receiver: KeyObject, info: Uint8Array, plaintext: Uint8Array): [enc: Buffer, sealed: Buffer] {
  const { sharedKey, ciphertext } = encapsulate(receiver);
  const { key, nonce } = keySchedule(sharedKey, info, AES_256_GCM);
  const cipher = createCipheriv(AES_256_GCM.cipher, key, nonce);
  return [ciphertext, Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])];
}

/** The message that was sealed so (OpenBase). Throws when it was not, or for another key or another `info`. */
export function openBase(
  receiver: KeyObject,
  enc: Uint8Array,
  info: Uint8Array,
  sealed: Uint8Array,
  { aead = AES_256_GCM, additionalData = NO_BYTES }: { aead?: Aead; additionalData?: Uint8Array } = {},
): Buffer {
  requirePoint(enc);
  const { key, nonce } = keySchedule(decapsulate(receiver, enc), info, aead);
  const decipher = createDecipheriv(aead.cipher, key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(additionalData);
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(0, -TAG_BYTES)), decipher.final()]);
}

/** KeySchedule of section 5.1 for the first message: without a pre-shared key, and its nonce is the base nonce. */
function keySchedule(sharedSecret: Uint8Array, info: Uint8Array, aead: Aead): { key: Buffer; nonce: Buffer } {
  const suite = Buffer.from('HPKE\0\0\0\0\0\0', 'latin1');
  for (const [at, id] of [KEM_P256, KDF_SHA256, aead.id].entries()) suite.writeUInt16BE(id, 4 + 2 * at);
  const extract = (salt: Uint8Array, label: string, material: Uint8Array) =>
    hmac(salt, [Buffer.from('HPKE-v1'), suite, Buffer.from(label), material]);
  const context = Buffer.concat([
    Buffer.of(MODE_BASE),
    extract(NO_BYTES, 'psk_id_hash', NO_BYTES),
    extract(NO_BYTES, 'info_hash', info),
  ]);
  const secret = extract(sharedSecret, 'secret', NO_BYTES);
  // HKDF-Expand (RFC 5869) of at most one hash: its first block, cut.
  const expand = (label: string, bytes: number) =>
    hmac(secret, [Buffer.of(0, bytes), Buffer.from('HPKE-v1'), suite, Buffer.from(label), context, ONE]).subarray(
      0,
      bytes,
    );
  return { key: expand('key', aead.keyBytes), nonce: expand('base_nonce', NONCE_BYTES) };
}

function hmac(key: Uint8Array, parts: readonly Uint8Array[]): Buffer {
  return Buffer.from(new Mac(key).of(Buffer.concat(parts)), 'hex');
}

/** OpenSSL reads points that are written otherwise too. */
function requirePoint(point: Uint8Array): void {
  if (point.length !== POINT_BYTES || point[0] !== UNCOMPRESSED) throw new Error(`no point in ${point.length} bytes`);
}
