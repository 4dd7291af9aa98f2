/** What a server says before anybody is let in, where no PostgreSQL says it: the bytes are those of openGauss. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { expect, test } from 'vitest';
import { openSession } from './session.ts';

const LIMITS = { statementMs: 1_000, lockMs: 1_000, idleInTransactionMs: 1_000 };

/** Authentication 10 with a way of storing passwords (2: SHA-256), 64 digits of salt, 8 of a token, and rounds. */
function openGaussAsks(): Buffer {
  const body = Buffer.concat([
    Buffer.from([0, 0, 0, 10, 0, 0, 0, 2]),
    Buffer.alloc(72, '5'),
    Buffer.from([0, 0, 0x27, 0x10]),
  ]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length + 4);
  return Buffer.concat([Buffer.from('R'), length, body]);
}

/** PostgreSQL's protocol has no 13; KingbaseES has ways of its own. */
const KINGBASE_ASKS = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 13]);

test.each([
  ['openGauss', openGaussAsks()],
  ['KingbaseES', KINGBASE_ASKS],
])('a password that %s wants in a way of its own is no server that is away', async (_, asks) => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.write(asks));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const config = { name: 'his', adapter: 'postgres', host: '127.0.0.1', port, database: 'his', user: 'qiao' } as const;
  const opened = openSession({ ...config, password: 'hunter2' }, { side: 'SOURCE', purpose: 'test', limits: LIMITS });
  await expect(opened).rejects.toMatchObject({
    code: 'SOURCE_RIGHTS',
    fate: 'permanent',
    hint: expect.stringContaining('password_encryption_type = 1'),
  });
  server.close();
});
