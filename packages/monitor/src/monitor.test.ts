import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBusUserKey } from '@qiao/bus';
import { lockDirectory } from '@qiao/database';
import { silentLog } from '@qiao/runtime';
import { Authority, createKeyAndCsr, writeIdentity } from '@qiao/security';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { identityDirectory, type MonitorConfig, monitorConfigSchema } from './config.ts';
import { startMonitor } from './monitor.ts';

const directory = mkdtempSync(join(tmpdir(), 'qiao-monitor-'));
afterAll(() => rmSync(directory, { recursive: true }));

beforeAll(async () => {
  const platformId = new Uint8Array(16).fill(1);
  const nodeId = new Uint8Array(16).fill(2);
  const authority = await Authority.create(join(directory, 'authority'), { platformId, platformCode: 'demo' });
  const { keyPem, csrDer } = await createKeyAndCsr('monitor');
  const certificate = await authority.issue(csrDer, { role: 'monitor', platformId, nodeId, code: 'monitor', days: 1 });
  writeIdentity(identityDirectory(directory), {
    role: 'monitor',
    platformId,
    platformCode: 'demo',
    platformTitle: '演示平台',
    timeZone: 'Asia/Shanghai',
    nodeId,
    nodeCode: 'monitor',
    departmentCode: 'demo',
    departmentTitle: '演示平台',
    hubAddress: '127.0.0.1:1',
    natsUrls: ['tls://127.0.0.1:1'],
    keyPem,
    certificate,
    authority: authority.certificateDer,
    hubCertificate: certificate,
    nats: { seed: createBusUserKey().seed, jwt: 'jwt.jwt.jwt' },
  });
});

function start(listen: Partial<MonitorConfig>, signal = new AbortController().signal, log = silentLog()) {
  const config = { ...monitorConfigSchema.parse({ board: { listen: '127.0.0.1:0' } }), directory, ...listen };
  return startMonitor({ config, signal, log });
}

test('a start that fails half way leaves nothing open', async () => {
  const blocker = createServer().listen(0, '127.0.0.1');
  await once(blocker, 'listening');
  try {
    const { port } = blocker.address() as AddressInfo;
    const before = listening();
    await expect(start({ listen: `127.0.0.1:${port}` })).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
    await expect.poll(listening).toBe(before);
    lockDirectory(directory, 'monitor').release();
  } finally {
    blocker.close();
  }
});

test('a second monitor on the same directory is refused, and the first says when it has stopped', async () => {
  const stop = new AbortController();
  const said: unknown[] = [];
  const log = Object.assign(silentLog(), { info: (...words: unknown[]) => void said.push(words.at(-1)) });
  const first = await start({ listen: '127.0.0.1:0' }, stop.signal, log);
  await expect(start({ listen: '127.0.0.1:0' })).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
  stop.abort();
  await first.closed;
  expect(said.at(-1)).toBe('monitor stopped');
  lockDirectory(directory, 'monitor').release();
});

/** What keeps this process alive and listens. */
function listening(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'TCPServerWrap').length;
}
