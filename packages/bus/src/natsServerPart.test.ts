import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { silentLog } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { type NatsServerOptions, natsServerPart } from './index.ts';
import { natsConfig, readVersion } from './natsConfig.ts';
import { TestBus, until } from './testBus.ts';

const CONFIG = {
  serverName: 'qiao-1',
  host: '127.0.0.1',
  port: 4222,
  tls: { certFile: '/a "b"/c.pem', keyFile: '/k.pem', authorityFile: '/ca.pem' },
  auth: { operatorJwt: 'o.p.q', systemAccount: 'ASYS', preload: { AACC: 'a.b.c' } },
  resolverDir: '/r',
  jetstreamDir: '/j',
  maxStoreBytes: 10,
  maxPayloadBytes: 20,
  pidFile: '/p',
};

test('only a server that knows it is told to sync every write', () => {
  expect(natsConfig(CONFIG, { major: 2, minor: 9 })).not.toContain('sync_interval');
  expect(natsConfig(CONFIG, { major: 2, minor: 10 })).toContain('  sync_interval: always');
  expect(natsConfig(CONFIG, { major: 3, minor: 0 })).toContain('  sync_interval: always');
  expect(natsConfig(CONFIG, { major: 2, minor: 9 })).toContain('cert_file: "/a \\"b\\"/c.pem"');
});

test('a version is read as servers print it', () => {
  expect(readVersion('nats-server: v2.9.10\n')).toMatchObject({ text: '2.9.10', major: 2, minor: 9 });
  expect(readVersion('nats-server: v2.12.7-RC.1')).toMatchObject({ text: '2.12.7-RC.1', minor: 12 });
  expect(readVersion('command not found')).toBeUndefined();
});

test('a server that is not installed is named with the way to install it', async () => {
  const part = natsServerPart(options({ dir: '/nonexistent', binary: '/nonexistent/nats-server' }));
  await expect(part.run(new AbortController().signal)).rejects.toMatchObject({
    code: 'NATS_SERVER_MISSING',
    fate: 'permanent',
    hint: expect.stringContaining('apt-get install nats-server'),
  });
  await expect(part.ready).rejects.toMatchObject({ code: 'NATS_SERVER_MISSING' });
});

test('a server below 2.9 is refused', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'qiao-old-'));
  try {
    const binary = join(dir, 'nats-server');
    await writeFile(binary, '#!/bin/sh\necho nats-server: v2.8.4\n', { mode: 0o755 });
    const part = natsServerPart(options({ dir, binary }));
    await expect(part.run(new AbortController().signal)).rejects.toMatchObject({ code: 'NATS_SERVER_TOO_OLD' });
  } finally {
    await rm(dir, { recursive: true });
  }
});

test('a stopped server is gone when run returns, and its pid file with it', async () => {
  await using world = await TestBus.start();
  const pid = await pidOf(world.dir);
  await world.stopServer();
  expect(isAlive(pid)).toBe(false);
  await expect(readFile(join(world.dir, 'bus', 'nats-server.pid'))).rejects.toMatchObject({ code: 'ENOENT' });
});

test('a server that dies rejects the run as transient, with a reason', async () => {
  await using world = await TestBus.start();
  await world.stopServer();
  const blocker = createServer();
  const port = Number(new URL(world.address.urls[0] ?? '').port);
  blocker.listen(port, '127.0.0.1');
  await once(blocker, 'listening');
  try {
    const part = natsServerPart(serverOptions(world.dir, world, `127.0.0.1:${port}`));
    await expect(part.run(new AbortController().signal)).rejects.toMatchObject({
      code: 'NATS_SERVER_ENDED',
      fate: 'transient',
      message: expect.stringMatching(/address already in use|bind/),
      hint: `choose another bus.listen in hub.yaml, or stop what holds 127.0.0.1:${port}`,
    });
  } finally {
    blocker.close();
  }
});

