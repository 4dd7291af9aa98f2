import { HelloReply, HelloRequest, NodeKnowledge } from '@qiao/contract/control';
import { QiaoError } from '@qiao/exchange';
import { createWakeup, silentLog } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { createFence } from './fence.ts';
import { type HelloPorts, helloPart } from './hello.ts';

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
  const ask: HelloPorts['ask'] = async (bytes) => {
    asked.push(HelloRequest.decode(bytes).isStart);
    const fencingToken = left.shift() ?? 0n;
    if (left.length === 0) stop.abort();
    onAsked();
    return HelloReply.encode(HelloReply.fromPartial({ fencingToken })).finish();
  };
  await partOf(ask, { fence, lastToken: () => lastToken, heardToken }).run(stop.signal);
  return { fence, asked };
}

function partOf(ask: HelloPorts['ask'], more: Partial<HelloPorts> = {}) {
  return helloPart({
    ask,
    fence: createFence(),
    door: { take: () => 'taken', loadCached: () => false, judgeAgain: () => {}, reportAgain: () => {} },
    nodeId: 'a'.repeat(32),
    exchangeDatabaseId: () => new Uint8Array(16),
    knows: () => NodeKnowledge.fromPartial({}),
    renewalCsr: async () => undefined,
    takeRenewal: () => {},
    lastToken: () => 0n,
    heardToken: () => 0n,
    forgetHeardToken: () => {},
    keepToken: () => {},
    sending: () => [],
    version: '0.1.0',
    clock: { nowMs: () => 0, elapsedMs: () => 0, sleep: async () => {} },
    log: silentLog(),
    everyMs: 60_000,
    wakeup: { ...createWakeup(), wait: async () => {} },
    ...more,
  });
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

test('a start past a newer token whose answer came too late is asked again as a start, not taken for another process', async () => {
  const fence = createFence();
  const stop = new AbortController();
  const asked: boolean[] = [];
  let hubToken = 4n;
  let heard = 0n;
  const part = partOf(
    async (bytes) => {
      const { isStart, fencingToken } = HelloRequest.decode(bytes);
      asked.push(isStart);
      if (isStart) hubToken = 1n + (fencingToken > hubToken ? fencingToken : hubToken);
      // The hub has given the token; its word comes to nobody.
      if (asked.length === 3) throw new QiaoError('REQUEST_TIMED_OUT', 'no answer in time', { fate: 'ambiguous' });
      if (asked.length === 5) stop.abort();
      heard = 9n;
      return HelloReply.encode(HelloReply.fromPartial({ fencingToken: hubToken })).finish();
    },
    { fence, heardToken: () => heard },
  );
  await expect(part.run(stop.signal)).rejects.toMatchObject({ code: 'REQUEST_TIMED_OUT' });
  await part.run(stop.signal);
  expect(asked).toEqual([true, false, true, true, false]);
  expect([fence.isLost, fence.token()]).toEqual([false, 11n]);
});

test('a token that the hub never gave shuts the node out of nothing, and one receiver makes it start seldom', async () => {
  const stop = new AbortController();
  const fence = createFence();
  let [hubToken, starts, heard, nowMs, questions] = [4n, 0, 0n, 0, 0];
  const part = partOf(
    async (bytes) => {
      const { isStart, fencingToken } = HelloRequest.decode(bytes);
      questions += 1;
      if (isStart) {
        starts += 1;
        // As the hub does: what lies too far ahead is no token.
        if (fencingToken > hubToken && fencingToken <= hubToken + 100n) hubToken = fencingToken;
        hubToken += 1n;
      }
      heard = questions % 2 === 0 ? 1n << 40n : hubToken + 50n;
      if (questions === 400) stop.abort();
      return HelloReply.encode(HelloReply.fromPartial({ fencingToken: hubToken })).finish();
    },
    {
      fence,
      lastToken: () => fence.token() ?? 0n,
      heardToken: () => heard,
      forgetHeardToken: () => {
        heard = 0n;
      },
      clock: { nowMs: () => nowMs, elapsedMs: () => nowMs, sleep: async (ms) => void (nowMs += ms) },
      wakeup: { ...createWakeup(), wait: async () => void (nowMs += 1_000) },
    },
  );
  await part.run(stop.signal);
  expect([fence.token(), fence.isLost]).toEqual([hubToken, false]);
  // Of 800 seconds: after 2, 4, 8, … each.
  expect(starts).toBeLessThan(15);
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

test('a question that nobody answers is asked again soon, and then ever more patiently', async () => {
  const waitedMs: number[] = [];
  const part = partOf(async (_bytes, timeoutMs) => {
    waitedMs.push(timeoutMs);
    throw new QiaoError('REQUEST_TIMED_OUT', 'no answer in time', { fate: 'ambiguous' });
  });
  for (let attempt = 0; attempt < 6; attempt += 1) {
    await expect(part.run(new AbortController().signal)).rejects.toMatchObject({ code: 'REQUEST_TIMED_OUT' });
  }
  expect(waitedMs).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 16_000]);
});

test('while the bus is away the question waits for its return, not for the end of a pause', async () => {
  const stop = new AbortController();
  let asked = 0;
  await partOf(async () => {
    asked += 1;
    if (asked === 3) stop.abort();
    throw new QiaoError('BUS_UNREACHABLE', 'the bus is away', { fate: 'transient' });
  }).run(stop.signal);
  expect(asked).toBe(3);
});
