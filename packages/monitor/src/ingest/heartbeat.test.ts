import { Heartbeat } from '@qiao/contract/node';
import { expect, test } from 'vitest';
import { readHeartbeat } from './heartbeat.ts';

const encoded = (heartbeat: Parameters<typeof Heartbeat.fromPartial>[0]) =>
  Heartbeat.encode(Heartbeat.fromPartial(heartbeat)).finish();
const invalid = expect.objectContaining({ code: 'HEARTBEAT_INVALID' });

test('a heartbeat of an ordinary node is taken as it is', () => {
  const heartbeat = { nodeId: new Uint8Array(16), atMs: 1_700_000_000_000n, services: [{ retries: 3n }], beat: 7n };
  expect(readHeartbeat(encoded(heartbeat))).toMatchObject({ atMs: 1_700_000_000_000n, services: [{ retries: 3n }] });
});

test.each([
  { atMs: 2n ** 63n - 1n },
  { booksWaitingSinceMs: -(2n ** 63n) + 1n },
  { services: [{ oldestWaitingAtMs: -1n }] },
  { services: [{ owes: { sinceMs: 2n ** 60n } }] },
  { host: { cpuPercent: Number.NaN } },
])('a node’s number past all numbers takes the books from nobody (%o)', (heartbeat) => {
  expect(() => readHeartbeat(encoded(heartbeat))).toThrow(invalid);
});

test('a disk that calls itself endless silences nobody', () => {
  const host = { cpuPercent: 5, diskTotalBytes: 2n ** 64n - 1n, diskFreeBytes: 2n ** 64n - 1n };
  expect(readHeartbeat(encoded({ host })).host).toMatchObject(host);
});

test('half a million services that say nothing are counted, and never become objects', () => {
  const services = Buffer.alloc(1_000_000, Buffer.from([(9 << 3) | 2, 0]));
  expect(() => readHeartbeat(services)).toThrow(expect.objectContaining({ code: 'MESSAGE_UNREADABLE' }));
});
