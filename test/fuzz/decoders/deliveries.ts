// Deliveries at the two doors that judge them, with every signature taken for good: what a node with real keys may bring.

import { createHash } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import { DeliveryHeader, DeliveryMessage } from '@qiao/contract/delivery';
import { BridgeState } from '@qiao/contract/node';
import {
  CONTENT_MAX_BYTES,
  checkHeader,
  encodeContent,
  everythingMayFlow,
  idText,
  MAX_PARTS,
  type Section,
} from '@qiao/exchange';
import { openBody } from '../../../packages/agent/src/apply/openBody.ts';
import type { Desired } from '../../../packages/agent/src/control/desired.ts';
import { takeIn } from '../../../packages/agent/src/receive/intake.ts';
import { LaneBooks } from '../../../packages/hub/src/routing/laneBooks.ts';
import { RoutingTable } from '../../../packages/hub/src/routing/routingTable.ts';
import { verifyDelivery } from '../../../packages/hub/src/routing/verifyDelivery.ts';
import { delivery, START_MS, TestWorld } from '../../../packages/hub/src/world.testing.ts';
import { type Decoder, holds } from '../decoder.ts';

const SECTION: Section = {
  table: 'person',
  kind: 'insert',
  columns: ['id', 'name'],
  keyColumns: 1,
  rowCount: 2,
  rows: Buffer.from('1\tAnna\n2\t\\N\n'),
  wholeRows: true,
};

export async function deliveryDecoders(): Promise<Decoder[]> {
  const world = await TestWorld.create();
  const [health, civil] = [await world.join('health'), await world.join('civil')];
  const ids = await world.bridge('births', health, civil);
  const table = new RoutingTable();
  await table.reload(world.store, 0);
  const books = new LaneBooks(world.store);
  await books.load();
  const plan = { world, from: health, to: civil, ...ids };
  const voided = { role: { $case: 'void' as const, value: { code: 'GRANT_ENDED', reason: 'over' } }, parts: [] };
  const seeds = [
    delivery(plan),
    delivery({ ...plan, sequence: 0n }),
    delivery({ ...plan, body: new Uint8Array(), change: { ...voided, sealing: '', compression: '' } }),
  ];
  const headers = seeds.map((seed) => DeliveryMessage.decode(seed).header?.payload ?? new Uint8Array());
  const believing = { verify: () => undefined };
  const desired: Desired = {
    platformId: idText(world.platform.id),
    platformCode: 'demo',
    nodeId: idText(civil.id),
    generation: 1n,
    number: 1n,
    timeZone: 'Asia/Shanghai',
    fencingToken: 0n,
    bridges: new Map([
      [
        idText(ids.bridgeId),
        {
          bridgeId: idText(ids.bridgeId),
          name: 'births',
          version: 1,
          state: BridgeState.RUNNING,
          definition: {} as never,
          lanes: [
            {
              laneId: idText(ids.laneId),
              senderId: idText(health.id),
              receiverId: idText(civil.id),
              destinationIndex: 0,
              destination: undefined,
              highestEpoch: 0n,
              ended: false,
            },
          ],
          runNumber: 0n,
          allowedDeletes: 0n,
        },
      ],
    ]),
    peers: new Map([
      [
        idText(health.id),
        {
          nodeId: idText(health.id),
          code: 'health',
          departmentCode: 'health',
          departmentTitle: '',
          certificate: health.certificate,
          sealingKey: new Uint8Array(65),
          readsFormat: 1,
          fencingToken: 1n,
          revoked: false,
        },
      ],
    ]),
    monitors: [],
  };
  return [
    {
      name: 'delivery-header',
      kind: 'message',
      seeds: headers,
      take(input) {
        const header = decoded(() => DeliveryHeader.decode(input));
        if (header === undefined) return 'unreadable';
        checkHeader(header);
        proveHeader(header);
        return `${header.role?.$case} ${header.parts.length > 0} ${header.counts.length > 1} ${header.grantId.length}`;
      },
    },
    {
      name: 'delivery-at-hub',
      kind: 'message',
      seeds,
      take(input) {
        const ports = { table, verifier: believing, platformId: world.platform.id, mayFlow: everythingMayFlow };
        const judged = verifyDelivery({ ...ports, place: (lane) => books.place(lane) }, 'health', input, START_MS);
        if (judged.kind === 'refused') {
          holds(judged.facts.message.length < 2_000, 'a refusal of thousands of characters');
          return `${judged.facts.code} ${judged.facts.place === undefined}`;
        }
        proveHeader(judged.header);
        return `genuine ${judged.header.role?.$case} ${judged.isNewEpoch}`;
      },
    },
    {
      name: 'delivery-at-receiver',
      kind: 'message',
      seeds,
      take(input) {
        const intake = takeIn(input, {
          nodeId: idText(civil.id),
          platformId: idText(world.platform.id),
          desired: () => desired,
          sealedFor: undefined,
          trust: { checkPeer: () => undefined, checkMonitor: () => undefined, checkSigned: () => undefined },
        });
        if (intake.kind !== 'delivery') return `${intake.kind} ${intake.code}`;
        proveHeader(intake.delivery.header);
        holds(intake.delivery.headerHash.length === 32, 'a header hash of another length');
        return `delivery ${intake.delivery.header.role?.$case}`;
      },
    },
    { ...bodyDecoder(), close: () => world[Symbol.asyncDispose]() },
  ];
}

function proveHeader(header: DeliveryHeader): void {
  holds(header.contentBytes <= BigInt(CONTENT_MAX_BYTES), 'content past its limit');
  holds(header.parts.length <= MAX_PARTS, 'parts past their limit');
  const again = DeliveryHeader.decode(DeliveryHeader.encode(header).finish());
  checkHeader(again);
  const text = (one: DeliveryHeader) => Buffer.from(DeliveryHeader.encode(one).finish()).toString('hex');
  holds(text(again) === text(header), 'a header that is not read as it was written');
}

/** A body after its seal was opened: compression that claims too much, content that is not what the header signs. */
function bodyDecoder(): Decoder {
  const content = encodeContent([SECTION]);
  const header = DeliveryHeader.fromPartial({
    format: 1,
    sealing: 'none at all',
    compression: 'zstd',
    contentBytes: BigInt(content.length),
    contentHash: createHash('sha256').update(content).digest(),
    counts: [{ table: 'person', inserts: 2n, updates: 0n, deletes: 0n }],
  });
  const opener = { sealing: 'none at all', sealedFor: undefined, open: async (body: Uint8Array) => body };
  return {
    name: 'sealed-body',
    kind: 'bytes',
    seeds: [zstdCompressSync(content), content, zstdCompressSync(Buffer.alloc(100_000))],
    async take(input) {
      // The first byte chooses what the header says, so that honest and lying headers meet the same bodies.
      const isPlain = (input[0] ?? 0) % 2 === 1;
      const sections = await openBody(isPlain ? { ...header, compression: 'none' } : header, input, opener);
      holds(sections.length === 1, 'other sections than the hash covers');
      return 'sections';
    },
  };
}

function decoded<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch {
    // Every door catches what the generated decoder throws; what counts is that it throws and ends.
    return undefined;
  }
}
