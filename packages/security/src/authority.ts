/**
 * The platform's certificate authority: one ECDSA P-256 key in the hub's directory. Owns what a certificate may say;
 * who may ask for one (tokens) and who lost it (revocation) is the hub's registry.
 */
import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { idText, QiaoError } from '@qiao/exchange';
import { fingerprintOf, type Identity, identityUri, KEY_ALGORITHM, requireCode } from './certificate.ts';
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
  readonly #key: webcrypto.CryptoKey;

  private constructor(key: webcrypto.CryptoKey, certificateDer: Uint8Array) {
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
    const keys = {
      privateKey: await importPrivate(pair.privateKey),
      publicKey: await webcrypto.subtle.importKey(
        'spki',
        pair.publicKey as Uint8Array<ArrayBuffer>,
        KEY_ALGORITHM,
        true,
        ['verify'],
      ),
    };
    const nowMs = options.nowMs ?? Date.now();
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: randomSerial(),
      // The platform's id is part of the name, so that two platforms of one code never share an issuer name.
      name: `CN=Qiao authority ${options.platformCode}, OU=${idText(options.platformId)}`,
      notBefore: new Date(nowMs - BACKDATE_MS),
      notAfter: new Date(nowMs + AUTHORITY_DAYS * DAY_MS),
      keys,
      signingAlgorithm: KEY_ALGORITHM,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    makePrivateDirectory(dir);
    // Key first: a crash between leaves a key that certified nothing, which the next `create` names.
    writeNewFile(join(dir, 'authority.key'), toPem(pair.privateKey, 'PRIVATE KEY'), 0o600);
    writeNewFile(join(dir, 'authority.pem'), certificate.toString('pem').trimEnd().concat('\n'), 0o644);
    return Authority.open(dir);
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
    const certificate = new x509.X509Certificate(Buffer.from(fromPem(certificatePem, 'CERTIFICATE')));
    if (Buffer.compare(p256Sha256.publicKeyOf(privateKey), Buffer.from(certificate.publicKey.rawData)) !== 0) {
      throw new QiaoError('KEY_MISMATCH', `authority.key and authority.pem in ${dir} do not belong together`, {
        hint: 'restore both from the same backup',
      });
    }
    return new Authority(await importPrivate(privateKey), new Uint8Array(certificate.rawData));
  }

  /**
   * Issues a certificate for the key in a signing request (DER). Only the key is taken from the request; everything else is
   * written by the authority. Throws CSR_INVALID (unreadable, other algorithm, or possession of the key not proven).
   */
  async issue(csrDer: Uint8Array, options: IssueOptions): Promise<Uint8Array> {
    const publicKey = await provenKey(csrDer);
    if (!Number.isInteger(options.days) || options.days < 1 || options.days > 3650) {
      throw new QiaoError('DAYS_INVALID', `a certificate lives 1 to 3650 days; asked for ${options.days}`);
    }
    const nowMs = options.nowMs ?? Date.now();
    const isServer = options.role === 'hub' || options.role === 'monitor';
    const authority = new x509.X509Certificate(Buffer.from(this.certificateDer));
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: randomSerial(),
      subject: `CN=${options.code}, OU=${options.role}`,
      issuer: authority.subjectName,
      notBefore: new Date(nowMs - BACKDATE_MS),
      notAfter: new Date(nowMs + options.days * DAY_MS),
      publicKey,
      signingKey: this.#key,
      signingAlgorithm: KEY_ALGORITHM,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        // Agents and operators never answer calls: without serverAuth none of them can stand in for the hub.
        new x509.ExtendedKeyUsageExtension(
          isServer
            ? [x509.ExtendedKeyUsage.clientAuth, x509.ExtendedKeyUsage.serverAuth]
            : [x509.ExtendedKeyUsage.clientAuth],
        ),
        new x509.SubjectAlternativeNameExtension([
          { type: 'url', value: identityUri(options) },
          ...(isServer ? (options.hosts ?? []).map(hostName) : []),
        ]),
        await x509.AuthorityKeyIdentifierExtension.create(authority.publicKey),
        await x509.SubjectKeyIdentifierExtension.create(publicKey),
      ],
    });
    return new Uint8Array(certificate.rawData);
  }
}

async function provenKey(csrDer: Uint8Array): Promise<x509.PublicKey> {
  let proven = false;
  let publicKey: x509.PublicKey | undefined;
  try {
    const request = new x509.Pkcs10CertificateRequest(Buffer.from(csrDer));
    publicKey = request.publicKey;
    const algorithm = publicKey.algorithm as { name?: string; namedCurve?: string };
    proven = algorithm.name === 'ECDSA' && algorithm.namedCurve === 'P-256' && (await request.verify());
  } catch (cause) {
    throw new QiaoError('CSR_INVALID', `a signing request of ${csrDer.length} bytes cannot be read`, { cause });
  }
  if (!proven || !publicKey) {
    throw new QiaoError('CSR_INVALID', 'the signing request does not prove possession of an ECDSA P-256 key', {
      hint: 'join again with the current version of qiao',
    });
  }
  return publicKey;
}

function hostName(host: string): { type: 'ip' | 'dns'; value: string } {
  if (isIP(host)) return { type: 'ip', value: host };
  if (/^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/.test(host))
    return { type: 'dns', value: host };
  throw new QiaoError('HOST_INVALID', `${JSON.stringify(host.slice(0, 80))} is neither an IP address nor a host name`);
}

/** 128 random bits (RFC 5280 4.1.2.2 asks for a positive number of at most 20 bytes). */
function randomSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] as number) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

async function importPrivate(pkcs8: Uint8Array): Promise<webcrypto.CryptoKey> {
  return await webcrypto.subtle.importKey('pkcs8', pkcs8 as Uint8Array<ArrayBuffer>, KEY_ALGORITHM, false, ['sign']);
}
