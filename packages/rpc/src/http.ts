/**
 * The HTTP server for browsers: a few static files and the contract's services as JSON, to people who opened a one-time link.
 * Owns the door (host, origin, session, security headers); calls are `httpApi.ts`, tickets and cookies `httpSession.ts`.
 * Nothing is answered anonymously, not even a file.
 */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, isIP } from 'node:net';
import { QiaoError } from '@qiao/exchange';
import { type Address, addressText, parseAddress } from './address.ts';
import type { Caller, RpcLog } from './caller.ts';
import { answerCall, answerProblem, findCall, type HttpService } from './httpApi.ts';
import { Sessions } from './httpSession.ts';
import { presentable } from './problemStatus.ts';

/** A file held in memory. */
export interface Asset {
  /** Content type, with charset for text. */
  readonly type: string;
  readonly body: Uint8Array | string;
}

export interface HttpOptions {
  /** host:port; port 0 takes a free one. */
  readonly listen: string;
  /** With a certificate the server speaks https. PEM. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  /** Names (without port) under which browsers reach it; localhost and IP addresses always work. */
  readonly hosts?: readonly string[] | undefined;
  /** By path; `/` is the page. */
  readonly assets: ReadonlyMap<string, Asset>;
  readonly services: readonly HttpService[];
  readonly isRevoked: (caller: Caller) => boolean | Promise<boolean>;
  readonly nowMs: () => number;
  readonly log: RpcLog;
  /** Default five minutes. */
  readonly ticketLifeMs?: number | undefined;
  /** Default eight hours. */
  readonly sessionLifeMs?: number | undefined;
}

export interface HttpServer {
  /** host:port with the real port. */
  readonly address: string;
  /** http(s)://host:port */
  readonly url: string;
  /** A link that opens the page for this caller once, until `expiresAtMs`. `host` (with or without port) replaces the listening host in it. */
  openLink(caller: Caller, host?: string): { url: string; expiresAtMs: number };
  /** Ends the sessions, tickets and running calls of every caller for whom `matches` is true. */
  cut(matches: (caller: Caller) => boolean): void;
  /** Ends streams, lets other answers finish for `graceMs` (default 2,000), then cuts. */
  close(graceMs?: number): Promise<void>;
}

const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
};

