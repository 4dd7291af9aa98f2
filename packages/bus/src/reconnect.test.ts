import { afterEach, expect, test } from 'vitest';
import { badLine } from './badLine.testing.ts';
import { subjects } from './names.ts';
import { PLATFORM, TestBus, until } from './testBus.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

test('a line that breaks at any word of the handshake costs an attempt, not a timeout', async () => {
  const world = await TestBus.start();
  closing.push(() => world[Symbol.asyncDispose]());
  const line = await badLine(world.address, 4);
  closing.push(() => line[Symbol.dispose]());
  world.address = { ...world.address, urls: [line.url] };
  const { bus } = await world.node('health');
  await until(bus, 'connected');
  const startedMs = performance.now();
  line.cut();
  await until(bus, 'away');
  await until(bus, 'connected');
  // The line may break once more at the words that follow the handshake.
  const publish = async () => {
    for (;;) {
      try {
        return await bus.publish(subjects.up(PLATFORM, 'health', 'data'), new Uint8Array([1]), { timeoutMs: 20_000 });
      } catch (error) {
        expect(error).toMatchObject({ code: expect.stringMatching(/^(PUBLISH_INTERRUPTED|BUS_UNREACHABLE)$/) });
        await until(bus, 'connected');
      }
    }
  };
  await publish();
  expect(line.attempts).toBeGreaterThan(4);
  expect(performance.now() - startedMs).toBeLessThan(9_500);
});
