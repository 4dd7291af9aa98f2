import { cpSync, renameSync, rmSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { NatsConnection } from 'nats';
import { expect, test } from 'vitest';
import { badLine } from './badLine.testing.ts';
import { Connection } from './connection.ts';
import { consumeStream, placeOf } from './consume.ts';
import { type Bus, type BusMessage, consumers, inboxPrefix, streams, subjects } from './index.ts';
import { bytes, PLATFORM, TestBus, text, until } from './testBus.ts';

const DOWN = subjects.down(PLATFORM, 'health', 'data');

/** The folder in which nats-server keeps a stream's messages. */
async function messagesOf(dir: string, stream: string): Promise<string> {
  const all = await readdir(dir, { recursive: true });
  const found = all.find((path) => path.endsWith(join(stream, 'msgs')));
  if (found === undefined) throw new Error(`no stored messages of ${stream}`);
  return join(dir, found);
}

/** Pulls in the background; `next` resolves with each message in turn. */
function reading(bus: Bus, stream: string, consumer: string) {
  const stop = new AbortController();
  const messages = bus.consume(stream, consumer, { signal: stop.signal, isOnlyReader: true })[Symbol.asyncIterator]();
  return {
    next: async (): Promise<BusMessage> => {
      const { value, done } = await messages.next();
      if (done === true) throw new Error('the messages ended');
      return value;
    },
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await messages.return?.();
    },
  };
}

test('reading goes on after the server was killed and started again on the same store', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  await using inbox = reading(bus, streams.downData('health'), 'health');
  await world.hub.publish(DOWN, bytes('before'));
  const first = await inbox.next();
  expect(text(first.data)).toBe('before');
  first.ack();
  const waiting = inbox.next();
  await world.killServer();
  world.startServer();
  await until(world.hub, 'connected');
  await world.hub.publish(DOWN, bytes('after'));
  let next = await waiting;
  // The acknowledgement may have died with the server: then the first comes once more, and says so.
  if (text(next.data) === 'before') {
    expect(next.redelivered).toBe(true);
    next.ack();
    next = await inbox.next();
  }
  expect(text(next.data)).toBe('after');
  next.ack();
});

test('messages that a killed server brings back after they were acknowledged do not stay', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  const waiting = async () => (await world.administration.shareOf('health', 'data'))?.messages;
  for (const word of ['one', 'two', 'three']) await world.hub.publish(DOWN, bytes(word));
  await world.stopServer();
  const stored = await messagesOf(world.dir, streams.downData('health'));
  cpSync(stored, `${stored}.before`, { recursive: true });
  world.startServer();
  await until(bus, 'connected');
  await using inbox = reading(bus, streams.downData('health'), 'health');
  for (let i = 0; i < 3; i += 1) (await inbox.next()).ack();
  await expect.poll(waiting).toBe(0);
  await world.stopServer();
  // What a kill leaves: the consumer's acknowledgements are on disk, the removal of the messages is not.
  rmSync(stored, { recursive: true });
  renameSync(`${stored}.before`, stored);
  world.startServer();
  await until(world.hub, 'connected');
  expect(await waiting()).toBe(3);
  await world.hub.publish(DOWN, bytes('four'));
  await world.administration.ensureNode({ code: 'health', role: 'agent' });
  expect(await waiting()).toBe(1);
  const next = await inbox.next();
  expect(text(next.data)).toBe('four');
  next.ack();
});

