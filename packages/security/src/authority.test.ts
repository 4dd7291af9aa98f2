import { X509Certificate } from 'node:crypto';
import { chmodSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Authority } from './authority.ts';
import { fingerprintOf, hostsOfCertificate, identityUri, readCertificate, verifyIssued } from './certificate.ts';
import { fromPem, toPem } from './pem.ts';
import { createKeyAndCsr } from './request.ts';
import { temporaryDirectory } from './temporaryDirectory.testing.ts';
import { twinOf } from './twin.ts';
import { writeCertificate } from './x509.ts';

const platformId = new Uint8Array(16).fill(0xab);
const nodeId = new Uint8Array(16).fill(0x02);
const nowMs = Date.UTC(2026, 10, 21, 8);
const DAY_MS = 86_400_000;
const code = (value: string) => expect.objectContaining({ code: value });

async function authorityIn(path: string): Promise<Authority> {
  return Authority.create(path, { platformId, platformCode: 'demo', nowMs });
}

async function issue(
  authority: Authority,
  role: 'agent' | 'monitor' | 'hub' | 'operator' = 'agent',
): Promise<Uint8Array> {
  const { csrDer } = await createKeyAndCsr('health');
  return authority.issue(csrDer, {
    role,
    platformId,
    nodeId,
    code: 'health',
    days: 30,
    hosts: ['127.0.0.1', 'hub.example'],
    nowMs,
  });
}

test('a certificate names role, platform, node and code, and the authority vouches for it', async () => {
  using dir = temporaryDirectory();
  const authority = await authorityIn(dir.path);
  const certificate = await issue(authority);
  expect(verifyIssued(certificate, authority.certificateDer, nowMs)).toEqual({
    role: 'agent',
    platformId,
    nodeId,
    code: 'health',
    notBeforeMs: nowMs - 5 * 60_000,
    notAfterMs: nowMs + 30 * DAY_MS,
    fingerprint: fingerprintOf(certificate),
    twinFingerprint: fingerprintOf(twinOf(certificate) ?? certificate),
  });
});

test('a certificate of another authority is refused, even under the same name', async () => {
  using here = temporaryDirectory();
  using there = temporaryDirectory();
  const [ours, theirs] = [await authorityIn(here.path), await authorityIn(there.path)];
  const foreign = await issue(theirs);
  expect(() => verifyIssued(foreign, ours.certificateDer, nowMs)).toThrow(code('CERTIFICATE_FOREIGN'));
  expect(() => verifyIssued(ours.certificateDer, ours.certificateDer, nowMs)).toThrow(code('CERTIFICATE_FOREIGN'));
});

test('a certificate is refused after its end and before its begin', async () => {
  using dir = temporaryDirectory();
  const authority = await authorityIn(dir.path);
  const certificate = await issue(authority);
  verifyIssued(certificate, authority.certificateDer, nowMs + 30 * DAY_MS);
  expect(() => verifyIssued(certificate, authority.certificateDer, nowMs + 30 * DAY_MS + 1)).toThrow(
    code('CERTIFICATE_EXPIRED'),
  );
  expect(() => verifyIssued(certificate, authority.certificateDer, nowMs - DAY_MS)).toThrow(
    code('CERTIFICATE_NOT_YET_VALID'),
  );
});

test('the certificate of a server names where it answers, and no other role’s does', async () => {
  using dir = temporaryDirectory();
  const authority = await authorityIn(dir.path);
  const hosts = ['127.0.0.1', 'hub.example', 'fe80::1'];
  const { csrDer } = await createKeyAndCsr('centre');
  const about = { platformId, nodeId, code: 'centre', days: 30, hosts, nowMs } as const;
  const hub = await authority.issue(csrDer, { ...about, role: 'hub' });
  expect(hostsOfCertificate(hub)).toEqual(['127.0.0.1', 'hub.example', 'fe80:0000:0000:0000:0000:0000:0000:0001']);
  const renewed = await authority.issue(csrDer, { ...about, role: 'hub', hosts: hostsOfCertificate(hub) });
  expect(new X509Certificate(renewed).subjectAltName).toBe(new X509Certificate(hub).subjectAltName);
  expect(hostsOfCertificate(await authority.issue(csrDer, { ...about, role: 'agent' }))).toEqual([]);
});

test('a certificate whose URI is anything more or less than the identity, carries no identity', async () => {
  using dir = temporaryDirectory();
  const authority = await authorityIn(dir.path);
  const { csrDer } = await createKeyAndCsr('centre');
  const issuer = {
    certificate: authority.certificateDer,
    privateKey: fromPem(readFileSync(join(dir.path, 'authority.key'), 'utf8'), 'PRIVATE KEY'),
  };
  const uri = identityUri({ role: 'agent', platformId, nodeId, code: 'health' });
  const leaf = { subject: `CN=${uri}`, isServer: false, hosts: [], notBefore: new Date(0), notAfter: new Date(nowMs) };
  for (const other of [`${uri}, URI:${uri}`, `x, URI:${uri}`, `${uri}\0`, ` ${uri}`, `${uri}\n`, '']) {
    const certificate = await writeCertificate(csrDer, issuer, { ...leaf, uri: other });
    expect(() => readCertificate(certificate), other).toThrow(code('CERTIFICATE_WITHOUT_IDENTITY'));
  }
  expect(readCertificate(await writeCertificate(csrDer, issuer, { ...leaf, uri })).code).toBe('health');
});

