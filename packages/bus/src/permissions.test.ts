import { connect, jwtAuthenticator, type NatsConnection } from 'nats';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createBusUserKey, permissionsOf, streams, subjects } from './index.ts';
import { bytes, PLATFORM, TestBus, text } from './testBus.ts';

/** What a node could do if it used a NATS client of its own instead of ours: health tries civil-affairs' doors. */
let world: TestBus;
let intruder: NatsConnection;

beforeAll(async () => {
  world = await TestBus.start();
  await world.administration.ensureNode({ code: 'health', role: 'agent' });
  await world.administration.ensureNode({ code: 'civil-affairs', role: 'agent' });
  intruder = await raw('health', 'agent');
});

afterAll(async () => {
  await intruder?.close();
  await world?.[Symbol.asyncDispose]();
});

test('a node may not listen to the answers of others', async () => {
  for (const subject of ['_INBOX.>', '_INBOX_civil-affairs.>', '_INBOX_hub.>', '>', 'qiao.>', '$JS.>']) {
    expect(await subscribeRefusal(subject)).toBe('PERMISSIONS_VIOLATION');
  }
});

test('a node may not pull the consumer of another', async () => {
  await world.hub.publish(subjects.down(PLATFORM, 'civil-affairs', 'data'), bytes('x'));
  expect(await publishRefusal(`qiao.js.CONSUMER.MSG.NEXT.${streams.downData('civil-affairs')}.civil-affairs`)).toBe(
    'PERMISSIONS_VIOLATION',
  );
  expect(await publishRefusal(`qiao.js.CONSUMER.MSG.NEXT.${streams.upData()}.router-data`)).toBe(
    'PERMISSIONS_VIOLATION',
  );
});

test('a node may not acknowledge the message of another', async () => {
  const subject = `$JS.ACK.${streams.downData('civil-affairs')}.civil-affairs.1.1.1.1700000000000000000.0`;
  expect(await publishRefusal(subject)).toBe('PERMISSIONS_VIOLATION');
});

test('a node may not publish as another, nor downward, nor answer in the place of one', async () => {
  for (const subject of [
    subjects.up(PLATFORM, 'civil-affairs', 'data'),
    subjects.up(PLATFORM, 'civil-affairs', 'control'),
    subjects.hello(PLATFORM, 'civil-affairs'),
    subjects.telemetry(PLATFORM, 'civil-affairs', 'books'),
    subjects.down(PLATFORM, 'health', 'data'),
    subjects.down(PLATFORM, 'civil-affairs', 'control'),
    subjects.command(PLATFORM, 'civil-affairs'),
    '_INBOX_civil-affairs.x',
    '_INBOX_hub.x',
  ]) {
    expect(await publishRefusal(subject)).toBe('PERMISSIONS_VIOLATION');
  }
});

test('a node may not make, change, empty, read or delete a stream, nor make a consumer', async () => {
  const own = streams.downData('health');
  for (const verb of [
    'STREAM.CREATE.MINE',
    `STREAM.UPDATE.${own}`,
    `STREAM.DELETE.${own}`,
    `STREAM.PURGE.${own}`,
    `STREAM.INFO.${own}`,
    `STREAM.MSG.GET.${own}`,
    'STREAM.LIST',
    `CONSUMER.DURABLE.CREATE.${own}.mine`,
    `CONSUMER.CREATE.${own}`,
    `CONSUMER.DELETE.${own}.health`,
  ]) {
    expect(await publishRefusal(`$JS.API.${verb}`)).toBe('PERMISSIONS_VIOLATION');
    expect(await publishRefusal(`qiao.js.${verb}`)).toBe('PERMISSIONS_VIOLATION');
  }
  expect(await publishRefusal('$SYS.REQ.CLAIMS.UPDATE')).toBe('PERMISSIONS_VIOLATION');
});

test('a node cannot have the answers to its own requests do what it may not do itself', async () => {
  const { bus: civil } = await world.node('civil-affairs');
  await world.hub.publish(subjects.down(PLATFORM, 'civil-affairs', 'data'), bytes('precious'));
  const own = `${streams.downControl('health')}.health`;
  const targets = [
    `$JS.API.STREAM.DELETE.${streams.telemetry()}`,
    `$JS.API.STREAM.PURGE.${streams.downData('civil-affairs')}`,
    `$JS.API.STREAM.MSG.DELETE.${streams.downData('civil-affairs')}`,
    `$JS.API.CONSUMER.DELETE.${streams.downData('civil-affairs')}.civil-affairs`,
    subjects.down(PLATFORM, 'civil-affairs', 'control'),
    subjects.up(PLATFORM, 'civil-affairs', 'data'),
    `$JS.ACK.${streams.downData('civil-affairs')}.civil-affairs.1.1.1.1700000000000000000.0`,
  ];
  for (const reply of targets) {
    // The server hangs up on a reply subject that it reserves for itself, so each attempt has a connection of its own.
    const client = await raw('health', 'agent');
    // An acknowledgement (with a body), a consumer's description (JSON), and a status without a body.
    client.publish(subjects.up(PLATFORM, 'health', 'control'), bytes('x'), { reply });
    client.publish(`qiao.js.CONSUMER.INFO.${own}`, new Uint8Array(), { reply });
    client.publish(`qiao.js.CONSUMER.MSG.NEXT.${own}`, bytes('{"batch":1,"no_wait":true}'), { reply });
    await client.flush().catch(() => {});
    await client.close();
  }
  const up = await world.hub.request(
    `$JS.API.STREAM.INFO.${streams.upData()}`,
    bytes('{"subjects_filter":">"}'),
    5_000,
  );
  expect(Object.keys(JSON.parse(text(up)).state.subjects ?? {})).not.toContain(
    subjects.up(PLATFORM, 'civil-affairs', 'data'),
  );
  expect((await world.administration.shareOf('civil-affairs', 'control'))?.messages).toBe(0);
  const telemetry = await world.hub.request(`$JS.API.STREAM.INFO.${streams.telemetry()}`, new Uint8Array(), 5_000);
  expect(JSON.parse(text(telemetry)).error).toBeUndefined();
  const seen: string[] = [];
  for await (const message of civil.consume(streams.downData('civil-affairs'), 'civil-affairs', {
    signal: AbortSignal.timeout(10_000),
  })) {
    message.ack();
    seen.push(text(message.data));
    if (seen.at(-1) === 'precious') break;
  }
  expect(seen.at(-1)).toBe('precious');
});

