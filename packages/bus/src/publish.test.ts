import { expect, test } from 'vitest';
import { type BusMessage, consumers, streams, subjects } from './index.ts';
import { bytes, PLATFORM, TestBus, text, until } from './testBus.ts';

test('what a node publishes reaches the router in order, and hundreds of publishes may be under way at once', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  const subject = subjects.up(PLATFORM, 'health', 'data');
  await Promise.all(Array.from({ length: 500 }, (_, i) => bus.publish(subject, bytes(String(i)))));
  const heard: BusMessage[] = [];
  const stop = new AbortController();
  for await (const message of world.hub.consume(streams.upData(), consumers.routerData, { signal: stop.signal })) {
    heard.push(message);
    message.ack();
    if (heard.length === 500) stop.abort();
  }
  expect(heard.map((message) => text(message.data))).toEqual(Array.from({ length: 500 }, (_, i) => String(i)));
  expect(heard[0]?.subject).toBe(subject);
  expect(heard[0]?.sequence).toBe(1n);
  expect(heard.some((message) => message.redelivered)).toBe(false);
});

test('a second publish under the same message id is kept once', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  await bus.publish(subjects.up(PLATFORM, 'health', 'control'), bytes('x'), { messageId: 'a1' });
  await bus.publish(subjects.up(PLATFORM, 'health', 'control'), bytes('x'), { messageId: 'a1' });
  const info = await world.hub.request('$JS.API.STREAM.INFO.QIAO_UP_CONTROL', new Uint8Array(), 5_000);
  expect(JSON.parse(text(info)).state.messages).toBe(1);
});

test('a publish while the server is away fails at once as transient, and works again when it is back', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  const subject = subjects.up(PLATFORM, 'health', 'data');
  const away = until(bus, 'connected').then(() => new Promise<void>((resolve) => bus.onStatus(() => resolve())));
  await world.killServer();
  await away;
  const startedAt = performance.now();
  await expect(bus.publish(subject, bytes('x'))).rejects.toMatchObject({ code: 'BUS_UNREACHABLE', fate: 'transient' });
  expect(() => bus.broadcast(subject, bytes('x'))).toThrow(expect.objectContaining({ code: 'BUS_UNREACHABLE' }));
  await expect(bus.request(subject, bytes('x'), 5_000)).rejects.toMatchObject({ code: 'BUS_UNREACHABLE' });
  expect(performance.now() - startedAt).toBeLessThan(200);
  world.startServer();
  await until(bus, 'connected');
  await bus.publish(subject, bytes('x'));
});

test('a publish whose acknowledgement the broken line swallowed is ambiguous', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  const under = Array.from({ length: 20 }, () =>
    bus.publish(subjects.up(PLATFORM, 'health', 'data'), new Uint8Array(4_000_000)),
  );
  const settled = Promise.allSettled(under);
  await world.killServer();
  const refused = (await settled).filter((result) => result.status === 'rejected').map((result) => result.reason);
  expect(refused.length).toBeGreaterThan(0);
  for (const reason of refused) expect(['ambiguous', 'transient']).toContain(reason.fate);
});

test('a message over the limit is refused before it leaves', async () => {
  await using world = await TestBus.start();
  const { bus } = await world.node('health');
  await expect(bus.publish(subjects.up(PLATFORM, 'health', 'data'), new Uint8Array(9_000_000))).rejects.toMatchObject({
    code: 'MESSAGE_TOO_LARGE',
    fate: 'permanent',
  });
});

test('a full share answers NODE_SHARE_FULL while the share of another node goes on', async () => {
  await using world = await TestBus.start();
  await world.administration.ensureNode({ code: 'health', role: 'agent', dataBytes: 8 * 1024 * 1024 });
  await world.administration.ensureNode({ code: 'civil-affairs', role: 'agent' });
  const full = subjects.down(PLATFORM, 'health', 'data');
  const megabyte = new Uint8Array(1024 * 1024);
  let refusal: unknown;
  for (let i = 0; i < 9; i += 1) {
    await world.hub.publish(full, megabyte).catch((error: unknown) => {
      refusal = error;
    });
  }
  expect(refusal).toMatchObject({ code: 'NODE_SHARE_FULL', fate: 'transient' });
  await world.hub.publish(subjects.down(PLATFORM, 'civil-affairs', 'data'), megabyte);
  await world.hub.publish(subjects.down(PLATFORM, 'health', 'control'), bytes('receipt'));
  const use = await world.administration.shareOf('health', 'data');
  expect(use?.maxBytes).toBe(8 * 1024 * 1024);
  expect(use?.bytes).toBeGreaterThan(7 * 1024 * 1024);
});

test('a publish on a stream that is gone is transient', async () => {
  await using world = await TestBus.start();
  await world.node('health');
  await world.administration.removeNode('health');
  await world.administration.removeNode('health');
  await expect(world.hub.publish(subjects.down(PLATFORM, 'health', 'data'), bytes('x'))).rejects.toMatchObject({
    code: 'STREAM_MISSING',
    fate: 'transient',
  });
  expect(await world.administration.shareOf('health', 'data')).toBeUndefined();
});
