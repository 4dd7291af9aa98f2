/**
 * A delivery as bus messages: body sealed for its receiver, header signed over its parts. Sealed at send time, with the
 * receiver's present key and this start's fencing token: a resend is the same place and content under a fresh seal.
 */
import { hash } from 'node:crypto';
import { promisify } from 'node:util';
import { zstdDecompress } from 'node:zlib';
import {
  type BodyPart,
  DeliveryHeader,
  DeliveryMessage,
  type HeldReceipts,
  Opening,
  type SequenceRange,
} from '@qiao/contract/delivery';
import { contractCounts, MAX_SETTLED_RUNS, parseId, QiaoError } from '@qiao/exchange';
import { sealingContext } from '@qiao/security';
import type { Desired, DesiredBridge, DesiredPeer } from '../control/desired.ts';
import type { DeliveryOut, ExchangeDatabase, LaneOut, Parcel } from '../exchange-database/index.ts';
import { contractOrigin } from './pack.ts';
import type { SendPorts } from './ports.ts';

/** Delivery format written here. */
export const WRITES_FORMAT = 1;
/** Largest part of a body in one bus message. */
export const PART_MAX_BYTES = 4 * 1024 * 1024;

const decompress = promisify(zstdDecompress);
const NOTHING = new Uint8Array(0);

export interface SealedDelivery {
  /** Encoded DeliveryMessages, in order of their parts. */
  readonly messages: readonly Uint8Array[];
  readonly bytes: number;
  /** Name of the key it was sealed for; empty without a body. */
  readonly sealedFor: Uint8Array;
}

/** How a header names the sealing key of its receiver: SHA-256 of it. */
export function sealingKeyName(sealingKey: Uint8Array): Uint8Array {
  return hash('sha256', sealingKey, 'buffer');
}

export interface SealFacts {
  readonly desired: Desired;
  readonly bridge: DesiredBridge;
  readonly peer: DesiredPeer;
  readonly lane: LaneOut;
  readonly fencingToken: bigint;
}

/** Throws BODY_PURGED when the parcel's content is gone, SEALING_KEY_INVALID when the receiver's key cannot be used. */
export async function sealDelivery(
  ports: Pick<SendPorts, 'database' | 'signer' | 'sealing'>,
  delivery: DeliveryOut,
  facts: SealFacts,
): Promise<SealedDelivery> {
  const parcel = delivery.parcel === undefined ? undefined : ports.database.parcels.get(delivery.parcel);
  const header = headerOf(delivery, parcel, facts, heldReceipts(ports.database, delivery, facts.lane));
  const parts: Uint8Array[] = [];
  if (delivery.role === 'rows') {
    const context = sealingContext({
      laneId: delivery.lane,
      epoch: { ordinal: delivery.epoch, nonce: facts.lane.nonce },
      sequence: delivery.sequence,
      contentHash: header.contentHash,
    });
    const sealed = await ports.sealing.seal(storedContent(ports.database, delivery), facts.peer.sealingKey, context);
    for (let at = 0; at < sealed.body.length; at += PART_MAX_BYTES) {
      parts.push(sealed.body.subarray(at, at + PART_MAX_BYTES));
    }
    header.compression = parcel?.compression ?? 'none';
    header.sealing = ports.sealing.name;
    header.wrappedKey = sealed.wrappedKey;
    header.sealedFor = sealingKeyName(facts.peer.sealingKey);
    header.parts = parts.map(bodyPart);
  }
  const signed = ports.signer.sign('qiao.delivery.v1', DeliveryHeader.encode(header).finish());
  const bodies = parts.length === 0 ? [NOTHING] : parts;
  const messages = bodies.map((body, part) => DeliveryMessage.encode({ header: signed, part, body }).finish());
  return { messages, bytes: messages.reduce((sum, message) => sum + message.length, 0), sealedFor: header.sealedFor };
}

/** The plaintext content of a stored parcel, for those who must look at it again (tests, diagnosis). */
export async function contentOf(database: ExchangeDatabase, delivery: DeliveryOut): Promise<Uint8Array> {
  const stored = storedContent(database, delivery);
  const parcel = delivery.parcel === undefined ? undefined : database.parcels.get(delivery.parcel);
  return parcel?.compression === 'none' ? stored : decompress(stored);
}

