import { BridgeState, NodeSnapshot } from '@qiao/contract/node';
import type { Signed } from '@qiao/contract/signed';
import { bridgeJson, parseId, QiaoError } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { BRIDGE, definition, LANE, PLATFORM, RECEIVER, SENDER } from '../receive/sender.testing.ts';
import { createDesiredState, isNewer } from './desired.ts';
import type { PermissionRule, Permissions } from './permissions.ts';
import { planSnapshot, type SnapshotReader } from './snapshot.ts';
import { createSnapshotDoor } from './takeSnapshot.ts';

const everything: PermissionRule[] = [{ dataSource: 'target', table: '*' }];

function permissions(accepts: readonly PermissionRule[]): Permissions {
  return { exposes: [], accepts, defaultSchema: () => undefined };
}

function reader(accepts = everything): SnapshotReader {
  return {
    platformId: PLATFORM,
    nodeId: RECEIVER,
    nodeCode: 'civil',
    hubCertificate: new Uint8Array(0),
    trust: {
      checkPeer: (certificate) => {
        if (certificate.length === 0) throw new QiaoError('CERTIFICATE_INVALID', 'no certificate');
      },
      checkMonitor: () => {},
      checkSigned: (_context, signed) => {
        if (signed.suite === 'forged') throw new QiaoError('SIGNATURE_INVALID', 'forged');
      },
    },
    permissions: permissions(accepts),
  };
}

function snapshot(change: (snapshot: NodeSnapshot) => void = () => {}): NodeSnapshot {
  const made = NodeSnapshot.fromPartial({
    platformId: parseId(PLATFORM),
    platformCode: 'demo',
    nodeId: parseId(RECEIVER),
    generation: 1n,
    number: 5n,
    timeZone: 'Asia/Shanghai',
    bridges: [
      {
        bridgeId: parseId(BRIDGE),
        name: 'people',
        version: 1,
        definitionJson: bridgeJson(definition()),
        state: BridgeState.RUNNING,
        lanes: [{ laneId: parseId(LANE), senderId: parseId(SENDER), receiverId: parseId(RECEIVER), destination: 0 }],
      },
    ],
    peers: [{ nodeId: parseId(SENDER), code: 'health', certificate: new Uint8Array(1) }],
  });
  change(made);
  return made;
}

function signedSnapshot(made: NodeSnapshot, suite = 'test'): Signed {
  return {
    payload: NodeSnapshot.encode(made).finish(),
    suite,
    keyId: new Uint8Array(32),
    signature: new Uint8Array(1),
  };
}

test('a bridge that the node’s file accepts is run, with its lane and its peer', () => {
  const { desired, refused } = planSnapshot(snapshot(), reader());
  expect(refused).toEqual([]);
  expect(desired.bridges.get(BRIDGE)?.lanes[0]?.destination?.node).toBe('civil');
  expect(desired.peers.get(SENDER)?.code).toBe('health');
});

test('a bridge that the node’s file does not accept is refused with its problem, and the others are run', () => {
  const { desired, refused } = planSnapshot(
    snapshot((made) => {
      const [bridge] = made.bridges;
      if (bridge !== undefined) {
        made.bridges.push({
          ...bridge,
          bridgeId: parseId('9'.repeat(32)),
          definitionJson: bridgeJson(definition({ to: 'secret' })),
        });
      }
    }),
    reader([{ dataSource: 'target', table: 'person' }]),
  );
  expect(refused.map(({ code }) => code)).toEqual(['ACCEPT_DENIED']);
  expect([...desired.bridges.keys()]).toEqual([BRIDGE]);
});

test('a definition with an unknown key is refused', () => {
  const { refused } = planSnapshot(
    snapshot((made) => {
      const [bridge] = made.bridges;
      if (bridge !== undefined) bridge.definitionJson = bridge.definitionJson.replace('{', '{"surprise":1,');
    }),
    reader(),
  );
  expect(refused[0]?.code).toBe('UNKNOWN_KEY');
});

