import { RefusalFate } from '@qiao/contract/control';
import { DeliveryMessage } from '@qiao/contract/delivery';
import { expect, test } from 'vitest';
import { hasRoom } from './inboxRoom.ts';
import { personRows, ReceiverWorld, TestSender } from './sender.testing.ts';

test('a message whose signature does not hold is dropped, answered to nobody and stored nowhere', async () => {
  using world = new ReceiverWorld({ forged: true });
  await world.receive(new TestSender().opening());
  expect(world.database.inbox.total().deliveries).toBe(0);
  expect(world.said()).toEqual([]);
  expect(world.acknowledged.length).toBe(1);
});

test('bytes that are no delivery are dropped', async () => {
  using world = new ReceiverWorld();
  await world.receive(new Uint8Array([1, 2, 3]));
  expect(world.acknowledged.length).toBe(1);
  expect(world.database.inbox.total().deliveries).toBe(0);
});

test('a header that claims more than a header holds is dropped before it is decoded', async () => {
  using world = new ReceiverWorld();
  const message = DeliveryMessage.decode(new TestSender().opening());
  if (message.header === undefined) throw new Error('a delivery has a header');
  const parts = Buffer.alloc(3 * 65, Buffer.from([0x92, 0x01, 0x00]));
  message.header.payload = Buffer.concat([message.header.payload, parts]);
  await world.receive(DeliveryMessage.encode(message).finish());
  expect([world.acknowledged.length, world.database.inbox.total().deliveries, world.said()]).toEqual([1, 0, []]);
});

test('a body that is not the one its header signs is refused and asked for again', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(sender.opening());
  const message = DeliveryMessage.decode(sender.rows([personRows('insert', ['1\tAnna'])]));
  message.body[0] = (message.body[0] ?? 0) ^ 1;
  await world.receive(DeliveryMessage.encode(message).finish());
  const [refusal] = world.said().flatMap((body) => (body.$case === 'refusal' ? [body.value] : []));
  expect([refusal?.code, refusal?.fate]).toEqual(['BODY_TAMPERED', RefusalFate.RESEND]);
});

test('a lane that no snapshot has named yet waits on the bus and asks for the snapshot', async () => {
  using world = new ReceiverWorld();
  const desired = world.desired.current();
  if (desired !== undefined) world.desired.replace({ ...desired, bridges: new Map() });
  await world.receive(new TestSender().opening());
  expect(world.again.length).toBe(1);
  expect(world.acknowledged).toEqual([]);
});

test('an older fencing token than one seen on the lane is refused', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  sender.fencingToken = 5n;
  await world.receive(sender.opening());
  sender.fencingToken = 4n;
  await world.receive(sender.rows([personRows('insert', ['1\tAnna'])]));
  const [refusal] = world.said().flatMap((body) => (body.$case === 'refusal' ? [body.value] : []));
  expect([refusal?.code, refusal?.fencingToken]).toEqual(['FENCED', 5n]);
  expect(world.database.inbox.total().deliveries).toBe(1);
});

test('a full inbox gives early deliveries back to their sender but always takes the next one', async () => {
  using world = new ReceiverWorld({ inboxLimits: { bytes: 1, laneBytes: 1, laneDeliveries: 1 } });
  const sender = new TestSender();
  await world.receive(sender.opening());
  await world.apply();
  const first = sender.rows([personRows('insert', ['1\tAnna'])]);
  const second = sender.rows([personRows('insert', ['2\tBo'])]);
  const third = sender.rows([personRows('insert', ['3\tCy'])]);
  await world.receive(second, third);
  const [refusal] = world.said().flatMap((body) => (body.$case === 'refusal' ? [body.value] : []));
  expect([refusal?.code, refusal?.fate, refusal?.sequence]).toEqual(['DESTINATION_BUSY', RefusalFate.RESEND, 3n]);
  // Nothing of it stays on the bus, where it would stand in the way of other lanes.
  expect(world.again).toEqual([]);
  await world.receive(first);
  await world.apply();
  expect(world.targetRows()).toEqual([
    [1, 'Anna'],
    [2, 'Bo'],
  ]);
});

test('a lane fills its own share of the inbox and nobody else’s', () => {
  const limits = { bytes: 512, laneBytes: 64, laneDeliveries: 10 };
  const facts = { isNext: false, windowBytes: 0, total: { bytes: 100 }, limits };
  expect(hasRoom({ ...facts, lane: { bytes: 64, deliveries: 1 } })).toBe(false);
  expect(hasRoom({ ...facts, lane: { bytes: 1, deliveries: 10 } })).toBe(false);
  expect(hasRoom({ ...facts, lane: { bytes: 1, deliveries: 1 } })).toBe(true);
  // The bridge agreed to a larger window than the node’s default share.
  expect(hasRoom({ ...facts, windowBytes: 100, lane: { bytes: 100, deliveries: 1 } })).toBe(true);
  // Full with what others hold: this lane still moves in steps, not one by one.
  const full = { ...facts, total: { bytes: 1_000 } };
  expect(hasRoom({ ...full, lane: { bytes: 0, deliveries: 9 } })).toBe(true);
  expect(hasRoom({ ...full, isNext: true, lane: { bytes: 1_000, deliveries: 1_000 } })).toBe(true);
});

