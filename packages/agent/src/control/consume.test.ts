import type { BusMessage } from '@qiao/bus';
import { ControlMessage, RefusalFate } from '@qiao/contract/control';
import { Receipt } from '@qiao/contract/receipt';
import { Signed } from '@qiao/contract/signed';
import { parseId, QiaoError } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { LANE, PLATFORM, RECEIVER, ReceiverWorld, SENDER } from '../receive/sender.testing.ts';
import { controlPart } from './consume.ts';
import type { DesiredPeer } from './desired.ts';
import { encodeControl } from './messages.ts';

const RECEIVER_KEY = new Uint8Array(32).fill(2);
const HUB_KEY = new Uint8Array(32).fill(1);
const MONITOR_KEY = new Uint8Array(32).fill(3);

function signedBy(keyId: Uint8Array) {
  return {
    sign: (_context: string, payload: Uint8Array): Signed => ({
      payload,
      suite: 'test',
      keyId,
      signature: new Uint8Array(1),
    }),
  };
}

/** The sending end: lane LANE begins at this node and ends at RECEIVER. */
const consume = (...messages: Uint8Array[]) => consumeAt({ nodeId: SENDER, peerId: RECEIVER }, ...messages);

/** Either end, with what it holds of the other; the other end's key is RECEIVER_KEY whichever it is. */
async function consumeAt(
  { nodeId, peerId, ...over }: { nodeId: string; peerId: string } & Partial<DesiredPeer>,
  ...messages: Uint8Array[]
) {
  using world = new ReceiverWorld();
  const desired = world.desired.current();
  const bridge = desired?.bridges.values().next().value;
  const peer = desired?.peers.get(SENDER);
  if (desired === undefined || bridge === undefined || peer === undefined) throw new Error('no desired state');
  world.desired.replace({
    ...desired,
    nodeId,
    peers: new Map([[peerId, { ...peer, nodeId: peerId, certificate: RECEIVER_KEY, ...over }]]),
    monitors: [MONITOR_KEY],
  });
  const heard: string[] = [];
  async function* stream(): AsyncGenerator<BusMessage> {
    for (const data of messages) {
      yield {
        subject: '',
        data,
        sequence: 1n,
        redelivered: false,
        ack: () => void heard.push('ack'),
        retryLater: () => void heard.push('later'),
        working: () => {},
      };
    }
  }
  await controlPart({
    isFenced: () => false,
    onReceiptsWanted: ({ known }) => void heard.push(`wanted ${known.length}`),
    consume: stream,
    nodeId,
    hubCertificate: HUB_KEY,
    desired: world.desired,
    trust: {
      checkPeer: () => {},
      // Certificates stand for their keys in this test.
      checkMonitor: () => {},
      checkSigned: (_context, signed, certificate) => {
        if (Buffer.compare(signed.keyId, certificate) !== 0) throw new QiaoError('KEY_MISMATCH', 'another key');
      },
    },
    door: { take: () => 'taken', loadCached: () => false, judgeAgain: () => {}, reportAgain: () => {} },
    onReceipt: ({ sequence }) => void heard.push(`receipt ${sequence}`),
    onResend: ({ firstSequence }) => void heard.push(`resend ${firstSequence}`),
    onRefusal: ({ code }) => void heard.push(`refusal ${code}`),
    onRowsWanted: async ({ requestId }) => void heard.push(`rows wanted ${requestId.length}`),
    onBooksThrough: ({ number }) => void heard.push(`through ${number}`),
    onVerifyRequest: ({ number }) => void heard.push(`question ${number}`),
    onVerifyAnswer: ({ number }) => void heard.push(`answer ${number}`),
    log: silentLog(),
  }).run(new AbortController().signal);
  return heard;
}

function receipt(keyId: Uint8Array, receiverId = RECEIVER, sequence = 3n): Uint8Array {
  const payload = Receipt.encode(
    Receipt.fromPartial({
      platformId: parseId(PLATFORM),
      laneId: parseId(LANE),
      senderId: parseId(SENDER),
      receiverId: parseId(receiverId),
      sequence,
    }),
  ).finish();
  return encodeControl(
    { toNodeId: parseId(SENDER), body: { $case: 'receipt', value: signedBy(keyId).sign('', payload) } },
    signedBy(keyId),
  );
}

const resend = (keyId: Uint8Array) =>
  encodeControl(
    ControlMessage.fromPartial({
      toNodeId: parseId(SENDER),
      body: { $case: 'resend', value: { laneId: parseId(LANE), firstSequence: 4n } },
    }),
    signedBy(keyId),
  );

