import { HelloReply, HelloRequest } from '@qiao/contract/control';
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