test('a message that is gone and waits for its acknowledgement all the same keeps nothing in the stream', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  const stream = streams.downData('health');
  const waiting = async () => (await world.administration.shareOf('health', 'data'))?.messages;
  const api = async (verb: string, body: object = {}) =>
    JSON.parse(text(await world.hub.request(`$JS.API.${verb}`, bytes(JSON.stringify(body)), 5_000))) as {
      num_ack_pending?: number;
    };
  const pending = async () => (await api(`CONSUMER.INFO.${stream}.health`)).num_ack_pending;
  const restart = async (change: () => void) => {
    await world.stopServer();
    change();
    world.startServer();
    await until(world.hub, 'connected');
    await until(bus, 'connected');
  };
  const keep = (folder: string) => () => cpSync(folder, `${folder}.before`, { recursive: true });
  const putBack = (folder: string) => () => {
    rmSync(folder, { recursive: true });
    renameSync(`${folder}.before`, folder);
  };
  for (const word of ['one', 'two', 'three']) await world.hub.publish(DOWN, bytes(word));
  const messages = await messagesOf(world.dir, stream);
  const readers = join(messages, '..', 'obs');
  await restart(keep(messages));
  {
    await using inbox = reading(bus, stream, 'health');
    for (let i = 0; i < 2; i += 1) (await inbox.next()).ack();
    await inbox.next();
    await expect.poll(waiting).toBe(1);
    await restart(keep(readers));
  }
  // What a kill leaves: two that were acknowledged are there again, the third is gone, and its acknowledgement is not on disk.
  await restart(putBack(messages));
  await api(`STREAM.MSG.DELETE.${stream}`, { seq: 3 });
  await restart(putBack(readers));
  expect([await waiting(), await pending()]).toEqual([2, 1]);
  await expect
    .poll(async () => {
      await world.administration.ensureNode({ code: 'health', role: 'agent' });
      return [await waiting(), await pending()];
    })
    .toEqual([0, 0]);
});

test('a stream that a killed server set back behind its consumer gives out what comes next', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  const take = async (words: readonly string[]) => {
    for (const word of words) await world.hub.publish(DOWN, bytes(word));
    await using inbox = reading(bus, streams.downData('health'), 'health');
    for (const word of words) {
      const message = await inbox.next();
      expect(text(message.data)).toBe(word);
      message.ack();
    }
    await expect.poll(async () => (await world.administration.shareOf('health', 'data'))?.messages).toBe(0);
  };
  const restart = async (change: (stored: string) => void) => {
    await world.stopServer();
    change(await messagesOf(world.dir, streams.downData('health')));
    world.startServer();
    await until(world.hub, 'connected');
    await until(bus, 'connected');
  };
  await take(['one']);
  await restart((stored) => cpSync(stored, `${stored}.before`, { recursive: true }));
  await take(['two', 'three', 'four']);
  await restart((stored) => {
    rmSync(stored, { recursive: true });
    renameSync(`${stored}.before`, stored);
  });
  await world.hub.publish(DOWN, bytes('next'));
  await world.administration.ensureNode({ code: 'health', role: 'agent' });
  await using inbox = reading(bus, streams.downData('health'), 'health');
  const next = await inbox.next();
  expect(text(next.data)).toBe('next');
  next.ack();
});

test('a bus that lost its disks is made again by ensure, and a reader that waited reads on', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  await using inbox = reading(bus, streams.downData('health'), 'health');
  const waiting = inbox.next();
  await world.killServer();
  await world.wipeStore();
  world.startServer();
  await until(world.hub, 'connected');
  await until(bus, 'connected');
  await expect(world.hub.publish(DOWN, bytes('x'))).rejects.toMatchObject({ code: 'STREAM_MISSING' });
  for (let i = 0; i < 2; i += 1) {
    await world.administration.ensureStreams();
    await world.administration.ensureNode({ code: 'health', role: 'agent' });
  }
  await world.hub.publish(DOWN, bytes('again'));
  const message = await waiting;
  expect(text(message.data)).toBe('again');
  message.ack();
});

test('a consumer that is removed and made again under the reader is found again', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  await using inbox = reading(bus, streams.downData('health'), 'health');
  await world.hub.publish(DOWN, bytes('one'));
  (await inbox.next()).ack();
  const waiting = inbox.next();
  await world.administration.removeNode('health');
  await world.administration.ensureNode({ code: 'health', role: 'agent' });
  await world.hub.publish(DOWN, bytes('two'));
  expect(text((await waiting).data)).toBe('two');
});

test('a message comes again without limit until it is acknowledged', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  await using inbox = reading(bus, streams.downData('health'), 'health');
  await world.hub.publish(DOWN, bytes('stubborn'));
  for (let time = 0; time < 50; time += 1) {
    const message = await inbox.next();
    expect(text(message.data)).toBe('stubborn');
    expect(message.redelivered).toBe(time > 0);
    message.retryLater(time === 0 ? 5 : 0);
  }
  const last = await inbox.next();
  last.working();
  last.ack();
  await world.hub.publish(DOWN, bytes('next'));
  expect(text((await inbox.next()).data)).toBe('next');
  const info = await world.hub.request(
    `$JS.API.CONSUMER.INFO.${streams.downData('health')}.health`,
    new Uint8Array(),
    5_000,
  );
  expect(JSON.parse(text(info)).config.max_deliver).toBe(-1);
});

