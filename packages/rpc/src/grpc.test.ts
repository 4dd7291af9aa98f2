import { once } from 'node:events';
import { connect } from 'node:http2';
import {
  HubServiceDefinition,
  type HubServiceImplementation,
  type JoinRequest,
  JoinServiceDefinition,
} from '@qiao/contract/hub';
import { MonitorServiceDefinition, type MonitorServiceImplementation } from '@qiao/contract/monitor';
import { ProblemsError, QiaoError } from '@qiao/exchange';
import { fromPem } from '@qiao/security';
import type { CallContext } from 'nice-grpc';
import { Metadata, Status } from 'nice-grpc-common';
import { expect, test, vi } from 'vitest';
import type { CallerContext, CallerPorts } from './caller.ts';
import { createGrpcClient } from './grpcClient.ts';
import { openService, service, startGrpcServer } from './grpcServer.ts';
import { failureOf, type Member, type TestPlatform, testPlatform } from './platform.testing.ts';
import { fetchAuthority } from './serverIdentity.ts';

const code = (value: string) => expect.objectContaining({ code: value });

/** Implementations that answer what the tests ask; every other method is missing on purpose. */
function hubThat(methods: Partial<HubServiceImplementation<CallerContext>>): HubServiceImplementation<CallerContext> {
  return new Proxy(methods, {
    get: (target, name) => Reflect.get(target, name) ?? (() => Promise.reject(new Error('not asked'))),
  }) as HubServiceImplementation<CallerContext>;
}
function monitorThat(
  methods: Partial<MonitorServiceImplementation<CallerContext>>,
): MonitorServiceImplementation<CallerContext> {
  return new Proxy(methods, {
    get: (target, name) => Reflect.get(target, name) ?? (() => Promise.reject(new Error('not asked'))),
  }) as MonitorServiceImplementation<CallerContext>;
}

const whoAmI = hubThat({
  getPlatform: async (_, { caller }) => ({
    code: caller.role,
    title: caller.code,
    version: caller.fingerprint,
    platformId: caller.nodeId,
  }),
});

async function world(
  options: {
    hub?: HubServiceImplementation<CallerContext>;
    monitor?: MonitorServiceImplementation<CallerContext>;
    join?: (request: JoinRequest, context: CallContext) => Promise<{ nodeCode?: string; hubAddress?: string }>;
    strangerCallMs?: number;
    isRevoked?: CallerPorts['isRevoked'];
  } = {},
) {
  const platform = await testPlatform();
  const server = await startGrpcServer({
    listen: '127.0.0.1:0',
    tls: { ...platform.hub, ca: platform.ca },
    services: [
      openService(JoinServiceDefinition, {
        join:
          options.join ??
          (async (request, context) => ({ nodeCode: `welcome ${request.natsUser}`, hubAddress: context.peer })),
      }),
      service(HubServiceDefinition, options.hub ?? whoAmI),
      service(MonitorServiceDefinition, options.monitor ?? monitorThat({}), ['operator', 'hub']),
    ],
    ...platform.ports,
    ...(options.isRevoked === undefined ? {} : { isRevoked: options.isRevoked }),
    log: platform.log,
    strangerCallMs: options.strangerCallMs,
  });
  const clients: Disposable[] = [];
  const hubAs = (member: Member | undefined, ca = platform.ca) => {
    const client = createGrpcClient(HubServiceDefinition, { address: server.address, tls: { ca, ...member } });
    clients.push(client);
    return client;
  };
  const monitorAs = (member: Member) => {
    const client = createGrpcClient(MonitorServiceDefinition, {
      address: server.address,
      tls: { ca: platform.ca, ...member },
    });
    clients.push(client);
    return client;
  };
  const joining = () => {
    const client = createGrpcClient(JoinServiceDefinition, { address: server.address, tls: { ca: platform.ca } });
    clients.push(client);
    return client;
  };
  return {
    platform,
    server,
    hubAs,
    monitorAs,
    joining,
    async [Symbol.asyncDispose]() {
      for (const client of clients) client[Symbol.dispose]();
      await server.close(200);
      platform[Symbol.dispose]();
    },
  };
}

test('a call carries the role, code, node and fingerprint of the certificate it was made with', async () => {
  await using w = await world();
  const answer = await w.hubAs(w.platform.operator).getPlatform({});
  expect(answer).toMatchObject({ code: 'operator', title: 'zhang' });
  expect(answer.version).toMatch(/^[0-9a-f]{64}$/);
  expect(answer.platformId).toHaveLength(16);
});