test('a body sealed for the key before this node joined again is asked for again', async () => {
  using world = new ReceiverWorld({ sealedFor: new Uint8Array(32).fill(2) });
  const sender = new TestSender();
  await world.receive(sender.opening());
  sender.sealedFor = new Uint8Array(32).fill(1);
  await world.receive(sender.rows([personRows('insert', ['1\tAnna'])]));
  const [refusal] = world.said().flatMap((body) => (body.$case === 'refusal' ? [body.value] : []));
  expect([refusal?.code, refusal?.fate]).toEqual(['KEY_UNKNOWN', RefusalFate.RESEND]);
});

test('a delivery three epochs old is refused for a new epoch and never applied', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(sender.opening());
  const old = sender.rows([personRows('insert', ['1\tAnna'])]);
  for (const _ of [2, 3, 4]) {
    sender.newEpoch();
    await world.receive(sender.opening());
    await world.apply();
  }
  await world.receive(old);
  await world.apply();
  const refusal = world
    .said()
    .flatMap((body) => (body.$case === 'refusal' ? [body.value] : []))
    .at(-1);
  expect([refusal?.code, refusal?.fate, refusal?.highestEpoch]).toEqual(['EPOCH_CLOSED', RefusalFate.NEW_EPOCH, 4n]);
  expect(world.targetRows()).toEqual([]);
});

test('a place that was settled and forgotten is refused to a sender that gives it out again', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tAnna'])]));
  await world.apply();
  const again = sender.rows([personRows('insert', ['2\tBo'])]);
  await world.receive(again);
  await world.apply();
  sender.settledThrough = 2n;
  await world.receive(sender.rows([personRows('insert', ['3\tCy'])]));
  await world.apply();
  await world.receive(again);
  await world.apply();
  const refusal = world
    .said()
    .flatMap((body) => (body.$case === 'refusal' ? [body.value] : []))
    .at(-1);
  expect([refusal?.code, refusal?.fate, refusal?.sequence]).toEqual(['SETTLED_BEFORE', RefusalFate.NEW_EPOCH, 2n]);
  expect(world.targetRows()).toHaveLength(3);
});

test('an opening whose receipt was lost and forgotten is answered from the mark, not refused', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  const opening = sender.opening();
  await world.receive(opening, sender.rows([personRows('insert', ['1\tAnna'])]));
  await world.apply();
  await world.receive(opening);
  await world.apply();
  const said = world.said();
  expect(said.filter((body) => body.$case === 'refusal')).toEqual([]);
  expect(said.filter((body) => body.$case === 'receipt').length).toBeGreaterThan(1);
});

test('a process whose node was started elsewhere takes nothing off the bus', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  world.isFenced = true;
  await expect(world.receive(sender.opening())).rejects.toMatchObject({ code: 'FENCED' });
  expect(world.acknowledged).toEqual([]);
  expect(world.database.inbox.total().deliveries).toBe(0);
});

test('late copies of a lane that ended and was forgotten are let go: nothing waits, nothing is applied again', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  const past = [sender.opening(), sender.rows([personRows('insert', ['1\tAnna'])])];
  endLanes(world);
  await world.receive(...past);
  await world.apply();
  expect(world.acknowledged.length).toBe(2);
  expect(world.database.inbox.total().deliveries).toBe(0);
  expect(world.database.lanesIn.all()).toEqual([]);
  expect(world.targetRows()).toEqual([]);
  expect(world.said()).toEqual([]);
});

test('what was under way when the lane ended is taken while the lane is remembered', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(sender.opening());
  await world.apply();
  endLanes(world);
  await world.receive(sender.rows([personRows('insert', ['1\tAnna'])]));
  await world.apply();
  expect(world.targetRows()).toEqual([[1, 'Anna']]);
});

function endLanes({ desired }: ReceiverWorld): void {
  const current = desired.current();
  if (current === undefined) throw new Error('the world has no snapshot');
  const bridges = [...current.bridges].map(([id, bridge]) => {
    const lanes = bridge.lanes.map((lane) => ({ ...lane, ended: true }));
    return [id, { ...bridge, lanes }] as const;
  });
  desired.replace({ ...current, bridges: new Map(bridges) });
}