test('what a reader fetched and did not take goes to the next reader at once', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  for (let i = 0; i < 10; i += 1) await world.hub.publish(DOWN, bytes(String(i)));
  {
    await using first = reading(bus, streams.downData('health'), 'health');
    (await first.next()).ack();
  }
  await using second = reading(bus, streams.downData('health'), 'health');
  // A message on its way while the first reader left may come twice; each must come well before the ack wait of a minute.
  const startedAt = performance.now();
  const seen = new Set<number>();
  while (seen.size < 9) {
    const message = await second.next();
    message.ack();
    seen.add(Number(text(message.data)));
  }
  expect([...seen].sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(performance.now() - startedAt).toBeLessThan(5_000);
});

test('what a reader had in hand when it failed comes again at once, not after the ack wait', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  await world.hub.publish(DOWN, bytes('in hand'));
  const failing = async () => {
    for await (const message of bus.consume(streams.downData('health'), 'health', {
      signal: AbortSignal.timeout(60_000),
    }))
      throw new Error(`no room for ${text(message.data)}`);
  };
  await expect(failing()).rejects.toThrow('no room for in hand');
  const startedAt = performance.now();
  await using second = reading(bus, streams.downData('health'), 'health');
  const again = await second.next();
  expect([text(again.data), again.redelivered]).toEqual(['in hand', true]);
  expect(performance.now() - startedAt).toBeLessThan(5_000);
  again.ack();
});

test('what a killed process held comes to its successor at once', async () => {
  await using world = await TestBus.start();
  const user = await world.accounts.createUser({ role: 'agent', platform: PLATFORM, node: 'health' });
  const [killed, successor] = [(await world.node('health')).bus, await world.connect('health', user)];
  await world.hub.publish(DOWN, bytes('held'));
  await world.hub.publish(DOWN, bytes('held as well'));
  const taken = reading(killed, streams.downData('health'), 'health');
  expect(text((await taken.next()).data)).toBe('held');
  await killed.close();
  const startedAt = performance.now();
  await using inbox = reading(successor, streams.downData('health'), 'health');
  for (const word of ['held', 'held as well']) {
    const message = await inbox.next();
    expect([text(message.data), message.redelivered]).toEqual([word, true]);
    message.ack();
  }
  expect(performance.now() - startedAt).toBeLessThan(5_000);
  await expect.poll(async () => (await world.administration.shareOf('health', 'data'))?.messages).toBe(0);
});

test.each(['data', 'control'] as const)(
  'what was on its way on a %s line that broke comes again at once over the next one, and once',
  async (line) => {
    await using world = await TestBus.start();
    using bad = await badLine(world.address);
    world.address = { ...world.address, urls: [bad.url] };
    const { bus } = await world.node('health');
    const stream = line === 'data' ? streams.downData('health') : streams.downControl('health');
    const subject = subjects.down(PLATFORM, 'health', line);
    const pending = async () => {
      const info = await world.hub.request(`$JS.API.CONSUMER.INFO.${stream}.health`, new Uint8Array(), 5_000);
      return (JSON.parse(text(info)) as { num_ack_pending: number }).num_ack_pending;
    };
    await using inbox = reading(bus, stream, 'health');
    await world.hub.publish(subject, bytes('before'));
    const before = await inbox.next();
    const waiting = inbox.next();
    bad.swallow();
    before.ack();
    for (const word of ['one', 'two', 'three']) await world.hub.publish(subject, bytes(word));
    await expect.poll(pending).toBe(3);
    const startedAt = performance.now();
    bad.cut();
    const seen: string[] = [];
    for (let next = await waiting; ; next = await inbox.next()) {
      seen.push(text(next.data));
      next.ack();
      if (seen.length === 3) break;
    }
    expect(seen).toEqual(['one', 'two', 'three']);
    expect(performance.now() - startedAt).toBeLessThan(6_000);
    await expect.poll(async () => (await world.administration.shareOf('health', line))?.messages).toBe(0);
    await world.hub.publish(subject, bytes('next'));
    expect(text((await inbox.next()).data)).toBe('next');
  },
);

