/**
 * Sealed bodies: only the holder of the receiver's private key reads them, and only for the place in the lane they were sealed
 * for. The body is AES-256-GCM under a fresh key; that key is wrapped for the receiver with HPKE (RFC 9180, base mode,
 * DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM). Who the receiver is, and what the context holds, the caller says.
 */
import { createCipheriv, createDecipheriv, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { QiaoError } from '@qiao/exchange';
import { importPoint, importScalar, openBase, POINT_BYTES, sealBase, TAG_BYTES } from './hpke.ts';

export interface Sealed {
  /** 12 bytes nonce, ciphertext, 16 bytes tag. */
  readonly body: Uint8Array;
  /** 65 bytes encapsulated key, 48 bytes wrapped body key. */
  readonly wrappedKey: Uint8Array;
}

export interface SealingKeys {
  /** Uncompressed point: 65 bytes. */
  readonly publicKey: Uint8Array;
  /** Scalar: 32 bytes. */
  readonly privateKey: Uint8Array;
}

export interface Sealing {
  readonly name: 'hpke-p256-aes256gcm';
  /** Bytes that sealing adds to the content. */
  readonly overheadBytes: number;
  generateKey(): Promise<SealingKeys>;
  /** Seals for one receiver, bound to `context` (see `sealingContext`). Throws SEALING_KEY_INVALID. */
  seal(content: Uint8Array, receiverPublicKey: Uint8Array, context: Uint8Array): Promise<Sealed>;
  /** Throws BODY_UNREADABLE when the body, the wrapped key, the receiver's key or the context is not the one sealed with. */
  open(sealed: Sealed, receiverPrivateKey: Uint8Array, context: Uint8Array): Promise<Uint8Array>;
}

const NONCE_BYTES = 12;
const WRAPPED_BYTES = POINT_BYTES + 32 + TAG_BYTES;
// Other work gets its turn between slices: 64 MiB in one call would hold the process for an eighth of a second.
const SLICE_BYTES = 4 * 1024 * 1024;
const LABEL = Buffer.from('qiao.sealing.v1\0', 'latin1');

// Reading a key costs as much as using it. The maps hold keys only as long as their bytes are held elsewhere.
const publicKeys = new WeakMap<Uint8Array, KeyObject>();
const privateKeys = new WeakMap<Uint8Array, KeyObject>();

/** The one sealing of today; its name stands in every delivery's header. */
export const sealing: Sealing = {
  name: 'hpke-p256-aes256gcm',
  overheadBytes: NONCE_BYTES + TAG_BYTES,

  async generateKey() {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    // Each is written in 32 bytes, leading zeros included (RFC 7518, 6.2).
    const { x = '', y = '', d = '' } = privateKey.export({ format: 'jwk' });
    const [X, Y, scalar] = [x, y, d].map((text) => Buffer.from(text, 'base64url')) as [Buffer, Buffer, Buffer];
    return { publicKey: Uint8Array.from([4, ...X, ...Y]), privateKey: Uint8Array.from(scalar) };
  },

  async seal(content, receiverPublicKey, context) {
    const receiver = importReceiver(receiverPublicKey);
    const bodyKey = randomBytes(32);
    const [enc, wrapped] = sealBase(receiver, bound(context), bodyKey);
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', bodyKey, nonce);
    cipher.setAAD(bound(context));
    const body = Buffer.allocUnsafe(NONCE_BYTES + content.length + TAG_BYTES);
    nonce.copy(body);
    for await (const [slice, at] of slices(content)) cipher.update(slice).copy(body, NONCE_BYTES + at);
    cipher.final();
    cipher.getAuthTag().copy(body, NONCE_BYTES + content.length);
    bodyKey.fill(0);
    return { body, wrappedKey: Buffer.concat([enc, wrapped]) };
  },

  async open(sealed, receiverPrivateKey, context) {
    if (sealed.wrappedKey.length !== WRAPPED_BYTES || sealed.body.length < NONCE_BYTES + TAG_BYTES) {
      throw unreadable(
        `the wrapped key has ${sealed.wrappedKey.length} bytes and the body ${sealed.body.length}; expected ${WRAPPED_BYTES} and at least ${NONCE_BYTES + TAG_BYTES}`,
      );
    }
    try {
      const key = once(privateKeys, receiverPrivateKey, importScalar);
      const enc = sealed.wrappedKey.subarray(0, POINT_BYTES);
      const bodyKey = openBase(key, enc, bound(context), sealed.wrappedKey.subarray(POINT_BYTES));
      const decipher = createDecipheriv('aes-256-gcm', bodyKey, sealed.body.subarray(0, NONCE_BYTES));
      decipher.setAAD(bound(context));
      const end = sealed.body.length - TAG_BYTES;
      decipher.setAuthTag(sealed.body.subarray(end));
      const content = Buffer.allocUnsafe(end - NONCE_BYTES);
      for await (const [slice, at] of slices(sealed.body.subarray(NONCE_BYTES, end)))
        decipher.update(slice).copy(content, at);
      // Nothing is handed out before this has checked the tag.
      decipher.final();
      bodyKey.fill(0);
      return content;
    } catch (cause) {
      throw unreadable('the body does not open with this key for this place in the lane', cause);
    }
  },
};

/**
 * What a sealed body is bound to. The fields are those of the header, so that a body moved to another lane, epoch or sequence,
 * or put under another content hash, does not open.
 */
export function sealingContext(place: {
  laneId: Uint8Array;
  epoch: { ordinal: bigint; nonce: Uint8Array };
  sequence: bigint;
  contentHash: Uint8Array;
}): Uint8Array {
  const numbers = Buffer.alloc(16);
  numbers.writeBigUInt64BE(place.epoch.ordinal, 0);
  numbers.writeBigUInt64BE(place.sequence, 8);
  // Each field's length precedes it: no two places share a text.
  return Buffer.concat(
    [place.laneId, place.epoch.nonce, numbers, place.contentHash].flatMap((field) => [Buffer.of(field.length), field]),
  );
}

/** What a sealed body that is no delivery is bound to: a label and fields. The leading zero keeps it apart from every delivery's. */
export function labelledContext(label: string, fields: readonly Uint8Array[]): Uint8Array {
  const parts = [Buffer.from(label, 'latin1'), ...fields].flatMap((field) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(field.length);
    return [length, field];
  });
  return Buffer.concat([Buffer.of(0), ...parts]);
}

