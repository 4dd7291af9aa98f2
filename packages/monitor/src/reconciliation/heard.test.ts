import {
  BridgeState,
  Directory,
  type DirectoryNode,
  Heartbeat,
  ServiceCondition,
  ServiceLeg,
} from '@qiao/contract/node';
import { expect, test } from 'vitest';
import { type HeardPorts, heldByWord, isIncomplete, whoWasHeard } from './heard.ts';

const id = (fill: number) => new Uint8Array(16).fill(fill);
const NOW_MS = 1_000_000_000;
const lane = { laneId: id(9), senderId: id(1), receiverId: id(2), ended: false };
const births = { bridgeId: id(8), name: 'births', state: BridgeState.RUNNING, lateAfterMs: 300_000n, lanes: [lane] };

interface Word {
  readonly agoMs: number;
  readonly said?: Parameters<typeof Heartbeat.fromPartial>[0];
}

function portsOf(words: { hub?: number; health?: Word; city?: Word }, bridge: object = births): HeardPorts {
  const directory = Directory.fromPartial({
    nodes: [
      { nodeId: id(1), code: 'health' },
      { nodeId: id(2), code: 'city' },
      { nodeId: id(3), code: 'bystander' },
    ],
    bridges: [bridge],
  });
  const states = new Map([
    [id(1).toString(), words.health],
    [id(2).toString(), words.city],
  ]);
  return {
    nodes: {
      directory,
      hubHeardAtMs: words.hub === undefined ? 0 : NOW_MS - words.hub,
      agents: (): DirectoryNode[] => directory.nodes,
      state: (nodeId) => {
        const word = states.get(Uint8Array.from(Buffer.from(nodeId, 'hex')).toString());
        if (word === undefined) return undefined;
        return { heartbeat: Heartbeat.fromPartial(word.said ?? {}), receivedAtMs: NOW_MS - word.agoMs };
      },
    },
    nowMs: () => NOW_MS,
    nodeSilentAfterMs: 20_000,
  };
}

const heard = (ports: HeardPorts) => {
  const [bridge] = ports.nodes.directory?.bridges ?? [];
  return whoWasHeard(ports, bridge === undefined ? [] : bridge.lanes.map((one) => ({ bridge, lane: one })));
};
const present = { hub: 1_000, health: { agoMs: 2_000 }, city: { agoMs: 3_000 } };

test('a monitor that lost books which a node knows to be held has not heard it', () => {
  const said = { exchangeDatabaseId: id(4), booksThrough: 7n };
  const ports = portsOf({
    ...present,
    health: { agoMs: 1, said },
    city: { agoMs: 1, said: { ...said, booksThrough: 0n } },
  });
  expect([...heldByWord(ports)]).toEqual([
    [Buffer.from(id(1)).toString('hex'), { databaseId: Buffer.from(id(4)).toString('hex'), number: 7 }],
  ]);
  const [bridge] = ports.nodes.directory?.bridges ?? [];
  const lanes = bridge?.lanes.map((one) => ({ bridge, lane: one })) ?? [];
  const found = whoWasHeard(ports, lanes, new Map([[Buffer.from(id(1)).toString('hex'), 3]]));
  expect(found.map(({ code, booksMissing }) => [code, booksMissing])).toEqual([
    ['hub', 0n],
    ['health', 3n],
    ['city', 0n],
  ]);
  expect(isIncomplete(found)).toBe(true);
});

test('the hub and the nodes at both ends are named with the moment they were last heard, and nobody else', () => {
  expect(heard(portsOf(present))).toEqual([
    {
      code: 'hub',
      lastHeardAtMs: BigInt(NOW_MS - 1_000),
      silent: false,
      waitingSinceMs: 0n,
      late: false,
      standing: [],
      booksMissing: 0n,
    },
    {
      code: 'health',
      lastHeardAtMs: BigInt(NOW_MS - 2_000),
      silent: false,
      waitingSinceMs: 0n,
      late: false,
      standing: [],
      booksMissing: 0n,
    },
    {
      code: 'city',
      lastHeardAtMs: BigInt(NOW_MS - 3_000),
      silent: false,
      waitingSinceMs: 0n,
      late: false,
      standing: [],
      booksMissing: 0n,
    },
  ]);
});