test('a stranger may join and call nothing else, on the same port', async () => {
  await using w = await world();
  const joined = await w.joining().join({ natsUser: 'U1' });
  expect(joined.nodeCode).toBe('welcome U1');
  expect(joined.hubAddress).toContain('127.0.0.1');
  expect(await failureOf(w.hubAs(undefined).getPlatform({}))).toEqual(code('CERTIFICATE_REQUIRED'));
});

test('a stranger is refused before its message is read', async () => {
  let asked = 0;
  await using w = await world({
    hub: hubThat({
      getPlatform: async () => {
        asked += 1;
        return {};
      },
    }),
  });
  const stranger = connect(`https://${w.server.address}`, {
    ca: w.platform.ca,
    ALPNProtocols: ['h2'],
    checkServerIdentity: () => undefined,
  });
  const call = stranger.request({
    ':method': 'POST',
    ':path': '/qiao.v1.HubService/GetPlatform',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  // The message is announced and never sent.
  call.write(Buffer.of(0, 0, 0x7f, 0xff, 0xff));
  const [headers] = await once(call, 'response');
  expect(headers['grpc-status']).toBe(String(Status.UNAUTHENTICATED));
  expect(asked).toBe(0);
  stranger.destroy();
});

test('of one address only so many strangers’ calls run at once, each has little to say, and a time', async () => {
  const release = Promise.withResolvers<void>();
  await using w = await world({
    join: async () => {
      await release.promise;
      return {};
    },
  });
  const waiting = Array.from({ length: 16 }, () => w.joining().join({}));
  await vi.waitFor(async () =>
    expect(await failureOf(w.joining().join({}, { deadlineMs: 500 }))).toMatchObject({
      code: 'TOO_MANY_STRANGERS',
      fate: 'transient',
    }),
  );
  release.resolve();
  await Promise.all(waiting);
  await w.joining().join({});
  expect(await failureOf(w.joining().join({ secret: new Uint8Array(65 * 1024) }))).toEqual(
    code('RPC_RESOURCE_EXHAUSTED'),
  );
});

test('a stranger’s call has an end', async () => {
  const told = Promise.withResolvers<void>();
  await using w = await world({
    strangerCallMs: 100,
    join: async (_, { signal }) => {
      signal.addEventListener('abort', () => told.resolve());
      await told.promise;
      return {};
    },
  });
  expect(await failureOf(w.joining().join({}))).toMatchObject({ code: 'CALL_TOO_SLOW', fate: 'ambiguous' });
  await told.promise;
});

test('a monitor that answers where the hub is called is not believed, nor the other way round', async () => {
  using platform = await testPlatform();
  const monitor = await platform.issue('monitor', 'books');
  const server = await startGrpcServer({
    listen: '127.0.0.1:0',
    tls: { ...monitor, ca: platform.ca },
    services: [service(HubServiceDefinition, whoAmI)],
    ...platform.ports,
    log: platform.log,
  });
  const options = { address: server.address, tls: { ca: platform.ca, ...platform.operator } };
  using asHub = createGrpcClient(HubServiceDefinition, options);
  expect(await failureOf(asHub.getPlatform({}))).toEqual(code('SERVER_UNREACHABLE'));
  using asMonitor = createGrpcClient(HubServiceDefinition, { ...options, role: 'monitor' });
  expect((await asMonitor.getPlatform({})).title).toBe('zhang');
  await server.close(0);
  await using w = await world();
  using wrong = createGrpcClient(HubServiceDefinition, {
    address: w.server.address,
    tls: { ca: w.platform.ca, ...w.platform.operator },
    role: 'monitor',
  });
  expect(await failureOf(wrong.getPlatform({}))).toEqual(code('SERVER_UNREACHABLE'));
});

test('a caller of another role is refused by name', async () => {
  await using w = await world();
  const failure = await failureOf(w.hubAs(w.platform.agent).getPlatform({}));
  expect(failure).toEqual(code('ROLE_REFUSED'));
  expect((failure as Error).message).toContain('agent health');
});

test('a certificate of another authority is no certificate', async () => {
  await using w = await world();
  using foreign: TestPlatform = await testPlatform();
  expect(await failureOf(w.hubAs(foreign.operator).getPlatform({}))).toEqual(code('CERTIFICATE_REQUIRED'));
});

test('an expired certificate is refused', async () => {
  await using w = await world();
  const old = await w.platform.issue('operator', 'li', { days: 1, nowMs: Date.now() - 3 * 86_400_000 });
  expect(await failureOf(w.hubAs(old).getPlatform({}))).toEqual(code('CERTIFICATE_REQUIRED'));
});

test('a header that claims a certificate is not believed', async () => {
  await using w = await world();
  const metadata = Metadata({ 'qiao-peer-certificate-bin': fromPem(w.platform.operator.cert, 'CERTIFICATE') });
  expect(await failureOf(w.hubAs(undefined).getPlatform({}, { metadata }))).toEqual(code('CERTIFICATE_REQUIRED'));
  expect(await failureOf(w.hubAs(w.platform.agent).getPlatform({}, { metadata }))).toEqual(code('ROLE_REFUSED'));
});

test('a client does not talk to a server of another authority, nor to an agent that poses as one', async () => {
  await using w = await world();
  using foreign: TestPlatform = await testPlatform();
  expect(await failureOf(w.hubAs(w.platform.operator, foreign.ca).getPlatform({}))).toEqual(code('SERVER_UNREACHABLE'));
  const impostor = await startGrpcServer({
    listen: '127.0.0.1:0',
    tls: { ...w.platform.agent, ca: w.platform.ca },
    services: [openService(JoinServiceDefinition, { join: async () => ({}) })],
    ...w.platform.ports,
    log: w.platform.log,
  });
  using client = createGrpcClient(JoinServiceDefinition, { address: impostor.address, tls: { ca: w.platform.ca } });
  expect(await failureOf(client.join({ secret: new Uint8Array(32) }))).toEqual(code('SERVER_UNREACHABLE'));
  await impostor.close(0);
});

test('a revoked caller is refused at its next call on an open connection', async () => {
  await using w = await world();
  const client = w.hubAs(w.platform.operator);
  await client.getPlatform({});
  w.platform.revoked.add('zhang');
  expect(await failureOf(client.getPlatform({}))).toEqual(code('CALLER_REVOKED'));
});

test('cutting a caller ends its running stream', async () => {
  await using w = await world({
    monitor: monitorThat({
      async *watchBoard(_, { signal }) {
        yield { timeZone: 'Asia/Shanghai' };
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
    }),
  });
  const stream = w.monitorAs(w.platform.operator).watchBoard({})[Symbol.asyncIterator]();
  expect((await stream.next()).value).toMatchObject({ timeZone: 'Asia/Shanghai' });
  const end = failureOf(stream.next());
  w.server.cut((caller) => caller.code === 'zhang');
  expect(await end).toEqual(code('CALLER_REVOKED'));
});

test('a stream ends with the certificate it was opened with', async () => {
  const next = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  await using w = await world({
    monitor: monitorThat({
      async *watchBoard() {
        for (const { promise } of next) {
          yield { timeZone: 'Asia/Shanghai' };
          await promise;
        }
        yield { timeZone: 'never seen' };
      },
    }),
  });
  const stream = w.monitorAs(w.platform.operator).watchBoard({})[Symbol.asyncIterator]();
  await stream.next();
  next[0]?.resolve();
  expect((await stream.next()).value).toMatchObject({ timeZone: 'Asia/Shanghai' });
  w.platform.clock.nowMs += 2 * 86_400_000;
  next[1]?.resolve();
  expect(await failureOf(stream.next())).toEqual(code('CERTIFICATE_EXPIRED'));
});

test('who is cut while it is being asked whether he still may is not let in', async () => {
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<boolean>();
  let calls = 0;
  await using w = await world({
    hub: hubThat({
      getPlatform: async () => {
        calls += 1;
        return {};
      },
    }),
    isRevoked: () => {
      asked.resolve();
      return answer.promise;
    },
  });
  const failure = failureOf(w.hubAs(w.platform.operator).getPlatform({}));
  await asked.promise;
  w.server.cut((caller) => caller.code === 'zhang');
  // Read before the revocation was stored.
  answer.resolve(false);
  expect(await failure).toEqual(code('CALLER_REVOKED'));
  expect(calls).toBe(0);
});

test('a QiaoError arrives as it was thrown: code, message, hint and fate', async () => {
  const thrown = new QiaoError('NODE_BUSY', '节点正忙 found 3, expected 1', {
    hint: 'qiao node show health',
    fate: 'transient',
  });
  await using w = await world({ hub: hubThat({ getNode: () => Promise.reject(thrown) }) });
  const failure = await failureOf(w.hubAs(w.platform.operator).getNode({ code: 'x' }));
  expect(failure).toBeInstanceOf(QiaoError);
  expect(failure).toMatchObject({ code: 'NODE_BUSY', message: thrown.message, hint: thrown.hint, fate: 'transient' });
});

test('every finding of a check arrives', async () => {
  const problems = Array.from({ length: 5 }, (_, index) => ({
    code: `C${index}`,
    path: `source.tables[${index}]`,
    message: `列不存在 ${index}`,
    hint: 'fix it',
    warning: index === 4,
  }));
  await using w = await world({ hub: hubThat({ createBridge: () => Promise.reject(new ProblemsError(problems)) }) });
  const failure = await failureOf(w.hubAs(w.platform.operator).createBridge({ yaml: 'x' }));
  expect(failure).toBeInstanceOf(ProblemsError);
  expect((failure as ProblemsError).problems).toEqual(problems);
});

test('thousands of findings still arrive as a problem, cut to what a trailer holds', async () => {
  const problems = Array.from({ length: 3_000 }, (_, index) => ({
    code: 'COLUMN_UNKNOWN',
    path: `p${index}`,
    message: '没有这一列'.repeat(30),
    hint: '改一改',
  }));
  await using w = await world({ hub: hubThat({ createBridge: () => Promise.reject(new ProblemsError(problems)) }) });
  const failure = await failureOf(w.hubAs(w.platform.operator).createBridge({ yaml: 'x' }));
  expect(failure).toEqual(code('COLUMN_UNKNOWN'));
  expect((failure as ProblemsError).problems.length).toBeGreaterThan(0);
});

test('an unexpected failure shows a reference, never its text, and the log does not quote it either', async () => {
  await using w = await world({
    hub: hubThat({ getNode: () => Promise.reject(new Error('row 370202199001011234 is bad')) }),
  });
  const failure = await failureOf(w.hubAs(w.platform.operator).getNode({ code: 'x' }));
  expect(failure).toEqual(code('INTERNAL'));
  expect(JSON.stringify([(failure as Error).message, w.platform.lines])).not.toContain('370202');
  expect(w.platform.lines).toContainEqual(
    expect.objectContaining({ level: 'error', message: 'call failed unexpectedly' }),
  );
});

test('a call that is not answered in its time fails as ambiguous, and the server hears of it', async () => {
  let aborted = (): void => {};
  const heard = new Promise<void>((resolve) => {
    aborted = resolve;
  });
  await using w = await world({
    hub: hubThat({
      getNode: (_, { signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            aborted();
            reject(new Error('aborted'));
          });
        }),
    }),
  });
  const failure = await failureOf(w.hubAs(w.platform.operator).getNode({ code: 'x' }, { deadlineMs: 300 }));
  expect(failure).toMatchObject({ code: 'RPC_DEADLINE', fate: 'ambiguous' });
  await heard;
});

test('a server that is away is transient', async () => {
  using platform = await testPlatform();
  using client = createGrpcClient(HubServiceDefinition, {
    address: '127.0.0.1:1',
    tls: { ca: platform.ca, ...platform.operator },
  });
  expect(await failureOf(client.getPlatform({}))).toMatchObject({ code: 'SERVER_UNREACHABLE', fate: 'transient' });
});

test('closing ends streams and lets a running call finish', async () => {
  let started = (): void => {};
  const running = new Promise<void>((resolve) => {
    started = resolve;
  });
  let finish = (): void => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  await using w = await world({
    hub: hubThat({
      getNode: async () => {
        started();
        await finished;
        return { code: 'done' };
      },
    }),
    monitor: monitorThat({
      async *watchBoard(_, { signal }) {
        yield {};
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
    }),
  });
  const stream = w.monitorAs(w.platform.operator).watchBoard({})[Symbol.asyncIterator]();
  await stream.next();
  const call = w.hubAs(w.platform.operator).getNode({ code: 'x' });
  await running;
  const closed = w.server.close(10_000);
  expect(await failureOf(stream.next())).toMatchObject({ code: 'SERVER_CLOSING', fate: 'transient' });
  finish();
  expect((await call).code).toBe('done');
  await closed;
});

test('the pinned authority is fetched from the server, another fingerprint is refused', async () => {
  await using w = await world();
  const fetched = await fetchAuthority(w.server.address, w.platform.authority.fingerprint);
  expect(Buffer.compare(fetched, w.platform.authority.certificateDer)).toBe(0);
  expect(await failureOf(fetchAuthority(w.server.address, 'ab'.repeat(32)))).toEqual(code('AUTHORITY_MISMATCH'));
  expect(await failureOf(fetchAuthority('127.0.0.1:1', 'ab'.repeat(32)))).toMatchObject({
    code: 'SERVER_UNREACHABLE',
    fate: 'transient',
  });
});

test('a renewed server certificate serves new connections', async () => {
  await using w = await world();
  await w.hubAs(w.platform.operator).getPlatform({});
  w.server.renew({ ...(await w.platform.issue('hub', 'hub')), ca: w.platform.ca });
  expect((await w.hubAs(w.platform.operator).getPlatform({})).title).toBe('zhang');
});

test('a port in use is named', async () => {
  await using w = await world();
  const again = startGrpcServer({
    listen: w.server.address,
    tls: { ...w.platform.hub, ca: w.platform.ca },
    services: [],
    ...w.platform.ports,
    log: w.platform.log,
  });
  expect(await failureOf(again)).toEqual(code('LISTEN_FAILED'));
});
