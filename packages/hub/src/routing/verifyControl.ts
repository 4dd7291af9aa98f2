// Owns who may say what to whom on the control streams: the two ends of a lane about that lane, the monitor to an agent about
// its books, an agent to the hub about itself. Pure and synchronous.

import { ControlMessage } from '@qiao/contract/control';
import type { ActualState } from '@qiao/contract/node';
import { Receipt } from '@qiao/contract/receipt';
import { Signed } from '@qiao/contract/signed';
import { QiaoError, readMessage, sameBytes } from '@qiao/exchange';
import { SIGNED_MAX_BYTES, type Verifier } from '@qiao/security';
import type { RoutingNode, RoutingTable } from './routingTable.ts';

export interface VerifyControlPorts {
  readonly table: RoutingTable;
  readonly verifier: Pick<Verifier, 'verify'>;
  readonly platformId: Uint8Array;
}

export type VerifiedControl =
  | { readonly kind: 'forward'; readonly sender: RoutingNode; readonly receiver: RoutingNode }
  | { readonly kind: 'actualState'; readonly sender: RoutingNode; readonly state: ActualState }
  | { readonly kind: 'refused'; readonly code: string; readonly message: string; readonly laneId: string };

/** A signed message with its signature around it. */
const MESSAGE_MAX_BYTES = SIGNED_MAX_BYTES + 4 * 1024;

/** Judges the bytes of one control message that came on the up subject of node `fromCode`. */
export function verifyControl(
  ports: VerifyControlPorts,
  fromCode: string,
  bytes: Uint8Array,
  nowMs: number,
): VerifiedControl {
  const sender = ports.table.nodeByCode(fromCode);
  if (sender === undefined || !sender.isJoined) return refused('NODE_REVOKED', `"${fromCode}" has not joined`);
  if (bytes.length > MESSAGE_MAX_BYTES)
    return refused('MESSAGE_UNREADABLE', `found ${bytes.length} bytes, expected at most ${MESSAGE_MAX_BYTES}`);
  let message: ControlMessage;
  try {
    const signed = readMessage(Signed, bytes, 'signed message');
    ports.verifier.verify('qiao.control.v1', signed, sender.certificate);
    message = readMessage(ControlMessage, signed.payload, 'control message');
  } catch (error) {
    return notOpened(error);
  }
  if (nowMs > sender.certificateEndsAtMs) {
    const ended = new Date(sender.certificateEndsAtMs).toISOString();
    return refused('CERTIFICATE_EXPIRED', `the certificate of "${fromCode}" ended at ${ended}`);
  }
  const { body, toNodeId } = message;
  switch (body?.$case) {
    case 'receipt':
      return judgeReceipt(ports, sender, toNodeId, body.value);
    case 'refusal':
    case 'resend':
    case 'rowsWanted':
    case 'verifyAnswer':
      return judgeAlongLane(ports, sender, toNodeId, body.value.laneId, 'receiver');
    case 'receiptsWanted':
    case 'verifyRequest':
      return judgeAlongLane(ports, sender, toNodeId, body.value.laneId, 'sender');
    case 'booksThrough':
      return judgeBooks(ports, sender, toNodeId);
    case 'actualState':
      if (toNodeId.length > 0 || !sameBytes(body.value.nodeId, sender.idBytes)) {
        return refused('CONTROL_NOT_ALLOWED', 'a node reports its own state, to the hub');
      }
      return { kind: 'actualState', sender, state: body.value };
    case 'snapshot':
      return refused('CONTROL_NOT_ALLOWED', 'only the hub hands out snapshots');
    case undefined:
      return refused('MESSAGE_UNREADABLE', 'the control message says nothing that this hub knows');
    default:
      return body satisfies never;
  }
}

function judgeReceipt(
  ports: VerifyControlPorts,
  sender: RoutingNode,
  toNodeId: Uint8Array,
  signed: Signed,
): VerifiedControl {
  let receipt: Receipt;
  try {
    ports.verifier.verify('qiao.receipt.v1', signed, sender.certificate);
    receipt = readMessage(Receipt, signed.payload, 'receipt');
  } catch (error) {
    return notOpened(error);
  }
  if (!sameBytes(receipt.platformId, ports.platformId)) {
    return refused('PLATFORM_UNKNOWN', 'the receipt is signed for another platform', receipt.laneId);
  }
  if (!sameBytes(receipt.receiverId, sender.idBytes) || !sameBytes(receipt.senderId, toNodeId)) {
    return refused('CONTROL_NOT_ALLOWED', 'the receipt is not of this receiver to that sender', receipt.laneId);
  }
  return judgeAlongLane(ports, sender, toNodeId, receipt.laneId, 'receiver');
}

/** Between the two ends of a lane, from the end that `speaker` must be. An ended lane still closes its books. */
function judgeAlongLane(
  { table }: VerifyControlPorts,
  sender: RoutingNode,
  toNodeId: Uint8Array,
  laneId: Uint8Array,
  speaker: 'receiver' | 'sender',
): VerifiedControl {
  const receiver = table.nodeById(hex(toNodeId));
  const [from, to] = speaker === 'sender' ? [sender, receiver] : [receiver, sender];
  if (receiver === undefined || !table.isLaneBetween(hex(laneId), from?.id ?? '', to?.id ?? '')) {
    return refused('CONTROL_NOT_ALLOWED', `"${sender.code}" is not the ${speaker} of that lane`, laneId);
  }
  if (!receiver.isJoined) return refused('DESTINATION_REVOKED', `the rights of "${receiver.code}" were ended`, laneId);
  return { kind: 'forward', sender, receiver };
}

function judgeBooks({ table }: VerifyControlPorts, sender: RoutingNode, toNodeId: Uint8Array): VerifiedControl {
  const receiver = table.nodeById(hex(toNodeId));
  if (sender.role !== 'monitor' || receiver === undefined || receiver.role !== 'agent') {
    return refused('CONTROL_NOT_ALLOWED', 'only the monitor tells an agent how far its books are durable');
  }
  if (!receiver.isJoined) return refused('DESTINATION_REVOKED', `the rights of "${receiver.code}" were ended`);
  return { kind: 'forward', sender, receiver };
}

/** What its signature, or what it signs, is refused for. */
function notOpened(error: unknown): VerifiedControl {
  if (!(error instanceof QiaoError)) throw error;
  return refused(error.code === 'MESSAGE_UNREADABLE' ? error.code : 'SIGNATURE_INVALID', error.message);
}

function refused(code: string, message: string, laneId: Uint8Array = new Uint8Array()): VerifiedControl {
  return { kind: 'refused', code, message, laneId: laneId.length === 16 ? hex(laneId) : '' };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
