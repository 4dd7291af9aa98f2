import { QiaoError } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import { Verifier } from '@qiao/security';
import { expect, test } from 'vitest';
import { busMessage, bytes, control, type FakeMessage, NONCE, TestWorld } from '../world.testing.ts';
import { RefusalBook } from './refusalBook.ts';
import { routeControlPart } from './routeControl.ts';
import { RoutingTable } from './routingTable.ts';

/** A router of control messages over a fake bus, whose forwarding fails as long as `failure` is set. */
async function router() {
  const world = await TestWorld.create();
  const [health, civil] = [await world.join('health'), await world.join('civil')];
  const { laneId } = await world.bridge('births', health, civil);
  const table = new RoutingTable();
  await table.reload(world.store, 0);
  const state: { failure: QiaoError | undefined } = { failure: undefined };
  const part = (messages: readonly FakeMessage[]) =>
    routeControlPart({
      table,
      verifier: new Verifier(),
      platformId: world.platform.id,
      async *consume() {
        yield* messages;
      },
      forwardControl: async () => {
        if (state.failure !== undefined) throw state.failure;
      },
      refusals: new RefusalBook(world.store),
      clock: world.clock,
      log: silentLog(),
      seen: () => undefined,
      reported: async () => undefined,
    });
  const resend = () =>
    busMessage(
      'qiao.up.demo.civil.control',
      control(civil, health.id, {
        $case: 'resend',
        value: {
          laneId,
          epoch: { ordinal: 1n, nonce: NONCE },
          firstSequence: 1n,
          lastSequence: 0n,
          reason: 'gap',
          requestId: new Uint8Array(16),
          isPlace: false,
        },
      }),
    );
  return {
    world,
    health,
    civil,
    state,
    part,
    resend,
    route: (messages: readonly FakeMessage[]) => part(messages).run(new AbortController().signal),
    rows: () => world.store.selectFrom('refusals').selectAll().execute(),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

test('what goes on is acknowledged, and what the bus cannot take now is tried again', async () => {
  await using it = await router();
  const [first, second] = [it.resend(), it.resend()];
  await it.route([first]);
  it.state.failure = new QiaoError('BUS_UNREACHABLE', 'away', { fate: 'transient' });
  await it.route([second]);
  expect([first.ending(), second.ending()]).toEqual(['acked', 'retried']);
  expect(await it.rows()).toEqual([]);
});

test.each(['NODE_SHARE_FULL', 'STREAM_MISSING'])(
  'of the messages for a node without room (%s) a few wait, the others are written down and dropped',
  async (code) => {
    await using it = await router();
    it.state.failure = new QiaoError(code, 'no room', { fate: 'transient' });
    const messages = Array.from({ length: 40 }, it.resend);
    await it.route(messages);
    const endings = messages.map((message) => message.ending());
    expect(endings).toEqual([...Array(16).fill('retried'), ...Array(24).fill('acked')]);
    expect(await it.rows()).toMatchObject([{ from_node: 'civil', code, times: 24 }]);
  },
);

test('a message that waits has one place, however often it is tried', async () => {
  await using it = await router();
  it.state.failure = new QiaoError('NODE_SHARE_FULL', 'no room', { fate: 'transient' });
  const [waiting, later] = [it.resend(), it.resend()];
  await it.route([...Array.from({ length: 16 }, () => waiting), later]);
  expect([waiting.ending(), later.ending()]).toEqual(['retried', 'retried']);
});

test('what can never pass is written down and ended', async () => {
  await using it = await router();
  it.state.failure = new QiaoError('MESSAGE_TOO_LARGE', 'too large for the bus');
  const message = it.resend();
  await it.route([message]);
  expect(message.ending()).toBe('acked');
  expect(await it.rows()).toMatchObject([{ from_node: 'civil', code: 'MESSAGE_TOO_LARGE' }]);
});

test('bytes longer than any control message are refused before they are read', async () => {
  await using it = await router();
  const padding = Buffer.concat([Buffer.of(0xfa, 0x01, 0x80, 0x80, 0x80, 0x01), Buffer.alloc(2 * 1024 * 1024)]);
  const message = it.resend();
  await it.route([busMessage(message.subject, Buffer.concat([message.data, padding]))]);
  expect(await it.rows()).toMatchObject([{ code: 'MESSAGE_UNREADABLE' }]);
});

test('an over-long lane is not written down', async () => {
  await using it = await router();
  const value = {
    laneId: bytes(100_000),
    epoch: undefined,
    firstSequence: 1n,
    lastSequence: 0n,
    reason: 'gap',
    requestId: bytes(16),
    isPlace: false,
  };
  const message = control(it.civil, it.health.id, { $case: 'resend', value });
  await it.route([busMessage('qiao.up.demo.civil.control', message)]);
  expect(await it.rows()).toMatchObject([{ code: 'CONTROL_NOT_ALLOWED', lane_id: '' }]);
});