/** Starts listening. Throws LISTEN_FAILED. */
export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  const door = new Door(options);
  const handler: RequestListener = (request, response) => void door.answer(request, response);
  const server: Server = options.tls
    ? createTlsServer({ ...options.tls, minVersion: 'TLSv1.2' }, handler)
    : createServer(handler);
  server.headersTimeout = 10_000;
  server.requestTimeout = 30_000;
  server.maxConnections = 256;
  const wanted = parseAddress(options.listen);
  await listen(server, wanted);
  const port = (server.address() as AddressInfo).port;
  door.open(port);
  const scheme = options.tls ? 'https' : 'http';
  const address = addressText({ host: wanted.host, port });
  return {
    address,
    url: `${scheme}://${addressText({ host: reachable(wanted.host), port })}`,
    openLink(caller, host) {
      const { ticket, expiresAtMs } = door.sessions.makeTicket(caller);
      const name = host ?? reachable(wanted.host);
      const authority = /^(\[.*\]|[^:]+):\d+$/.test(name)
        ? name
        : addressText({ host: name.replace(/^\[|\]$/g, ''), port });
      return { url: `${scheme}://${authority}/?ticket=${ticket}`, expiresAtMs };
    },
    cut: (matches) => door.cut(matches),
    async close(graceMs = 2_000) {
      door.close();
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      server.closeIdleConnections();
      const timer = setTimeout(() => server.closeAllConnections(), graceMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

interface Running {
  readonly caller: Caller;
  readonly controller: AbortController;
}

class Door {
  sessions!: Sessions;
  readonly #options: HttpOptions;
  readonly #running = new Set<Running>();
  readonly #hosts: ReadonlySet<string>;

  constructor(options: HttpOptions) {
    this.#options = options;
    this.#hosts = new Set(
      [...(options.hosts ?? []), parseAddress(options.listen).host, 'localhost'].map((host) => host.toLowerCase()),
    );
  }

  open(port: number): void {
    const { nowMs, ticketLifeMs = 5 * 60_000, sessionLifeMs = 8 * 3_600_000, tls } = this.#options;
    this.sessions = new Sessions({ nowMs, ticketLifeMs, sessionLifeMs, isSecure: tls !== undefined, port });
  }

  cut(matches: (caller: Caller) => boolean): void {
    this.sessions.cut(matches);
    for (const running of this.#running) if (matches(running.caller)) running.controller.abort();
  }

  close(): void {
    for (const running of this.#running) running.controller.abort();
  }

  /** Never rejects: every failure becomes an answer. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value);
    try {
      await this.#answer(request, response);
    } catch (error) {
      answerProblem(response, this.#presentable(error, request));
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!this.#isOwnHost(request.headers.host)) {
      // 421: a page of another name whose address was changed to ours (DNS rebinding) gets nothing, not even the reason's detail.
      response.writeHead(421, { 'content-type': 'text/plain; charset=utf-8' });
      response.end('This name is not served here.\n');
      return;
    }
    const url = URL.parse(request.url ?? '/', 'http://qiao.invalid');
    if (!url) throw new QiaoError('REQUEST_INVALID', 'the address of the request cannot be read');
    const ticket = url.searchParams.get('ticket');
    if (ticket !== null && request.method === 'GET') return this.#exchange(ticket, request, response);
    const caller = this.sessions.callerOf(request.headers.cookie);
    if (!caller || (await this.#options.isRevoked(caller))) return refuseStranger(url.pathname, response);
    if (url.pathname.startsWith('/api/')) return this.#call(url.pathname, caller, request, response);
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end();
      return;
    }
    const asset = this.#options.assets.get(url.pathname);
    if (!asset) throw new QiaoError('PAGE_NOT_FOUND', 'there is no such page');
    const body = typeof asset.body === 'string' ? Buffer.from(asset.body, 'utf8') : asset.body;
    response.writeHead(200, { 'content-type': asset.type, 'content-length': body.length });
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  #exchange(ticket: string, request: IncomingMessage, response: ServerResponse): void {
    const cookie = this.sessions.exchange(ticket);
    // A used link opened again in the browser that used it leads on as before.
    if (!cookie && !this.sessions.callerOf(request.headers.cookie)) {
      answerPage(response, 401, '链接已失效 · This link was used or is too old', 'qiao monitor board');
      return;
    }
    // A page that leads on, not a redirect: after a click on another site's page, browsers keep a strict cookie back from the
    // redirect's target, but not from a navigation that our own page begins. It also takes the ticket out of the history.
    if (cookie) response.setHeader('set-cookie', cookie);
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
    response.end(
      '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/"><title>Qiao</title><a href="/">Qiao</a>\n',
    );
  }

  async #call(path: string, caller: Caller, request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== 'POST') {
      response.writeHead(405, { allow: 'POST' }).end();
      return;
    }
    if (!isOwnOrigin(request, this.#options.tls !== undefined))
      throw new QiaoError('ORIGIN_FORBIDDEN', 'the call comes from another site');
    const call = findCall(this.#options.services, path);
    if (!call) throw new QiaoError('CALL_NOT_FOUND', 'no such call is served to browsers');
    const running: Running = { caller, controller: new AbortController() };
    const abort = (): void => running.controller.abort();
    response.once('close', abort);
    this.#running.add(running);
    try {
      await answerCall(call, caller, request, response, {
        signal: running.controller.signal,
        presentable: (error) => this.#presentable(error, request),
      });
    } finally {
      this.#running.delete(running);
      response.off('close', abort);
    }
  }

  #presentable(error: unknown, request: IncomingMessage): QiaoError {
    return presentable(error, randomUUID().slice(0, 8), (reference, cause) =>
      this.#options.log.error(
        {
          reference,
          path: (request.url ?? '').split('?')[0],
          error: cause instanceof Error ? cause.name : typeof cause,
        },
        'request failed unexpectedly',
      ),
    );
  }

  /** Rebinding always comes under a name: an IP address in the Host header is what the person typed. */
  #isOwnHost(host: string | undefined): boolean {
    const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s[\]]+))(?::\d{1,5})?$/.exec(host ?? '');
    const name = (match?.[1] ?? match?.[2] ?? '').toLowerCase();
    return name !== '' && (isIP(name) !== 0 || this.#hosts.has(name));
  }
}

function isOwnOrigin(request: IncomingMessage, isSecure: boolean): boolean {
  const site = request.headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin') return false;
  const origin = request.headers.origin;
  return origin === undefined || origin === `${isSecure ? 'https' : 'http'}://${request.headers.host}`;
}

function refuseStranger(path: string, response: ServerResponse): void {
  if (path.startsWith('/api/')) {
    answerProblem(
      response,
      new QiaoError('SESSION_REQUIRED', 'the session is missing or has ended', {
        hint: 'qiao monitor board  # opens a new link',
      }),
    );
    return;
  }
  answerPage(response, 401, '请用一次性链接打开 · Open this page with a one-time link', 'qiao monitor board');
}

function answerPage(response: ServerResponse, status: number, title: string, command: string): void {
  response.writeHead(status, { 'content-type': 'text/html; charset=utf-8' });
  response.end(
    `<!doctype html><meta charset="utf-8"><title>Qiao</title><h1>${title}</h1><p><code>${command}</code></p>\n`,
  );
}

function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

function listen(server: Server, address: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (cause: NodeJS.ErrnoException): void =>
      reject(
        new QiaoError('LISTEN_FAILED', `cannot listen on ${addressText(address)}: ${cause.code ?? cause.message}`, {
          hint: 'another process may hold the port (ss -ltnp): choose another in this node’s file, under board.listen',
          cause,
        }),
      );
    server.once('error', fail);
    server.listen(address.port, address.host, () => {
      server.off('error', fail);
      resolve();
    });
  });
}
