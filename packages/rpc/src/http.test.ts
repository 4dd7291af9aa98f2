import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { MonitorServiceDefinition } from '@qiao/contract/monitor';
import { QiaoError } from '@qiao/exchange';
import { expect, test } from 'vitest';
import type { Caller } from './caller.ts';
import { type HttpOptions, type HttpServer, startHttp } from './http.ts';
import { httpService } from './httpApi.ts';
import { testPlatform } from './platform.testing.ts';

const zhang: Caller = {
  role: 'operator',
  code: 'zhang',
  name: 'zhang',
  nodeId: new Uint8Array(16),
  fingerprint: 'ab'.repeat(32),
  twinFingerprint: 'ba'.repeat(32),
  notAfterMs: Number.MAX_SAFE_INTEGER,
};
const JSON_TYPE = { 'content-type': 'application/json' };

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

function ask(
  server: HttpServer,
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string; ca?: string } = {},
): Promise<Answer> {
  const { ca, body, ...rest } = options;
  return new Promise((resolve, reject) => {
    const url = new URL(path, server.url);
    const done = (response: IncomingMessage): void => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(parts).toString('utf8'),
        }),
      );
    };
    const sent =
      ca === undefined
        ? httpRequest(url, { agent: false, ...rest }, done)
        : httpsRequest(url, { agent: false, ca, checkServerIdentity: () => undefined, ...rest }, done);
    sent.on('error', reject);
    sent.end(body);
  });
}

async function world(options: Partial<HttpOptions> = {}) {
  const state = { nowMs: 1_000_000, revoked: false, watchEnded: Promise.withResolvers<void>() };
  const server = await startHttp({
    listen: '127.0.0.1:0',
    assets: new Map([
      ['/', { type: 'text/html; charset=utf-8', body: '<h1>桥</h1>' }],
      ['/board.js', { type: 'text/javascript; charset=utf-8', body: 'void 0' }],
    ]),
    services: [
      httpService(
        MonitorServiceDefinition,
        {
          getBoard: async (_request, { caller }) => ({ timeZone: caller.code, atMs: 12n }),
          reconcile: async (request) => {
            if (request.bridge === 'bug') throw new Error('row 370202 leaked');
            throw new QiaoError('BRIDGE_NOT_FOUND', `no bridge ${request.bridge}`, { hint: 'qiao bridge list' });
          },
          async *watchBoard(_request, { signal }) {
            yield { timeZone: 'first' };
            yield { timeZone: 'second' };
            await new Promise((resolve) => signal.addEventListener('abort', resolve));
            state.watchEnded.resolve();
          },
          async *listDeliveries() {
            yield { bridge: 'a', sequence: 1n };
            throw new QiaoError('BOOKS_BUSY', 'try again');
          },
        },
        ['getBoard', 'reconcile', 'watchBoard', 'listDeliveries'],
      ),
    ],
    isRevoked: () => state.revoked,
    nowMs: () => state.nowMs,
    log: { info() {}, warn() {}, error() {} },
    ...options,
  });
  const open = async (): Promise<string> => {
    const answer = await ask(server, new URL(server.openLink(zhang).url).search.replace(/^/, '/'));
    return (answer.headers['set-cookie']?.[0] ?? '').split(';')[0] as string;
  };
  return { server, state, open, [Symbol.asyncDispose]: () => server.close(100) };
}

/** A stream that has begun: its first line was read. */
function watching(server: HttpServer, cookie: string): Promise<{ sent: ClientRequest; ended: Promise<void> }> {
  const url = new URL('/api/qiao.v1.MonitorService/WatchBoard', server.url);
  return new Promise((resolve, reject) => {
    const sent = httpRequest(url, { method: 'POST', agent: false, headers: { ...JSON_TYPE, cookie } }, (response) => {
      const ended = new Promise<void>((end) => response.once('close', end));
      response.on('error', () => {});
      response.once('data', () => resolve({ sent, ended }));
      response.resume();
    });
    sent.once('error', reject);
    sent.end('{}');
  });
}

