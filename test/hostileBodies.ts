// A process of its own for hostile.test.ts: brings one oversized or endless input after the other to the doors that take them,
// in a heap of a size that a test chose, and says what each door answered, how long it took and how far memory rose.

import { createHash } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import { HelloReply } from '@qiao/contract/control';
import { DeliveryHeader, DeliveryMessage } from '@qiao/contract/delivery';
import { NodeSnapshot } from '@qiao/contract/node';
import {
  CONTENT_MAX_BYTES,
  decodeContent,
  everythingMayFlow,
  MAX_ROW_BYTES,
  ProblemsError,
  parseBridge,
  parseBridgeJson,
  parseFilter,
  QiaoError,
} from '@qiao/exchange';
import { Verifier } from '@qiao/security';
import { openBody } from '../packages/agent/src/apply/openBody.ts';
import { decodeControl } from '../packages/agent/src/control/messages.ts';
import { takeIn } from '../packages/agent/src/receive/intake.ts';
import { answerHello, Starts } from '../packages/hub/src/desired/hello.ts';
import { RoutingTable } from '../packages/hub/src/routing/routingTable.ts';
import { verifyDelivery } from '../packages/hub/src/routing/verifyDelivery.ts';
import { takeEntries } from '../packages/monitor/src/ingest/entries.ts';
import { readHeartbeat } from '../packages/monitor/src/ingest/heartbeat.ts';

export interface Told {
  readonly what: string;
  readonly code: string;
  readonly elapsedMs: number;
  readonly peakMiB: number;
}

const MIB = 2 ** 20;
const opener = { sealing: 'none', sealedFor: undefined, open: async (body: Uint8Array) => body };

function bodyHeader(contentBytes: number, compression = 'zstd'): DeliveryHeader {
  return DeliveryHeader.fromPartial({
    sealing: 'none',
    compression,
    contentBytes: BigInt(contentBytes),
    contentHash: createHash('sha256').digest(),
  });
}

/** Many zstd frames of zeros, one after the other: 64 KiB that say 2 GiB. */
function bomb(bytes: number): Uint8Array {
  const frame = zstdCompressSync(Buffer.alloc(32 * MIB));
  return Buffer.concat(Array.from({ length: Math.ceil(bytes / (32 * MIB)) }, () => frame));
}

/** A protobuf field of bytes whose length says more than there is. */
function lying(tag: number, claimed: number): Uint8Array {
  const length: number[] = [];
  for (let rest = claimed; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) {
      length.push(rest);
      break;
    }
    length.push((rest % 128) | 0x80);
  }
  return Uint8Array.from([tag, ...length]);
}

/** The same two bytes again and again: the smallest message inside a repeated field. */
function tiny(tag: number, bytes: number): Uint8Array {
  const filled = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 2) filled[at] = tag;
  return filled;
}

/** A field with its value. */
function within(tag: number, value: Uint8Array): Uint8Array {
  return Buffer.concat([lying(tag, value.length), value]);
}

/** A delivery whose header is these bytes, signed by nobody. */
function delivered(payload: Uint8Array): Uint8Array {
  return DeliveryMessage.encode(DeliveryMessage.fromPartial({ header: { payload } })).finish();
}

function asProblem(problem: string | undefined): void {
  if (problem !== undefined) throw new QiaoError('FILTER_INVALID', problem);
}

function yaml(text: string): void {
  const { problems } = parseBridge(text);
  if (problems.length > 0) throw new ProblemsError(problems);
}

function atHub(bytes: Uint8Array): void {
  const judged = verifyDelivery(
    {
      table: new RoutingTable(),
      place: () =>
        ({
          highestEpoch: 0n,
          nonce: undefined,
          routedSequence: 0n,
          routedDeliveries: 0,
          refusedDeliveries: 0,
        }) as never,
      verifier: new Verifier(),
      platformId: new Uint8Array(16),
      mayFlow: everythingMayFlow,
    },
    'health',
    bytes,
    0,
  );
  throw new QiaoError(judged.kind === 'refused' ? judged.facts.code : 'TAKEN', '');
}

function atReceiver(bytes: Uint8Array): void {
  const intake = takeIn(bytes, {} as never);
  throw new QiaoError('code' in intake ? intake.code : 'TAKEN', '');
}

async function hello(bytes: Uint8Array): Promise<void> {
  const never = async (): Promise<never> => Promise.reject(new QiaoError('REACHED_THE_STORE', ''));
  const answer = await answerHello(
    {
      starts: new Starts(),
      store: {} as never,
      clock: { nowMs: () => 0, elapsedMs: () => 0, sleep: never },
      log: { warn: () => undefined, error: () => undefined } as never,
      snapshotOf: never,
      fenced: never,
      learnEpoch: never,
      restore: { isHeld: () => false, begin: never, proven: () => NodeSnapshot.fromPartial({}), collect: never },
      renew: never,
    },
    'health',
    bytes,
  );
  throw new QiaoError(HelloReply.decode(answer).problem?.code ?? 'TAKEN', '');
}

const laughs = [
  'a: &a [x,x,x,x,x,x,x,x,x]',
  ...Array.from({ length: 12 }, (_none, index) => {
    const [name, before] = [String.fromCharCode(98 + index), String.fromCharCode(97 + index)];
    return `${name}: &${name} [${Array.from({ length: 9 }, () => `*${before}`).join(',')}]`;
  }),
].join('\n');

