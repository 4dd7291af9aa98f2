import { setImmediate } from 'node:timers/promises';
import { Heartbeat } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { QiaoError } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { heartbeatPart } from './heartbeat.ts';
import { dataSourceProbes } from './probes.ts';

const host = {
  cpuPercent: 0,
  memoryTotalBytes: 0n,
  memoryFreeBytes: 0n,
  processResidentBytes: 0n,
  diskTotalBytes: 0n,
  diskFreeBytes: 0n,
};

/** Beats until the clock has slept `beats` times. */
async function beat(beats: number, publish: (bytes: Uint8Array) => Promise<void>): Promise<void> {
  const stop = new AbortController();
  let nowMs = 1_000;
  let slept = 0;
  await heartbeatPart({
    node: { nodeId: 'a'.repeat(32), code: 'health', departmentCode: 'health', departmentTitle: '卫健委' },
    version: '0.1.0',
    exchangeDatabaseId: () => new Uint8Array(16),
    start: 3n,
    fencingToken: () => 8n,
    dataSources: () => [],
    services: () => [],
    host: () => host,
    booksNumber: () => 42n,
    booksThrough: () => 41n,
    booksWaitingSinceMs: () => 900,
    sign: (payload) => ({ payload, suite: 'test', keyId: new Uint8Array(32), signature: new Uint8Array(1) }),
    publish,
    clock: {
      nowMs: () => nowMs,
      elapsedMs: () => nowMs,
      sleep: async (ms) => {
        nowMs += ms;
        slept += 1;
        if (slept >= beats) stop.abort();
      },
    },
    log: silentLog(),
  }).run(stop.signal);
}

test('a node says every five seconds that it lives, when it started, and its place among the heartbeats of its life', async () => {
  const heard: Heartbeat[] = [];
  await beat(2, async (bytes) => void heard.push(Heartbeat.decode(Signed.decode(bytes).payload)));
  const said = {
    startedAtMs: 1_000n,
    booksNumber: 42n,
    booksThrough: 41n,
    booksWaitingSinceMs: 900n,
    fencingToken: 8n,
    start: 3n,
  };
  expect(heard).toMatchObject([
    { ...said, atMs: 1_000n, beat: 1n },
    { ...said, atMs: 6_000n, beat: 2n },
  ]);
});

test('a bus that is away is not this part’s failure; being denied is', async () => {
  await beat(1, async () => {
    throw new QiaoError('BUS_UNREACHABLE', 'away', { fate: 'transient' });
  });
  await expect(
    beat(1, async () => {
      throw new QiaoError('BUS_DENIED', 'denied');
    }),
  ).rejects.toThrow('denied');
});

test('a data source that hangs is shown as unreachable and is not asked a second time meanwhile', async () => {
  const stop = new AbortController();
  let probed = 0;
  let rounds = 0;
  const probes = dataSourceProbes({
    names: () => [{ name: 'his', adapter: 'postgres' }],
    open: async () =>
      ({
        probe: () => {
          probed += 1;
          return new Promise(() => {});
        },
      }) as never,
    clock: {
      nowMs: () => 7,
      elapsedMs: () => 7,
      sleep: async () => {
        await setImmediate();
        rounds += 1;
        if (rounds >= 4) stop.abort();
      },
    },
  });
  await probes.run(stop.signal);
  expect(probed).toBe(1);
  expect(probes.states()).toMatchObject([{ name: 'his', reachable: false, code: 'DATA_SOURCE_TIMEOUT' }]);
});