test('nothing is answered without a session: no file, no call', async () => {
  await using w = await world();
  const statuses = [];
  for (const path of ['/', '/board.js', '/nothing']) statuses.push((await ask(w.server, path)).status);
  expect(statuses).toEqual([401, 401, 401]);
  expect((await ask(w.server, '/')).body).toContain('<code>qiao monitor board</code>');
  const call = await ask(w.server, '/api/qiao.v1.MonitorService/GetBoard', {
    method: 'POST',
    headers: JSON_TYPE,
    body: '{}',
  });
  expect(call.status).toBe(401);
  expect(JSON.parse(call.body)).toMatchObject({ code: 'SESSION_REQUIRED' });
  expect((await ask(w.server, '/', { headers: { cookie: 'qiao_session=guess; qiao_session_1=guess' } })).status).toBe(
    401,
  );
});

test('a one-time link opens a session in a strict cookie, and a second use does not', async () => {
  await using w = await world();
  const link = new URL(w.server.openLink(zhang).url);
  const first = await ask(w.server, `/${link.search}`);
  expect(first.status).toBe(200);
  const cookie = first.headers['set-cookie']?.[0] ?? '';
  expect(cookie).toMatch(/^qiao_session_\d+=[\w-]{43}; HttpOnly; SameSite=Strict; Path=\/; Max-Age=28800$/);
  expect(first.body).not.toContain(link.searchParams.get('ticket'));
  expect((await ask(w.server, `/${link.search}`)).status).toBe(401);
  const page = await ask(w.server, '/', { headers: { cookie: cookie.split(';')[0] as string } });
  expect(page.body).toBe('<h1>桥</h1>');
  expect(page.headers['content-type']).toBe('text/html; charset=utf-8');
});

test('a ticket ends after five minutes, a session after eight hours', async () => {
  await using w = await world();
  const link = w.server.openLink(zhang);
  expect(link.expiresAtMs).toBe(w.state.nowMs + 300_000);
  const cookie = await w.open();
  w.state.nowMs += 300_000;
  expect((await ask(w.server, `/${new URL(link.url).search}`)).status).toBe(401);
  expect((await ask(w.server, '/', { headers: { cookie } })).status).toBe(200);
  w.state.nowMs += 8 * 3_600_000;
  expect((await ask(w.server, '/', { headers: { cookie } })).status).toBe(401);
});

test('a revoked caller’s session ends', async () => {
  await using w = await world();
  const cookie = await w.open();
  w.state.revoked = true;
  expect((await ask(w.server, '/', { headers: { cookie } })).status).toBe(401);
  w.state.revoked = false;
  w.server.cut((caller) => caller.code === 'zhang');
  expect((await ask(w.server, '/', { headers: { cookie } })).status).toBe(401);
});

test('neither a link nor a session outlives the certificate it was opened with', async () => {
  await using w = await world();
  const leaving = { ...zhang, notAfterMs: w.state.nowMs + 60_000 };
  const [early, late] = [w.server.openLink(leaving), w.server.openLink(leaving)];
  expect(early.expiresAtMs).toBe(leaving.notAfterMs);
  const opened = await ask(w.server, `/${new URL(early.url).search}`);
  const [cookie = '', ...attributes] = (opened.headers['set-cookie']?.[0] ?? '').split('; ');
  expect(attributes).toContain('Max-Age=60');
  w.state.nowMs += 59_999;
  expect((await ask(w.server, '/', { headers: { cookie } })).status).toBe(200);
  w.state.nowMs += 1;
  expect((await ask(w.server, '/', { headers: { cookie } })).status).toBe(401);
  expect((await ask(w.server, `/${new URL(late.url).search}`)).status).toBe(401);
});

test('every answer carries the security headers', async () => {
  await using w = await world();
  for (const answer of [await ask(w.server, '/'), await ask(w.server, '/', { headers: { cookie: await w.open() } })]) {
    expect(answer.headers['content-security-policy']).toContain("default-src 'self'");
    expect(answer.headers['x-content-type-options']).toBe('nosniff');
    expect(answer.headers['cache-control']).toBe('no-store');
    expect(answer.headers['access-control-allow-origin']).toBeUndefined();
  }
});

test('a name that is not ours is refused, whatever it carries', async () => {
  await using w = await world({ hosts: ['board.example'] });
  const cookie = await w.open();
  const status = async (host: string) => (await ask(w.server, '/', { headers: { host, cookie } })).status;
  expect(await status('evil.example')).toBe(421);
  expect(await status('evil.example:80')).toBe(421);
  expect(await status('127.0.0.1.evil.example')).toBe(421);
  expect(await status('board.example')).toBe(200);
  expect(await status('localhost:8080')).toBe(200);
  expect(await status('127.0.0.1')).toBe(200);
});

