import { HelloReply, HelloRequest, NodeKnowledge } from '@qiao/contract/control';
import { createWakeup, silentLog } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { createFence } from './fence.ts';
import { helloPart } from './hello.ts';

/** Runs hellos against a hub that gives these tokens, one per ask. */
async function hellos(
  tokens: readonly bigint[],
  lastToken = 0n,
  heardToken: () => bigint = () => 0n,
  onAsked: () => void = () => {},
) {
  const fence = createFence();
  const asked: boolean[] = [];
  const stop = new AbortController();
  const left = [...tokens];
  const wakeup = { ...createWakeup(), wait: async () => {} };
  await helloPart({
    ask: async (bytes) => {
      asked.push(HelloRequest.decode(bytes).isStart);
      const fencingToken = left.shift() ?? 0n;
      if (left.length === 0) stop.abort();
      onAsked();
      return HelloReply.encode(HelloReply.fromPartial({ fencingToken })).finish();
    },
    fence,
    door: { take: () => 'taken', loadCached: () => false, reportAgain: () => {} },
    nodeId: 'a'.repeat(32),
    exchangeDatabaseId: () => new Uint8Array(16),
    knows: () => NodeKnowledge.fromPartial({}),
    renewalCsr: async () => undefined,
    takeRenewal: () => {},
    lastToken: () => lastToken,
    heardToken,
    keepToken: () => {},
    sending: () => [],
    version: '0.1.0',
    clock: { nowMs: () => 0, sleep: async () => {} },
    log: silentLog(),
    everyMs: 60_000,
    wakeup,
  }).run(stop.signal);
  return { fence, asked };
}

test('a start asks for one token and then only for the snapshot', async () => {
  const { fence, asked } = await hellos([7n, 7n, 7n]);
  expect(asked).toEqual([true, false, false]);
  expect(fence.token()).toBe(7n);
});

test('a hub restored from a backup is asked until its token is above all that receivers have seen', async () => {
  const { fence, asked } = await hellos([5n, 6n, 7n, 7n], 6n);
  expect(asked).toEqual([true, true, true, false]);
  expect(fence.token()).toBe(7n);
});

test('a token that receivers have seen a newer one of is exchanged, when the hub knows no newer start', async () => {
  const heard = { token: 0n };
  // Its exchange database is new and remembers no token; the hub was restored to a time before the one of 9.
  const { fence, asked } = await hellos(
    [5n, 5n, 10n, 10n],
    0n,
    () => heard.token,
    () => {
      heard.token = 9n;
    },
  );
  expect(asked).toEqual([true, false, true, false]);
  expect(fence.token()).toBe(10n);
});

test('a copy of the node that hears of a newer token does not outbid it', async () => {
  const heard = { token: 0n };
  const { fence, asked } = await hellos(
    [5n, 9n, 9n],
    0n,
    () => heard.token,
    () => {
      heard.token = 9n;
    },
  );
  expect(asked).toEqual([true, false, false]);
  expect(fence.isLost).toBe(true);
});

test('a process whose node was started elsewhere sends nothing more and takes no token back', async () => {
  const { fence, asked } = await hellos([7n, 8n, 8n]);
  expect(asked).toEqual([true, false, false]);
  expect(fence.token()).toBeUndefined();
  expect(fence.isLost).toBe(true);
});

test('waiting for the token ends with it, or with the stop', async () => {
  const fence = createFence();
  const stop = new AbortController();
  const waited = fence.whenGiven(stop.signal);
  fence.give(3n);
  await waited;
  const never = createFence().whenGiven(stop.signal);
  stop.abort();
  await never;
});

test('a token that was lost is waited for again', async () => {
  const fence = createFence();
  const stop = new AbortController();
  fence.give(3n);
  fence.lose();
  let isOver = false;
  const waited = fence.whenGiven(stop.signal).then(() => {
    isOver = true;
  });
  await new Promise(setImmediate);
  expect(isOver).toBe(false);
  stop.abort();
  await waited;
});
