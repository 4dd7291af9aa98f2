import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { TcpProxy } from './tcpProxy.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** A server that says back what it hears, and a proxy before it. */
async function line(): Promise<{ proxy: TcpProxy; server: Server; heard: Buffer[][] }> {
  const heard: Buffer[][] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const chunks: Buffer[] = [];
    heard.push(chunks);
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      socket.write(chunk);
    });
    socket.on('end', () => socket.end());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy = await TcpProxy.open({ host: '127.0.0.1', port: (server.address() as { port: number }).port });
  closing.push(
    () => proxy[Symbol.asyncDispose](),
    () => server.close(),
  );
  return { proxy, server, heard };
}

async function call(proxy: TcpProxy): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: proxy.port, allowHalfOpen: true });
  socket.on('error', () => undefined);
  closing.push(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** `once` of node:events would reject at the reset that this waits for. */
function untilClosed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

async function echoed(socket: Socket, text: string): Promise<string> {
  let answer = '';
  const whole = new Promise<void>((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString();
      if (answer.length >= text.length) resolve();
    });
  });
  socket.write(text);
  await whole;
  return answer;
}

test('what is said on a good line arrives, however much it is', async () => {
  const { proxy } = await line();
  const text = 'x'.repeat(20_000_000);
  expect(await echoed(await call(proxy), text)).toBe(text);
});

test('a delayed line carries the same bytes in the same order, later', async () => {
  const { proxy } = await line();
  const socket = await call(proxy);
  proxy.delay(60);
  const startedMs = performance.now();
  expect(await echoed(socket, 'hello')).toBe('hello');
  expect(performance.now() - startedMs).toBeGreaterThan(110);
});

test('a stalled line passes nothing, and everything when it ends', async () => {
  const { proxy, heard } = await line();
  const socket = await call(proxy);
  expect(await echoed(socket, 'one')).toBe('one');
  proxy.stall(true);
  const answer = echoed(socket, 'two');
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(Buffer.concat(heard[0] ?? []).toString()).toBe('one');
  proxy.heal();
  expect(await answer).toBe('two');
});

test('a cut line ends for both, and the next call goes through', async () => {
  const { proxy } = await line();
  const socket = await call(proxy);
  expect(await echoed(socket, 'one')).toBe('one');
  const closed = untilClosed(socket);
  proxy.cut();
  await closed;
  expect(await echoed(await call(proxy), 'two')).toBe('two');
});

test('a caller who heard goodbye still speaks to the other side', async () => {
  const { proxy, heard } = await line();
  const socket = await call(proxy);
  expect(await echoed(socket, 'one')).toBe('one');
  const ended = once(socket, 'end');
  proxy.halfClose('caller');
  socket.resume();
  await ended;
  socket.write('two');
  await expect.poll(() => Buffer.concat(heard[0] ?? []).toString()).toBe('onetwo');
});

test('callers are turned away while the line refuses', async () => {
  const { proxy, heard } = await line();
  proxy.refuse(true);
  const socket = connect({ host: '127.0.0.1', port: proxy.port });
  socket.on('error', () => undefined);
  await untilClosed(socket);
  expect(heard).toHaveLength(0);
  proxy.heal();
  expect(await echoed(await call(proxy), 'one')).toBe('one');
});

test('a doubled call is heard twice and answered once', async () => {
  const { proxy, heard } = await line();
  proxy.double(true);
  const socket = await call(proxy);
  expect(await echoed(socket, 'one')).toBe('one');
  await expect.poll(() => heard.map((chunks) => Buffer.concat(chunks).toString())).toEqual(['one', 'one']);
});