test('a call answers as JSON and knows its caller', async () => {
  await using w = await world();
  const cookie = await w.open();
  const answer = await ask(w.server, '/api/qiao.v1.MonitorService/GetBoard', {
    method: 'POST',
    headers: { ...JSON_TYPE, cookie },
    body: '{}',
  });
  expect(answer.status).toBe(200);
  expect(JSON.parse(answer.body)).toEqual({ timeZone: 'zhang', atMs: '12' });
});

test('a call from another site, of another type, or not served to browsers is refused', async () => {
  await using w = await world();
  const cookie = await w.open();
  const post = (path: string, headers: Record<string, string>, body = '{}') =>
    ask(w.server, path, { method: 'POST', headers: { cookie, ...headers }, body });
  const board = '/api/qiao.v1.MonitorService/GetBoard';
  expect((await post(board, { ...JSON_TYPE, origin: 'https://evil.example' })).status).toBe(403);
  expect((await post(board, { ...JSON_TYPE, 'sec-fetch-site': 'cross-site' })).status).toBe(403);
  expect((await post(board, { 'content-type': 'text/plain' })).status).toBe(400);
  expect((await post(board, JSON_TYPE, 'no json')).status).toBe(400);
  expect((await post(board, JSON_TYPE, `"${'x'.repeat(1024 * 1024)}"`)).status).toBe(400);
  expect((await post('/api/qiao.v1.MonitorService/AcknowledgeAlert', JSON_TYPE)).status).toBe(404);
  expect((await post('/api/qiao.v1.MonitorService/constructor', JSON_TYPE)).status).toBe(404);
  expect((await ask(w.server, board, { headers: { cookie } })).status).toBe(405);
  expect((await post('/', JSON_TYPE)).status).toBe(405);
});

test('a failure answers with its code and hint; an unexpected one with a reference only', async () => {
  await using w = await world();
  const cookie = await w.open();
  const reconcile = (bridge: string) =>
    ask(w.server, '/api/qiao.v1.MonitorService/Reconcile', {
      method: 'POST',
      headers: { ...JSON_TYPE, cookie },
      body: JSON.stringify({ bridge }),
    });
  const known = await reconcile('births');
  expect(known.status).toBe(404);
  expect(JSON.parse(known.body)).toEqual({
    code: 'BRIDGE_NOT_FOUND',
    message: 'no bridge births',
    hint: 'qiao bridge list',
  });
  const bug = await reconcile('bug');
  expect(bug.status).toBe(500);
  expect(bug.body).not.toContain('370202');
});

test('a stream comes as lines, its failure as the last of them', async () => {
  await using w = await world();
  const cookie = await w.open();
  const answer = await ask(w.server, '/api/qiao.v1.MonitorService/ListDeliveries', {
    method: 'POST',
    headers: { ...JSON_TYPE, cookie },
    body: '{}',
  });
  expect(answer.headers['content-type']).toBe('application/x-ndjson; charset=utf-8');
  const lines = answer.body
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  expect(lines).toEqual([
    { bridge: 'a', sequence: '1' },
    { problem: { code: 'BOOKS_BUSY', message: 'try again', hint: '' } },
  ]);
});

test('a stream ends at the server when the browser goes away', async () => {
  await using w = await world();
  const cookie = await w.open();
  const { sent } = await watching(w.server, cookie);
  sent.destroy();
  await w.state.watchEnded.promise;
});

test('closing ends a running stream', async () => {
  await using w = await world();
  const cookie = await w.open();
  const { sent, ended } = await watching(w.server, cookie);
  sent.on('error', () => {}); // a cut connection is an end too
  await w.server.close(5_000);
  await Promise.all([ended, w.state.watchEnded.promise]);
});

test('with a certificate the server speaks https and marks its cookie secure', async () => {
  using platform = await testPlatform();
  await using w = await world({ tls: platform.hub });
  const link = new URL(w.server.openLink(zhang).url);
  expect(link.protocol).toBe('https:');
  const answer = await ask(w.server, `/${link.search}`, { ca: platform.ca });
  expect(answer.headers['set-cookie']?.[0]).toContain('; Secure');
});

test('the link carries the name people reach the board by', async () => {
  await using w = await world();
  expect(w.server.openLink(zhang, 'board.example').url).toMatch(/^http:\/\/board\.example:\d+\/\?ticket=/);
  expect(w.server.openLink(zhang, 'board.example:8443').url).toMatch(/^http:\/\/board\.example:8443\/\?ticket=/);
});