const CASES: readonly [what: string, act: () => unknown][] = [
  ['a body of 2 GiB under a header that says 1 KiB', () => openBody(bodyHeader(1_024), bomb(2_048 * MIB), opener)],
  [
    'a body of 2 GiB under a header that says the most there is',
    () => openBody(bodyHeader(CONTENT_MAX_BYTES), bomb(2_048 * MIB), opener),
  ],
  [
    'a header that says more than the most there is',
    () => openBody(bodyHeader(CONTENT_MAX_BYTES + 1), bomb(32 * MIB), opener),
  ],
  ['a section that claims 4 GiB', () => decodeContent(lying(10, 2 ** 32 - 1))],
  ['rows that claim 4 GiB', () => decodeContent(Buffer.from([10, 6, 50, 0xff, 0xff, 0xff, 0xff, 0x0f]))],
  ['content of the most bytes in the smallest sections', () => decodeContent(tiny(10, CONTENT_MAX_BYTES))],
  ['content past the most bytes', () => decodeContent(Buffer.alloc(CONTENT_MAX_BYTES + 1))],
  ['a row past the most bytes', () => decodeContent(giantRow())],
  ['a control message of groups within groups', () => decodeControl(Buffer.alloc(MIB, 0x0b))],
  ['a delivery of groups within groups', () => atHub(Buffer.alloc(MIB, 0x0b))],
  ['a delivery larger than any', () => atHub(Buffer.alloc(64 * MIB))],
  ['a header of half a million tables', () => atHub(delivered(tiny(0x6a, MIB)))],
  ['a header of two million tables behind a length that lies', () => atHub(delivered(liar()))],
  ['the same at a receiver', () => atReceiver(delivered(liar()))],
  [
    'a control message of four million refused bridges',
    () => decodeControl(within(0x0a, within(0x3a, tiny(0x22, 8 * MIB)))),
  ],
  ['a heartbeat of half a million services', () => readHeartbeat(tiny(0x4a, MIB))],
  ['a greeting of four million lanes', () => hello(tiny(0x2a, 8 * MIB))],
  ['a greeting that knows of four million lanes', () => hello(within(0x42, tiny(0x5a, 8 * MIB)))],
  ['four million book entries', () => takeEntries({} as never, tiny(0x0a, 8 * MIB), 'health')],
  ['a book entry of two million counts', () => takeEntries({} as never, counted(4 * MIB), 'health')],
  [
    'three million counts in a thousand book entries',
    () => takeEntries({} as never, Buffer.concat(Array.from({ length: 1_000 }, () => counted(6_000))), 'health'),
  ],
  ['a bridge of aliases of aliases', () => yaml(laughs)],
  ['a bridge of lists within lists', () => yaml('['.repeat(500_000))],
  ['a bridge of lists within lists, by indicators', () => yaml('- '.repeat(250_000))],
  ['a bridge of mappings within mappings', () => yaml('{a: '.repeat(120_000))],
  [
    'a bridge of forty thousand keys',
    () => yaml(Array.from({ length: 40_000 }, (_none, index) => `k${index}: 1`).join('\n')),
  ],
  ['a bridge of more than the most bytes', () => yaml('x'.repeat(64 * MIB))],
  ['a definition of lists within lists', () => parseBridgeJson('['.repeat(250_000) + ']'.repeat(250_000))],
  [
    'a definition of mappings within mappings',
    () => parseBridgeJson('{"a":'.repeat(80_000) + '1' + '}'.repeat(80_000)),
  ],
  ['a filter of parentheses within parentheses', () => asProblem(parseFilter('('.repeat(9_000)).problem)],
  ['a filter of NOT within NOT', () => asProblem(parseFilter('NOT '.repeat(2_400)).problem)],
  ['a filter of quotes within quotes', () => asProblem(parseFilter(`a = '${"''".repeat(4_900)}`).problem)],
];

function giantRow(): Uint8Array {
  const row = Buffer.alloc(MAX_ROW_BYTES + 2, 0x61);
  row[row.length - 1] = 0x0a;
  const head = Buffer.from([10, 1, 0x74, 16, 1, 26, 1, 0x69, 32, 1, 40, 1]);
  const length = lying(50, row.length);
  return Buffer.concat([lying(10, head.length + length.length + row.length), head, length, row]);
}

/** An entry of the books whose counts are these many bytes. */
function counted(bytes: number): Uint8Array {
  return within(0x0a, within(0x3a, tiny(0x12, bytes)));
}

/** The length of `compression` is 2^32 in five bytes: who believes it looks no further, a decoder keeps 0 of it and goes on. */
function liar(): Uint8Array {
  return Buffer.concat([lying(0x7a, 2 ** 32), tiny(0x6a, 4 * MIB)]);
}

for (const [what, act] of CASES) {
  // What the one before left behind is none of this one's.
  globalThis.gc?.();
  const beganMs = performance.now();
  let code = 'TAKEN';
  try {
    await act();
  } catch (error) {
    code = error instanceof QiaoError ? error.code : `NOT A REFUSAL: ${String(error)}`;
  }
  const told: Told = {
    what,
    code,
    elapsedMs: performance.now() - beganMs,
    peakMiB: process.resourceUsage().maxRSS / 1_024,
  };
  process.stdout.write(`${JSON.stringify(told)}\n`);
}
