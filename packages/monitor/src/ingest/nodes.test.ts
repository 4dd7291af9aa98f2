import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Directory, Heartbeat } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { Authority, createKeyAndCsr, Signer, Verifier } from '@qiao/security';
import { afterAll, expect, test } from 'vitest';
import { openMonitorDatabase } from '../monitorDatabase.ts';
import { Nodes } from './nodes.ts';

const folder = mkdtempSync(join(tmpdir(), 'qiao-monitor-nodes-'));
afterAll(() => rmSync(folder, { recursive: true }));

const platformId = new Uint8Array(16).fill(1);

test('bytes that are no message are an error of the message, so that its sender cannot stop the monitor', async () => {
  const authority = await Authority.create(join(folder, 'authority'), { platformId, platformCode: 'demo' });
  const party = async (role: 'hub' | 'agent', fill: number) => {
    const { keyPem, csrDer } = await createKeyAndCsr('health');
    const nodeId = new Uint8Array(16).fill(fill);
    const certificate = await authority.issue(csrDer, { role, platformId, nodeId, code: 'health', days: 1 });
    return { certificate, nodeId, signer: new Signer(keyPem, certificate) };
  };
  const hub = await party('hub', 2);
  const health = await party('agent', 3);
  const database = await openMonitorDatabase(join(folder, 'monitor.db'));
  const nodes = await Nodes.open({
    database,
    verifier: new Verifier(),
    authority: authority.certificateDer,
    hubCertificate: hub.certificate,
    nowMs: () => Date.now(),
  });
  const node = { nodeId: health.nodeId, code: 'health', certificate: health.certificate };
  const directory = Directory.encode(Directory.fromPartial({ number: 1n, nodes: [node] })).finish();
  await nodes.takeDirectory(Signed.encode(hub.signer.sign('qiao.snapshot.v1', directory)).finish());

  const noise = Uint8Array.of(0xff, 0xff, 0xff);
  const signedNoise = Signed.encode(health.signer.sign('qiao.heartbeat.v1', noise)).finish();
  await expect(nodes.takeDirectory(noise)).rejects.toMatchObject({ code: 'MESSAGE_UNREADABLE' });
  await expect(nodes.takeHeartbeat(noise, 'health')).rejects.toMatchObject({ code: 'MESSAGE_UNREADABLE' });
  await expect(nodes.takeHeartbeat(signedNoise, 'health')).rejects.toMatchObject({ code: 'MESSAGE_UNREADABLE' });
  const genuine = Heartbeat.encode(Heartbeat.fromPartial({ nodeId: health.nodeId, atMs: 1n })).finish();
  await nodes.takeHeartbeat(Signed.encode(health.signer.sign('qiao.heartbeat.v1', genuine)).finish(), 'health');
  expect(nodes.state('03'.repeat(16))?.heartbeat.atMs).toBe(1n);
  await database.destroy();
});
