// A sender that dies between what a receiver asked for and the bus's acknowledgement, over a real SQLite file: the bus brings the
// question again, and what travels equals an undisturbed run.

import type { BusMessage } from '@qiao/bus';
import { ControlMessage } from '@qiao/contract/control';
import type { Signed } from '@qiao/contract/signed';
import { decodeContent, encodeContent, parseId } from '@qiao/exchange';
import { silentLog, simulateCrashes } from '@qiao/runtime';
import { afterEach, expect, test } from 'vitest';
import { BRIDGE_ID, CaptureWorld, NODE_ID } from '../capture/captureWorld.testing.ts';
import { wantRows } from '../capture/wantedRows.ts';
import { controlPart } from './consume.ts';
import { encodeControl } from './messages.ts';

const HUB = new Uint8Array(32).fill(1);
const text = { type: 'text' } as const;

afterEach(() => simulateCrashes(undefined));

class Sender extends CaptureWorld {
  constructor() {
    super();
    const columns = [
      { name: 'id', type: text },
      { name: 'v', type: text },
    ];
    this.addTable('person', { columns, key: ['id'], lines: ['1\ta', '2\tb'] });
  }

  /** One delivery of the bus; true when it was acknowledged. */
  async hear(data: Uint8Array): Promise<boolean> {
    let isAcknowledged = false;
    const never = () => {
      throw new Error('not asked for here');
    };
    async function* stream(): AsyncGenerator<BusMessage> {
      const ack = () => {
        isAcknowledged = true;
      };
      yield { subject: '', data, sequence: 1n, redelivered: false, ack, retryLater: never, working: () => {} };
    }
    await controlPart({
      isFenced: () => false,
      consume: stream,
      nodeId: NODE_ID,
      hubCertificate: HUB,
      desired: { current: () => this.desired },
      trust: { checkPeer: () => {}, checkMonitor: () => {}, checkSigned: () => {} },
      door: { take: never, loadCached: never, judgeAgain: never, reportAgain: never },
      onReceipt: never,
      onResend: never,
      onReceiptsWanted: never,
      onRefusal: never,
      onRowsWanted: async ({ sealedKeys }) => {
        wantRows(this.database, parseId(BRIDGE_ID), decodeContent(sealedKeys));
      },
      onBooksThrough: never,
      onVerifyRequest: never,
      onVerifyAnswer: never,
      keyIdOf: (certificate) => certificate,
      log: silentLog(),
    }).run(new AbortController().signal);
    return isAcknowledged;
  }
}

function rowsWanted(lane: Uint8Array): Uint8Array {
  const rows = Buffer.from('2\n');
  const section = { table: 'person', kind: 'delete', columns: ['id'], keyColumns: 1, rowCount: 1, rows } as const;
  const sealedKeys = encodeContent([{ ...section, wholeRows: false }]);
  const sign = (_context: string, payload: Uint8Array): Signed => ({
    ...{ payload, suite: 'test', keyId: HUB, signature: new Uint8Array(1) },
  });
  const value = { laneId: lane, epoch: { ordinal: 1n, nonce: new Uint8Array(16) }, requestId: new Uint8Array(16) };
  return encodeControl(
    ControlMessage.fromPartial({
      toNodeId: parseId(NODE_ID),
      body: { $case: 'rowsWanted', value: { ...value, sealedKeys, wrappedKey: new Uint8Array(0) } },
    }),
    { sign },
  );
}

/** A destination that holds the rows asks for one of them whole; what it holds and what came of each change afterwards. */
async function asked(diesAt?: string) {
  using world = new Sender();
  const destination = world.addLane();
  await world.scan();
  await world.deliver();
  const question = rowsWanted(destination.lane);
  if (diesAt !== undefined) {
    simulateCrashes((name) => {
      if (name === diesAt) throw new Error(`dead at ${name}`);
    });
    await expect(world.hear(question)).rejects.toThrow(`dead at ${diesAt}`);
    simulateCrashes(undefined);
    world.reopen();
    // Scanned before the bus brings the question again, or after: the row travels.
    await world.scan();
  }
  expect(await world.hear(question)).toBe(true);
  await world.scan();
  await world.scan();
  await world.deliver();
  return { rows: destination.rows('person'), outcomes: new Set(destination.outcomes) };
}

test('dead when wanted rows were noted, before the bus was told', async () => {
  expect(await asked('rows.wanted')).toEqual(await asked());
});
