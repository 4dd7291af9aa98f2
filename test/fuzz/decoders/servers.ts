// Live servers: bytes on the socket of the health board, JSON bodies of its calls, and messages of gRPC calls over TLS. The
// right answer is an answer in time; a log line of an unexpected failure is a finding.

import { once } from 'node:events';
import { Agent, type IncomingMessage, type RequestOptions, request } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { HubServiceDefinition, InviteRequest, JoinRequest, JoinServiceDefinition } from '@qiao/contract/hub';
import { GetBoardRequest, MonitorServiceDefinition, ReconcileRequest } from '@qiao/contract/monitor';
import { httpService, openService, service, startGrpcServer, startHttp } from '../../../packages/rpc/src/index.ts';
import { testPlatform } from '../../../packages/rpc/src/platform.testing.ts';
import { Broken, type Decoder, holds } from '../decoder.ts';

const ANSWER_WITHIN_MS = 5_000;

/** Implementations that answer everything with nothing: what is fuzzed is the way to them. */
function answering(): never {
  return new Proxy({}, { get: () => async () => ({}), has: () => true }) as never;
}

export async function serverDecoders(): Promise<Decoder[]> {
  const platform = await testPlatform();
  const caller = {
    role: 'operator',
    code: 'zhang',
    name: 'zhang',
    nodeId: new Uint8Array(16),
    fingerprint: 'ab',
    twinFingerprint: 'ba',
    notAfterMs: Number.MAX_SAFE_INTEGER,
  } as const;
  const board = await startHttp({
    listen: '127.0.0.1:0',
    assets: new Map([['/', { type: 'text/html; charset=utf-8', body: '<h1>桥</h1>' }]]),
    services: [httpService(MonitorServiceDefinition, answering(), ['reconcile', 'getBoard'])],
    isRevoked: () => false,
    nowMs: () => 1_000_000,
    log: platform.log,
  });
  const link = new URL(board.openLink(caller).url);
  const opened = await fetch(link);
  const cookie = opened.headers.get('set-cookie')?.split(';')[0] ?? '';
  const port = Number(link.port);
  const written = (line: string, body = '') =>
    Buffer.from(
      `${line} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncookie: ${cookie}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
    );
  const calm = () => {
    const [unexpected] = platform.lines.splice(0).filter(({ level }) => level === 'error');
    holds(unexpected === undefined, `an error that is nobody’s: ${JSON.stringify(unexpected)}`);
  };
  const grpc = await startGrpcServer({
    listen: '127.0.0.1:0',
    tls: { ...platform.hub, ca: platform.ca },
    services: [
      openService(JoinServiceDefinition, answering()),
      service(HubServiceDefinition, answering()),
      service(MonitorServiceDefinition, answering()),
    ],
    ...platform.ports,
    log: platform.log,
  });
  // One connection for all bodies: to make one for each would cost several times what the body does.
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const call = {
    method: 'POST',
    path: '/api/qiao.v1.MonitorService/Reconcile',
    headers: { cookie, 'content-type': 'application/json' },
  };
  const paths = [HubServiceDefinition, MonitorServiceDefinition, JoinServiceDefinition].flatMap(
    ({ fullName, methods }) =>
      Object.values(methods).flatMap(({ name, responseStream }) => (responseStream ? [] : [`${fullName}/${name}`])),
  );
  const session = connectHttp2(`https://${grpc.address}`, {
    ca: platform.ca,
    ...platform.operator,
    checkServerIdentity: () => undefined,
  });
  await once(session, 'connect');
  let broken: Error | undefined;
  session.on('error', (error) => {
    broken = error;
  });
  return [
    {
      name: 'http-bytes',
      kind: 'bytes',
      seeds: [written('GET /'), written('POST /api/qiao.v1.MonitorService/Reconcile', '{"bridge":"births"}')],
      maxBytes: 20_000,
      slowMs: ANSWER_WITHIN_MS,
      async take(input) {
        const status = await answerTo(port, input);
        calm();
        return `status ${status}`;
      },
    },
    {
      name: 'http-json',
      kind: 'text',
      words: ['bridge', 'fromDay', 'toDay', 'byDay', 'true', '"', '{', '}', ':', ',', '\\u0000', '1e400'],
      seeds: [Buffer.from('{"bridge":"births","fromDay":"2026-01-01","byDay":true}')],
      maxBytes: 20_000,
      slowMs: ANSWER_WITHIN_MS,
      async take(input) {
        const status = await within(statusOf({ agent, port, ...call }, input));
        calm();
        holds(status === 200 || status === 400, `an answer of status ${status}`);
        return `status ${status}`;
      },
      close: () => agent.destroy(),
    },
    {
      name: 'grpc-message',
      kind: 'message',
      seeds: [
        InviteRequest.encode(InviteRequest.fromPartial({ nodeCode: 'health', departmentCode: 'health' })).finish(),
        ReconcileRequest.encode(ReconcileRequest.fromPartial({ bridge: 'births' })).finish(),
        GetBoardRequest.encode(GetBoardRequest.fromPartial({})).finish(),
        JoinRequest.encode(JoinRequest.fromPartial({ secret: new Uint8Array(32), csr: new Uint8Array(300) })).finish(),
      ],
      maxBytes: 60_000,
      slowMs: ANSWER_WITHIN_MS,
      async take(input) {
        const path = paths[(input.at(-1) ?? 0) % paths.length] as string;
        const stream = session.request({
          ':method': 'POST',
          ':path': `/${path}`,
          'content-type': 'application/grpc',
          te: 'trailers',
        });
        const head = Buffer.alloc(5);
        head.writeUInt32BE(input.length, 1);
        stream.resume();
        stream.on('error', () => undefined);
        let status: unknown;
        stream.on('response', (headers) => {
          status = headers['grpc-status'] ?? status;
        });
        stream.on('trailers', (headers) => {
          status = headers['grpc-status'] ?? status;
        });
        stream.end(Buffer.concat([head, input]));
        await within(once(stream, 'close'));
        calm();
        holds(broken === undefined, `the session ended: ${broken?.message}`);
        holds(status !== undefined, 'no answer');
        return `status ${String(status)}`;
      },
      async close() {
        session.close();
        await grpc.close(0);
        await board.close(0);
        platform[Symbol.dispose]();
      },
    },
  ];
}

/** The status that the server answered, `none` when it closed without a word. */
async function answerTo(port: number, bytes: Uint8Array): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  const parts: Buffer[] = [];
  socket.on('data', (part: Buffer) => parts.push(part));
  socket.on('error', () => undefined);
  const closed = once(socket, 'close');
  // Half-closed after the request: a server that waits for the rest of a body must not wait for ever.
  socket.end(bytes);
  await within(closed);
  return /^HTTP\/1\.1 (\d{3})/.exec(Buffer.concat(parts).toString('latin1'))?.[1] ?? 'none';
}

async function statusOf(options: RequestOptions, body: Uint8Array): Promise<number | undefined> {
  const calling = request(options);
  calling.setHeader('content-length', body.length);
  calling.end(body);
  const [response] = (await once(calling, 'response')) as [IncomingMessage];
  response.resume();
  await once(response, 'end');
  return response.statusCode;
}

async function within<T>(ended: Promise<T>): Promise<T> {
  const late = Symbol('late');
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<typeof late>((resolve) => {
    timer = setTimeout(() => resolve(late), 2 * ANSWER_WITHIN_MS);
  });
  const first = await Promise.race([ended, limit]);
  clearTimeout(timer);
  if (first === late) throw new Broken('no end');
  return first;
}