test('our own client reports a refused publish and a refused consumer as BUS_DENIED', async () => {
  const { bus } = await world.node('health');
  await expect(bus.publish(subjects.up(PLATFORM, 'civil-affairs', 'data'), bytes('x'))).rejects.toMatchObject({
    code: 'BUS_DENIED',
    fate: 'permanent',
  });
  const theirs = bus.consume(streams.downData('civil-affairs'), 'civil-affairs', {
    signal: AbortSignal.timeout(10_000),
  });
  await expect(theirs[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'BUS_DENIED' });
  await expect(
    bus.respond(subjects.command(PLATFORM, 'civil-affairs'), async (request) => request, {
      signal: AbortSignal.timeout(10_000),
    }),
  ).rejects.toMatchObject({ code: 'BUS_DENIED' });
});

test('the monitor reads telemetry and its own control line, and no data of anybody', async () => {
  const { bus } = await world.node('watch', 'monitor');
  const { bus: agent } = await world.node('health');
  await agent.publish(subjects.telemetry(PLATFORM, 'health', 'heartbeat'), bytes('alive'));
  for await (const message of bus.consume(streams.telemetry(), 'monitor', { signal: AbortSignal.timeout(10_000) })) {
    message.ack();
    expect(message.subject).toBe(subjects.telemetry(PLATFORM, 'health', 'heartbeat'));
    break;
  }
  await world.hub.publish(subjects.down(PLATFORM, 'watch', 'control'), bytes('snapshot'));
  for await (const message of bus.consume(streams.downControl('watch'), 'watch', {
    signal: AbortSignal.timeout(10_000),
  })) {
    message.ack();
    break;
  }
  await bus.publish(subjects.up(PLATFORM, 'watch', 'control'), bytes('books through'));
  const theirs = bus.consume(streams.upData(), 'router-data', { signal: AbortSignal.timeout(10_000) });
  await expect(theirs[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'BUS_DENIED' });
  await expect(bus.publish(subjects.telemetry(PLATFORM, 'health', 'books'), bytes('x'))).rejects.toMatchObject({
    code: 'BUS_DENIED',
  });
});

test('the permissions of an agent are exactly the written list', () => {
  expect(permissionsOf('agent', 'demo', 'health')).toEqual({
    publish: [
      'qiao.up.demo.health.>',
      'qiao.telemetry.demo.health.>',
      'qiao.js.CONSUMER.INFO.QIAO_DOWN_DATA_health.health',
      'qiao.js.CONSUMER.MSG.NEXT.QIAO_DOWN_DATA_health.health',
      '$JS.ACK.QIAO_DOWN_DATA_health.health.>',
      'qiao.js.CONSUMER.INFO.QIAO_DOWN_CONTROL_health.health',
      'qiao.js.CONSUMER.MSG.NEXT.QIAO_DOWN_CONTROL_health.health',
      '$JS.ACK.QIAO_DOWN_CONTROL_health.health.>',
    ],
    subscribe: ['_INBOX_health.>', 'qiao.command.demo.health'],
    mayAnswer: true,
  });
});

test('a code that could widen a permission is refused', () => {
  for (const code of ['*', '>', 'a.b', 'a b', '', 'A', 'hub.>']) {
    expect(() => permissionsOf('agent', 'demo', code)).toThrow(expect.objectContaining({ code: 'BAD_CODE' }));
    expect(() => permissionsOf('agent', code, 'health')).toThrow(expect.objectContaining({ code: 'BAD_CODE' }));
  }
});

async function raw(node: string, role: 'agent' | 'monitor'): Promise<NatsConnection> {
  const { natsUser, seed } = createBusUserKey();
  const jwt = await world.accounts.userJwt({ natsUser, role, platform: PLATFORM, node });
  return connect({
    servers: [...world.address.urls],
    authenticator: jwtAuthenticator(jwt, bytes(seed)),
    tls: { ca: world.authorityPem, ...({ checkServerIdentity: () => undefined } as object) },
    inboxPrefix: `_INBOX_${node}`,
  });
}

/** What the server says to a publish; 'allowed' when it says nothing until it has answered a ping. */
async function publishRefusal(subject: string): Promise<string> {
  return refusalDuring(() => intruder.publish(subject, new Uint8Array(), { reply: '_INBOX_health.x' }));
}

async function subscribeRefusal(subject: string): Promise<string> {
  return refusalDuring(() => void intruder.subscribe(subject, { callback: () => {} }));
}

async function refusalDuring(act: () => void): Promise<string> {
  const statuses = intruder.status();
  const refused = (async () => {
    for await (const status of statuses) if (status.type === 'error') return String(status.data);
    return 'allowed';
  })();
  act();
  await intruder.flush();
  // The error, if any, was said before the pong; the status stream hands it on within this turn of the loop.
  return Promise.race([refused, new Promise<string>((resolve) => setTimeout(() => resolve('allowed'), 500))]);
}
