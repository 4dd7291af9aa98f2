// Owns the questions that a delivery must answer before it goes on, in their order: from who it claims to be, over what it is
// signed for, to whether its bytes are the signed ones. Pure and synchronous; the body is hashed and never opened.

import { hash } from 'node:crypto';
import { RefusalFate } from '@qiao/contract/control';
import type { DeliveryHeader } from '@qiao/contract/delivery';
import {
  checkHeader,
  type MayFlow,
  MOST_TOKENS_AHEAD,
  PART_MAX_BYTES,
  QiaoError,
  type ReadDelivery,
  readDelivery,
  sameBytes,
} from '@qiao/exchange';
import { SIGNED_MAX_BYTES, type Verifier } from '@qiao/security';
import { type LanePlace, MOST_EPOCHS_AHEAD } from './laneBooks.ts';
import { type DeliveryPlace, placeOf, type RefusalFacts } from './refusals.ts';
import type { RoutingBridge, RoutingLane, RoutingNode, RoutingTable } from './routingTable.ts';

export interface VerifyPorts {
  readonly table: RoutingTable;
  readonly place: (laneId: string) => LanePlace;
  readonly verifier: Pick<Verifier, 'verify'>;
  readonly platformId: Uint8Array;
  readonly mayFlow: MayFlow;
}

export type Verified =
  | {
      readonly kind: 'genuine';
      readonly header: DeliveryHeader;
      readonly part: number;
      readonly sender: RoutingNode;
      readonly receiver: RoutingNode;
      readonly bridge: RoutingBridge;
      readonly lane: RoutingLane;
      /** First of an epoch that the hub did not know: it is made durable before this is forwarded. */
      readonly isNewEpoch: boolean;
    }
  | {
      readonly kind: 'refused';
      readonly facts: RefusalFacts;
      readonly bridge?: RoutingBridge;
      readonly lane?: RoutingLane;
    };

/**
 * After a start, deliveries of the start before may still lie on the bus. For this long they are asked for again and not
 * stopped: the refusal is read by the new process, whose lanes are fine. A copy of the node is told to stop after it.
 */
const FENCING_GRACE_MS = 60_000;
/** Signed header, one part, and a little framing. */
const MESSAGE_MAX_BYTES = SIGNED_MAX_BYTES + PART_MAX_BYTES + 4 * 1024;

/** Judges the bytes of one bus message that came on the up subject of node `fromCode`. */
export function verifyDelivery(ports: VerifyPorts, fromCode: string, bytes: Uint8Array, nowMs: number): Verified {
  const read = readBytes(bytes);
  if (read === undefined)
    return refused({ code: 'MESSAGE_UNREADABLE', message: `found ${bytes.length} bytes that are no delivery` });
  const { header, signed } = read;
  const place = placeOf(header);

  // Whose it is. Before this is settled nothing in the header is believed, so no lane is named in the refusal.
  const sender = ports.table.nodeByCode(fromCode);
  if (sender === undefined || !sender.isJoined || sender.role !== 'agent') {
    return refused({ code: 'NODE_REVOKED', message: `"${fromCode}" is not a joined agent` });
  }
  if (!sameBytes(header.senderId, sender.idBytes)) {
    return refused({
      code: 'SENDER_MISMATCH',
      message: `a delivery of another node came on the subject of "${fromCode}"`,
    });
  }
  try {
    ports.verifier.verify('qiao.delivery.v1', signed, sender.certificate);
  } catch (error) {
    if (!(error instanceof QiaoError)) throw error;
    // The header's place is named, so that the sender's lane sends again; the content hash tells it of which attempt.
    return refused({ code: 'SIGNATURE_INVALID', message: error.message, place });
  }
  if (nowMs > sender.certificateEndsAtMs) {
    const ended = new Date(sender.certificateEndsAtMs).toISOString();
    return refused({
      code: 'CERTIFICATE_EXPIRED',
      message: `the certificate of "${fromCode}" ended at ${ended}`,
      place,
    });
  }
  const flaw = flawOf(header);
  if (flaw !== undefined) return refused({ code: 'HEADER_INVALID', message: flaw, place });
  if (!sameBytes(header.platformId, ports.platformId)) {
    return refused({ code: 'PLATFORM_UNKNOWN', message: 'the delivery is signed for another platform', place });
  }
  const fencing = ports.table.fencing(sender.id);
  if (header.fencingToken < fencing.token) {
    return refused({
      code: 'FENCED',
      message: `the delivery carries fencing token ${header.fencingToken}, the newest start of "${fromCode}" has ${fencing.token}`,
      place,
      ...(nowMs - fencing.sinceMs < FENCING_GRACE_MS ? { fate: RefusalFate.RESEND } : {}),
    });
  }
  if (header.fencingToken > fencing.given + MOST_TOKENS_AHEAD) {
    const message = `found fencing token ${header.fencingToken}, the hub gave "${fromCode}" ${fencing.given}`;
    return refused({ code: 'HEADER_INVALID', message, place });
  }
  return verifyLane(ports, read, place, sender, nowMs);
}