test('a first pull that is lost with the consumer it was for is missed within seconds', async () => {
  await using world = await TestBus.start();
  await world.administration.ensureNode({ code: 'health', role: 'agent' });
  const connection = await Connection.open({
    ...world.address,
    name: 'health',
    credentials: await world.accounts.createUser({ role: 'agent', platform: PLATFORM, node: 'health' }),
    inboxPrefix: inboxPrefix('health'),
    log: world.log,
  });
  const nats = connection.session?.nats as NatsConnection;
  const publish = nats.publish.bind(nats);
  let lost = 0;
  nats.publish = (subject, ...rest) => {
    // As if the consumer were made anew at this moment: nobody hears it, and nobody says so.
    if (subject.includes('MSG.NEXT') && lost++ === 0) return;
    publish(subject, ...rest);
  };
  const stop = new AbortController();
  await world.hub.publish(DOWN, bytes('x'));
  const beganAt = performance.now();
  const messages = consumeStream(connection, world.log, streams.downData('health'), 'health', { signal: stop.signal });
  const { value } = await messages.next();
  expect([lost, value && text(value.data)]).toEqual([2, 'x']);
  expect(performance.now() - beganAt).toBeLessThan(6_000);
  stop.abort();
  await messages.return?.();
  await connection.close();
});

test('two replicas share the router consumer and each message goes to one of them', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  const replica = await world.connect(
    'hub',
    await world.accounts.createUser({ role: 'hub', platform: PLATFORM, node: 'hub' }),
  );
  const stop = new AbortController();
  const seen: string[] = [];
  const readers = [world.hub, replica].map(async (hub) => {
    for await (const message of hub.consume(streams.upData(), consumers.routerData, {
      signal: stop.signal,
      maxMessages: 4,
    })) {
      seen.push(text(message.data));
      message.ack();
      if (seen.length === 40) stop.abort();
    }
  });
  await Promise.all(
    Array.from({ length: 40 }, (_, i) => bus.publish(subjects.up(PLATFORM, 'health', 'data'), bytes(String(i)))),
  );
  await Promise.all(readers);
  expect(new Set(seen).size).toBe(40);
});

test('large messages arrive whole while no more than the room asked for is held', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  const stop = new AbortController();
  const part = new Uint8Array(4 * 1024 * 1024).fill(7);
  const sent = (async () => {
    for (let i = 0; i < 3; i += 1)
      await Promise.all([0, 1, 2, 3].map(() => bus.publish(subjects.up(PLATFORM, 'health', 'data'), part)));
  })();
  let received = 0;
  for await (const message of world.hub.consume(streams.upData(), consumers.routerData, {
    signal: stop.signal,
    maxBytes: 1,
  })) {
    expect(message.data.length).toBe(part.length);
    message.ack();
    received += 1;
    if (received === 12) stop.abort();
  }
  await sent;
});

test('closing the bus ends a reader with BUS_CLOSED', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  await using inbox = reading(bus, streams.downData('health'), 'health');
  const next = inbox.next();
  const waiting = next.catch((error: unknown) => error);
  await bus.close();
  expect(await waiting).toMatchObject({ code: 'BUS_CLOSED' });
  await expect(bus.publish(DOWN, bytes('x'))).rejects.toMatchObject({ code: 'BUS_CLOSED', fate: 'permanent' });
});

test('a place is read from both forms of the reply subject, and anything else is refused', () => {
  expect(placeOf('$JS.ACK.S.C.3.41.7.1700000000000000000.0')).toEqual({ deliveries: 3n, sequence: 41n });
  expect(placeOf('$JS.ACK.domain.hash.S.C.1.9007199254740993.7.1700000000000000000.0.x')).toEqual({
    deliveries: 1n,
    sequence: 9007199254740993n,
  });
  expect(() => placeOf('$JS.ACK.S.C')).toThrow(/expected/);
});
