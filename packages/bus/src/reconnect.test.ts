import { connect, createServer, type Server } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { subjects } from './names.ts';
import { PLATFORM, TestBus, until } from './testBus.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** Forwards, but resets the connection of attempt n when its caller speaks for the n-th time; attempt 0 and those past `bad` pass. */
async function badLine(port: number, bad: number): Promise<{ url: string; cut(): void; readonly attempts: number }> {
  let attempts = 0;
  const cuts = new Set<() => void>();
  const server: Server = createServer((caller) => {
    const attempt = attempts;
    attempts += 1;
    const callee = connect({ host: '127.0.0.1', port });
    const end = () => {
      caller.resetAndDestroy();
      callee.resetAndDestroy();
    };
    cuts.add(end);
    for (const socket of [caller, callee]) socket.on('error', end).on('close', end);
    let words = 0;
    caller.on('data', (chunk) => {
      words += 1;
      callee.write(chunk);
      if (attempt > 0 && attempt <= bad && words >= attempt) end();
    });
    callee.on('data', (chunk) => void caller.write(chunk));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    for (const cut of cuts) cut();
    server.close();
  });
  return {
    url: `tls://127.0.0.1:${(server.address() as { port: number }).port}`,
    cut: () => cuts.forEach((cut) => cut()),
    get attempts() {
      return attempts;
    },
  };
}

test('a line that breaks at any word of the handshake costs an attempt, not a timeout', async () => {
  const world = await TestBus.start();
  closing.push(() => world[Symbol.asyncDispose]());
  const line = await badLine(Number(new URL(world.address.urls[0] ?? '').port), 4);
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
