import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeUser } from 'nats-jwt';
import { fromPublic, fromSeed } from 'nkeys.js';
import { expect, test } from 'vitest';
import {
  BusAccounts,
  type BusCredentials,
  type BusStatus,
  consumers,
  createBusUserKey,
  streams,
  subjects,
} from './index.ts';
import { bytes, PLATFORM, TestBus, text, until } from './testBus.ts';

test('a revoked node is cut off within a second, and the others go on', async () => {
  await using world = await TestBus.start();
  const health = await world.node('health');
  const civil = await world.node('civil-affairs');
  let cutAt = 0;
  const cut = away(health.bus).then(() => {
    cutAt = performance.now();
  });
  const startedAt = performance.now();
  await Promise.all([world.accounts.revoke(health.natsUser, world.address), cut]);
  expect(cutAt - startedAt).toBeLessThan(1_000);
  await expect(health.bus.publish(subjects.up(PLATFORM, 'health', 'data'), bytes('x'))).rejects.toMatchObject({
    fate: 'transient',
  });
  await civil.bus.publish(subjects.up(PLATFORM, 'civil-affairs', 'data'), bytes('x'));
  expect(world.accounts.revokedUsers).toEqual([health.natsUser]);
});

test('the others’ messages arrive at once after a revocation: what they wait for is not thrown away with it', async () => {
  await using world = await TestBus.start();
  const health = await world.node('health');
  const civil = await world.node('civil-affairs');
  const stop = new AbortController();
  const stream = streams.downControl('civil-affairs');
  const consumed = civil.bus.consume(stream, consumers.node('civil-affairs'), { signal: stop.signal });
  const messages = consumed[Symbol.asyncIterator]();
  const next = async (text: string) => {
    await world.hub.publish(subjects.down(PLATFORM, 'civil-affairs', 'control'), bytes(text));
    const { value } = await messages.next();
    value?.ack();
    return value;
  };
  // A first one, so that a pull is out and is known to be answered.
  await next('before');
  const atOnce = async (text: string) => {
    const beganAt = performance.now();
    const message = await next(text);
    expect({ redelivered: message?.redelivered, ms: performance.now() - beganAt }).toEqual({
      redelivered: false,
      ms: expect.toSatisfy((ms: number) => ms < 1_000),
    });
  };
  await world.accounts.revoke(health.natsUser, world.address);
  await atOnce('after the revocation');
  // What the hub does once more at every connect and now and then.
  await world.accounts.push(world.address);
  await atOnce('after the push');
  // A hub that starts again while the bus goes on signs the same claims anew.
  await (await BusAccounts.open(join(world.dir, 'keys'))).push(world.address);
  await atOnce('after the push of a hub that started again');
  stop.abort();
  await messages.return?.();
});

test('two nodes revoked within one second are both cut', async () => {
  await using world = await TestBus.start();
  const nodes = [await world.node('health'), await world.node('schools')];
  const cuts = nodes.map(({ bus }) => away(bus));
  await Promise.all(nodes.map(({ natsUser }) => world.accounts.revoke(natsUser, world.address)));
  await Promise.all(cuts);
  expect(nodes.map(({ bus }) => bus.isConnected)).toEqual([false, false]);
});

test('a bus that lost everything still refuses a revoked node, and says so to it', async () => {
  await using world = await TestBus.start();
  const { bus, natsUser } = await world.node('health');
  const denied = new Promise<void>((resolve) =>
    bus.onStatus((status: BusStatus) => status.kind === 'away' && status.code === 'BUS_DENIED' && resolve()),
  );
  await world.accounts.revoke(natsUser, world.address);
  await world.killServer();
  await world.wipeStore();
  world.startServer();
  await until(world.hub, 'connected');
  await denied;
  expect(bus.isConnected).toBe(false);
});

test('a bus that lost everything knows every account before anybody calls: made by many callers at once, two halves of a border may not meet', async () => {
  await using world = await TestBus.start();
  await world.hub.close();
  await world.killServer();
  await world.wipeStore();
  world.startServer();
  const server = await world.connect('system', await systemUser(join(world.dir, 'keys')));
  await until(server, 'connected');
  const answer = await server.request('$SYS.REQ.SERVER.PING.ACCOUNTZ', bytes(''), 5_000);
  const { data } = JSON.parse(text(answer)) as { data: { accounts: string[] } };
  expect(data.accounts).toEqual(expect.arrayContaining(Object.keys(world.accounts.serverAuthConfig().preload)));
});

