import { BooksThrough, type ControlMessage } from '@qiao/contract/control';
import { ActualState } from '@qiao/contract/node';
import { Receipt } from '@qiao/contract/receipt';
import { Verifier } from '@qiao/security';
import { expect, test } from 'vitest';
import { bytes, control, NONCE, type TestNode, TestWorld } from '../world.testing.ts';
import { RoutingTable } from './routingTable.ts';
import { type VerifiedControl, verifyControl } from './verifyControl.ts';

type Body = NonNullable<ControlMessage['body']>;

async function road() {
  const world = await TestWorld.create();
  const [health, civil, city] = [await world.join('health'), await world.join('civil'), await world.join('city')];
  const monitor = await world.join('monitor', 'monitor');
  const ids = await world.bridge('births', health, civil);
  const table = new RoutingTable();
  await table.reload(world.store, 0);
  const judge = (from: TestNode, message: Uint8Array): VerifiedControl =>
    verifyControl(
      { table, verifier: new Verifier(), platformId: world.platform.id },
      from.code,
      message,
      world.clock.nowMs(),
    );

  const receipt = (change: Partial<Receipt> = {}, signer = civil.signer): Body => ({
    $case: 'receipt',
    value: signer.sign(
      'qiao.receipt.v1',
      Receipt.encode(
        Receipt.fromPartial({
          format: 1,
          platformId: world.platform.id,
          laneId: ids.laneId,
          bridgeId: ids.bridgeId,
          senderId: health.id,
          receiverId: civil.id,
          epoch: { ordinal: 1n, nonce: NONCE },
          sequence: 1n,
          revision: 1,
          ...change,
        }),
      ).finish(),
    ),
  });
  const resend: Body = {
    $case: 'resend',
    value: {
      laneId: ids.laneId,
      epoch: { ordinal: 1n, nonce: NONCE },
      firstSequence: 1n,
      lastSequence: 0n,
      reason: 'gap',
      requestId: new Uint8Array(16),
      isPlace: false,
    },
  };
  return {
    world,
    health,
    civil,
    city,
    monitor,
    ids,
    table,
    judge,
    receipt,
    resend,
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

function wordOf(verified: VerifiedControl): string {
  return verified.kind === 'forward'
    ? `to ${verified.receiver.code}`
    : verified.kind === 'refused'
      ? verified.code
      : verified.kind;
}

test('receipts and resend requests go from a lane’s receiver to its sender', async () => {
  await using it = await road();
  expect(wordOf(it.judge(it.civil, control(it.civil, it.health.id, it.receipt())))).toBe('to health');
  expect(wordOf(it.judge(it.civil, control(it.civil, it.health.id, it.resend)))).toBe('to health');
});

test('a message of more than it may hold is not read, though its node signed it', async () => {
  await using it = await road();
  const tooMany = Array.from({ length: 65_536 }, () => ({}));
  const actual = ActualState.fromPartial({ nodeId: it.civil.id, refused: tooMany });
  const state: Body = { $case: 'actualState', value: actual };
  expect(wordOf(it.judge(it.civil, control(it.civil, new Uint8Array(), state)))).toBe('MESSAGE_UNREADABLE');
  const { outcomes } = Receipt.fromPartial({ outcomes: tooMany });
  expect(wordOf(it.judge(it.civil, control(it.civil, it.health.id, it.receipt({ outcomes }))))).toBe(
    'MESSAGE_UNREADABLE',
  );
});

test('an ended lane still closes its books', async () => {
  await using it = await road();
  await it.world.store.updateTable('lanes').set({ ended_at_ms: 1 }).execute();
  await it.table.reload(it.world.store, 0);
  expect(wordOf(it.judge(it.civil, control(it.civil, it.health.id, it.receipt())))).toBe('to health');
});

test('nobody else speaks for a lane: not a neighbour, not the sender, not to a third', async () => {
  await using it = await road();
  expect(wordOf(it.judge(it.city, control(it.city, it.health.id, it.resend)))).toBe('CONTROL_NOT_ALLOWED');
  expect(wordOf(it.judge(it.health, control(it.health, it.civil.id, it.resend)))).toBe('CONTROL_NOT_ALLOWED');
  expect(wordOf(it.judge(it.civil, control(it.civil, it.city.id, it.resend)))).toBe('CONTROL_NOT_ALLOWED');
  expect(wordOf(it.judge(it.civil, control(it.civil, it.city.id, it.receipt())))).toBe('CONTROL_NOT_ALLOWED');
});

test('a receipt is the receiver’s own: forged, borrowed or foreign ones are refused', async () => {
  await using it = await road();
  const forged = control(it.civil, it.health.id, it.receipt({}, it.city.signer));
  expect(wordOf(it.judge(it.civil, forged))).toBe('SIGNATURE_INVALID');
  const borrowed = control(it.city, it.health.id, it.receipt({}, it.civil.signer));
  expect(wordOf(it.judge(it.city, borrowed))).toBe('SIGNATURE_INVALID');
  const foreign = control(it.civil, it.health.id, it.receipt({ platformId: bytes(16) }));
  expect(wordOf(it.judge(it.civil, foreign))).toBe('PLATFORM_UNKNOWN');
  expect(wordOf(it.judge(it.civil, control(it.city, it.health.id, it.resend)))).toBe('SIGNATURE_INVALID');
});

test('the monitor tells an agent how far its books are durable, and nobody else does', async () => {
  await using it = await road();
  const books: Body = { $case: 'booksThrough', value: BooksThrough.fromPartial({ number: 7n }) };
  expect(wordOf(it.judge(it.monitor, control(it.monitor, it.health.id, books)))).toBe('to health');
  expect(wordOf(it.judge(it.city, control(it.city, it.health.id, books)))).toBe('CONTROL_NOT_ALLOWED');
  expect(wordOf(it.judge(it.monitor, control(it.monitor, it.health.id, it.resend)))).toBe('CONTROL_NOT_ALLOWED');
});

test('a node reports its own state to the hub, and hands out no snapshots', async () => {
  await using it = await road();
  const state = (nodeId: Uint8Array): Body => ({
    $case: 'actualState',
    value: { nodeId, generation: 1n, number: 2n, refused: [] },
  });
  const nobody = new Uint8Array();
  expect(wordOf(it.judge(it.health, control(it.health, nobody, state(it.health.id))))).toBe('actualState');
  expect(wordOf(it.judge(it.health, control(it.health, nobody, state(it.civil.id))))).toBe('CONTROL_NOT_ALLOWED');
  const snapshot: Body = { $case: 'snapshot', value: it.health.signer.sign('qiao.snapshot.v1', bytes(8)) };
  expect(wordOf(it.judge(it.health, control(it.health, it.civil.id, snapshot)))).toBe('CONTROL_NOT_ALLOWED');
});

test('a revoked node is heard no more', async () => {
  await using it = await road();
  await it.world.store.updateTable('nodes').set({ status: 'revoked' }).where('code', '=', 'civil').execute();
  await it.table.reload(it.world.store, 0);
  expect(wordOf(it.judge(it.civil, control(it.civil, it.health.id, it.resend)))).toBe('NODE_REVOKED');
});