/** Whether this sender may put this into this lane now, and whether the bytes are the signed ones. */
function verifyLane(
  ports: VerifyPorts,
  read: ReadDelivery,
  place: DeliveryPlace | undefined,
  sender: RoutingNode,
  nowMs: number,
): Verified {
  const { header, part } = read;
  const isVoid = header.role?.$case === 'void';
  const bridge = ports.table.bridge(hex(header.bridgeId));
  if (bridge === undefined) {
    return refused({ code: 'BRIDGE_UNKNOWN', message: `no bridge has the identity ${hex(header.bridgeId)}`, place });
  }
  // A void closes what may not go on, so what closed the road for rows does not close it for voids.
  if (!bridge.versions.has(header.bridgeVersion) && !isVoid) {
    const message = `version ${header.bridgeVersion} of "${bridge.name}" was never deployed`;
    // Senders run only what this hub signed: a version above all of them says that it was restored from a backup. Nothing is
    // closed on the word of a hub that forgot.
    const isAhead = [...bridge.versions].every((version) => version < header.bridgeVersion);
    const fate = isAhead ? { fate: RefusalFate.RESEND } : {};
    return { ...refused({ code: 'VERSION_UNKNOWN', message, place, ...fate }), bridge };
  }
  if (bridge.sourceNodeId !== sender.id) {
    const message = `"${sender.code}" is not the source of "${bridge.name}"`;
    return { ...refused({ code: 'NOT_THE_SOURCE', message, place }), bridge };
  }
  const lane = ports.table.lane(hex(header.laneId));
  const receiver = ports.table.nodeById(hex(header.receiverId));
  const isBound =
    lane?.bridgeId === bridge.id && lane.senderId === sender.id && lane.receiverId === hex(header.receiverId);
  if (lane === undefined || receiver === undefined || !isBound) {
    const message = `the lane is not one of "${bridge.name}" to that receiver`;
    const fate = lane === undefined ? { fate: RefusalFate.RESEND } : {};
    return { ...refused({ code: 'DESTINATION_NOT_BOUND', message, place, ...fate }), bridge };
  }
  const refuse = (facts: Omit<RefusalFacts, 'place'>): Verified => ({
    kind: 'refused',
    facts: { ...facts, place },
    bridge,
    lane,
  });
  if (lane.hasEnded && !isVoid) {
    return refuse({ code: 'LANE_ENDED', message: `the lane of "${bridge.name}" to "${receiver.code}" has ended` });
  }
  if (!receiver.isJoined) {
    return refuse({ code: 'DESTINATION_REVOKED', message: `the rights of "${receiver.code}" were ended` });
  }
  const epoch = header.epoch ?? { ordinal: 0n, nonce: new Uint8Array() };
  const known = ports.place(lane.id);
  const epochTooLow = (what: string) =>
    refuse({
      code: 'EPOCH_TOO_LOW',
      message: `the delivery is of epoch ${epoch.ordinal}; the hub knows ${what}: ${known.highestEpoch}`,
      highestEpoch: known.highestEpoch,
    });
  if (epoch.ordinal < known.highestEpoch) return epochTooLow('a higher epoch');
  if (epoch.ordinal > known.highestEpoch + MOST_EPOCHS_AHEAD) {
    return refuse({
      code: 'HEADER_INVALID',
      message: `found epoch ${epoch.ordinal}, the hub knows ${known.highestEpoch}`,
    });
  }
  if (!isVoid) {
    const answer = ports.mayFlow({
      bridgeId: bridge.id,
      laneId: lane.id,
      ...(header.resourceCode === '' ? {} : { resourceCode: header.resourceCode }),
      ...(header.grantId.length === 0 ? {} : { grantId: hex(header.grantId) }),
      ...(header.purpose === '' ? {} : { purpose: header.purpose }),
      atMs: nowMs,
    });
    if (!answer.allowed) return refuse({ code: 'NOT_ALLOWED', message: `${answer.code}: ${answer.reason}` });
  }
  const tampered = tamperingOf(read);
  if (tampered !== undefined) return refuse({ code: 'BODY_TAMPERED', message: tampered });
  // Whole and genuine, but of an epoch that somebody else opened under the same number: a copy of the sender.
  const isOther = epoch.ordinal === known.highestEpoch && !sameBytes(epoch.nonce, known.nonce ?? epoch.nonce);
  if (isOther) return epochTooLow('another epoch of the same number');
  const isNewEpoch = epoch.ordinal > known.highestEpoch;
  return { kind: 'genuine', header, part, sender, receiver, bridge, lane, isNewEpoch };
}

function readBytes(bytes: Uint8Array): ReadDelivery | undefined {
  // Not even decoded: on the way down it would not fit into a message of the bus.
  if (bytes.length > MESSAGE_MAX_BYTES) return undefined;
  try {
    return readDelivery(bytes);
  } catch {
    // Where in the bytes it failed says nothing that an operator could use.
    return undefined;
  }
}

function flawOf(header: DeliveryHeader): string | undefined {
  try {
    checkHeader(header);
  } catch (error) {
    if (error instanceof QiaoError) return error.message;
    throw error;
  }
  return undefined;
}

function tamperingOf({ part, body, header: { parts } }: ReadDelivery): string | undefined {
  if (parts.length === 0) {
    return part === 0 && body.length === 0 ? undefined : 'found a body where the header signs none';
  }
  const signed = parts[part];
  if (signed === undefined) return `found part ${part}, the header signs ${parts.length}`;
  if (signed.bytes !== body.length) return `part ${part} has ${body.length} bytes, the header signs ${signed.bytes}`;
  const isSame = sameBytes(hash('sha256', body, 'buffer'), signed.sha256);
  return isSame ? undefined : `the bytes of part ${part} are not those that the header signs`;
}

function refused(facts: RefusalFacts): Extract<Verified, { kind: 'refused' }> {
  return { kind: 'refused', facts };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