test('a revocation while the server is away is kept and takes hold at its next start', async () => {
  await using world = await TestBus.start();
  const { bus, natsUser } = await world.node('health');
  await world.killServer();
  await expect(world.accounts.revoke(natsUser, world.address)).rejects.toMatchObject({
    code: 'BUS_UNREACHABLE',
    fate: 'transient',
  });
  const again = await BusAccounts.open(join(world.dir, 'keys'));
  expect(again.revokedUsers).toEqual([natsUser]);
  world.startServer();
  await until(world.hub, 'connected');
  expect(bus.isConnected).toBe(false);
  await world.accounts.push(world.address);
});

test('a user of another operator is never let in', async () => {
  await using world = await TestBus.start();
  const foreign = await BusAccounts.create(join(world.dir, 'foreign'));
  const bus = await world.connect('health', await foreign.createUser({ role: 'hub', platform: PLATFORM, node: 'hub' }));
  expect(bus.isConnected).toBe(false);
});

test('an expired user is not let in', async () => {
  await using world = await TestBus.start();
  const user = await world.accounts.createUser({
    role: 'agent',
    platform: PLATFORM,
    node: 'health',
    expiresAtMs: Date.now() - 10_000,
  });
  expect((await world.connect('health', user)).isConnected).toBe(false);
});

test('keys are readable by their owner only, are never replaced, and a damaged file is named without its contents', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'qiao-keys-'));
  try {
    await BusAccounts.create(dir);
    const files = await readdir(dir);
    expect(files.sort()).toEqual(['account.seed', 'nodes.seed', 'operator.seed', 'revocations.json', 'system.seed']);
    for (const file of files) expect((await stat(join(dir, file))).mode & 0o777).toBe(0o600);
    await expect(BusAccounts.create(dir)).rejects.toMatchObject({ code: 'BUS_KEYS_EXIST' });
    await writeFile(join(dir, 'account.seed'), 'SAAGARBAGE');
    const damaged = await BusAccounts.open(dir).catch((error: Error) => error);
    expect(damaged).toMatchObject({ code: 'BUS_KEYS_MISSING' });
    expect(String(damaged)).not.toContain('GARBAGE');
    await rm(join(dir, 'revocations.json'));
    await expect(BusAccounts.open(dir)).rejects.toMatchObject({ code: expect.stringMatching(/^BUS_/) });
  } finally {
    await rm(dir, { recursive: true });
  }
});

test('a list of revocations that cannot be read stops the hub instead of letting everybody in', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'qiao-keys-'));
  try {
    await BusAccounts.create(dir);
    await writeFile(join(dir, 'revocations.json'), '{"UX": "yesterday"}');
    await expect(BusAccounts.open(dir)).rejects.toMatchObject({ code: 'BUS_REVOCATIONS_UNREADABLE' });
  } finally {
    await rm(dir, { recursive: true });
  }
});

test('a text that is no user key gets no JWT', async () => {
  await using world = await TestBus.start();
  const user = { role: 'agent', platform: PLATFORM, node: 'health' } as const;
  for (const natsUser of ['', 'UABC', createBusUserKey().seed]) {
    await expect(world.accounts.userJwt({ ...user, natsUser })).rejects.toMatchObject({ code: 'BAD_NATS_USER' });
  }
});

/** Somebody who may ask the server about itself, and knows nobody of the platform. */
async function systemUser(keys: string): Promise<BusCredentials> {
  const account = fromSeed(bytes((await readFile(join(keys, 'system.seed'), 'utf8')).trim()));
  const user = createBusUserKey();
  return { seed: user.seed, jwt: await encodeUser('system', fromPublic(user.natsUser), account, {}) };
}

function away(bus: { onStatus(listener: (status: BusStatus) => void): () => void }): Promise<void> {
  return new Promise((resolve) => {
    const forget = bus.onStatus((status) => {
      if (status.kind !== 'away') return;
      forget();
      resolve();
    });
  });
}
