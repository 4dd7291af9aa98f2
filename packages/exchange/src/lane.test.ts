import { readFileSync } from 'node:fs';
import { DeliveryHeader, Origin } from '@qiao/contract/delivery';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ChainLink, chainOf, NO_CHAIN } from './chain.ts';
import { checkHeader } from './header.ts';
import { idText, parseId } from './ids.ts';
import { arrivalOf, type LanePoint, sendable } from './lane.ts';

const bytes = (length: number, fill: number): Uint8Array => new Uint8Array(length).fill(fill);
const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

const link = (parts: Partial<ChainLink> = {}): ChainLink => ({
  previousChain: NO_CHAIN,
  laneId: bytes(16, 1),
  epoch: { ordinal: 1n, nonce: bytes(16, 2) },
  sequence: 1n,
  contentHash: bytes(32, 3),
  counts: [{ table: 'births', inserts: 2, updates: 0, deletes: 1 }],
  ...parts,
});

const header = (parts: Partial<DeliveryHeader> = {}): DeliveryHeader => ({
  ...DeliveryHeader.fromPartial({
    format: 1,
    platformId: bytes(16, 9),
    laneId: bytes(16, 1),
    bridgeId: bytes(16, 4),
    bridgeVersion: 1,
    senderId: bytes(16, 5),
    receiverId: bytes(16, 6),
    epoch: { ordinal: 1n, nonce: bytes(16, 2) },
    sequence: 2n,
    previousChain: bytes(32, 7),
    contentHash: bytes(32, 8),
    contentBytes: 10n,
    counts: [{ table: 'births', inserts: 1n, updates: 0n, deletes: 0n }],
    sealedAtMs: 1_700_000_000_000n,
    compression: 'zstd',
    sealing: 'hpke-p256-aes256gcm',
    wrappedKey: bytes(100, 1),
    parts: [{ bytes: 10, sha256: bytes(32, 1) }],
    origin: Origin.CHANGE,
    role: { $case: 'rows', value: { part: 1, of: 1 } },
  }),
  ...parts,
});

const opening = (parts: Partial<DeliveryHeader> = {}): DeliveryHeader =>
  header({
    sequence: 0n,
    previousChain: NO_CHAIN,
    contentHash: new Uint8Array(0),
    contentBytes: 0n,
    counts: [],
    parts: [],
    role: { $case: 'opening', value: { previous: undefined, previousLastSequence: 0n, previousKnown: false } },
    ...parts,
  });

const point: LanePoint = { epoch: 1n, nonce: bytes(16, 2), sequence: 1n, chain: bytes(32, 7) };

describe('the chain', () => {
  test('has the golden values', () => {
    const golden = JSON.parse(readFileSync(new URL('../golden/chain.json', import.meta.url), 'utf8')) as {
      what: string;
      chain: string;
    }[];
    const opened = chainOf(link({ sequence: 0n, contentHash: new Uint8Array(0), counts: [] }));
    const found = [
      { what: 'opening', chain: Buffer.from(opened).toString('hex') },
      { what: 'delivery after it', chain: Buffer.from(chainOf(link({ previousChain: opened }))).toString('hex') },
    ];
    expect(found).toEqual(golden);
  });

  test('changes with everything it covers, and not with the order or number type of the counts', () => {
    const counts = [
      { table: 'b', inserts: 1n, updates: 2n, deletes: 3n },
      { table: '桥', inserts: 4, updates: 5, deletes: 6 },
    ];
    expect(chainOf(link({ counts }))).toEqual(chainOf(link({ counts: counts.toReversed() })));
    const others: Partial<ChainLink>[] = [
      {},
      { previousChain: bytes(32, 1) },
      { laneId: bytes(16, 3) },
      { epoch: { ordinal: 2n, nonce: bytes(16, 2) } },
      { epoch: { ordinal: 1n, nonce: bytes(16, 3) } },
      { sequence: 2n },
      { contentHash: new Uint8Array(0) },
      { counts: [] },
      { counts: [{ table: 'births', inserts: 2, updates: 1, deletes: 0 }] },
    ];
    const chains = others.map((parts) => Buffer.from(chainOf(link(parts))).toString('hex'));
    expect(new Set(chains).size).toBe(others.length);
    expect(() => chainOf(link({ laneId: bytes(15, 1) }))).toThrow('15 bytes');
    expect(() => chainOf(link({ sequence: -1n }))).toThrow('64 bits');
  });
});

