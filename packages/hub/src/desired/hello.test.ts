import { HelloReply, HelloRequest, NodeKnowledge } from '@qiao/contract/control';
import { NodeSnapshot } from '@qiao/contract/node';
import { silentLog } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { readAudit } from '../audit/audit.ts';
import { bytes, TestWorld } from '../world.testing.ts';
import { answerHello, type HelloPorts, Starts } from './hello.ts';

async function hubWithNode() {
  const world = await TestWorld.create();
  const node = await world.join('health');
  const learnt: bigint[] = [];
  const ports: HelloPorts = {
    starts: new Starts(),
    store: world.store,
    clock: world.clock,
    log: silentLog(),
    snapshotOf: async () => world.hub.signer.sign('qiao.snapshot.v1', new Uint8Array()),
    fenced: async () => {},
    restore: {
      isHeld: () => false,
      begin: async () => {},
      proven: () => NodeSnapshot.fromPartial({}),
      collect: async () => [],
    },
    renew: async () => ({
      certificate: new Uint8Array(),
      natsJwt: '',
      hubCertificate: new Uint8Array(),
      authority: new Uint8Array(),
    }),
    learnEpoch: async (_lane, _sender, { ordinal }) => void learnt.push(ordinal),
  };
  const say = async (change: Partial<HelloRequest>) => {
    const request = HelloRequest.fromPartial({ nodeId: node.id, exchangeDatabaseId: bytes(16), ...change });
    return HelloReply.decode(await answerHello(ports, 'health', HelloRequest.encode(request).finish()));
  };
  return { world, say, learnt, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
}

test('each start gets a larger token; asking again gets the same', async () => {
  await using it = await hubWithNode();
  const tokens = [];
  for (const isStart of [true, true, false]) tokens.push((await it.say({ isStart })).fencingToken);
  expect(tokens).toEqual([2n, 3n, 3n]);
});

test('a node that starts over and over fills neither the audit nor its peers’ lines', async () => {
  await using it = await hubWithNode();
  for (let start = 0; start < 100; start += 1) await it.say({ isStart: true });
  expect((await it.say({ isStart: true })).problem?.code).toBe('TOO_MANY_STARTS');
  expect(await Array.fromAsync(readAudit(it.world.store))).toHaveLength(60);
  expect((await it.say({ isStart: false })).problem).toBeUndefined();
});

test('an epoch that no database holds is not learnt, and costs nobody the hello', async () => {
  await using it = await hubWithNode();
  const laneId = bytes(16);
  const epochs = [2n ** 64n - 1n, 2n ** 53n - 1n, 7n];
  const sending = epochs.map((ordinal) => ({ laneId, epoch: { ordinal, nonce: bytes(16) }, lastSequence: 0n }));
  expect((await it.say({ sending })).problem).toBeUndefined();
  expect(it.learnt).toEqual([7n]);
});

test('a hello that tells of more lanes than a node has is not read', async () => {
  await using it = await hubWithNode();
  const lanes = Array.from({ length: 10_001 }, () => ({}));
  const { sending } = HelloRequest.fromPartial({ sending: lanes });
  expect((await it.say({ sending })).problem?.code).toBe('HELLO_INVALID');
  const knows = NodeKnowledge.fromPartial({ receiving: lanes });
  expect((await it.say({ knows })).problem?.code).toBe('HELLO_INVALID');
});

test('a hub restored from a backup gives a token past the one that receivers have seen, within reason', async () => {
  await using it = await hubWithNode();
  expect((await it.say({ isStart: true, fencingToken: 40n })).fencingToken).toBe(41n);
  expect((await it.say({ isStart: true, fencingToken: 2n ** 40n })).fencingToken).toBe(42n);
});

test('what a fenced process says of its lanes is not learnt', async () => {
  await using it = await hubWithNode();
  const old = (await it.say({ isStart: true })).fencingToken;
  const token = (await it.say({ isStart: true })).fencingToken;
  const sending = [{ laneId: bytes(16), epoch: { ordinal: 9n, nonce: bytes(16) }, lastSequence: 0n }];
  await it.say({ sending, fencingToken: old });
  expect(it.learnt).toEqual([]);
  await it.say({ sending, fencingToken: token });
  expect(it.learnt).toEqual([9n]);
});
