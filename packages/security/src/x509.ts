/**
 * Writing signing requests and certificates (RFC 2986, RFC 5280): the one place of the library that does it. To be imported when
 * something is written and never at a start: loading the library takes longer than all else that a program loads. Certificates are
 * read in `certificate.ts`.
 */
import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';
import { QiaoError } from '@qiao/exchange';
import { type KeyPair, p256Sha256 } from './cryptoSuite.ts';

export interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

const KEY_ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

x509.cryptoProvider.set(webcrypto as unknown as Parameters<typeof x509.cryptoProvider.set>[0]);

/** A signing request (DER) that proves the possession of this key (PKCS#8, DER). */
export async function writeRequest(subject: string, privateKey: Uint8Array): Promise<Uint8Array> {
  const keys = await importPair({ privateKey, publicKey: p256Sha256.publicKeyOf(privateKey) });
  const name = `CN=${subject}`;
  const request = await x509.Pkcs10CertificateRequestGenerator.create({ name, keys, signingAlgorithm: KEY_ALGORITHM });
  return new Uint8Array(request.rawData);
}

/** Another certificate (DER) of an authority, for the same name and key. */
export async function rewriteAuthority(
  certificate: Uint8Array,
  pair: KeyPair,
  validity: Validity,
): Promise<Uint8Array> {
  return await writeAuthority(new x509.X509Certificate(Buffer.from(certificate)).subjectName, pair, validity);
}

/** A certificate (DER) of an authority, signed by itself. */
export async function writeAuthority(name: string | x509.Name, pair: KeyPair, validity: Validity): Promise<Uint8Array> {
  const keys = await importPair(pair);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: randomSerial(),
    name,
    ...validity,
    keys,
    signingAlgorithm: KEY_ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return new Uint8Array(certificate.rawData);
}

export interface Leaf extends Validity {
  readonly subject: string;
  /** The identity, as a URI. */
  readonly uri: string;
  readonly isServer: boolean;
  /** Names and addresses a server answers under. */
  readonly hosts: readonly string[];
}

/**
 * A certificate (DER) for the key in a signing request (DER), which is all that is taken from it. Throws CSR_INVALID (unreadable,
 * other algorithm, or possession of the key not proven), HOST_INVALID.
 */
export async function writeCertificate(
  csrDer: Uint8Array,
  issuer: { readonly certificate: Uint8Array; readonly privateKey: Uint8Array },
  { subject, uri, isServer, hosts, notBefore, notAfter }: Leaf,
): Promise<Uint8Array> {
  const publicKey = await provenKey(csrDer);
  const authority = new x509.X509Certificate(Buffer.from(issuer.certificate));
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject,
    issuer: authority.subjectName,
    notBefore,
    notAfter,
    publicKey,
    signingKey: await importPrivate(issuer.privateKey),
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
      new x509.SubjectAlternativeNameExtension([{ type: 'url', value: uri }, ...hosts.map(hostName)]),
      await x509.AuthorityKeyIdentifierExtension.create(authority.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
    ],
  });
  return new Uint8Array(certificate.rawData);
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

async function importPair({ privateKey, publicKey }: KeyPair): Promise<webcrypto.CryptoKeyPair> {
  const spki = publicKey as Uint8Array<ArrayBuffer>;
  return {
    privateKey: await importPrivate(privateKey),
    publicKey: await webcrypto.subtle.importKey('spki', spki, KEY_ALGORITHM, true, ['verify']),
  };
}

async function importPrivate(pkcs8: Uint8Array): Promise<webcrypto.CryptoKey> {
  return await webcrypto.subtle.importKey('pkcs8', pkcs8 as Uint8Array<ArrayBuffer>, KEY_ALGORITHM, false, ['sign']);
}
