// Genuine messages, and the one thing that is wrong with each of the others.

import { ControlMessage, RefusalFate } from '@qiao/contract/control';
import { DeliveryMessage } from '@qiao/contract/delivery';
import { Command, Directory, Heartbeat, NodeSnapshot } from '@qiao/contract/node';
import { Receipt, Settlement, Statement } from '@qiao/contract/receipt';
import { Signed } from '@qiao/contract/signed';
import { type Context, Signer } from '@qiao/security';
import { delivery, NONCE, START_MS, type TestNode } from '../../packages/hub/src/world.testing.ts';

import { civil, DAY_MS, health, ids, signedAs, world } from './actors.ts';

export const change = (fields: object, signer?: Signer) =>
  delivery({ world, from: health, to: civil, ...ids, change: fields, ...(signer === undefined ? {} : { signer }) });

/** A delivery's signed header under the label of another kind of message. */
export function deliveryAs(context: Context): Uint8Array {
  const message = DeliveryMessage.decode(change({}));
  const payload = message.header?.payload ?? new Uint8Array();
  return DeliveryMessage.encode({ ...message, header: health.signer.sign(context, payload) }).finish();
}

interface ReceiptPlan {
  readonly from?: TestNode;
  readonly to?: TestNode;
  readonly lane?: { bridgeId: Uint8Array; laneId: Uint8Array };
  readonly platformId?: Uint8Array;
  readonly inner?: Context;
  readonly outer?: Context;
  readonly signer?: Signer;
  readonly toNodeId?: Uint8Array;
}

/** A receipt of "civil" to "health", in its control message. */
export function receiptMessage({
  from = civil,
  to = health,
  lane = ids,
  platformId = world.platform.id,
  inner = 'qiao.receipt.v1',
  outer = 'qiao.control.v1',
  signer = from.signer,
  toNodeId = to.id,
}: ReceiptPlan): Uint8Array {
  const receipt = Receipt.fromPartial({
    format: 1,
    platformId,
    laneId: lane.laneId,
    bridgeId: lane.bridgeId,
    senderId: to.id,
    receiverId: from.id,
    epoch: { ordinal: 1n, nonce: NONCE },
    sequence: 1n,
    revision: 1,
  });
  const value = signedAs(signer, inner, Receipt.encode(receipt));
  const message = ControlMessage.encode({ toNodeId, body: { $case: 'receipt', value } });
  return Signed.encode(signedAs(signer, outer, message)).finish();
}

export function controlMessage(signer: Signer, to: Uint8Array, body: NonNullable<ControlMessage['body']>): Uint8Array {
  return Signed.encode(signedAs(signer, 'qiao.control.v1', ControlMessage.encode({ toNodeId: to, body }))).finish();
}

export const resendOf = (laneId: Uint8Array): NonNullable<ControlMessage['body']> => ({
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
});

export const refusalOf = (laneId: Uint8Array): NonNullable<ControlMessage['body']> => ({
  $case: 'refusal',
  value: {
    laneId,
    epoch: { ordinal: 1n, nonce: NONCE },
    sequence: 1n,
    code: 'FENCED',
    message: '',
    hint: '',
    fate: RefusalFate.STOP,
    highestEpoch: 0n,
    fencingToken: 0n,
    contentHash: new Uint8Array(),
  },
});

type Body = NonNullable<ControlMessage['body']>;

export const questionOf = (laneId: Uint8Array): Body => ({
  $case: 'verifyRequest',
  value: {
    laneId,
    jobId: new Uint8Array(16),
    number: 1,
    sealedKey: new Uint8Array(48),
    wrappedKey: new Uint8Array(65),
    sealing: 'plain',
    question: new Uint8Array(40),
    expiresAtMs: BigInt(START_MS + DAY_MS),
  },
});

export const answerTo = (laneId: Uint8Array): Body => ({
  $case: 'verifyAnswer',
  value: {
    laneId,
    jobId: new Uint8Array(16),
    number: 1,
    part: 0,
    parts: 1,
    reading: new Uint8Array(40),
    code: '',
    message: '',
    hint: '',
  },
});

export const wantedOf = (laneId: Uint8Array): Body => ({
  $case: 'rowsWanted',
  value: {
    laneId,
    epoch: { ordinal: 1n, nonce: NONCE },
    requestId: new Uint8Array(16),
    sealedKeys: new Uint8Array(40),
    wrappedKey: new Uint8Array(65),
  },
});

export const booksThrough: NonNullable<ControlMessage['body']> = {
  $case: 'booksThrough',
  value: { number: 9n, sendAgain: false, mark: new Uint8Array(), exchangeDatabaseId: new Uint8Array() },
};

export function snapshot(
  fields: object = {},
  context: Context = 'qiao.snapshot.v1',
  signer = world.hub.signer,
): Signed {
  const value = NodeSnapshot.fromPartial({ platformId: world.platform.id, nodeId: health.id, number: 6n, ...fields });
  return signedAs(signer, context, NodeSnapshot.encode(value));
}

export function command(
  fields: object = {},
  context: Context = 'qiao.command.v1',
  signer = world.hub.signer,
): Uint8Array {
  const value = Command.fromPartial({
    id: new Uint8Array(16).fill(9),
    nodeId: health.id,
    expiresAtMs: BigInt(START_MS + 20_000),
    command: { $case: 'diagnose', value: {} },
    ...fields,
  });
  return Signed.encode(signedAs(signer, context, Command.encode(value))).finish();
}

export function statement(fields: object = {}, context: Context = 'qiao.statement.v1', signer = health.signer) {
  const value = Statement.fromPartial({
    platformId: world.platform.id,
    ...ids,
    senderId: health.id,
    receiverId: civil.id,
    epoch: { ordinal: 1n, nonce: NONCE },
    sequence: 1n,
    sealedAtMs: BigInt(START_MS),
    ...fields,
  });
  return { $case: 'statement' as const, value: signedAs(signer, context, Statement.encode(value)) };
}

export function settlement(fields: object = {}) {
  const value = Settlement.fromPartial({
    platformId: world.platform.id,
    ...ids,
    senderId: health.id,
    receiverId: civil.id,
    epoch: { ordinal: 1n, nonce: NONCE },
    firstSequence: 1n,
    lastSequence: 1n,
    ...fields,
  });
  return {
    $case: 'settlement' as const,
    value: signedAs(health.signer, 'qiao.settlement.v1', Settlement.encode(value)),
  };
}

export function heartbeat(
  context: Context = 'qiao.heartbeat.v1',
  signer = health.signer,
  nodeId = health.id,
): Uint8Array {
  const value = Heartbeat.fromPartial({ nodeId, nodeCode: 'health', atMs: BigInt(START_MS) });
  return Signed.encode(signedAs(signer, context, Heartbeat.encode(value))).finish();
}

export function directory(
  number: bigint,
  context: Context = 'qiao.directory.v1',
  signer = world.hub.signer,
): Uint8Array {
  const value = Directory.fromPartial({ generation: 1n, number });
  return Signed.encode(signedAs(signer, context, Directory.encode(value))).finish();
}
