import { RefusalFate } from '@qiao/contract/control';
import { DeliveryMessage } from '@qiao/contract/delivery';
import { everythingMayFlow, idText, type MayFlow } from '@qiao/exchange';
import { Verifier } from '@qiao/security';
import { expect, test } from 'vitest';
import { bytes, type DeliveryPlan, delivery, NONCE, TestWorld } from '../world.testing.ts';
import { LaneBooks } from './laneBooks.ts';
import { contractRefusal } from './refusals.ts';
import { RoutingTable } from './routingTable.ts';
import { type Verified, verifyDelivery } from './verifyDelivery.ts';

async function road() {
  const world = await TestWorld.create();
  const [health, civil, city] = [await world.join('health'), await world.join('civil'), await world.join('city')];
  const ids = await world.bridge('births', health, civil);
  const table = new RoutingTable();
  const books = new LaneBooks(world.store);
  const reload = async () => {
    await table.reload(world.store, 0);
    await books.load();
  };
  await reload();
  const plan: DeliveryPlan = { world, from: health, to: civil, ...ids };
  const judge = (message: Uint8Array, from = 'health', mayFlow: MayFlow = everythingMayFlow): Verified =>
    verifyDelivery(
      { table, place: (lane) => books.place(lane), verifier: new Verifier(), platformId: world.platform.id, mayFlow },
      from,
      message,
      world.clock.nowMs(),
    );
  return {
    world,
    health,
    civil,
    city,
    ids,
    plan,
    table,
    books,
    reload,
    judge,
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

function codeOf(verified: Verified): string {
  return verified.kind === 'genuine' ? 'genuine' : verified.facts.code;
}

function fateOf(verified: Verified): RefusalFate | undefined {
  return verified.kind === 'genuine' ? undefined : contractRefusal(verified.facts).fate;
}

test('a delivery of the source to a bound destination is genuine, and the body is never opened', async () => {
  await using it = await road();
  const verified = it.judge(delivery({ ...it.plan, body: bytes(1_000) }));
  expect(verified).toMatchObject({ kind: 'genuine', isNewEpoch: true, part: 0, receiver: { code: 'civil' } });
});

test('a header that claims more than a header holds is never decoded, whoever signed it', async () => {
  await using it = await road();
  // Parts (field 18) that say nothing, three bytes each: 1.7 million objects would be 420 MB.
  const payload = Buffer.alloc(5 * 1024 * 1024 - 2, Buffer.from([0x92, 0x01, 0x00]));
  const senderId = Buffer.concat([Buffer.from([0x32, 16]), it.health.id]);
  const header = { payload: Buffer.concat([senderId, payload]), suite: '', keyId: bytes(32), signature: bytes(64) };
  const message = DeliveryMessage.encode(DeliveryMessage.fromPartial({ header })).finish();
  expect(codeOf(it.judge(message))).toBe('MESSAGE_UNREADABLE');
});

test('bytes that are no delivery are refused without a lane, to be sent again', async () => {
  await using it = await road();
  for (const message of [new Uint8Array(), bytes(64), Buffer.from('hello')]) {
    const verified = it.judge(message);
    expect([codeOf(verified), fateOf(verified)]).toEqual(['MESSAGE_UNREADABLE', RefusalFate.RESEND]);
  }
});

test('bytes longer than any delivery are refused before they are read', async () => {
  await using it = await road();
  // A field that nobody knows, so that the delivery itself stays genuine.
  const padding = Buffer.concat([Buffer.of(0xfa, 0x01, 0x80, 0x80, 0x80, 0x03), Buffer.alloc(6 * 1024 * 1024)]);
  const verified = it.judge(Buffer.concat([delivery(it.plan), padding]));
  expect([codeOf(verified), fateOf(verified)]).toEqual(['MESSAGE_UNREADABLE', RefusalFate.RESEND]);
});

test('a delivery under another node’s name is refused, whoever signed it', async () => {
  await using it = await road();
  expect(codeOf(it.judge(delivery(it.plan), 'city'))).toBe('SENDER_MISMATCH');
  expect(codeOf(it.judge(delivery({ ...it.plan, change: { senderId: it.city.id } })))).toBe('SENDER_MISMATCH');
});

test('a forged signature, and one byte changed in a signed header, are refused', async () => {
  await using it = await road();
  expect(codeOf(it.judge(delivery({ ...it.plan, signer: it.city.signer })))).toBe('SIGNATURE_INVALID');
  const message = DeliveryMessage.decode(delivery(it.plan));
  const payload = message.header?.payload ?? new Uint8Array();
  const at = payload.length - 1;
  payload[at] = (payload[at] ?? 0) ^ 1;
  const verified = it.judge(DeliveryMessage.encode(message).finish());
  expect(['SIGNATURE_INVALID', 'MESSAGE_UNREADABLE']).toContain(codeOf(verified));
  expect(fateOf(verified)).toBe(RefusalFate.RESEND);
});

test('a revoked sender, an expired certificate and an unknown node are refused', async () => {
  await using it = await road();
  it.world.clock.ms += 101 * 86_400_000;
  expect(codeOf(it.judge(delivery(it.plan)))).toBe('CERTIFICATE_EXPIRED');
  await it.world.store.updateTable('nodes').set({ status: 'revoked' }).where('code', '=', 'health').execute();
  await it.reload();
  expect(codeOf(it.judge(delivery(it.plan)))).toBe('NODE_REVOKED');
  expect(codeOf(it.judge(delivery(it.plan), 'nobody'))).toBe('NODE_REVOKED');
});

test('a genuine header outside the contract’s limits is refused for a person to look at', async () => {
  await using it = await road();
  const wrong = it.judge(delivery({ ...it.plan, change: { format: 9 } }));
  expect([codeOf(wrong), fateOf(wrong)]).toEqual(['HEADER_INVALID', RefusalFate.STOP]);
  expect(codeOf(it.judge(delivery({ ...it.plan, change: { sequence: 1n << 60n } })))).toBe('HEADER_INVALID');
});

test('a delivery for another platform is refused', async () => {
  await using it = await road();
  expect(codeOf(it.judge(delivery({ ...it.plan, change: { platformId: bytes(16) } })))).toBe('PLATFORM_UNKNOWN');
});

test('an older start is fenced: asked to send again while its successor settles in, stopped afterwards', async () => {
  await using it = await road();
  it.table.noteFencingToken(idText(it.health.id), 2n, it.world.clock.nowMs());
  const early = it.judge(delivery(it.plan));
  expect([codeOf(early), fateOf(early)]).toEqual(['FENCED', RefusalFate.RESEND]);
  it.world.clock.ms += 60_000;
  const late = it.judge(delivery(it.plan));
  expect([codeOf(late), fateOf(late)]).toEqual(['FENCED', RefusalFate.STOP]);
  expect(codeOf(it.judge(delivery({ ...it.plan, change: { fencingToken: 2n } })))).toBe('genuine');
});

test('a fencing token or an epoch far past what the hub gave or knows is not believed', async () => {
  await using it = await road();
  const far = 1n << 20n;
  const token = (fencingToken: bigint) => codeOf(it.judge(delivery({ ...it.plan, change: { fencingToken } })));
  expect([token(1n + far), token(2n + far)]).toEqual(['genuine', 'HEADER_INVALID']);
  // A token learned from its bearer does not move the border: only one that the hub gave does.
  it.table.learnFencingToken(idText(it.health.id), 1n + far, it.world.clock.nowMs());
  expect(token(2n + far)).toBe('HEADER_INVALID');
  it.table.noteFencingToken(idText(it.health.id), 2n + far, it.world.clock.nowMs());
  expect(token(2n + far)).toBe('genuine');
  const epoch = (ordinal: bigint) =>
    codeOf(it.judge(delivery({ ...it.plan, change: { fencingToken: 2n + far, epoch: { ordinal, nonce: NONCE } } })));
  expect([epoch(far), epoch(far + 1n)]).toEqual(['genuine', 'HEADER_INVALID']);
  await it.books.openEpoch(idText(it.ids.laneId), far + 1n, NONCE);
  expect(it.books.place(idText(it.ids.laneId)).highestEpoch).toBe(0n);
});

test('an unknown bridge, a version that was never deployed, and a sender that is not the source are refused', async () => {
  await using it = await road();
  // What this hub never signed is not closed on its word: it may have been restored from a backup.
  const unknown = it.judge(delivery({ ...it.plan, change: { bridgeId: bytes(16) } }));
  expect([codeOf(unknown), fateOf(unknown)]).toEqual(['BRIDGE_UNKNOWN', RefusalFate.RESEND]);
  const ahead = it.judge(delivery({ ...it.plan, change: { bridgeVersion: 2 } }));
  expect([codeOf(ahead), fateOf(ahead)]).toEqual(['VERSION_UNKNOWN', RefusalFate.RESEND]);
  await it.world.store.updateTable('bridge_versions').set({ version: 3 }).execute();
  await it.reload();
  const version = it.judge(delivery({ ...it.plan, change: { bridgeVersion: 2 } }));
  expect([codeOf(version), fateOf(version)]).toEqual(['VERSION_UNKNOWN', RefusalFate.VOID]);
  const foreign = it.judge(delivery({ ...it.plan, from: it.city, change: { bridgeVersion: 3 } }), 'city');
  expect([codeOf(foreign), fateOf(foreign)]).toEqual(['NOT_THE_SOURCE', RefusalFate.STOP]);
});

test('a lane that is not this bridge’s, or a receiver that is not the lane’s, is not bound', async () => {
  await using it = await road();
  const other = await it.world.bridge('deaths', it.health, it.civil);
  await it.reload();
  const unknown = it.judge(delivery({ ...it.plan, change: { laneId: bytes(16) } }));
  expect([codeOf(unknown), fateOf(unknown)]).toEqual(['DESTINATION_NOT_BOUND', RefusalFate.RESEND]);
  for (const change of [{ receiverId: it.city.id }, { laneId: other.laneId }]) {
    const verified = it.judge(delivery({ ...it.plan, change }));
    expect([codeOf(verified), fateOf(verified)]).toEqual(['DESTINATION_NOT_BOUND', RefusalFate.VOID]);
  }
});

test('an ended lane takes no rows but still takes the voids that close it', async () => {
  await using it = await road();
  await it.world.store.updateTable('lanes').set({ ended_at_ms: 1 }).execute();
  await it.reload();
  const rows = it.judge(delivery(it.plan));
  expect([codeOf(rows), fateOf(rows)]).toEqual(['LANE_ENDED', RefusalFate.VOID]);
  const closing = {
    role: { $case: 'void' as const, value: { code: 'LANE_ENDED', reason: '' } },
    parts: [],
    bridgeVersion: 9,
  };
  const message = DeliveryMessage.decode(delivery({ ...it.plan, change: closing }));
  expect(codeOf(it.judge(DeliveryMessage.encode({ ...message, body: new Uint8Array() }).finish()))).toBe('genuine');
});

test('a revoked receiver gets nothing, and the sender keeps what it has', async () => {
  await using it = await road();
  await it.world.store.updateTable('nodes').set({ status: 'revoked' }).where('code', '=', 'civil').execute();
  await it.reload();
  const verified = it.judge(delivery(it.plan));
  expect([codeOf(verified), fateOf(verified)]).toEqual(['DESTINATION_REVOKED', RefusalFate.RESEND]);
});

test('a lower epoch, or another one of the same number, is told the highest', async () => {
  await using it = await road();
  await it.books.openEpoch(idText(it.ids.laneId), 3n, NONCE);
  const low = it.judge(delivery(it.plan));
  expect(low).toMatchObject({ facts: { code: 'EPOCH_TOO_LOW', highestEpoch: 3n } });
  expect(fateOf(low)).toBe(RefusalFate.NEW_EPOCH);
  const clone = { ...it.plan, change: { epoch: { ordinal: 3n, nonce: bytes(16) } } };
  expect(codeOf(it.judge(delivery(clone)))).toBe('EPOCH_TOO_LOW');
  expect(codeOf(it.judge(delivery({ ...it.plan, change: { epoch: { ordinal: 3n, nonce: NONCE } } })))).toBe('genuine');
});

test('what the catalog forbids is refused with its reason', async () => {
  await using it = await road();
  const verified = it.judge(delivery(it.plan), 'health', () => ({
    allowed: false,
    code: 'GRANT_ENDED',
    reason: 'ended yesterday',
  }));
  expect(verified).toMatchObject({ facts: { code: 'NOT_ALLOWED', message: 'GRANT_ENDED: ended yesterday' } });
});

test('a sealed body that was changed, cut, grown, added or moved to another part is refused', async () => {
  await using it = await road();
  const message = DeliveryMessage.decode(delivery(it.plan));
  const changed = Buffer.from(message.body);
  changed[3] = (changed[3] ?? 0) ^ 1;
  const bodies = [changed, message.body.subarray(1), Buffer.concat([message.body, Buffer.of(0)]), new Uint8Array()];
  for (const body of bodies) {
    const verified = it.judge(DeliveryMessage.encode({ ...message, body }).finish());
    expect([codeOf(verified), fateOf(verified)]).toEqual(['BODY_TAMPERED', RefusalFate.RESEND]);
  }
  expect(codeOf(it.judge(DeliveryMessage.encode({ ...message, part: 1 }).finish()))).toBe('BODY_TAMPERED');
  const opening = DeliveryMessage.decode(delivery({ ...it.plan, sequence: 0n }));
  expect(codeOf(it.judge(DeliveryMessage.encode({ ...opening, body: bytes(9) }).finish()))).toBe('BODY_TAMPERED');
});
