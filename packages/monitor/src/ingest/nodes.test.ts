import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Directory, Heartbeat } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { testStore } from '@qiao/database/testing';
import { Authority, createKeyAndCsr, readCertificate, Signer, twinOf, Verifier } from '@qiao/security';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openMonitorDatabase } from '../monitorDatabase.ts';
import { Nodes } from './nodes.ts';

const folder = mkdtempSync(join(tmpdir(), 'qiao-monitor-nodes-'));
afterAll(() => rmSync(folder, { recursive: true }));

const platformId = new Uint8Array(16).fill(1);

let authority: Authority;
let made = 0;
beforeAll(async () => {
  authority = await Authority.create(join(folder, 'authority'), { platformId, platformCode: 'demo' });
});

async function party(role: 'hub' | 'agent' | 'monitor' | 'operator', code: string, fill: number) {
  const { keyPem, csrDer } = await createKeyAndCsr(code);
  const nodeId = new Uint8Array(16).fill(fill);
  const certificate = await authority.issue(csrDer, { role, platformId, nodeId, code, days: 1 });
  const { fingerprint, twinFingerprint } = readCertificate(certificate);
  return { certificate, nodeId, code, fingerprint, twinFingerprint, signer: new Signer(keyPem, certificate) };
}

async function openNodes() {
  const hub = await party('hub', 'hub', 2);
  made += 1;
  const database = await openMonitorDatabase(await testStore(join(folder, `monitor-${made}.db`)));
  const nodes = await Nodes.open({
    database,
    verifier: new Verifier(),
    authority: authority.certificateDer,
    hubCertificate: hub.certificate,
    nowMs: () => Date.now(),
  });
  let number = 0n;
  const tell = async (
    named: Parameters<typeof Directory.fromPartial>[0]['nodes'] & object,
    revokedKeys: Uint8Array[] = [],
    audit: Partial<Pick<Directory, 'auditReplica' | 'auditNumber' | 'auditHead'>> = {},
  ) => {
    number += 1n;
    const written = Directory.fromPartial({ number, nodes: [...named], revokedKeys, ...audit });
    const directory = Directory.encode(written).finish();
    await nodes.takeDirectory(Signed.encode(hub.signer.sign('qiao.directory.v1', directory)).finish());
  };
  return { nodes, tell, [Symbol.asyncDispose]: () => database.destroy() };
}

test('bytes that are no message are an error of the message, so that its sender cannot stop the monitor', async () => {
  await using it = await openNodes();
  const { nodes } = it;
  const health = await party('agent', 'health', 3);
  await it.tell([health]);

  const noise = Uint8Array.of(0xff, 0xff, 0xff);
  const signedNoise = Signed.encode(health.signer.sign('qiao.heartbeat.v1', noise)).finish();
  await expect(nodes.takeDirectory(noise)).rejects.toMatchObject({ code: 'MESSAGE_UNREADABLE' });
  await expect(nodes.takeHeartbeat(noise, 'health')).rejects.toMatchObject({ code: 'MESSAGE_UNREADABLE' });
  await expect(nodes.takeHeartbeat(signedNoise, 'health')).rejects.toMatchObject({ code: 'MESSAGE_UNREADABLE' });
  const genuine = Heartbeat.encode(Heartbeat.fromPartial({ nodeId: health.nodeId, atMs: 1n })).finish();
  await nodes.takeHeartbeat(Signed.encode(health.signer.sign('qiao.heartbeat.v1', genuine)).finish(), 'health');
  expect(nodes.state('03'.repeat(16))?.heartbeat.atMs).toBe(1n);
});

test('an operator whose rights were ended is known, and so is the certificate from before joining again, whichever way it is written', async () => {
  await using it = await openNodes();
  const old = await party('operator', 'li', 5);
  const next = await party('operator', 'li', 5);
  expect(it.nodes.isRevoked(old)).toBe(false);
  await it.tell([old]);
  expect(it.nodes.isRevoked(old)).toBe(false);
  await it.tell([{ ...old, revoked: true }]);
  expect(it.nodes.isRevoked(old)).toBe(true);
  await it.tell([next], [Buffer.from(old.fingerprint, 'hex')]);
  expect([it.nodes.isRevoked(old), it.nodes.isRevoked(next)]).toEqual([true, false]);
  const twin = readCertificate(twinOf(old.certificate) ?? old.certificate);
  expect([twin.fingerprint === old.fingerprint, it.nodes.isRevoked(twin), it.nodes.isCertificateRevoked(twin)]).toEqual(
    [false, true, true],
  );
  // Renewed, not replaced: nobody ended the one before.
  await it.tell([next]);
  expect([it.nodes.isRevoked(old), it.nodes.isRevoked(next)]).toEqual([false, false]);
});