function storedContent(database: ExchangeDatabase, delivery: DeliveryOut): Uint8Array {
  const stored = delivery.parcel === undefined ? undefined : database.parcels.content(delivery.parcel);
  if (stored === undefined) {
    throw new QiaoError(
      'BODY_PURGED',
      `the body of delivery ${delivery.epoch}/${delivery.sequence} is not kept any more`,
      {
        hint: 'the lane opens a new epoch and loads again',
      },
    );
  }
  return stored;
}

/**
 * What this node holds of the lane's receipts beyond `settledThrough`: the receiver may forget as much, and never answers this delivery
 * under a revision that is known here. Deliveries under way are few, and so are open ones: both are bounded.
 */
function heldReceipts(database: ExchangeDatabase, delivery: DeliveryOut, lane: LaneOut): HeldReceipts | undefined {
  const revision = database.receiptsIn.get(delivery)?.revision ?? 0;
  const settled: SequenceRange[] = [];
  if (delivery.epoch === lane.epoch && lane.settledThrough >= 0n) {
    const { settledThrough } = lane;
    let after = settledThrough;
    const unsettled = database.deliveriesOut.unsettledBetween(
      lane.lane,
      lane.epoch,
      settledThrough,
      delivery.sequence,
      MAX_SETTLED_RUNS,
    );
    for (const sequence of [...unsettled, ...(unsettled.length < MAX_SETTLED_RUNS ? [delivery.sequence] : [])]) {
      if (sequence > after + 1n && after > settledThrough) settled.push({ first: after + 1n, last: sequence - 1n });
      after = sequence;
    }
  }
  return revision === 0 && settled.length === 0 ? undefined : { revision, settled };
}

function headerOf(
  delivery: DeliveryOut,
  parcel: Parcel | undefined,
  facts: SealFacts,
  receipts: HeldReceipts | undefined,
): DeliveryHeader {
  const { desired, bridge, lane } = facts;
  return DeliveryHeader.fromPartial({
    format: WRITES_FORMAT,
    platformId: parseId(desired.platformId),
    laneId: lane.lane,
    bridgeId: lane.bridge,
    bridgeVersion: delivery.bridgeVersion,
    senderId: parseId(desired.nodeId),
    receiverId: lane.receiver,
    epoch: { ordinal: delivery.epoch, nonce: lane.nonce },
    sequence: delivery.sequence,
    previousChain: delivery.previousChain,
    contentHash: parcel?.contentHash ?? NOTHING,
    contentBytes: BigInt(parcel?.contentBytes ?? 0),
    counts: contractCounts(parcel?.counts ?? []),
    sealedAtMs: BigInt(delivery.sealedAtMs),
    compression: 'none',
    settledThrough: lane.settledThrough < 0n ? 0n : lane.settledThrough,
    fencingToken: facts.fencingToken,
    origin: contractOrigin(parcel?.origin ?? 'change'),
    role: roleOf(delivery),
    resourceCode: bridge.definition.resource ?? '',
    purpose: bridge.definition.purpose ?? '',
    ...(receipts === undefined ? {} : { receipts }),
  });
}

function roleOf(delivery: DeliveryOut): NonNullable<DeliveryHeader['role']> {
  switch (delivery.role) {
    case 'opening':
      return { $case: 'opening', value: Opening.decode(delivery.opening ?? NOTHING) };
    case 'void':
      return { $case: 'void', value: { code: delivery.voidCode, reason: delivery.voidReason } };
    case 'rows':
      return {
        $case: 'rows',
        value: {
          part: 1,
          of: 1,
          loadBegins: delivery.loadBegins,
          loadEnds: delivery.loadEnds,
          allowedDeletes: delivery.allowedDeletes,
          incompleteTables: [...delivery.incompleteTables],
        },
      };
    default:
      return delivery.role satisfies never;
  }
}

function bodyPart(body: Uint8Array): BodyPart {
  return { bytes: body.length, sha256: hash('sha256', body, 'buffer') };
}
