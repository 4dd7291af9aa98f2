import { Board, Verdict } from '@qiao/contract/monitor';
import { ServiceCondition, ServiceLeg } from '@qiao/contract/node';
import { expect, test, vi } from 'vitest';
import { standOf, teller } from './progress.ts';

const BRIDGE = new Uint8Array(16).fill(1);
const LANE = new Uint8Array(16).fill(2);
const SINCE_MS = 5_000;

/** A bridge from health to city: 10 rows sent, of which `settled` have their outcome. */
function board(facts: {
  lastRunAtMs?: number;
  settled?: number;
  inFlight?: number;
  capture?: { condition: ServiceCondition; code: string; message: string; hint?: string };
  apply?: { condition: ServiceCondition; code: string; message: string };
  silent?: string;
  waiting?: number;
}): Board {
  const { lastRunAtMs = 6_000, settled = 10, inFlight = 0, capture, apply, silent, waiting = 0 } = facts;
  const node = (code: string, services: object[]) => ({
    code,
    silent: silent === code,
    lastHeartbeatAtMs: 1_000n,
    heartbeat: { services },
  });
  const running = { condition: ServiceCondition.RUNNING, code: '', message: '', hint: '' };
  return Board.fromPartial({
    lanes: [
      {
        books: {
          bridge: 'births',
          bridgeId: BRIDGE,
          laneId: LANE,
          sourceNode: 'health',
          destinationNode: 'city',
          sent: { total: 10n },
          outcomes: [{ rows: BigInt(settled) }],
          inFlightDeliveries: BigInt(inFlight),
          verdict: Verdict.BALANCED,
        },
        capture: capture?.condition ?? ServiceCondition.RUNNING,
        apply: apply?.condition ?? ServiceCondition.RUNNING,
        waitingDeliveries: BigInt(waiting),
      },
    ],
    nodes: [
      node('health', [
        { bridgeId: BRIDGE, leg: ServiceLeg.CAPTURE, lastRunAtMs: BigInt(lastRunAtMs), ...running, ...capture },
      ]),
      node('city', [{ bridgeId: BRIDGE, laneId: LANE, leg: ServiceLeg.APPLY, ...running, ...apply }]),
    ],
  });
}

test('a run is over when the source has finished it and every row has its outcome', () => {
  expect(standOf(board({}), 'births', SINCE_MS).isDone).toBe(true);
  expect(standOf(board({ lastRunAtMs: 4_000 }), 'births', SINCE_MS).isDone).toBe(false);
  expect(standOf(board({ settled: 9 }), 'births', SINCE_MS).isDone).toBe(false);
  expect(standOf(board({ inFlight: 1 }), 'births', SINCE_MS).isDone).toBe(false);
  expect(standOf(board({}), 'deaths', SINCE_MS)).toMatchObject({
    isDone: false,
    text: expect.stringContaining('monitor'),
  });
});

test('what is waited for is said: whose run, whose receipts, what fails there, who is silent, and how many rows', () => {
  const source = standOf(board({ lastRunAtMs: 0 }), 'births', SINCE_MS).text;
  expect(source).toBe('waits until health has finished the run; 10 of 10 rows sent have their outcome');
  const retrying = {
    condition: ServiceCondition.RETRYING,
    code: 'TARGET_UNAVAILABLE',
    message: 'the connection was cut',
  };
  const receipts = standOf(
    board({ settled: 4, inFlight: 2, apply: retrying, silent: 'city' }),
    'births',
    SINCE_MS,
  ).text;
  expect(receipts).toMatch(
    /^the run is finished at the source; waits for 2 receipts of city \(TARGET_UNAVAILABLE: the connection was cut\); city is silent since .*; 4 of 10 rows/,
  );
});

test('outcomes that only the books lack are told from those that are still to come', () => {
  expect(standOf(board({ settled: 4, inFlight: 2 }), 'births', SINCE_MS)).toMatchObject({
    isDone: false,
    isLacking: true,
  });
  expect(standOf(board({ settled: 4, inFlight: 2, waiting: 1 }), 'births', SINCE_MS).isLacking).toBe(false);
  expect(standOf(board({ lastRunAtMs: 4_000, settled: 4, inFlight: 2 }), 'births', SINCE_MS).isLacking).toBe(false);
});

test('a service that is stuck is told with its own fix', () => {
  const stuck = { condition: ServiceCondition.STUCK, code: 'SOURCE_RIGHTS', message: 'no', hint: 'GRANT SELECT' };
  expect(standOf(board({ capture: stuck }), 'births', SINCE_MS).stuck).toMatchObject({
    code: 'SERVICE_STUCK',
    message: 'births to city: SOURCE_RIGHTS: no',
    hint: 'GRANT SELECT',
  });
});

test.each([
  [true, ['a', 'b', 'c']],
  [false, ['a', 'c']],
])(
  'a terminal sees each change, a log a line at once and then one in ten seconds (terminal: %s)',
  (isTTY, expected) => {
    const written: string[] = [];
    const was = process.stderr.isTTY;
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => written.push(String(text).trim()) > 0);
    let nowMs = 0;
    process.stderr.isTTY = isTTY;
    const tell = teller({ elapsedMs: () => nowMs });
    for (const text of ['a', 'a', 'b']) tell(text);
    nowMs = 10_000;
    tell('c');
    process.stderr.isTTY = was;
    vi.restoreAllMocks();
    expect(written).toEqual(expected);
  },
);