test('of two directories that come at once by two ways the newer one stays, whichever is written last', async () => {
  await using it = await openNodes();
  const li = await party('operator', 'li', 5);
  // A head of the audit is one more thing to write.
  const older = it.tell([li], [], { auditReplica: 'hub', auditNumber: 1n, auditHead: new Uint8Array(32) });
  await Promise.all([older, it.tell([{ ...li, revoked: true }])]);
  expect(it.nodes.isRevoked(li)).toBe(true);
});

test('of those in the directory only agents are expected to beat', async () => {
  await using it = await openNodes();
  const all = [await party('agent', 'health', 3), await party('monitor', 'watch', 4), await party('operator', 'li', 5)];
  await it.tell([...all, { ...(await party('agent', 'gone', 6)), revoked: true }]);
  expect(it.nodes.agents().map(({ code }) => code)).toEqual(['health']);
});

/** A monitor that hears one node; each call answers the moment of the heartbeat that stands afterwards. */
async function hearing(it: Awaited<ReturnType<typeof openNodes>>) {
  const health = await party('agent', 'health', 3);
  await it.tell([health]);
  return async (said: Parameters<typeof Heartbeat.fromPartial>[0]) => {
    const heartbeat = Heartbeat.encode(Heartbeat.fromPartial({ nodeId: health.nodeId, ...said })).finish();
    await it.nodes.takeHeartbeat(Signed.encode(health.signer.sign('qiao.heartbeat.v1', heartbeat)).finish(), 'health');
    return it.nodes.state('03'.repeat(16))?.heartbeat.atMs;
  };
}

test('of an agent that does not number, a heartbeat brought again changes nothing, one of a clock that was set back far is heard', async () => {
  await using it = await openNodes();
  const beat = await hearing(it);
  expect(await beat({ atMs: 9_000_000n })).toBe(9_000_000n);
  expect(await beat({ atMs: 8_995_000n })).toBe(9_000_000n);
  expect(await beat({ atMs: 5_400_000n })).toBe(5_400_000n);
});

test('a heartbeat is heard wherever the clock of its node stands, and changes nothing when it is brought again', async () => {
  await using it = await openNodes();
  const beat = await hearing(it);
  const [aheadMs, backMs] = [9_090_000n, 9_005_000n];
  expect(await beat({ start: 1n, beat: 1n, atMs: aheadMs })).toBe(aheadMs);
  expect(await beat({ start: 1n, beat: 2n, atMs: backMs })).toBe(backMs);
  expect(await beat({ start: 1n, beat: 1n, atMs: aheadMs })).toBe(backMs);
  // A restart under a clock that stood ahead and is back: the process says an earlier start than the one before it.
  expect(await beat({ start: 2n, beat: 1n, atMs: aheadMs, startedAtMs: aheadMs })).toBe(aheadMs);
  expect(await beat({ start: 3n, beat: 1n, atMs: backMs, startedAtMs: backMs })).toBe(backMs);
  expect(await beat({ start: 2n, beat: 7n, atMs: aheadMs, startedAtMs: aheadMs })).toBe(backMs);
});

test('an old copy of an exchange database is heard again as soon as the hub knows its start', async () => {
  await using it = await openNodes();
  const beat = await hearing(it);
  expect(await beat({ fencingToken: 8n, start: 9n, beat: 400n, atMs: 9_000_000n })).toBe(9_000_000n);
  expect(await beat({ fencingToken: 5n, start: 6n, beat: 1n, atMs: 9_010_000n })).toBe(9_000_000n);
  expect(await beat({ fencingToken: 9n, start: 6n, beat: 2n, atMs: 9_015_000n })).toBe(9_015_000n);
  // Another exchange database counts for itself.
  const exchangeDatabaseId = new Uint8Array(16).fill(7);
  expect(await beat({ exchangeDatabaseId, start: 1n, beat: 1n, atMs: 9_020_000n })).toBe(9_020_000n);
});