/** What contents of a row, or rows of a table, are bound to when they are sealed for a person's session: what for, and which. */
export function rowContext(purpose: 'show' | 'edit' | 'preview', ref: string): Uint8Array {
  return labelledContext(`qiao.row.${purpose}.v1`, [Buffer.from(ref)]);
}

function bound(context: Uint8Array): Uint8Array {
  return Buffer.concat([LABEL, context]);
}

async function* slices(bytes: Uint8Array): AsyncGenerator<[Uint8Array, number]> {
  for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
    if (at > 0) await setImmediate();
    yield [bytes.subarray(at, at + SLICE_BYTES), at];
  }
}

function importReceiver(publicKey: Uint8Array): KeyObject {
  try {
    return once(publicKeys, publicKey, importPoint);
  } catch (cause) {
    throw new QiaoError(
      'SEALING_KEY_INVALID',
      `the receiver's sealing key (${publicKey.length} bytes) is not a point of P-256 in ${POINT_BYTES} bytes`,
      {
        hint: 'the receiving node must join again',
        cause,
      },
    );
  }
}

function once(
  keys: WeakMap<Uint8Array, KeyObject>,
  bytes: Uint8Array,
  read: (bytes: Uint8Array) => KeyObject,
): KeyObject {
  let key = keys.get(bytes);
  if (key === undefined) {
    key = read(bytes);
    keys.set(bytes, key);
  }
  return key;
}

function unreadable(message: string, cause?: unknown): QiaoError {
  return new QiaoError('BODY_UNREADABLE', message, {
    hint: 'if the receiver joined again, let the sender seal it anew: the resend happens by itself',
    cause,
  });
}