test('a lane whose definition names another destination than this node is refused', () => {
  const { refused } = planSnapshot(snapshot(), { ...reader(), nodeCode: 'other' });
  expect(refused[0]?.code).toBe('LANE_INVALID');
});

test('a lane whose other end has no trusted certificate is refused', () => {
  const { refused } = planSnapshot(
    snapshot((made) => {
      for (const peer of made.peers) peer.certificate = new Uint8Array(0);
    }),
    reader(),
  );
  expect(refused[0]?.code).toBe('PEER_UNKNOWN');
});

test('an ended lane is kept though the definition no longer names its destination', () => {
  const { desired, refused } = planSnapshot(
    snapshot((made) => {
      const lane = made.bridges[0]?.lanes[0];
      if (lane !== undefined) Object.assign(lane, { ended: true, destination: 7 });
    }),
    reader(),
  );
  expect(refused).toEqual([]);
  expect(desired.bridges.get(BRIDGE)?.lanes[0]).toMatchObject({ ended: true, destination: undefined });
});

test('generations compare before numbers', () => {
  expect(isNewer({ generation: 2n, number: 1n }, { generation: 1n, number: 9n })).toBe(true);
  expect(isNewer({ generation: 1n, number: 9n }, { generation: 2n, number: 1n })).toBe(false);
  expect(isNewer({ generation: 1n, number: 9n }, { generation: 1n, number: 9n })).toBe(false);
});

test('a newer snapshot is cached, run and reported; an older or forged one changes nothing', () => {
  const desired = createDesiredState();
  const saved: Uint8Array[] = [];
  const reports: bigint[] = [];
  const door = createSnapshotDoor({
    reader: reader(),
    desired,
    cache: { load: () => saved.at(-1), save: (bytes) => void saved.push(bytes) },
    report: ({ number }) => void reports.push(number),
    onRead: () => {},
    log: silentLog(),
  });
  expect(door.take(signedSnapshot(snapshot()))).toBe('taken');
  expect(door.take(signedSnapshot(snapshot((made) => void (made.number = 4n))))).toBe('older');
  expect(() =>
    door.take(
      signedSnapshot(
        snapshot((made) => void (made.number = 6n)),
        'forged',
      ),
    ),
  ).toThrow('forged');
  expect(() => door.take(signedSnapshot(snapshot((made) => void (made.nodeId = parseId(SENDER)))))).toThrow(
    'the snapshot is for node',
  );
  expect(desired.current()?.number).toBe(5n);
  expect([saved.length, reports]).toEqual([1, [5n]]);

  const restarted = createDesiredState();
  const cached = createSnapshotDoor({
    reader: reader(),
    desired: restarted,
    cache: { load: () => saved.at(-1), save: () => {} },
    report: () => {},
    onRead: () => {},
    log: silentLog(),
  });
  expect(cached.loadCached()).toBe(true);
  expect(restarted.current()?.number).toBe(5n);
});

test('what only a wrong clock stood against is run when the clock is set right, without another snapshot', () => {
  const desired = createDesiredState();
  const reports: number[] = [];
  let isSetBack = true;
  const untimely = () => {
    if (isSetBack) throw new QiaoError('CERTIFICATE_NOT_YET_VALID', 'it begins tomorrow');
  };
  const door = createSnapshotDoor({
    reader: { ...reader(), trust: { ...reader().trust, checkPeer: untimely, checkMonitor: untimely } },
    desired,
    cache: { load: () => undefined, save: () => {} },
    report: ({ refused }) => void reports.push(refused.length),
    onRead: () => {},
    log: silentLog(),
  });
  door.take(signedSnapshot(snapshot((made) => void made.monitors.push(new Uint8Array(1)))));
  door.judgeAgain();
  expect([desired.current()?.bridges.size, desired.current()?.monitors.length, reports]).toEqual([0, 0, [1]]);
  isSetBack = false;
  door.judgeAgain();
  door.judgeAgain();
  expect([desired.current()?.bridges.size, desired.current()?.monitors.length, reports]).toEqual([1, 1, [1, 0]]);
});
