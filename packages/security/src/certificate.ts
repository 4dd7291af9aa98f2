/**
 * What a certificate says about its holder, and whether the platform's authority said it. Owns the identity URI
 * `qiao://<platformId>/<role>/<nodeId>/<code>` (in the subject alternative name: subjects are for people, never compared).
 * Issuing is `authority.ts`; revocation is asked of the hub's registry by the caller.
 */
import 'reflect-metadata';
import { createHash, webcrypto, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { CODE, idText, parseId, QiaoError } from '@qiao/exchange';
import { p256Sha256 } from './cryptoSuite.ts';
import { fromPem, toPem } from './pem.ts';
import { twinOf } from './twin.ts';

/** What a process or person is to the platform; the words of NodeRole in lower case. */
export type Role = 'agent' | 'monitor' | 'hub' | 'operator';

export interface CertificateFacts {
  readonly role: Role;
  /** 16 bytes. */
  readonly platformId: Uint8Array;
  /** 16 bytes. */
  readonly nodeId: Uint8Array;
  /** Code of the node, or name of the operator. */
  readonly code: string;
  /** Milliseconds since 1970 UTC. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** SHA-256 of the certificate (DER), lower-case hexadecimal. */
  readonly fingerprint: string;
  /**
   * SHA-256 of the same certificate with the authority's signature written the other way that ECDSA lets anybody write it. Who
   * refuses a certificate by its fingerprint refuses both.
   */
  readonly twinFingerprint: string;
}

export interface Identity {
  readonly role: Role;
  readonly platformId: Uint8Array;
  readonly nodeId: Uint8Array;
  readonly code: string;
}

export const KEY_ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

x509.cryptoProvider.set(webcrypto as unknown as Parameters<typeof x509.cryptoProvider.set>[0]);

/**
 * Makes a key pair and a signing request that proves its possession. `subject` is a code; it is for people only, the authority
 * writes its own. Throws CODE_INVALID.
 */
export async function createKeyAndCsr(subject: string): Promise<{ keyPem: string; csrDer: Uint8Array }> {
  requireCode(subject);
  const pair = p256Sha256.generateKey();
  const keys = await importPair(pair.privateKey, pair.publicKey);
  return { keyPem: toPem(pair.privateKey, 'PRIVATE KEY'), csrDer: await requestFor(subject, keys) };
}

async function importPair(pkcs8: Uint8Array, spki: Uint8Array): Promise<webcrypto.CryptoKeyPair> {
  const { subtle } = webcrypto;
  return {
    privateKey: await subtle.importKey('pkcs8', pkcs8 as Uint8Array<ArrayBuffer>, KEY_ALGORITHM, false, ['sign']),
    publicKey: await subtle.importKey('spki', spki as Uint8Array<ArrayBuffer>, KEY_ALGORITHM, true, ['verify']),
  };
}

async function requestFor(subject: string, keys: webcrypto.CryptoKeyPair): Promise<Uint8Array> {
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: `CN=${subject}`,
    keys,
    signingAlgorithm: KEY_ALGORITHM,
  });
  return new Uint8Array(request.rawData);
}

// Facts are read at every call and message; parsing ASN.1 each time would dominate. Immutable, so the cache is safe to share.
const CACHED_FACTS = 4096;
const factsByFingerprint = new Map<string, CertificateFacts>();

/** What the certificate says, proven by nobody yet: see `verifyIssued`. Throws CERTIFICATE_INVALID, CERTIFICATE_WITHOUT_IDENTITY. */
export function readCertificate(der: Uint8Array): CertificateFacts {
  const fingerprint = fingerprintOf(der);
  const known = factsByFingerprint.get(fingerprint);
  if (known) return known;
  const facts = parseFacts(der, fingerprint);
  if (factsByFingerprint.size >= CACHED_FACTS) factsByFingerprint.clear();
  factsByFingerprint.set(fingerprint, facts);
  return facts;
}

/**
 * The certificate's facts, once the authority's signature and the dates are proven. Throws CERTIFICATE_INVALID,
 * CERTIFICATE_FOREIGN (another authority), CERTIFICATE_EXPIRED, CERTIFICATE_NOT_YET_VALID, CERTIFICATE_WITHOUT_IDENTITY.
 */
export function verifyIssued(certificateDer: Uint8Array, authorityDer: Uint8Array, nowMs: number): CertificateFacts {
  const certificate = parse(certificateDer);
  const authority = parse(authorityDer);
  if (
    !authority.ca ||
    certificate.ca ||
    !certificate.checkIssued(authority) ||
    !certificate.verify(authority.publicKey)
  ) {
    throw new QiaoError(
      'CERTIFICATE_FOREIGN',
      `the certificate ${fingerprintOf(certificateDer).slice(0, 16)} was not issued by this platform's authority ${fingerprintOf(authorityDer).slice(0, 16)}`,
      {
        hint: 'join this platform: qiao node invite CODE (at the hub), then qiao agent join',
      },
    );
  }
  const facts = readCertificate(certificateDer);
  if (nowMs > facts.notAfterMs) {
    throw new QiaoError(
      'CERTIFICATE_EXPIRED',
      `the certificate of ${facts.role} ${facts.code} ended at ${new Date(facts.notAfterMs).toISOString()}`,
      {
        hint: `qiao node invite ${facts.code}  # then join again`,
      },
    );
  }
  if (nowMs < facts.notBeforeMs) {
    throw new QiaoError(
      'CERTIFICATE_NOT_YET_VALID',
      `the certificate of ${facts.role} ${facts.code} begins at ${new Date(facts.notBeforeMs).toISOString()}; it is ${new Date(nowMs).toISOString()} here`,
      {
        hint: 'set the clocks of both machines (NTP)',
      },
    );
  }
  return facts;
}