const refusal = (keyId: Uint8Array) =>
  encodeControl(
    ControlMessage.fromPartial({
      toNodeId: parseId(SENDER),
      body: { $case: 'refusal', value: { laneId: parseId(LANE), code: 'DESTINATION_BUSY', fate: RefusalFate.RESEND } },
    }),
    signedBy(keyId),
  );

test('a receipt with the lane receiver’s own signature is taken', async () => {
  expect(await consume(receipt(RECEIVER_KEY))).toEqual(['receipt 3', 'ack']);
});

test('a receipt that another key signed, or for another receiver, is dropped', async () => {
  expect(await consume(receipt(HUB_KEY), receipt(RECEIVER_KEY, SENDER))).toEqual(['ack', 'ack']);
});

test('keys that wait for a person answer for nothing and compare nothing; receipts are still given for what they sent', async () => {
  const unconfirmed = { fingerprint: undefined, isChange: true };
  const atSender = { nodeId: SENDER, peerId: RECEIVER, unconfirmed };
  expect(await consumeAt(atSender, receipt(RECEIVER_KEY), resend(RECEIVER_KEY))).toEqual(['ack', 'ack']);
  const lane = { laneId: parseId(LANE) };
  const asked = (body: object) =>
    encodeControl(
      ControlMessage.fromPartial({ toNodeId: parseId(RECEIVER), body: body as never }),
      signedBy(RECEIVER_KEY),
    );
  const compare = asked({ $case: 'verifyRequest', value: { ...lane, number: 1 } });
  const wanted = asked({ $case: 'receiptsWanted', value: { ...lane, known: [] } });
  const atReceiver = { nodeId: RECEIVER, peerId: SENDER };
  expect(await consumeAt(atReceiver, compare, wanted)).toEqual(['question 1', 'ack', 'wanted 0', 'ack']);
  expect(await consumeAt({ ...atReceiver, unconfirmed }, compare, wanted)).toEqual(['ack', 'wanted 0', 'ack']);
});

test('resend requests come from the lane’s receiver, refusals from it or the hub, from nobody else', async () => {
  const stranger = new Uint8Array(32).fill(9);
  expect(await consume(resend(RECEIVER_KEY), refusal(HUB_KEY), refusal(RECEIVER_KEY))).toEqual([
    'resend 4',
    'ack',
    'refusal DESTINATION_BUSY',
    'ack',
    'refusal DESTINATION_BUSY',
    'ack',
  ]);
  expect(await consume(resend(stranger), refusal(stranger))).toEqual(['ack', 'ack']);
});

const through = (keyId: Uint8Array, toNodeId = SENDER) =>
  encodeControl(
    ControlMessage.fromPartial({ toNodeId: parseId(toNodeId), body: { $case: 'booksThrough', value: { number: 5n } } }),
    signedBy(keyId),
  );

test('only a monitor that the hub named says how far the books are held', async () => {
  expect(await consume(through(MONITOR_KEY))).toEqual(['through 5', 'ack']);
  expect(await consume(through(RECEIVER_KEY), through(HUB_KEY))).toEqual(['ack', 'ack']);
});

test('a message for another node is dropped, whoever signed it', async () => {
  expect(await consume(through(MONITOR_KEY, RECEIVER))).toEqual(['ack']);
});

test('what cannot be decoded or is not signed is dropped', async () => {
  const bare = ControlMessage.encode(
    ControlMessage.fromPartial({ toNodeId: parseId(SENDER), body: { $case: 'booksThrough', value: { number: 1n } } }),
  ).finish();
  expect(await consume(new Uint8Array([255, 1]), bare)).toEqual(['ack', 'ack']);
});

test('a place that no database holds is dropped, so that one receiver cannot stop the receipts of the others', async () => {
  const huge = 2n ** 64n - 1n;
  const asked = { laneId: parseId(LANE), epoch: { ordinal: huge, nonce: new Uint8Array(16) } };
  const odd = [
    receipt(RECEIVER_KEY, RECEIVER, huge),
    encodeControl(ControlMessage.fromPartial({ body: { $case: 'resend', value: asked } }), signedBy(RECEIVER_KEY)),
    encodeControl(
      ControlMessage.fromPartial({
        toNodeId: parseId(SENDER),
        body: { $case: 'refusal', value: { laneId: parseId(LANE), highestEpoch: huge } },
      }),
      signedBy(RECEIVER_KEY),
    ),
  ];
  expect(await consume(...odd, receipt(RECEIVER_KEY))).toEqual(['ack', 'ack', 'ack', 'receipt 3', 'ack']);
});
