import { ControlMessage, type Refusal } from '@qiao/contract/control';
import { DeliveryHeader, DeliveryMessage } from '@qiao/contract/delivery';
import { Signed } from '@qiao/contract/signed';
import { everythingMayFlow, idText, QiaoError } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import { Verifier } from '@qiao/security';
import { expect, test } from 'vitest';
import { busMessage, type DeliveryPlan, delivery, type FakeMessage, NONCE, TestWorld } from '../world.testing.ts';
import { LaneBooks } from './laneBooks.ts';
import { RefusalBook } from './refusalBook.ts';
import { routeDataPart } from './routeData.ts';
import { RoutingTable } from './routingTable.ts';

interface Published {
  readonly to: string;
  readonly bytes: Uint8Array;
}

type Publish = (code: string, bytes: Uint8Array) => Promise<void>;

/** A router over a fake bus: messages in, what was published out. */
async function router(forwardData?: Publish, forwardControl?: Publish) {
  const world = await TestWorld.create();
  const [health, civil, city] = [await world.join('health'), await world.join('civil'), await world.join('city')];
  const ids = await world.bridge('births', health, civil);
  const table = new RoutingTable();
  await table.reload(world.store, 0);
  const books = new LaneBooks(world.store);
  await books.load();
  const data: Published[] = [];
  const control: Published[] = [];
  const verifier = new Verifier();

  /** Runs the part over these messages and returns when all have ended. */
  async function route(messages: readonly FakeMessage[]): Promise<void> {
    const part = routeDataPart({
      table,
      verifier,
      platformId: world.platform.id,
      mayFlow: everythingMayFlow,
      async *consume() {
        yield* messages;
      },
      forwardData:
        forwardData ??
        (async (to, bytes) => {
          data.push({ to, bytes });
        }),
      forwardControl:
        forwardControl ??
        (async (to, bytes) => {
          control.push({ to, bytes });
        }),
      signControl: (payload) => world.hub.signer.sign('qiao.control.v1', payload),
      books,
      refusals: new RefusalBook(world.store),
      clock: world.clock,
      log: silentLog(),
      seen: () => undefined,
      learnFencingToken: async (nodeId, token) => table.learnFencingToken(nodeId, token, world.clock.nowMs()),
    });
    await part.run(new AbortController().signal);
  }

  /** Refusals as the sender reads them, the hub's signature proven. */
  function refusals(): Refusal[] {
    return control.map(({ bytes }) => {
      const signed = Signed.decode(bytes);
      verifier.verify('qiao.control.v1', signed, world.hub.certificate);
      const { body } = ControlMessage.decode(signed.payload);
      if (body?.$case !== 'refusal') throw new Error(`found ${body?.$case}, expected a refusal`);
      return body.value;
    });
  }

  const plan: DeliveryPlan = { world, from: health, to: civil, ...ids };
  const send = (sequence: bigint) => busMessage('qiao.up.demo.health.data', delivery({ ...plan, sequence }));
  return {
    world,
    health,
    civil,
    city,
    ids,
    plan,
    table,
    books,
    data,
    control,
    route,
    refusals,
    send,
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

test('a delivery goes on as the same bytes, and only then is it acknowledged', async () => {
  await using it = await router();
  const message = it.send(1n);
  await it.route([message]);
  expect(it.data).toEqual([{ to: 'civil', bytes: message.data }]);
  expect(message.ending()).toBe('acked');
  expect(it.control).toEqual([]);
});

test('within a lane deliveries leave in the order they came, though the bus acknowledges them in another', async () => {
  const sent: bigint[] = [];
  const waiting: (() => void)[] = [];
  await using it = await router(async (_code, bytes) => {
    const { header } = DeliveryMessage.decode(bytes);
    sent.push(DeliveryHeader.decode(header?.payload ?? bytes).sequence);
    await new Promise<void>((resolve) => {
      waiting.push(resolve);
      // The last one published is acknowledged first.
      if (waiting.length === 20) for (const release of waiting.reverse()) release();
    });
  });
  const messages = Array.from({ length: 20 }, (_, index) => it.send(BigInt(index)));
  await it.route(messages);
  expect(sent).toEqual(messages.map((_, index) => BigInt(index)));
  expect(messages.map((message) => message.ending())).toEqual(Array(20).fill('acked'));
});

test('an opening is on disk before it is forwarded', async () => {
  let seen: number | undefined;
  await using it = await router(async () => {
    seen = (await it.world.store.selectFrom('lanes').select('highest_epoch').executeTakeFirstOrThrow()).highest_epoch;
  });
  await it.route([it.send(0n)]);
  expect(seen).toBe(1);
});

test('of two openings of one number at once the first on disk is the lane’s, the other is refused', async () => {
  await using it = await router();
  const other = delivery({
    ...it.plan,
    sequence: 0n,
    change: { epoch: { ordinal: 1n, nonce: new Uint8Array(16).fill(9) } },
  });
  const second = busMessage('qiao.up.demo.health.data', other);
  await it.route([it.send(0n), second]);
  expect(it.data).toHaveLength(1);
  expect(it.refusals()).toMatchObject([{ code: 'EPOCH_TOO_LOW', highestEpoch: 1n, sequence: 0n }]);
  expect(it.books.place(idText(it.ids.laneId)).nonce).toEqual(NONCE);
});

test('a delivery that comes again is forwarded again and counted once', async () => {
  await using it = await router();
  const message = it.send(1n);
  await it.route([it.send(0n), message, busMessage(message.subject, message.data)]);
  expect(it.data).toHaveLength(3);
  const lane = await it.world.store.selectFrom('lanes').selectAll().executeTakeFirstOrThrow();
  expect(lane).toMatchObject({ routed_sequence: 1, routed_deliveries: 1, refused_deliveries: 0 });
});

test('a full destination is told to its sender as busy, at once, and the delivery leaves the bus', async () => {
  await using it = await router(async () => {
    throw new QiaoError('NODE_SHARE_FULL', 'full', { fate: 'transient' });
  });
  const messages = [it.send(1n), it.send(2n), it.send(3n)];
  await it.route(messages);
  expect(it.refusals().map(({ code, sequence }) => [code, sequence])).toEqual([
    ['DESTINATION_BUSY', 1n],
    ['DESTINATION_BUSY', 2n],
    ['DESTINATION_BUSY', 3n],
  ]);
  expect(messages.map((message) => message.ending())).toEqual(['acked', 'acked', 'acked']);
  const rows = await it.world.store.selectFrom('refusals').selectAll().execute();
  expect(rows.reduce((sum, row) => sum + row.times, 0)).toBe(3);
});

test('while the bus is away a delivery stays on it, and is refused by nobody', async () => {
  await using it = await router(async () => {
    throw new QiaoError('BUS_UNREACHABLE', 'away', { fate: 'transient' });
  });
  const message = it.send(1n);
  await it.route([message]);
  expect(message.ending()).toBe('retried');
  expect(it.control).toEqual([]);
});

test.each(['NODE_SHARE_FULL', 'STREAM_FULL', 'STREAM_MISSING'])(
  'a sender that cannot be told (%s) is refused all the same: written down, and off the bus',
  async (code) => {
    await using it = await router(undefined, async () => {
      throw new QiaoError(code, 'no room', { fate: 'transient' });
    });
    const foreign = delivery({ ...it.plan, change: { bridgeId: new Uint8Array(16) } });
    const message = busMessage('qiao.up.demo.health.data', foreign);
    await it.route([message]);
    expect(message.ending()).toBe('acked');
    const rows = await it.world.store.selectFrom('refusals').selectAll().execute();
    expect(rows).toMatchObject([{ from_node: 'health', code: 'BRIDGE_UNKNOWN', times: 1 }]);
  },
);

test('while the bus is away a refusal waits to be told', async () => {
  await using it = await router(undefined, async () => {
    throw new QiaoError('BUS_UNREACHABLE', 'away', { fate: 'transient' });
  });
  const message = busMessage('qiao.up.demo.health.data', new Uint8Array(9));
  await it.route([message]);
  expect(message.ending()).toBe('retried');
});

test('a destination whose share is gone is told as busy', async () => {
  await using it = await router(async () => {
    throw new QiaoError('STREAM_MISSING', 'gone', { fate: 'transient' });
  });
  const message = it.send(1n);
  await it.route([message]);
  expect(it.refusals()).toMatchObject([{ code: 'DESTINATION_BUSY' }]);
  expect(message.ending()).toBe('acked');
});

test('what can never pass is written down and ended, not tried for ever', async () => {
  await using it = await router(async () => {
    throw new QiaoError('MESSAGE_TOO_LARGE', 'too large for the bus');
  });
  const message = it.send(1n);
  await it.route([message]);
  expect(message.ending()).toBe('acked');
  const rows = await it.world.store.selectFrom('refusals').selectAll().execute();
  expect(rows).toMatchObject([{ from_node: 'health', code: 'MESSAGE_TOO_LARGE', sequence: 1 }]);
  const entries = await it.world.store.selectFrom('audit').select('action').execute();
  expect(entries).toEqual([{ action: 'delivery.refuse' }]);
});

test('a connection that this process closed ends nothing', async () => {
  await using it = await router(async () => {
    throw new QiaoError('BUS_CLOSED', 'closed');
  });
  const message = it.send(1n);
  await it.route([message]);
  expect(message.ending()).toBe('retried');
});

test('a forged header with an over-long nonce is refused without an echo of it', async () => {
  await using it = await router();
  const forged = delivery({
    ...it.plan,
    signer: it.city.signer,
    change: { epoch: { ordinal: 1n, nonce: new Uint8Array(1024 * 1024 - 1_000) } },
  });
  const message = busMessage('qiao.up.demo.health.data', forged);
  await it.route([message]);
  expect(message.ending()).toBe('acked');
  expect(it.refusals()).toMatchObject([{ code: 'SIGNATURE_INVALID', epoch: undefined }]);
});

test('one destination that does not answer never holds back another', async () => {
  const stuck = Promise.withResolvers<void>();
  const reached: string[] = [];
  await using it = await router(async (code) => {
    reached.push(code);
    if (code === 'civil') await stuck.promise;
    else stuck.resolve();
  });
  const other = await it.world.bridge('deaths', it.health, it.city);
  await it.table.reload(it.world.store, 0);
  await it.books.load();
  const toCity = delivery({ ...it.plan, to: it.city, ...other });
  // The routing ends at all only if the delivery to city passes the one to civil.
  await it.route([it.send(1n), busMessage('qiao.up.demo.health.data', toCity)]);
  expect(reached.toSorted()).toEqual(['city', 'civil']);
});

test('refusals stand in the table once per run of the same, and in the audit', async () => {
  await using it = await router();
  const foreign = delivery({ ...it.plan, change: { bridgeId: new Uint8Array(16) } });
  const messages = Array.from({ length: 5 }, () => busMessage('qiao.up.demo.health.data', foreign));
  await it.route(messages);
  expect(messages.every((message) => message.ending() === 'acked')).toBe(true);
  expect(it.refusals()).toHaveLength(5);
  const rows = await it.world.store.selectFrom('refusals').selectAll().execute();
  expect(rows).toMatchObject([{ from_node: 'health', code: 'BRIDGE_UNKNOWN', times: 5 }]);
  const entries = await it.world.store
    .selectFrom('audit')
    .selectAll()
    .where('action', '=', 'delivery.refuse')
    .execute();
  expect(entries).toHaveLength(1);
});

test('a node that floods with forged lanes costs a bounded table', async () => {
  await using it = await router();
  const lanes = Array.from({ length: 1_300 }, (_, index) => Buffer.from(index.toString(16).padStart(32, '0'), 'hex'));
  const messages = lanes.map((laneId) =>
    busMessage('qiao.up.demo.health.data', delivery({ ...it.plan, change: { laneId } })),
  );
  await it.route(messages);
  const { total, rows } = await it.world.store
    .selectFrom('refusals')
    .select((column) => [column.fn.sum<number>('times').as('total'), column.fn.countAll<number>().as('rows')])
    .executeTakeFirstOrThrow();
  expect(total).toBeLessThanOrEqual(1_300);
  expect(rows).toBeLessThanOrEqual(1_000);
});

test('a fencing token given before the hub was restored is learned from its bearer', async () => {
  await using it = await router();
  const message = busMessage('qiao.up.demo.health.data', delivery({ ...it.plan, change: { fencingToken: 9n } }));
  await it.route([message]);
  expect(it.table.fencing(idText(it.health.id)).token).toBe(9n);
  await it.route([it.send(2n)]);
  expect(it.refusals()).toMatchObject([{ code: 'FENCED' }]);
});