/** SHA-256 of a certificate (DER), 64 lower-case hexadecimal digits. */
export function fingerprintOf(certificateDer: Uint8Array): string {
  return createHash('sha256').update(certificateDer).digest('hex');
}

/** The identity as a URI for the subject alternative name. Throws CODE_INVALID. */
export function identityUri(identity: Identity): string {
  requireCode(identity.code);
  return `qiao://${idText(identity.platformId)}/${identity.role}/${idText(identity.nodeId)}/${identity.code}`;
}

/** Whether two certificates (DER) are for one public key. Throws CERTIFICATE_INVALID. */
export function sameKey(a: Uint8Array, b: Uint8Array): boolean {
  const keyOf = (der: Uint8Array) => parse(der).publicKey.export({ format: 'der', type: 'spki' });
  return Buffer.compare(keyOf(a), keyOf(b)) === 0;
}

/**
 * What two persons compare to know that a node's keys are the ones it has: SHA-256 over its signing and its sealing key,
 * lower-case hexadecimal. A renewed certificate has the same. Throws CERTIFICATE_INVALID.
 */
export function keysFingerprint(certificate: Uint8Array, sealingKey: Uint8Array): string {
  const signingKey = parse(certificate).publicKey.export({ format: 'der', type: 'spki' });
  const hash = createHash('sha256').update('qiao.keys.v1');
  for (const key of [signingKey, sealingKey]) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(key.length);
    hash.update(length).update(key);
  }
  return hash.digest('hex');
}

/** Host names and addresses in a certificate's subject alternative name. */
export function hostsOfCertificate(der: Uint8Array): string[] {
  const names =
    new x509.X509Certificate(Buffer.from(der)).getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? [];
  return names.filter(({ type }) => type === 'dns' || type === 'ip').map(({ value }) => value);
}

/** A signing request (DER) for a key that is there already, to renew its certificate. Throws CODE_INVALID, PEM_INVALID. */
export async function createCsr(subject: string, keyPem: string): Promise<Uint8Array> {
  requireCode(subject);
  const pkcs8 = fromPem(keyPem, 'PRIVATE KEY');
  const keys = await importPair(pkcs8, p256Sha256.publicKeyOf(pkcs8));
  return await requestFor(subject, keys);
}

export function requireCode(code: string): void {
  if (CODE.test(code)) return;
  throw new QiaoError('CODE_INVALID', `${JSON.stringify(code.slice(0, 64))} is not a code`, {
    hint: 'a code is a lower-case letter, then up to 31 of a-z 0-9 -',
  });
}

const URI = /^qiao:\/\/([0-9a-f]{32})\/(agent|monitor|hub|operator)\/([0-9a-f]{32})\/([a-z][a-z0-9-]{0,31})$/;

function parseFacts(der: Uint8Array, fingerprint: string): CertificateFacts {
  const certificate = parse(der);
  // The library's parser and not X509Certificate.subjectAltName: that is one printed string, and splitting it invites forgery.
  const names = subjectNames(der);
  const uris = names.filter((name) => name.type === 'url').map((name) => name.value);
  const match = uris.length === 1 ? URI.exec(uris[0] as string) : null;
  if (!match) {
    throw new QiaoError(
      'CERTIFICATE_WITHOUT_IDENTITY',
      `the certificate ${fingerprint.slice(0, 16)} carries ${uris.length} URIs; expected one qiao://<platform>/<role>/<node>/<code>`,
    );
  }
  const [, platform, role, node, code] = match as unknown as [string, string, Role, string, string];
  return {
    role,
    platformId: parseId(platform),
    nodeId: parseId(node),
    code,
    notBeforeMs: certificate.validFromDate.getTime(),
    notAfterMs: certificate.validToDate.getTime(),
    fingerprint,
    twinFingerprint: fingerprintOf(twinOf(der) ?? der),
  };
}

function subjectNames(der: Uint8Array): readonly { readonly type: string; readonly value: string }[] {
  try {
    return (
      new x509.X509Certificate(Buffer.from(der)).getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? []
    );
  } catch (cause) {
    // The library reads every extension at once, and one that is broken throws errors of its own.
    throw new QiaoError(
      'CERTIFICATE_INVALID',
      `the extensions of a certificate of ${der.length} bytes cannot be read`,
      {
        cause,
      },
    );
  }
}

function parse(der: Uint8Array): X509Certificate {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(der);
  } catch (cause) {
    throw new QiaoError('CERTIFICATE_INVALID', `a certificate of ${der.length} bytes cannot be read`, { cause });
  }
  // The library lets bytes after the certificate pass, other lengths of its parts and PEM. A revoked one would go by another fingerprint.
  if (!certificate.raw.equals(der)) {
    throw new QiaoError('CERTIFICATE_INVALID', `${der.length} bytes hold a certificate that is not written as DER`);
  }
  return certificate;
}
