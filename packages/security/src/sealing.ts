/**
 * Sealed bodies: only the holder of the receiver's private key reads them, and only for the place in the lane they were sealed
 * for. The body is AES-256-GCM under a fresh key; that key is wrapped for the receiver with HPKE (RFC 9180, base mode,
 * DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM). Who the receiver is, and what the context holds, the caller says.
 */
import { createCipheriv, createDecipheriv, randomBytes, type webcrypto } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { Aes256Gcm, CipherSuite, DhkemP256HkdfSha256, HkdfSha256 } from '@hpke/core';
import { QiaoError } from '@qiao/exchange';

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
const TAG_BYTES = 16;
const POINT_BYTES = 65;
const WRAPPED_BYTES = POINT_BYTES + 32 + TAG_BYTES;
// Other work gets its turn between slices: 64 MiB in one call would hold the process for an eighth of a second.
const SLICE_BYTES = 4 * 1024 * 1024;
const LABEL = Buffer.from('qiao.sealing.v1\0', 'latin1');

const kem = new DhkemP256HkdfSha256();
const suite = new CipherSuite({ kem, kdf: new HkdfSha256(), aead: new Aes256Gcm() });

/** The one sealing of today; its name stands in every delivery's header. */
export const sealing: Sealing = {
  name: 'hpke-p256-aes256gcm',
  overheadBytes: NONCE_BYTES + TAG_BYTES,

  async generateKey() {
    const pair = await kem.generateKeyPair();
    return {
      publicKey: new Uint8Array(await kem.serializePublicKey(pair.publicKey)),
      privateKey: new Uint8Array(await kem.serializePrivateKey(pair.privateKey)),
    };
  },

  async seal(content, receiverPublicKey, context) {
    const recipientPublicKey = await importReceiver(receiverPublicKey);
    const bodyKey = randomBytes(32);
    const sender = await suite.createSenderContext({ recipientPublicKey, info: plain(bound(context)) });
    const wrapped = await sender.seal(plain(bodyKey));
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', bodyKey, nonce);
    cipher.setAAD(bound(context));
    const body = Buffer.allocUnsafe(NONCE_BYTES + content.length + TAG_BYTES);
    nonce.copy(body);
    for await (const [slice, at] of slices(content)) cipher.update(slice).copy(body, NONCE_BYTES + at);
    cipher.final();
    cipher.getAuthTag().copy(body, NONCE_BYTES + content.length);
    bodyKey.fill(0);
    return { body, wrappedKey: Buffer.concat([new Uint8Array(sender.enc), new Uint8Array(wrapped)]) };
  },

  async open(sealed, receiverPrivateKey, context) {
    if (sealed.wrappedKey.length !== WRAPPED_BYTES || sealed.body.length < NONCE_BYTES + TAG_BYTES) {
      throw unreadable(
        `the wrapped key has ${sealed.wrappedKey.length} bytes and the body ${sealed.body.length}; expected ${WRAPPED_BYTES} and at least ${NONCE_BYTES + TAG_BYTES}`,
      );
    }
    try {
      const recipient = await suite.createRecipientContext({
        recipientKey: await kem.importKey('raw', plain(receiverPrivateKey), false),
        enc: plain(sealed.wrappedKey.subarray(0, POINT_BYTES)),
        info: plain(bound(context)),
      });
      const bodyKey = Buffer.from(await recipient.open(plain(sealed.wrappedKey.subarray(POINT_BYTES))));
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

function bound(context: Uint8Array): Uint8Array {
  return Buffer.concat([LABEL, context]);
}

/** A copy without a pool behind it: HPKE takes the whole ArrayBuffer of what it is given. */
function plain(bytes: Uint8Array): ArrayBuffer {
  return Uint8Array.from(bytes).buffer;
}

async function* slices(bytes: Uint8Array): AsyncGenerator<[Uint8Array, number]> {
  for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
    if (at > 0) await setImmediate();
    yield [bytes.subarray(at, at + SLICE_BYTES), at];
  }
}

async function importReceiver(publicKey: Uint8Array): Promise<webcrypto.CryptoKey> {
  try {
    return await kem.deserializePublicKey(plain(publicKey));
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

function unreadable(message: string, cause?: unknown): QiaoError {
  return new QiaoError('BODY_UNREADABLE', message, {
    hint: 'if the receiver joined again, let the sender seal it anew: the resend happens by itself',
    cause,
  });
}
