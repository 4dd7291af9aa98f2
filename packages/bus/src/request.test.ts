import { QiaoError } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { subjects } from './index.ts';
import { bytes, PLATFORM, TestBus, text, until } from './testBus.ts';

const COMMAND = subjects.command(PLATFORM, 'health');

test('the hub asks a node and the node answers, though it may publish nowhere else', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  const stop = new AbortController();
  const answering = bus.respond(COMMAND, async (request, subject) => bytes(`${subject}: ${text(request)}`), {
    signal: stop.signal,
  });
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, i) => askPatiently(() => world.hub.request(COMMAND, bytes(String(i)), 5_000))),
  );
  expect(answers.map(text)).toEqual(Array.from({ length: 50 }, (_, i) => `${COMMAND}: ${i}`));
  stop.abort();
  await answering;
  // Between two accounts the server does not say that nobody listens: the question waits its time out.
  await expect(world.hub.request(COMMAND, bytes('x'), 200)).rejects.toMatchObject({ code: 'REQUEST_TIMED_OUT' });
  await expect(world.hub.request('qiao.nobody', bytes('x'), 5_000)).rejects.toMatchObject({
    code: 'NO_RESPONDER',
    fate: 'transient',
  });
});

test('a node says hello to the hub and hears the error that the hub threw', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  const stop = new AbortController();
  const answering = world.hub.respond(
    subjects.everyHello(PLATFORM),
    async (request, subject) => {
      expect(subject).toBe(subjects.hello(PLATFORM, 'health'));
      if (text(request) === 'secret') throw new Error('a row: 张三');
      throw new QiaoError('NODE_REVOKED', 'health was revoked – 已撤销', { hint: 'qiao node show health' });
    },
    { signal: stop.signal, queue: 'hub' },
  );
  const hello = subjects.hello(PLATFORM, 'health');
  await expect(askPatiently(() => bus.request(hello, bytes(''), 1_000))).rejects.toMatchObject({
    code: 'NODE_REVOKED',
    message: 'health was revoked – 已撤销',
    hint: 'qiao node show health',
    fate: 'permanent',
  });
  const foreign = await bus.request(hello, bytes('secret'), 5_000).catch((error: QiaoError) => error);
  expect(foreign).toMatchObject({ code: 'REQUEST_FAILED', fate: 'transient' });
  expect((foreign as QiaoError).message).not.toContain('张三');
  stop.abort();
  await answering;
});

test('a responder answers again after the server was restarted', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  const stop = new AbortController();
  const answering = bus.respond(COMMAND, async () => bytes('here'), { signal: stop.signal });
  await askPatiently(() => world.hub.request(COMMAND, bytes(''), 1_000));
  await world.killServer();
  world.startServer();
  await Promise.all([until(bus, 'connected'), until(world.hub, 'connected')]);
  expect(text(await askPatiently(() => world.hub.request(COMMAND, bytes(''), 1_000)))).toBe('here');
  stop.abort();
  await answering;
});

test('a request that nobody answers in time is ambiguous', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  const stop = new AbortController();
  const never = Promise.withResolvers<Uint8Array>();
  const answering = bus.respond(COMMAND, () => never.promise, { signal: stop.signal });
  await expect(world.hub.request(COMMAND, bytes(''), 300)).rejects.toMatchObject({
    code: 'REQUEST_TIMED_OUT',
    fate: 'ambiguous',
  });
  never.resolve(bytes(''));
  stop.abort();
  await answering;
});

test('a bus that nobody runs is away from the start, and the reason is told', async () => {
  await using world = await TestBus.start();
  const user = await world.accounts.createUser({ role: 'agent', platform: PLATFORM, node: 'health' });
  await world.stopServer();
  const bus = await world.connect('health', user);
  expect(bus.isConnected).toBe(false);
  expect(bus.serverVersion).toBe('');
  world.startServer();
  await until(bus, 'connected');
  expect(bus.serverVersion).toMatch(/^\d+\.\d+\.\d+/);
});

test('a server whose certificate another authority signed is never spoken to', async () => {
  await using world = await TestBus.start();
  await using other = await TestBus.start();
  const user = await world.accounts.createUser({ role: 'agent', platform: PLATFORM, node: 'health' });
  world.address = { urls: world.address.urls, tls: { authorityPem: other.authorityPem } };
  const bus = await world.connect('health', user);
  expect(bus.isConnected).toBe(false);
});

test('credentials that cannot be read are refused at once', async () => {
  await using world = await TestBus.start();
  await expect(world.connect('health', { jwt: 'a.b.c', seed: 'nonsense' })).rejects.toMatchObject({
    code: 'BUS_CREDENTIALS_BAD',
  });
});

/** The subscription of a responder travels to the server beside the first question, which may so find nobody and time out. */
async function askPatiently<T>(ask: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask();
    } catch (error) {
      const isLost = error instanceof QiaoError && /^(NO_RESPONDER|REQUEST_TIMED_OUT)$/.test(error.code);
      if (!isLost || attempt === 10) throw error;
    }
  }
}
