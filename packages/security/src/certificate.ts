/**
 * What a certificate says about its holder, and whether the platform's authority said it. Owns the identity URI
 * `qiao://<platformId>/<role>/<nodeId>/<code>` (in the subject alternative name: subjects are for people, never compared).
 * Issuing is `authority.ts`; revocation is asked of the hub's registry by the caller.
 */
import { createHash, hash, X509Certificate } from 'node:crypto';
import { CODE, idText, parseId, QiaoError } from '@qiao/exchange';
import { type Element, elements, SEQUENCE } from './der.ts';
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
  if (!isIssued(certificateDer, authorityDer)) {
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

// Asked for every message too. Only what was issued is kept: what is refused costs its sender a signature each time.
const issued = new Set<string>();

function isIssued(certificateDer: Uint8Array, authorityDer: Uint8Array): boolean {
  const both = `${fingerprintOf(certificateDer)} ${fingerprintOf(authorityDer)}`;
  if (issued.has(both)) return true;
  const certificate = parse(certificateDer);
  const authority = parse(authorityDer);
  const isGood =
    authority.ca && !certificate.ca && certificate.checkIssued(authority) && certificate.verify(authority.publicKey);
  if (!isGood) return false;
  if (issued.size >= CACHED_FACTS) issued.clear();
  issued.add(both);
  return true;
}

/** SHA-256 of a certificate (DER), 64 lower-case hexadecimal digits. */
export function fingerprintOf(certificateDer: Uint8Array): string {
  return hash('sha256', certificateDer, 'hex');
}

/** The identity as a URI for the subject alternative name. Throws CODE_INVALID. */
export function identityUri(identity: Identity): string {
  requireCode(identity.code);
  return `qiao://${idText(identity.platformId)}/${identity.role}/${idText(identity.nodeId)}/${identity.code}`;
}

/** Whether two certificates (DER) are for one public key. Throws CERTIFICATE_INVALID. */
export function sameKey(a: Uint8Array, b: Uint8Array): boolean {
  return certifiedKey(a).equals(certifiedKey(b));
}

/** The public key that a certificate is for (SPKI, DER). Throws CERTIFICATE_INVALID. */
export function certifiedKey(der: Uint8Array): Buffer {
  return parse(der).publicKey.export({ format: 'der', type: 'spki' });
}

/**
 * What two persons compare to know that a node's keys are the ones it has: SHA-256 over its signing and its sealing key,
 * lower-case hexadecimal. A renewed certificate has the same. Throws CERTIFICATE_INVALID.
 */
export function keysFingerprint(certificate: Uint8Array, sealingKey: Uint8Array): string {
  const digest = createHash('sha256').update('qiao.keys.v1');
  for (const key of [certifiedKey(certificate), sealingKey]) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(key.length);
    digest.update(length).update(key);
  }
  return digest.digest('hex');
}

/** From when until when a certificate is good, an authority's too; milliseconds since 1970 UTC. Throws CERTIFICATE_INVALID. */
export function lifeOf(der: Uint8Array): { readonly notBeforeMs: number; readonly notAfterMs: number } {
  const { validFromDate, validToDate } = parse(der);
  return { notBeforeMs: validFromDate.getTime(), notAfterMs: validToDate.getTime() };
}

/**
 * Whether `next` is the authority `present` with a later end: the same name and key, proven by that key. Whoever trusts the one may take
 * the other without a person. Throws CERTIFICATE_INVALID.
 */
export function isSameAuthority(next: Uint8Array, present: Uint8Array): boolean {
  const [after, before] = [parse(next), parse(present)];
  return (
    after.ca &&
    sameKey(next, present) &&
    after.subject === before.subject &&
    after.checkIssued(before) &&
    after.verify(before.publicKey) &&
    after.validToDate > before.validToDate
  );
}

/** Host names and addresses in a certificate's subject alternative name. Throws CERTIFICATE_INVALID. */
export function hostsOfCertificate(der: Uint8Array): string[] {
  parse(der);
  return alternativeNames(der).flatMap(({ tag, value }) => {
    if (tag === DNS_NAME) return [Buffer.from(value).toString('latin1')];
    if (tag === IP_ADDRESS) return [addressOf(value)];
    return [];
  });
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
  const uris = alternativeNames(der).filter(({ tag }) => tag === URI_NAME);
  const match = uris.length === 1 ? URI.exec(Buffer.from(uris[0]?.value ?? []).toString('latin1')) : null;
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

// RFC 5280, 4.1 and 4.2.1.6: where the extensions lie, and the kinds of a name.
const EXTENSIONS = 0xa3;
const OCTET_STRING = 0x04;
const SUBJECT_ALTERNATIVE_NAME = Buffer.from('551d11', 'hex');
const DNS_NAME = 0x82;
const URI_NAME = 0x86;
const IP_ADDRESS = 0x87;

/**
 * The names in the subject alternative name of a certificate that OpenSSL has read. From its bytes and not from
 * X509Certificate.subjectAltName: that is one printed string, and splitting it invites forgery.
 */
function alternativeNames(der: Uint8Array): Element[] {
  const within = ({ value }: Element) => elements(value);
  return elements(der)
    .flatMap((certificate) => within(certificate).slice(0, 1).flatMap(within))
    .filter(({ tag }) => tag === EXTENSIONS)
    .flatMap((extensions) => within(extensions).flatMap(within))
    .map(within)
    .filter(([id]) => id !== undefined && SUBJECT_ALTERNATIVE_NAME.equals(id.value))
    .flatMap((extension) => extension.filter(({ tag }) => tag === OCTET_STRING))
    .flatMap((names) => within(names).filter(({ tag }) => tag === SEQUENCE))
    .flatMap(within);
}

/** Four bytes or sixteen, as text. */
function addressOf(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const hex = Buffer.from(bytes).toString('hex');
  return hex.match(/.{4}/g)?.join(':') ?? '';
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
