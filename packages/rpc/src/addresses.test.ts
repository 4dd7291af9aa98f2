import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { firstAnswering, parseAddresses } from './addresses.ts';

test('several addresses are read in their order, and each must be one', () => {
  expect(parseAddresses('a:1, [::1]:2')).toEqual([
    { host: 'a', port: 1 },
    { host: '::1', port: 2 },
  ]);
  expect(() => parseAddresses('a:1,')).toThrow('is not an address');
  expect(() => parseAddresses(Array.from({ length: 9 }, () => 'a:1').join(','))).toThrow('at most 8');
});

test('the first address where somebody listens is called; a dead one is passed over', async () => {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  expect(await firstAnswering(`127.0.0.1:1,127.0.0.1:${port}`)).toBe(`127.0.0.1:${port}`);
  server.close();
  await expect(firstAnswering('127.0.0.1:1,nobody.invalid:2')).rejects.toMatchObject({
    code: 'SERVER_UNREACHABLE',
    message: expect.stringMatching(
      /none of its addresses; 127\.0\.0\.1:1: nobody listens there.*; nobody\.invalid:2: the name /,
    ),
  });
});
