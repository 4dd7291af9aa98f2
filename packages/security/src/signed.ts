/**
 * Signatures over bytes. Owns the layout that is signed (`context || 0x00 || payload`) and the naming of keys by the hash of
 * their certificate; whether a certificate may be trusted is `verifyIssued`'s business, and must be asked beside this.
 */
import { createHash, X509Certificate } from 'node:crypto';
import type { Signed } from '@qiao/contract/signed';
import { QiaoError } from '@qiao/exchange';
import { type CryptoSuite, p256Sha256, suiteNamed } from './cryptoSuite.ts';
import { fromPem } from './pem.ts';

/** What a message is for. A signature made for one context is never valid in another. */
export type Context =
  | 'qiao.delivery.v1'
  | 'qiao.receipt.v1'
  | 'qiao.statement.v1'
  | 'qiao.settlement.v1'
  | 'qiao.snapshot.v1'
  | 'qiao.directory.v1'
  | 'qiao.control.v1'
  | 'qiao.command.v1'
  | 'qiao.operator.v1'
  | 'qiao.heartbeat.v1';

/** Largest payload that is signed or verified (signed.proto). */
export const SIGNED_MAX_BYTES = 1024 * 1024;

/** Signs as the holder of one certificate. */
export class Signer {
  /** SHA-256 of the certificate (DER): 32 bytes. */
  readonly keyId: Uint8Array;
  readonly #privateKey: Uint8Array;
  readonly #suite: CryptoSuite;

  /** `key` is PEM text or PKCS#8 DER. Throws KEY_MISMATCH when it is not the certificate's. */
  constructor(key: string | Uint8Array, certificateDer: Uint8Array, suite: CryptoSuite = p256Sha256) {
    this.#privateKey = typeof key === 'string' ? fromPem(key, 'PRIVATE KEY') : key;
    this.#suite = suite;
    this.keyId = keyIdOf(certificateDer);
    if (Buffer.compare(suite.publicKeyOf(this.#privateKey), publicKeyOfCertificate(certificateDer)) !== 0) {
      throw new QiaoError('KEY_MISMATCH', 'the private key and the certificate do not belong together', {
        hint: 'restore key.pem and certificate.pem of the identity directory together, or join again',
      });
    }
  }

  /** Throws SIGNED_TOO_LARGE past 1 MiB: no verifier would take it. */
  sign(context: Context, payload: Uint8Array): Signed {
    if (payload.length > SIGNED_MAX_BYTES) {
      throw new QiaoError(
        'SIGNED_TOO_LARGE',
        `the message is ${payload.length} bytes; at most ${SIGNED_MAX_BYTES} are signed`,
      );
    }
    const signature = this.#suite.sign(this.#privateKey, signedBytes(context, payload));
    return { payload, suite: this.#suite.name, keyId: this.keyId, signature };
  }

  /**
   * The same message under this key: what was signed before this node got its present certificate is read by nobody any more.
   * Unchanged when it carries this key already. Only for what this node itself once signed.
   */
  renew(context: Context, signed: Signed): Signed {
    return this.keyId.length === signed.keyId.length && Buffer.compare(this.keyId, signed.keyId) === 0
      ? signed
      : this.sign(context, signed.payload);
  }
}

// A platform has hundreds of nodes; certificates past this are imported again, never refused.
const CACHED_CERTIFICATES = 4096;

/** Verifies signatures; keeps imported keys. */
export class Verifier {
  readonly #publicKeys = new Map<string, Uint8Array>();

  /**
   * Returns when `signed` was made by this certificate's key, for this context. Throws SIGNATURE_MISSING, SIGNED_TOO_LARGE,
   * SUITE_UNKNOWN, KEY_MISMATCH (another certificate's) or SIGNATURE_INVALID; all permanent.
   */
  verify(context: Context, signed: Signed | undefined, certificateDer: Uint8Array): void {
    if (!signed || signed.signature.length === 0) {
      throw new QiaoError('SIGNATURE_MISSING', `a message for ${context} came without a signature`);
    }
    if (signed.payload.length > SIGNED_MAX_BYTES) {
      throw new QiaoError(
        'SIGNED_TOO_LARGE',
        `the message is ${signed.payload.length} bytes; at most ${SIGNED_MAX_BYTES} are accepted`,
      );
    }
    const suite = suiteNamed(signed.suite);
    const keyId = keyIdOf(certificateDer);
    const publicKey = this.#publicKey(keyId, certificateDer);
    const isGood = suite.verify(publicKey, signedBytes(context, signed.payload), signed.signature);
    // The name only helps to tell what is wrong: a renewed certificate has another name and the same key, and what was signed
    // before the renewal stays good.
    if (isGood) return;
    if (keyId.compare(signed.keyId) !== 0) {
      throw new QiaoError(
        'KEY_MISMATCH',
        `the signature names the key ${shortHex(signed.keyId)}; the expected certificate is ${shortHex(keyId)}`,
        {
          hint: 'qiao node show CODE  # compare the fingerprint; the node may have joined again',
        },
      );
    }
    throw new QiaoError(
      'SIGNATURE_INVALID',
      `the signature for ${context} by key ${shortHex(keyId)} does not fit the message`,
      {
        hint: 'the message was changed on the way, or made for another purpose; look at the refusals: qiao audit list',
      },
    );
  }

  #publicKey(keyId: Buffer, certificateDer: Uint8Array): Uint8Array {
    const name = keyId.toString('hex');
    let key = this.#publicKeys.get(name);
    if (!key) {
      key = publicKeyOfCertificate(certificateDer);
      if (this.#publicKeys.size >= CACHED_CERTIFICATES) this.#publicKeys.clear();
      this.#publicKeys.set(name, key);
    }
    return key;
  }
}

/** The name of a certificate's key in signatures: SHA-256 of the certificate (DER), 32 bytes. */
export function keyIdOf(certificateDer: Uint8Array): Buffer {
  return createHash('sha256').update(certificateDer).digest();
}

function signedBytes(context: Context, payload: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(context, 'latin1'), Buffer.of(0), payload]);
}

function publicKeyOfCertificate(der: Uint8Array): Uint8Array {
  try {
    return new X509Certificate(der).publicKey.export({ format: 'der', type: 'spki' });
  } catch (cause) {
    throw new QiaoError('CERTIFICATE_INVALID', 'the certificate cannot be read', { cause });
  }
}

function shortHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, 8)).toString('hex');
}