describe('an arriving delivery', () => {
  test('is applied when it continues the lane, answered when it was, kept when it is early', () => {
    expect(arrivalOf(point, header())).toEqual({ kind: 'next' });
    expect(arrivalOf(point, header({ sequence: 5n }))).toEqual({ kind: 'early', expected: 2n });
    expect(arrivalOf(point, header({ sequence: 1n }))).toEqual({ kind: 'alreadyApplied' });
    expect(arrivalOf(point, header({ sequence: 1n }), { contentHash: bytes(32, 8) })).toEqual({
      kind: 'alreadyApplied',
    });
    expect(arrivalOf(point, opening())).toEqual({ kind: 'alreadyApplied' });
  });

  test('is a fork when the same place has another content, history or opening', () => {
    expect(arrivalOf(point, header({ sequence: 1n }), { contentHash: bytes(32, 1) }).kind).toBe('fork');
    expect(arrivalOf(point, header({ previousChain: bytes(32, 1) })).kind).toBe('fork');
    expect(arrivalOf(point, header({ epoch: { ordinal: 1n, nonce: bytes(16, 9) } })).kind).toBe('fork');
  });

  test('belongs to its epoch: an opening opens a newer one, an older one is closed, an unopened one waits', () => {
    const newer = { ordinal: 2n, nonce: bytes(16, 3) };
    expect(arrivalOf(undefined, opening())).toEqual({ kind: 'opensEpoch' });
    expect(arrivalOf(undefined, header())).toEqual({ kind: 'unknownEpoch' });
    expect(arrivalOf(point, opening({ epoch: newer }))).toEqual({ kind: 'opensEpoch' });
    expect(arrivalOf(point, header({ epoch: newer }))).toEqual({ kind: 'unknownEpoch' });
    expect(arrivalOf({ ...point, epoch: 2n }, header())).toEqual({ kind: 'closedEpoch' });
    expect(arrivalOf({ ...point, epoch: 2n }, opening())).toEqual({ kind: 'closedEpoch' });
  });

  test('whose sequence and role disagree is no header', () => {
    expect(() => arrivalOf(point, header({ sequence: 0n }))).toThrow('sequence 0');
    expect(() => arrivalOf(point, opening({ sequence: 3n }))).toThrow('sequence 3');
    expect(() => arrivalOf(point, header({ epoch: undefined }))).toThrow('without an epoch');
  });

  test('in whatever order deliveries arrive and repeat, they are applied once each and in sequence', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.array(fc.nat(8), { maxLength: 60 }), (last, order) => {
        const lane = chainedLane(last);
        const applied: bigint[] = [];
        let now: LanePoint | undefined;
        const rounds = [...order, ...Array.from({ length: last + 1 }, (_, index) => index)];
        for (const index of rounds) {
          const each = lane[index % lane.length] as { header: DeliveryHeader; chain: Uint8Array };
          const arrival = arrivalOf(now, each.header);
          expect(arrival.kind).not.toBe('fork');
          if (arrival.kind !== 'next' && arrival.kind !== 'opensEpoch') continue;
          applied.push(each.header.sequence);
          now = { epoch: 1n, nonce: bytes(16, 2), sequence: each.header.sequence, chain: each.chain };
        }
        expect(applied).toEqual(lane.map(({ header: each }) => each.sequence));
      }),
    );
  });
});

describe('the window', () => {
  test('lets one delivery go however large, and no more than its bytes otherwise', () => {
    expect(sendable({ limitBytes: 10, unreceiptedBytes: 0 }, 1_000)).toBe(true);
    expect(sendable({ limitBytes: 10, unreceiptedBytes: 4 }, 6)).toBe(true);
    expect(sendable({ limitBytes: 10, unreceiptedBytes: 4 }, 7)).toBe(false);
  });
});

