/**
 * The platform's certificate authority: one ECDSA P-256 key in the hub's directory. Owns what a certificate may say;
 * who may ask for one (tokens) and who lost it (revocation) is the hub's registry.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { idText, QiaoError } from '@qiao/exchange';
import { certifiedKey, fingerprintOf, type Identity, identityUri, lifeOf, requireCode } from './certificate.ts';
import { p256Sha256 } from './cryptoSuite.ts';
import { fromPem, toPem } from './pem.ts';
import { makePrivateDirectory, requirePrivate, writeNewFile } from './privateFiles.ts';

export interface IssueOptions extends Identity {
  /** Days of validity: 1 to 3,650. */
  readonly days: number;
  /** Names and addresses a server answers under; only hub and monitor are servers. */
  readonly hosts?: readonly string[] | undefined;
  /** Milliseconds since 1970 UTC; the machine's clock when left out. */
  readonly nowMs?: number | undefined;
}

const DAY_MS = 86_400_000;
// Clocks of front-end machines differ; a certificate that begins "now" would be refused by a slow one.
const BACKDATE_MS = 5 * 60_000;
const AUTHORITY_DAYS = 3650;

export class Authority {
  readonly certificateDer: Uint8Array;
  readonly certificatePem: string;
  /** SHA-256 of the certificate (DER), lower-case hexadecimal. Tokens pin it. */
  readonly fingerprint: string;
  /** PKCS#8, DER. */
  readonly #key: Uint8Array;

  private constructor(key: Uint8Array, certificateDer: Uint8Array) {
    this.#key = key;
    this.certificateDer = certificateDer;
    this.certificatePem = toPem(certificateDer, 'CERTIFICATE');
    this.fingerprint = fingerprintOf(certificateDer);
  }

  /** Makes `authority.key` (0600) and `authority.pem` in `dir` (0700). Throws FILE_EXISTS rather than replace an authority. */
  static async create(
    dir: string,
    options: { platformId: Uint8Array; platformCode: string; nowMs?: number },
  ): Promise<Authority> {
    requireCode(options.platformCode);
    const pair = p256Sha256.generateKey();
    const nowMs = options.nowMs ?? Date.now();
    const { writeAuthority } = await import('./x509.ts');
    // The platform's id is part of the name, so that two platforms of one code never share an issuer name.
    const name = `CN=Qiao authority ${options.platformCode}, OU=${idText(options.platformId)}`;
    const certificate = await writeAuthority(name, pair, validity(nowMs, AUTHORITY_DAYS));
    makePrivateDirectory(dir);
    // Key first: a crash between leaves a key that certified nothing, which the next `create` names.
    writeNewFile(join(dir, 'authority.key'), toPem(pair.privateKey, 'PRIVATE KEY'), 0o600);
    writeNewFile(join(dir, 'authority.pem'), toPem(certificate, 'CERTIFICATE'), 0o644);
    return Authority.open(dir);
  }

  /** Another certificate (DER) for the same name and key, which begins now. Nothing is written. */
  async renewed(nowMs: number): Promise<Uint8Array> {
    const { rewriteAuthority } = await import('./x509.ts');
    const pair = { privateKey: this.#key, publicKey: p256Sha256.publicKeyOf(this.#key) };
    return await rewriteAuthority(this.certificateDer, pair, validity(nowMs, AUTHORITY_DAYS));
  }

  /** Reads the authority of `dir`. Throws AUTHORITY_MISSING, FILE_EXPOSED (key readable by others), PEM_INVALID, KEY_MISMATCH. */
  static async open(dir: string): Promise<Authority> {
    const keyFile = join(dir, 'authority.key');
    let keyPem: string;
    let certificatePem: string;
    try {
      keyPem = readFileSync(keyFile, 'utf8');
      certificatePem = readFileSync(join(dir, 'authority.pem'), 'utf8');
    } catch (cause) {
      throw new QiaoError('AUTHORITY_MISSING', `${dir} holds no readable authority.key and authority.pem`, {
        hint: 'qiao hub init, or restore the directory from its backup',
        cause,
      });
    }
    requirePrivate(keyFile);
    const privateKey = fromPem(keyPem, 'PRIVATE KEY');
    const certificate = fromPem(certificatePem, 'CERTIFICATE');
    if (Buffer.compare(p256Sha256.publicKeyOf(privateKey), certifiedKey(certificate)) !== 0) {
      throw new QiaoError('KEY_MISMATCH', `authority.key and authority.pem in ${dir} do not belong together`, {
        hint: 'restore both from the same backup',
      });
    }
    return new Authority(privateKey, certificate);
  }

  /**
   * Issues a certificate for the key in a signing request (DER). Only the key is taken from the request; everything else is
   * written by the authority. It does not outlive the authority's own. Throws CSR_INVALID (unreadable, other algorithm, or possession of the key not proven).
   */
  async issue(csrDer: Uint8Array, options: IssueOptions): Promise<Uint8Array> {
    if (!Number.isInteger(options.days) || options.days < 1 || options.days > 3650) {
      throw new QiaoError('DAYS_INVALID', `a certificate lives 1 to 3650 days; asked for ${options.days}`);
    }
    const nowMs = options.nowMs ?? Date.now();
    const isServer = options.role === 'hub' || options.role === 'monitor';
    const { writeCertificate } = await import('./x509.ts');
    const issuer = { certificate: this.certificateDer, privateKey: this.#key };
    return await writeCertificate(csrDer, issuer, {
      subject: `CN=${options.code}, OU=${options.role}`,
      uri: identityUri(options),
      isServer,
      hosts: isServer ? (options.hosts ?? []) : [],
      ...validity(nowMs, options.days, lifeOf(this.certificateDer).notAfterMs),
    });
  }
}

function validity(nowMs: number, days: number, endMs = Number.POSITIVE_INFINITY): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(nowMs - BACKDATE_MS), notAfter: new Date(Math.min(nowMs + days * DAY_MS, endMs)) };
}
