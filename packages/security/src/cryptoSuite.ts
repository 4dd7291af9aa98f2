/**
 * The algorithms of the house behind one interface. A suite owns keys, signatures and the hash it signs with; it knows
 * nothing of certificates, contexts or messages. Its name travels in every signature, so that a second suite
 * (SM2/SM3, 国密) can stand beside this one without touching a caller.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { QiaoError } from '@qiao/exchange';

/** Keys as bytes, so that a suite that Node's own crypto does not know can hold them too. */
export interface KeyPair {
  /** PKCS#8, DER. */
  readonly privateKey: Uint8Array;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
}

export interface CryptoSuite {
  /** Name in every signature. At most 32 characters. */
  readonly name: string;
  generateKey(): KeyPair;
  /** The public key (SPKI, DER) that belongs to a private key (PKCS#8, DER). */
  publicKeyOf(privateKey: Uint8Array): Uint8Array;
  /** Signs the hash of `bytes`; the form of the signature is the suite's own. */
  sign(privateKey: Uint8Array, bytes: Uint8Array): Uint8Array;
  /** False for every signature that is not this key's over these bytes, malformed ones included. Throws only for a bad key. */
  verify(publicKey: Uint8Array, bytes: Uint8Array, signature: Uint8Array): boolean;
  hash(bytes: Uint8Array): Uint8Array;
}

const SIGNATURE_BYTES = 64;

// Importing a key costs more than a signature. The maps hold keys only as long as their bytes are held elsewhere.
const privateKeys = new WeakMap<Uint8Array, KeyObject>();
const publicKeys = new WeakMap<Uint8Array, KeyObject>();

/**
 * ECDSA over NIST P-256 with SHA-256 (FIPS 186-5). A signature is r || s, 64 bytes (IEEE P1363): one fixed length, and
 * one encoding only, where DER allows several.
 */
export const p256Sha256: CryptoSuite = {
  name: 'p256-sha256',

  generateKey() {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    return {
      privateKey: pair.privateKey.export({ format: 'der', type: 'pkcs8' }),
      publicKey: pair.publicKey.export({ format: 'der', type: 'spki' }),
    };
  },

  publicKeyOf(privateKey) {
    return createPublicKey(importPrivate(privateKey)).export({ format: 'der', type: 'spki' });
  },

  sign(privateKey, bytes) {
    return sign('sha256', bytes, { key: importPrivate(privateKey), dsaEncoding: 'ieee-p1363' });
  },

  verify(publicKey, bytes, signature) {
    const key = importPublic(publicKey);
    if (signature.length !== SIGNATURE_BYTES) return false;
    return verify('sha256', bytes, { key, dsaEncoding: 'ieee-p1363' }, signature);
  },

  hash(bytes) {
    return createHash('sha256').update(bytes).digest();
  },
};

/** The suite of that name. Throws SUITE_UNKNOWN. */
export function suiteNamed(name: string): CryptoSuite {
  if (name === p256Sha256.name) return p256Sha256;
  throw new QiaoError(
    'SUITE_UNKNOWN',
    `the signature names the suite ${JSON.stringify(name.slice(0, 32))}; this program knows ${p256Sha256.name}`,
    {
      hint: 'bring both ends to the same version of qiao',
    },
  );
}

function importPrivate(bytes: Uint8Array): KeyObject {
  let key = privateKeys.get(bytes);
  if (!key) {
    try {
      key = createPrivateKey({ key: Buffer.from(bytes), format: 'der', type: 'pkcs8' });
    } catch (cause) {
      throw new QiaoError('KEY_INVALID', 'the private key is not PKCS#8', { cause });
    }
    requireP256(key);
    privateKeys.set(bytes, key);
  }
  return key;
}

function importPublic(bytes: Uint8Array): KeyObject {
  let key = publicKeys.get(bytes);
  if (!key) {
    try {
      key = createPublicKey({ key: Buffer.from(bytes), format: 'der', type: 'spki' });
    } catch (cause) {
      throw new QiaoError('KEY_INVALID', 'the public key is not a SubjectPublicKeyInfo', { cause });
    }
    requireP256(key);
    publicKeys.set(bytes, key);
  }
  return key;
}

function requireP256(key: KeyObject): void {
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (key.asymmetricKeyType === 'ec' && curve === 'prime256v1') return;
  throw new QiaoError(
    'KEY_INVALID',
    `the key is ${key.asymmetricKeyType ?? 'unknown'} ${curve ?? ''}; ${p256Sha256.name} takes EC keys on P-256`,
  );
}