test('who said nothing for longer than his limit is silent, and so is who never spoke', () => {
  const silent = (ports: HeardPorts) => heard(ports).flatMap((one) => (one.silent ? [one.code] : []));
  expect(silent(portsOf({ ...present, city: { agoMs: 20_001 } }))).toEqual(['city']);
  expect(silent(portsOf({ ...present, hub: 90_000 }))).toEqual([]);
  expect(silent(portsOf({ ...present, hub: 90_001 }))).toEqual(['hub']);
  expect(silent(portsOf({}))).toEqual(['hub', 'health', 'city']);
});

test('a delivery that waits for its receipt longer than the bridge allows is late, by the time that passed at the node', () => {
  // A clock that stands an hour ahead changes nothing: two minutes passed there, and three seconds since.
  const atNodeMs = NOW_MS + 3_600_000;
  const waitingFor = (ms: number) => ({
    agoMs: 3_000,
    said: {
      atMs: BigInt(atNodeMs),
      services: [
        {
          bridgeId: births.bridgeId,
          laneId: lane.laneId,
          leg: ServiceLeg.SEND,
          oldestWaitingAtMs: BigInt(atNodeMs - ms),
        },
      ],
    },
  });
  const of = (ms: number) => heard(portsOf({ ...present, health: waitingFor(ms) }))[1];
  expect(of(120_000)).toMatchObject({ waitingSinceMs: BigInt(NOW_MS - 123_000), late: false });
  expect(of(297_000)).toMatchObject({ waitingSinceMs: BigInt(NOW_MS - 300_000), late: false });
  expect(of(297_001)).toMatchObject({ late: true });
});

test('books that the monitor does not hold are late at either end', () => {
  const said = { atMs: BigInt(NOW_MS), booksWaitingSinceMs: BigInt(NOW_MS - 400_000) };
  const late = (ports: HeardPorts) => heard(ports).flatMap((one) => (one.late ? [one.code] : []));
  expect(late(portsOf({ ...present, health: { agoMs: 0, said } }))).toEqual(['health']);
  expect(late(portsOf({ ...present, city: { agoMs: 0, said } }))).toEqual(['city']);
});

test('a bridge that never ran or is retired, and a lane that has ended, make nobody expected', () => {
  const expected = (bridge: object) => heard(portsOf(present, { ...births, ...bridge })).map(({ code }) => code);
  expect(expected({ state: BridgeState.STOPPED })).toEqual(['hub', 'health', 'city']);
  expect(expected({ state: BridgeState.CREATED })).toEqual(['hub']);
  expect(expected({ state: BridgeState.RETIRED })).toEqual(['hub']);
  expect(expected({ lanes: [{ ...lane, ended: true }] })).toEqual(['hub']);
});

test.each([
  ['a stuck capture', ServiceLeg.CAPTURE, ServiceCondition.STUCK, 0, true],
  ['a stuck apply', ServiceLeg.APPLY, ServiceCondition.STUCK, 0, true],
  ['a capture that tries again since its last run', ServiceLeg.CAPTURE, ServiceCondition.RETRYING, 299_000, false],
  ['a capture that tries again for too long', ServiceLeg.CAPTURE, ServiceCondition.RETRYING, 300_001, true],
  ['a capture that waits for its nightly run', ServiceLeg.CAPTURE, ServiceCondition.RUNNING, 80_000_000, false],
  ['a capture of a stopped bridge', ServiceLeg.CAPTURE, ServiceCondition.STOPPED, 80_000_000, false],
])('%s: what would be in no line is said', (_, leg, condition, runAgoMs, stands) => {
  const said = {
    atMs: BigInt(NOW_MS),
    services: [
      {
        bridgeId: births.bridgeId,
        laneId: leg === ServiceLeg.CAPTURE ? new Uint8Array() : lane.laneId,
        leg,
        condition,
        code: 'SOURCE_RIGHTS',
        lastRunAtMs: BigInt(NOW_MS - runAgoMs),
      },
    ],
  };
  const all = heard(portsOf({ ...present, health: { agoMs: 0, said } }));
  expect(all[1]?.standing).toEqual(stands ? [{ bridge: 'births', leg, code: 'SOURCE_RIGHTS' }] : []);
  expect(isIncomplete(all)).toBe(stands);
});
