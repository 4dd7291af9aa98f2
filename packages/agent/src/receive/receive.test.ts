import { RefusalFate } from '@qiao/contract/control';
import { DeliveryMessage } from '@qiao/contract/delivery';
import { expect, test } from 'vitest';
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
  expect(refusal?.code).toBe('FENCED');
  expect(world.database.inbox.total().deliveries).toBe(1);
});

test('a full inbox leaves early deliveries on the bus but always takes the next one', async () => {
  using world = new ReceiverWorld({ inboxMaxBytes: 1 });
  const sender = new TestSender();
  await world.receive(sender.opening());
  await world.apply();
  const first = sender.rows([personRows('insert', ['1\tAnna'])]);
  const second = sender.rows([personRows('insert', ['2\tBo'])]);
  const third = sender.rows([personRows('insert', ['3\tCy'])]);
  await world.receive(second, third);
  expect(world.again.length).toBe(1);
  await world.receive(first);
  await world.apply();
  expect(world.targetRows()).toEqual([
    [1, 'Anna'],
    [2, 'Bo'],
  ]);
});

test('a process whose node was started elsewhere takes nothing off the bus', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  world.isFenced = true;
  await expect(world.receive(sender.opening())).rejects.toMatchObject({ code: 'FENCED' });
  expect(world.acknowledged).toEqual([]);
  expect(world.database.inbox.total().deliveries).toBe(0);
});