test('a listen that is no host:port is refused', async () => {
  const part = natsServerPart(options({ dir: '/nonexistent', listen: 'localhost' }));
  await expect(part.run(new AbortController().signal)).rejects.toMatchObject({ code: 'BAD_LISTEN' });
});

test('the server dies with a parent that is killed', async () => {
  await using world = await TestBus.start();
  await world.stopServer();
  const parent = await startParent(world);
  const pid = await pidOf(world.dir);
  expect(isAlive(pid)).toBe(true);
  parent.kill('SIGKILL');
  await once(parent, 'exit');
  for (let waitedMs = 0; isAlive(pid) && waitedMs < 5_000; waitedMs += 20)
    await new Promise((resolve) => setTimeout(resolve, 20));
  expect(isAlive(pid)).toBe(false);
});

test('a server left over from an earlier run is stopped before a new one starts on its store', async () => {
  await using world = await TestBus.start();
  const pidFile = join(world.dir, 'bus', 'nats-server.pid');
  const configFile = join(world.dir, 'bus', 'nats.conf');
  await world.stopServer();
  const stale = spawn('nats-server', ['-c', configFile], {
    stdio: 'ignore',
    env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/usr/local/sbin` },
  });
  const ended = once(stale, 'exit');
  await until(world.hub, 'connected');
  expect(await pidOf(world.dir)).toBe(stale.pid);
  world.startServer();
  await ended;
  // The client may not have noticed yet that its server is gone, so the new server's own pid file is what is waited for.
  let pid = stale.pid;
  for (let waitedMs = 0; (pid === stale.pid || pid === 0) && waitedMs < 20_000; waitedMs += 20) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    pid = Number(await readFile(pidFile, 'utf8').catch(() => '0'));
  }
  expect(pid).toBeGreaterThan(0);
  expect(pid).not.toBe(stale.pid);
  await until(world.hub, 'connected');
});

test('a process that merely got the number of an old server is left alone', async () => {
  await using world = await TestBus.start();
  await world.stopServer();
  await writeFile(join(world.dir, 'bus', 'nats-server.pid'), `${process.pid}`);
  world.startServer();
  await until(world.hub, 'connected');
  expect(isAlive(process.pid)).toBe(true);
});

/** A process of its own that runs the part until it is killed. */
async function startParent(world: TestBus) {
  const port = Number(new URL(world.address.urls[0] ?? '').port);
  const { log: _log, auth, ...rest } = serverOptions(world.dir, world, `127.0.0.1:${port}`);
  const script = `
    import { natsServerPart } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)};
    import { silentLog } from '@qiao/runtime';
    const part = natsServerPart({ ...${JSON.stringify({ ...rest, auth })}, log: silentLog() });
    void part.run(new AbortController().signal);
    await part.ready;
    console.log('ready');
  `;
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
    cwd: new URL('..', import.meta.url),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(createInterface({ input: parent.stdout }), 'line');
  return parent;
}

function serverOptions(dir: string, world: TestBus, listen: string): NatsServerOptions {
  return {
    dir: join(dir, 'bus'),
    listen,
    tls: {
      certFile: join(dir, 'server.pem'),
      keyFile: join(dir, 'server.key'),
      authorityFile: join(dir, 'authority.pem'),
    },
    auth: world.accounts.serverAuthConfig(),
    jetstreamDir: join(dir, 'jetstream'),
    maxStoreBytes: 2 ** 30,
    log: silentLog(),
  };
}

function options(some: Partial<NatsServerOptions> & { dir: string }): NatsServerOptions {
  return {
    listen: '127.0.0.1:0',
    tls: { certFile: 'c', keyFile: 'k', authorityFile: 'a' },
    auth: { operatorJwt: '', systemAccount: '', preload: {} },
    jetstreamDir: join(some.dir, 'j'),
    maxStoreBytes: 1,
    log: silentLog(),
    ...some,
  };
}

async function pidOf(dir: string): Promise<number> {
  return Number(await readFile(join(dir, 'bus', 'nats-server.pid'), 'utf8'));
}

/** A killed process that nobody waited for is a zombie: dead all the same. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