describe('a header', () => {
  test('within every limit passes', () => {
    checkHeader(header());
    checkHeader(opening());
    checkHeader(header({ parts: [], role: { $case: 'void', value: { code: 'LANE_ENDED', reason: '' } } }));
  });

  test('outside a limit is refused with what was found', () => {
    const past = 1n << 53n;
    const wrong: [DeliveryHeader, string][] = [
      [header({ format: 2 }), 'format 2'],
      [header({ laneId: bytes(15, 1) }), 'lane of 15 bytes'],
      [header({ epoch: { ordinal: 0n, nonce: bytes(16, 2) } }), 'no epoch'],
      [header({ contentBytes: 1n << 40n }), 'content of 1099511627776 bytes'],
      [
        header({ counts: Array.from({ length: 1001 }, () => ({ table: 'a', inserts: 0n, updates: 0n, deletes: 0n })) }),
        '1001 tables',
      ],
      [
        header({ counts: Array.from({ length: 2 }, () => ({ table: 'a', inserts: 0n, updates: 0n, deletes: 0n })) }),
        'counted twice',
      ],
      [header({ parts: [] }), 'without a body'],
      [header({ parts: [{ bytes: 5_000_000, sha256: bytes(32, 1) }] }), 'part of 5000000 bytes'],
      [header({ parts: Array.from({ length: 65 }, () => ({ bytes: 1, sha256: bytes(32, 1) })) }), '65 parts'],
      [
        header({ parts: Array.from({ length: 64 }, () => ({ bytes: 4_000_000, sha256: bytes(32, 1) })) }),
        'body of 256000000 bytes',
      ],
      [header({ role: undefined }), 'without a role'],
      [
        header({
          role: {
            $case: 'rows',
            value: {
              part: 2,
              of: 1,
              loadBegins: false,
              loadEnds: false,
              allowedDeletes: 0n,
              incompleteTables: [],
            },
          },
        }),
        'part 2 of 1',
      ],
      [header({ compression: 'gzip' }), 'unknown compression'],
      [header({ origin: Origin.UNSPECIFIED }), 'origin'],
      [
        header({
          receipts: {
            revision: 0,
            settled: [
              { first: 3n, last: 5n },
              { first: 6n, last: 6n },
            ],
          },
        }),
        'settled run from 6',
      ],
      [header({ receipts: { revision: 0, settled: [{ first: 2n, last: 1n }] } }), 'settled run from 2 to 1'],
      [opening({ counts: header().counts }), 'opening with rows'],
      [header({ role: { $case: 'void', value: { code: 'X', reason: '' } } }), 'void with a body'],
      [header({ purpose: 'x'.repeat(201) }), 'long purpose'],
      [header({ epoch: { ordinal: past, nonce: bytes(16, 2) } }), `epoch of ${past}`],
      [header({ epoch: { ordinal: 1n, nonce: bytes(17, 2) } }), 'epoch nonce of 17 bytes'],
      [header({ sequence: past }), `sequence of ${past}`],
      [header({ settledThrough: past }), `settled-through of ${past}`],
      [header({ fencingToken: past }), `fencing token of ${past}`],
      [header({ counts: [{ table: 'a', inserts: 0n, updates: past, deletes: 0n }] }), `count of updates of ${past}`],
      [
        opening({
          role: { $case: 'opening', value: { previous: undefined, previousLastSequence: past, previousKnown: true } },
        }),
        `last sequence before of ${past}`,
      ],
    ];
    for (const [each, message] of wrong) expect(() => checkHeader(each)).toThrow(message);
  });
});

describe('an identity', () => {
  test('is 32 lower-case hex digits and back', () => {
    fc.assert(
      fc.property(bytesOf(16), (id) => {
        expect(parseId(idText(id))).toEqual(new Uint8Array(id));
      }),
    );
    for (const text of ['', 'g'.repeat(32), 'A'.repeat(32), 'a'.repeat(31), 'a'.repeat(33)]) {
      expect(() => parseId(text)).toThrow('expected 32 lower-case hex digits');
    }
    expect(() => idText(bytes(15, 1))).toThrow('15 bytes');
  });
});

function chainedLane(last: number): { header: DeliveryHeader; chain: Uint8Array }[] {
  const lane: { header: DeliveryHeader; chain: Uint8Array }[] = [];
  let previousChain: Uint8Array = NO_CHAIN;
  for (let sequence = 0; sequence <= last; sequence++) {
    const parts = { sequence: BigInt(sequence), previousChain };
    const each = sequence === 0 ? opening(parts) : header({ ...parts, contentHash: bytes(32, sequence) });
    previousChain = chainOf({ ...each, epoch: { ordinal: 1n, nonce: bytes(16, 2) } });
    lane.push({ header: each, chain: previousChain });
  }
  return lane;
}
