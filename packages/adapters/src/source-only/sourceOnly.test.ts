/** Servers that nobody here can run, as they are met here: not at all. And what is said of them as targets. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { DataSourceConfig } from '../adapter.ts';
import { mirror } from '../contract-suite/fixture.ts';
import { openDataSource } from '../open.ts';

const PASSWORD = 'hunter2';
const shared = { name: 'his', host: '127.0.0.1', user: 'qiao', password: PASSWORD };
const SERVERS: readonly ((port: number) => DataSourceConfig)[] = [
  (port) => ({ ...shared, port, adapter: 'mssql', database: 'his' }),
  (port) => ({ ...shared, port, adapter: 'mssql', database: 'his', tls: 'require' }),
  (port) => ({ ...shared, port, adapter: 'oracle', database: 'his' }),
  (port) => ({ ...shared, port, adapter: 'oracle', database: 'his', tls: 'require' }),
];
const empty = mkdtempSync(join(tmpdir(), 'qiao-drivers-'));
afterAll(() => rmSync(empty, { recursive: true, force: true }));

/** A port on which nobody listens any more. */
async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

describe.each(
  SERVERS.map((config) => [`${config(1).adapter} ${'tls' in config(1) ? 'by TLS' : 'plain'}`, config] as const),
)('%s', (_, config) => {
  test('a server that cannot be reached is tried again, and the password is nowhere', async () => {
    const source = await openDataSource(config(await closedPort()));
    const probe = await source.probe();
    expect(probe).toMatchObject({ reachable: false, code: 'SOURCE_UNAVAILABLE' });
    const error = await source.checkSource([{ table: 't', ref: { name: 't' } }]).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'SOURCE_UNAVAILABLE', fate: 'transient' });
    const opening = source.snapshot({ signal: new AbortController().signal, maxMs: 5_000 });
    await expect(opening).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE', fate: 'transient' });
    expect(JSON.stringify([probe, error, String((error as Error).cause)])).not.toContain(PASSWORD);
    await source.close();
  });

  test('one that cuts each line at once is unreachable as well', async () => {
    const server = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const source = await openDataSource(config(typeof address === 'object' && address !== null ? address.port : 0));
    expect(await source.probe()).toMatchObject({
      reachable: false,
      code: expect.stringMatching(/^SOURCE_(UNAVAILABLE|TLS_REFUSED)$/),
    });
    await source.close();
    server.close();
  });

  test('as a target it is refused with words, before anything is connected', async () => {
    const source = await openDataSource(config(1));
    const problems = await source.checkTarget([mirror('t', []), mirror('u', [])], new Map());
    expect(problems.map(({ code, path }) => `${code} ${path}`)).toEqual([
      'TARGET_UNSUPPORTED t',
      'TARGET_UNSUPPORTED u',
    ]);
    expect(problems[0]?.hint).toContain('exchange tables');
    await expect(source.openTarget()).rejects.toMatchObject({ code: 'TARGET_UNSUPPORTED' });
    await expect(source.createTable(mirror('t', []))).rejects.toMatchObject({ code: 'TARGET_UNSUPPORTED' });
    expect([source.triggers, source.log]).toEqual([undefined, undefined]);
  });
});

describe('达梦', () => {
  const config = { ...shared, port: 5236, adapter: 'dameng', driver: empty } as const;

  test('without its driver says what to install and where, and that it may not be brought', async () => {
    const source = await openDataSource(config);
    expect(await source.probe()).toEqual({
      reachable: false,
      code: 'SOURCE_DRIVER_MISSING',
      message: `found no driver of 达梦 (dmdb) in ${join(empty, 'node_modules')} (MODULE_NOT_FOUND); Qiao may not bring it`,
      hint: expect.stringContaining(`npm install --prefix ${empty} dmdb`),
    });
    await expect(source.checkSource([])).rejects.toMatchObject({ code: 'SOURCE_DRIVER_MISSING', fate: 'permanent' });
  });

  test('with something else in its driver’s place says the same', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'qiao-drivers-'));
    mkdirSync(join(directory, 'node_modules', 'dmdb'), { recursive: true });
    writeFileSync(join(directory, 'node_modules', 'dmdb', 'index.js'), 'module.exports = {};');
    const source = await openDataSource({ ...config, driver: directory });
    expect(await source.probe()).toMatchObject({ reachable: false, code: 'SOURCE_DRIVER_MISSING' });
    rmSync(directory, { recursive: true, force: true });
  });

  test('is not spoken to over a line that nobody has called trusted', async () => {
    await expect(openDataSource({ ...config, host: 'db.example.gov' })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('TLS'),
    });
    await openDataSource({ ...config, host: 'db.example.gov', tls: 'disable' });
  });
});
