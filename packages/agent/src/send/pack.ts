/**
 * Packing: changes become a parcel, the parcel a delivery per lane, each delivery a statement in the books. `prepareContent`
 * does the work that needs no transaction; `packParcel` runs inside the caller's, together with the digests it stands for.
 */
import { hash } from 'node:crypto';
import { promisify } from 'node:util';
import { constants, zstdCompress, zstdCompressSync } from 'node:zlib';
import type { CaptureCounts } from '@qiao/contract/counts';
import { Origin } from '@qiao/contract/delivery';
import { Statement } from '@qiao/contract/receipt';
import {
  chainOf,
  contractCounts,
  countSections,
  encodeContent,
  type KindCount,
  parseId,
  type Section,
} from '@qiao/exchange';
import type { Desired, DesiredBridge } from '../control/desired.ts';
import type { Compression, LaneOut, ParcelOrigin } from '../exchange-database/index.ts';
import type { LanePorts } from './lanes.ts';

const compress = promisify(zstdCompress);
/**
 * 439 MB/s at a third of the bytes; higher levels cost more than the disk they save. A parcel's output in one or two pieces: the
 * default of 16 KiB is a round through the thread pool each, and half of the work again.
 */
const ZSTD = { params: { [constants.ZSTD_c_compressionLevel]: 1 }, chunkSize: 1024 * 1024 };

/** As much is compressed in less time than the way to another thread and back takes. */
const SMALL_BYTES = 32 * 1024;
const ZSTD_SMALL = { ...ZSTD, chunkSize: 2 * SMALL_BYTES };

/** A parcel's content, ready for the outbox. */
export interface PreparedContent {
  readonly hash: Uint8Array;
  readonly bytes: number;
  readonly counts: readonly KindCount[];
  readonly compression: Compression;
  /** The content, compressed so. */
  readonly stored: Uint8Array;
}

/** One lane that gets the parcel. */
export interface PackedLane {
  readonly lane: Uint8Array;
  readonly loadBegins: boolean;
  readonly loadEnds: boolean;
  readonly allowedDeletes: bigint;
  /** With loadEnds: tables of which the load could not name every row. */
  readonly incompleteTables: readonly string[];
}

/** A lane that takes a parcel as it comes, outside of any load. */
export function streamingLane(lane: Uint8Array): PackedLane {
  return { lane, loadBegins: false, loadEnds: false, allowedDeletes: 0n, incompleteTables: [] };
}

export async function prepareContent(sections: readonly Section[], compression: Compression): Promise<PreparedContent> {
  const content = encodeContent(sections);
  return {
    hash: hash('sha256', content, 'buffer'),
    bytes: content.byteLength,
    counts: countSections(sections),
    compression,
    stored: compression === 'none' ? content : await compressed(content),
  };
}

function compressed(content: Uint8Array): Uint8Array | Promise<Uint8Array> {
  return content.byteLength <= SMALL_BYTES ? zstdCompressSync(content, ZSTD_SMALL) : compress(content, ZSTD);
}

/**
 * Records the parcel, its deliveries and their statements. Must run inside a transaction; throws otherwise. The lanes are
 * read again here, so that their next sequence and chain are the ones on disk.
 */
export function packParcel(
  ports: LanePorts,
  desired: Desired,
  bridge: DesiredBridge,
  content: PreparedContent,
  origin: ParcelOrigin,
  lanes: readonly PackedLane[],
  capture: readonly CaptureCounts[],
): void {
  const { database, signer, clock } = ports;
  const parcelId = ports.newId();
  const bridgeId = parseId(bridge.bridgeId);
  const sealedAtMs = clock.nowMs();
  const parcel = database.parcels.add({
    parcel: parcelId,
    bridge: bridgeId,
    bridgeVersion: bridge.version,
    origin,
    contentHash: content.hash,
    contentBytes: content.bytes,
    counts: content.counts,
    madeAtMs: sealedAtMs,
    deliveries: lanes.length,
    compression: content.compression,
    content: content.stored,
  });
  for (const target of lanes) {
    const lane = database.lanesOut.get(target.lane);
    if (lane === undefined) throw new Error('a parcel was packed for a lane that was never opened');
    const sequence = lane.lastSequence + 1n;
    const epoch = { ordinal: lane.epoch, nonce: lane.nonce };
    const link = { previousChain: lane.chain, laneId: lane.lane, epoch, sequence };
    const chain = chainOf({ ...link, contentHash: content.hash, counts: content.counts });
    database.lanesOut.advance(lane.lane, sequence, chain);
    database.deliveriesOut.add({
      lane: lane.lane,
      epoch: lane.epoch,
      sequence,
      role: 'rows',
      parcel,
      bridgeVersion: bridge.version,
      previousChain: lane.chain,
      chain,
      sealedAtMs,
      loadBegins: target.loadBegins,
      loadEnds: target.loadEnds,
      allowedDeletes: target.allowedDeletes,
      incompleteTables: target.incompleteTables,
      opening: undefined,
      storedBytes: content.stored.byteLength,
    });
    const statement = statementOf(desired, bridge, lane, { sequence, sealedAtMs, parcelId, content, origin, capture });
    database.books.append({ $case: 'statement', value: signer.sign('qiao.statement.v1', statement) }, sealedAtMs);
  }
}

/** The contract's word for why rows travel. */
export function contractOrigin(origin: ParcelOrigin): Origin {
  switch (origin) {
    case 'change':
      return Origin.CHANGE;
    case 'load':
      return Origin.LOAD;
    case 'resync':
      return Origin.RESYNC;
    case 'resend':
      return Origin.RESEND;
    default:
      return origin satisfies never;
  }
}

function statementOf(
  desired: Desired,
  bridge: DesiredBridge,
  lane: LaneOut,
  facts: {
    sequence: bigint;
    sealedAtMs: number;
    parcelId: Uint8Array;
    content: PreparedContent;
    origin: ParcelOrigin;
    capture: readonly CaptureCounts[];
  },
): Uint8Array {
  return Statement.encode({
    platformId: parseId(desired.platformId),
    laneId: lane.lane,
    bridgeId: lane.bridge,
    bridgeVersion: bridge.version,
    senderId: parseId(desired.nodeId),
    receiverId: lane.receiver,
    epoch: { ordinal: lane.epoch, nonce: lane.nonce },
    sequence: facts.sequence,
    contentHash: facts.content.hash,
    counts: contractCounts(facts.content.counts),
    sealedAtMs: BigInt(facts.sealedAtMs),
    origin: contractOrigin(facts.origin),
    capture: [...facts.capture],
    parcelId: facts.parcelId,
  }).finish();
}