test('a changed certificate is refused', async () => {
  using dir = temporaryDirectory();
  const authority = await authorityIn(dir.path);
  const certificate = Uint8Array.from(await issue(authority));
  const at = Buffer.from(certificate).indexOf('/agent/');
  certificate.set(Buffer.from('/ogent/'), at);
  expect(() => verifyIssued(certificate, authority.certificateDer, nowMs)).toThrow(code('CERTIFICATE_FOREIGN'));
  expect(() => readCertificate(certificate)).toThrow(code('CERTIFICATE_WITHOUT_IDENTITY'));
  expect(() => readCertificate(Buffer.from('garbage'))).toThrow(code('CERTIFICATE_INVALID'));
  // Readable as a whole, broken in an extension that nobody asked for.
  const oddKeyUse = Uint8Array.from(await issue(authority));
  oddKeyUse[Buffer.from(oddKeyUse).indexOf(Buffer.from('2b06010505070302', 'hex')) - 1] = 0x50;
  expect(() => verifyIssued(oddKeyUse, authority.certificateDer, nowMs)).toThrow(code('CERTIFICATE_FOREIGN'));
});

test('a certificate is one row of bytes: with anything after it, or written another way, it is none', async () => {
  using dir = temporaryDirectory();
  const authority = await authorityIn(dir.path);
  const certificate = Buffer.from(await issue(authority));
  // The outer length in three bytes instead of two.
  const longer = Buffer.concat([Buffer.from('308300', 'hex'), certificate.subarray(2)]);
  const asPem = Buffer.from(toPem(certificate, 'CERTIFICATE'));
  for (const other of [Buffer.concat([certificate, Buffer.of(0)]), longer, asPem]) {
    expect(() => readCertificate(other)).toThrow(code('CERTIFICATE_INVALID'));
    expect(() => verifyIssued(other, authority.certificateDer, nowMs)).toThrow(code('CERTIFICATE_INVALID'));
  }
});

test('a certificate has one twin: the same words under another fingerprint, which both name', async () => {
  using dir = temporaryDirectory();
  const authority = await authorityIn(dir.path);
  // Numbers of 31, 32 and 33 bytes come by chance.
  for (let times = 0; times < 40; times += 1) {
    const certificate = await issue(authority);
    const twin = twinOf(certificate) ?? certificate;
    const facts = readCertificate(certificate);
    const other = verifyIssued(twin, authority.certificateDer, nowMs);
    expect(other.fingerprint).not.toBe(facts.fingerprint);
    expect(other).toEqual({ ...facts, fingerprint: facts.twinFingerprint, twinFingerprint: facts.fingerprint });
    expect(Buffer.from(twinOf(twin) ?? twin)).toEqual(Buffer.from(certificate));
  }
  expect(twinOf(Uint8Array.of(0x30, 0x03, 0x02, 0x01, 0x07))).toBeUndefined();
});

test('a signing request that does not prove possession of its key gets no certificate', async () => {
  using dir = temporaryDirectory();
  const authority = await authorityIn(dir.path);
  const { csrDer } = await createKeyAndCsr('health');
  const forged = Uint8Array.from(csrDer);
  const last = forged.length - 1;
  forged[last] = (forged[last] as number) ^ 1;
  const options = { role: 'agent', platformId, nodeId, code: 'health', days: 1 } as const;
  await expect(authority.issue(forged, options)).rejects.toThrow(code('CSR_INVALID'));
  await expect(authority.issue(Buffer.from('garbage'), options)).rejects.toThrow(code('CSR_INVALID'));
});

test('only hub and monitor may answer as servers, under the given names', async () => {
  using dir = temporaryDirectory();
  const authority = await authorityIn(dir.path);
  const serverAuth = '1.3.6.1.5.5.7.3.1';
  const read = async (role: 'agent' | 'monitor' | 'hub' | 'operator') =>
    new X509Certificate(await issue(authority, role));
  const [hub, monitor, agent, operator] = [
    await read('hub'),
    await read('monitor'),
    await read('agent'),
    await read('operator'),
  ];
  expect(hub.keyUsage).toContain(serverAuth);
  expect(monitor.keyUsage).toContain(serverAuth);
  expect(agent.keyUsage).not.toContain(serverAuth);
  expect(operator.keyUsage).not.toContain(serverAuth);
  expect(hub.checkIP('127.0.0.1')).toBe('127.0.0.1');
  expect(hub.checkHost('hub.example')).toBe('hub.example');
  expect(agent.checkIP('127.0.0.1')).toBeUndefined();
});

test('an authority is read again as it was made, its key readable by its owner only', async () => {
  using dir = temporaryDirectory();
  const made = await authorityIn(dir.path);
  const keyFile = join(dir.path, 'authority.key');
  expect(statSync(keyFile).mode & 0o777).toBe(0o600);
  expect(statSync(dir.path).mode & 0o777).toBe(0o700);
  const opened = await Authority.open(dir.path);
  expect(opened.fingerprint).toBe(made.fingerprint);
  verifyIssued(await issue(opened), made.certificateDer, nowMs);
  chmodSync(keyFile, 0o640);
  await expect(Authority.open(dir.path)).rejects.toThrow(code('FILE_EXPOSED'));
});

test('an existing authority is never replaced, a missing one is named', async () => {
  using dir = temporaryDirectory();
  using empty = temporaryDirectory();
  await authorityIn(dir.path);
  await expect(authorityIn(dir.path)).rejects.toThrow(code('FILE_EXISTS'));
  await expect(Authority.open(empty.path)).rejects.toThrow(code('AUTHORITY_MISSING'));
});
