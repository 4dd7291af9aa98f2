import { once } from 'node:events';
import { createServer as createWebServer } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import { HubServiceDefinition } from '@qiao/contract/hub';
import { afterEach, expect, test } from 'vitest';
import { createGrpcClient } from './grpcClient.ts';
import { startGrpcServer } from './grpcServer.ts';
import { failureOf, type Member, testPlatform } from './platform.testing.ts';
import { fetchAuthority } from './serverIdentity.ts';

const servers: { close(): void }[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function listening(server: Server): Promise<string> {
  servers.push(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return `127.0.0.1:${(server.address() as { port: number }).port}`;
}

type Platform = Awaited<ReturnType<typeof testPlatform>>;

const shows = (member: (platform: Platform) => Promise<Member>) => async (platform: Platform) => {
  const tls = { ...(await member(platform)), ca: platform.ca };
  const server = await startGrpcServer({
    listen: '127.0.0.1:0',
    tls,
    services: [],
    ...platform.ports,
    log: platform.log,
  });
  servers.push({ close: () => void server.close(0) });
  return server.address;
};

const DAY_MS = 86_400_000;

test.each([
  ['nobody listens', () => '127.0.0.1:1', /nobody listens there/, /systemctl status qiao-hub/],
  ['the name leads nowhere', () => 'nobody.invalid:7400', /the name could not be looked up/, /qiao operator hub/],
  [
    'somebody takes the connection and hangs up',
    () => listening(createServer((socket) => socket.end())),
    /hangs up before TLS/,
    /something else/,
  ],
  [
    'a web server answers',
    () => listening(createWebServer((_, answer) => answer.end())),
    /does not speak TLS/,
    /something else/,
  ],
  [
    'a monitor answers',
    shows((platform) => platform.issue('monitor', 'books')),
    /that of another member/,
    /something else/,
  ],
  [
    'the certificate has ended',
    shows((platform) => platform.issue('hub', 'hub', { days: 1, nowMs: Date.now() - 3 * DAY_MS })),
    /its certificate has ended/,
    /systemctl restart qiao-hub/,
  ],
  [
    'a hub of another platform answers',
    async (platform: Platform) => {
      using other = await testPlatform();
      return await shows(async () => other.hub)(platform);
    },
    /not of the authority of this platform/,
    /something else/,
  ],
] as const)(
  'a server is told in plain words, with its address and what to do, when %s',
  async (_, server, why, hint) => {
    using platform = await testPlatform();
    const address = await server(platform);
    using client = createGrpcClient(HubServiceDefinition, { address, tls: { ca: platform.ca, ...platform.operator } });
    const failure = await failureOf(client.getPlatform({}));
    expect(failure).toMatchObject({
      code: 'SERVER_UNREACHABLE',
      message: expect.stringMatching(why),
      hint: expect.stringMatching(hint),
    });
    const { message } = failure as Error;
    expect(message).toContain(`the hub at ${address} does not answer`);
    expect(message).not.toMatch(/SSL routines|Error:|Resolution|target dns/);
  },
);

test('a machine that takes the connection and says nothing is told by its silence', async () => {
  const held: Socket[] = [];
  const address = await listening(createServer((socket) => void held.push(socket)));
  await expect(fetchAuthority(address, 'ab'.repeat(32), 50)).rejects.toMatchObject({
    code: 'SERVER_UNREACHABLE',
    message: `the hub at ${address} does not answer: timed out, the machine says nothing: is a firewall between?`,
  });
  for (const socket of held) socket.destroy();
});
