// Reads this node's control stream: receipts, resend requests and requests for receipts of peers, refusals, snapshots of the hub, how far the monitor's
// books are. Every message is verified here and handed to whoever owns its subject; what is forged is dropped and said.

import type { BusMessage } from '@qiao/bus';
import type { BooksThrough, ReceiptsWanted, Refusal, ResendRequest, RowsWanted } from '@qiao/contract/control';
import { Receipt } from '@qiao/contract/receipt';
import type { Signed } from '@qiao/contract/signed';
import type { VerifyAnswer, VerifyRequest } from '@qiao/contract/verify';
import { QiaoError, readMessage } from '@qiao/exchange';

import { crashPoint, describeError, type Log, type Part } from '@qiao/runtime';
import { type DesiredPeer, type DesiredState, findLane } from './desired.ts';

import { type DecodedControl, decodeControl } from './messages.ts';
import type { SnapshotDoor } from './takeSnapshot.ts';
import { idOrEmpty, type Trust } from './trust.ts';

export interface ControlPorts {
  /** Another process runs under this node's identity: what this one took would be missing there. */
  isFenced(): boolean;
  /** This node's control stream; ends on abort. */
  consume(signal: AbortSignal): AsyncIterable<BusMessage>;
  readonly nodeId: string;
  readonly hubCertificate: Uint8Array;
  readonly desired: Pick<DesiredState, 'current'>;
  readonly trust: Trust;
  readonly door: SnapshotDoor;
  /** Each of these is durable when it returns. */
  onReceipt(receipt: Receipt, signed: Signed): void;
  onResend(request: ResendRequest): void;
  /** The sender of a lane that ends here asks for receipts. */
  onReceiptsWanted(wanted: ReceiptsWanted, senderId: string): void;
  onRefusal(refusal: Refusal): void;
  onRowsWanted(wanted: RowsWanted): Promise<void>;
  onBooksThrough(through: BooksThrough): void;
  /** The hub brought a snapshot older than the present one. */
  onOlderSnapshot?(): void;
  /** A question of a lane that ends here, and an answer about one that begins here: neither is durable, both are asked for again. */
  onVerifyRequest(request: VerifyRequest): void;
  onVerifyAnswer(answer: VerifyAnswer): void;
  readonly log: Log;
}

/** A lane that the snapshot has not brought yet: the message waits on the bus, this long and this often. */
const UNKNOWN_AGAIN_MS = 3_000;

export function controlPart(ports: ControlPorts): Part {
  return {
    name: 'control',
    async run(signal) {
      refuseWhenFenced(ports);
      for await (const message of ports.consume(signal)) {
        if (signal.aborted) return;
        refuseWhenFenced(ports);
        try {
          await handle(decodeControl(message.data), ports);
        } catch (error) {
          if (error instanceof QiaoError && error.fate !== 'permanent') {
            message.retryLater(UNKNOWN_AGAIN_MS);
            continue;
          }
          // Forged, foreign or of a kind we do not read: trying again changes nothing. Anything else is a fault of ours, and
          // the message stays on the bus for the next attempt of this part.
          if (!(error instanceof QiaoError)) throw error;
          ports.log.warn({ err: describeError(error) }, 'control message dropped');
        }
        message.ack();
      }
    },
  };
}

/** Throws FENCED; what was pulled and not taken goes back to the bus. */
function refuseWhenFenced(ports: ControlPorts): void {
  if (!ports.isFenced()) return;
  throw new QiaoError('FENCED', 'another process runs under this node’s identity: this one hears nothing more', {
    hint: 'stop the other process, then start this one again',
    fate: 'transient',
  });
}

async function handle({ message, signed }: DecodedControl, ports: ControlPorts): Promise<void> {
  const { body, toNodeId } = message;
  if (idOrEmpty(toNodeId) !== ports.nodeId) {
    throw new QiaoError('CONTROL_FOREIGN', `the control message is for node ${idOrEmpty(toNodeId) || '(none)'}`);
  }
  switch (body?.$case) {
    case 'snapshot':
      // Older than what this node holds: the hub may have been restored from a backup, and wants to hear of it.
      if (ports.door.take(body.value) === 'older') ports.onOlderSnapshot?.();
      crashPoint('snapshot.taken');
      return;
    case 'receipt':
      handleReceipt(body.value, ports);
      return;
    case 'refusal':
      requireAuthor(signed, body.value.laneId, ports);
      requireSmall(body.value.sequence, body.value.epoch?.ordinal, body.value.highestEpoch, body.value.fencingToken);
      ports.onRefusal(body.value);
      crashPoint('refusal.recorded');
      return;
    case 'resend':
      requireAuthor(signed, body.value.laneId, ports);
      requireSmall(body.value.firstSequence, body.value.lastSequence, body.value.epoch?.ordinal);
      requireId(body.value.requestId);
      ports.onResend(body.value);
      crashPoint('resend.recorded');
      return;
    case 'receiptsWanted':
      handleReceiptsWanted(signed, body.value, ports);
      crashPoint('question.recorded');
      return;
    case 'rowsWanted':
      requireAuthor(signed, body.value.laneId, ports);
      requireSmall(body.value.epoch?.ordinal);
      await ports.onRowsWanted(body.value);
      crashPoint('rows.wanted');
      return;
    case 'booksThrough':
      requireMonitor(signed, ports);
      ports.onBooksThrough(body.value);
      crashPoint('books.through');
      return;
    case 'verifyRequest':
      requireEnd(signed, body.value.laneId, 'sender', ports);
      ports.onVerifyRequest(body.value);
      crashPoint('question.recorded');
      return;
    case 'verifyAnswer':
      requireEnd(signed, body.value.laneId, 'receiver', ports);
      ports.onVerifyAnswer(body.value);
      crashPoint('question.recorded');
      return;
    case 'actualState':
    case undefined:
      throw new QiaoError('CONTROL_INVALID', `control message ${body?.$case ?? 'without a body'} is not for an agent`);
    default:
      body satisfies never;
  }
}

function handleReceipt(signed: Signed, ports: ControlPorts): void {
  const receipt = decodeReceipt(signed);
  const laneId = idOrEmpty(receipt.laneId);
  const { lane, peer } = otherEnd(laneId, ports);
  if (idOrEmpty(receipt.platformId) !== ports.desired.current()?.platformId) {
    throw new QiaoError('RECEIPT_FOREIGN', 'the receipt is signed for another platform');
  }
  if (lane.senderId !== ports.nodeId || idOrEmpty(receipt.senderId) !== ports.nodeId) {
    throw new QiaoError('RECEIPT_FOREIGN', `the receipt is for sender ${idOrEmpty(receipt.senderId)}`);
  }
  if (idOrEmpty(receipt.receiverId) !== lane.receiverId) {
    throw new QiaoError(
      'RECEIPT_FOREIGN',
      `lane ${laneId} ends at node ${lane.receiverId}, not ${idOrEmpty(receipt.receiverId)}`,
    );
  }
  requireRights(peer);
  ports.trust.checkPeer(peer.certificate, lane.receiverId);
  ports.trust.checkSigned('qiao.receipt.v1', signed, peer.certificate);
  requireSmall(receipt.sequence, receipt.epoch?.ordinal);
  crashPoint('receipt.arrived');
  ports.onReceipt(receipt, signed);
  crashPoint('receipt.recorded');
}

function requireNotRevoked(peer: DesiredPeer): void {
  if (peer.revoked) throw new QiaoError('NODE_REVOKED', `the rights of ${peer.code} were ended`);
}

function requireRights(peer: DesiredPeer): void {
  requireNotRevoked(peer);
  // Who has put keys of its own in the place of another's must neither answer for it nor ask for it; both come again.
  if (peer.unconfirmed !== undefined) {
    throw new QiaoError('DESTINATION_UNCONFIRMED', `nobody has confirmed the keys of ${peer.code} here`);
  }
}

/** Receipts one message may ask for, as the contract says. */
const WANTED_MAX = 500;

/** Only the lane's sender may ask, for a lane that ends here. */
function handleReceiptsWanted(signed: Signed, wanted: ReceiptsWanted, ports: ControlPorts): void {
  const laneId = idOrEmpty(wanted.laneId);
  const desired = ports.desired.current();
  const lane = findLane(desired, laneId)?.lane;
  const peer = lane === undefined ? undefined : desired?.peers.get(lane.senderId);
  if (lane === undefined || peer === undefined || lane.receiverId !== ports.nodeId) {
    throw new QiaoError('LANE_UNKNOWN', `lane ${laneId} does not end at this node`);
  }
  // Receipts tell nothing of rows, and go to the node that the lane begins at: its keys may still wait for a person.
  requireNotRevoked(peer);
  ports.trust.checkPeer(peer.certificate, lane.senderId);
  ports.trust.checkSigned('qiao.control.v1', signed, peer.certificate);
  if (wanted.known.length > WANTED_MAX) {
    throw new QiaoError(
      'CONTROL_INVALID',
      `found ${wanted.known.length} receipts wanted at once, at most ${WANTED_MAX}`,
    );
  }
  requireSmall(wanted.epoch?.ordinal, ...wanted.known.map(({ sequence }) => sequence));
  ports.onReceiptsWanted(wanted, lane.senderId);
}

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** Places in a lane as the exchange database keeps them. One past that would fail at every attempt and stop this stream for all lanes. */
function requireSmall(...places: readonly (bigint | undefined)[]): void {
  if (places.every((place) => place === undefined || place < MAX_SAFE)) return;
  throw new QiaoError('CONTROL_INVALID', 'found an epoch, sequence or token past 2^53');
}

/** Ids are kept on disk: one of any length would be a place to fill. */
function requireId(id: Uint8Array): void {
  if (id.length === 0 || id.length === 16) return;
  throw new QiaoError('CONTROL_INVALID', `found a request id of ${id.length} bytes, expected 16`);
}

/** The outer signature is the hub's or that of the lane's receiver. Throws otherwise. */
function requireAuthor(signed: Signed, lane: Uint8Array, ports: ControlPorts): void {
  if (isSignedBy(signed, ports.hubCertificate, ports)) return;
  const found = otherEnd(idOrEmpty(lane), ports);
  if (found.lane.senderId !== ports.nodeId) {
    throw new QiaoError('CONTROL_FOREIGN', 'only the receiver of a lane that begins here may ask that');
  }
  requireRights(found.peer);
  ports.trust.checkPeer(found.peer.certificate, found.lane.receiverId);
  ports.trust.checkSigned('qiao.control.v1', signed, found.peer.certificate);
}

/** A forged word would let this node forget entries that nobody holds. Throws unless a monitor that the hub named signed it. */
function requireMonitor(signed: Signed, ports: ControlPorts): void {
  const desired = ports.desired.current();
  if (desired === undefined) throw new QiaoError('MONITOR_UNKNOWN', 'no snapshot yet', { fate: 'transient' });
  const monitor = desired.monitors.find((one) => isSignedBy(signed, one, ports));
  // The monitor says it again and again, so one that is not known yet need not wait for the snapshot that names it.
  if (monitor === undefined) throw new QiaoError('MONITOR_UNKNOWN', 'signed by no monitor that the hub named');
  ports.trust.checkMonitor(monitor);
}

/** By the key and not by its name in the signature: that is the certificate's, and a renewed one is for the same key. */
function isSignedBy(signed: Signed, certificate: Uint8Array, { trust }: ControlPorts): boolean {
  try {
    trust.checkSigned('qiao.control.v1', signed, certificate);
    return true;
  } catch (error) {
    if (error instanceof QiaoError) return false;
    throw error;
  }
}

/** The outer signature is that of the lane's other end, which is its sender or receiver. Not even the hub speaks for it. */
function requireEnd(signed: Signed, lane: Uint8Array, author: 'sender' | 'receiver', ports: ControlPorts): void {
  const desired = ports.desired.current();
  const found = findLane(desired, idOrEmpty(lane));
  const authorId = author === 'sender' ? found?.lane.senderId : found?.lane.receiverId;
  const ownId = author === 'sender' ? found?.lane.receiverId : found?.lane.senderId;
  const peer = authorId === undefined ? undefined : desired?.peers.get(authorId);
  if (authorId === undefined || ownId !== ports.nodeId || peer === undefined) {
    throw new QiaoError('CONTROL_FOREIGN', `only the ${author} of a lane that has its other end here may say that`);
  }
  requireRights(peer);
  ports.trust.checkPeer(peer.certificate, authorId);
  ports.trust.checkSigned('qiao.control.v1', signed, peer.certificate);
}

/** The lane and its receiver. Throws LANE_UNKNOWN (transient): the snapshot that names it may be on its way. */
function otherEnd(laneId: string, ports: ControlPorts) {
  const desired = ports.desired.current();
  const found = findLane(desired, laneId);
  const peer = found === undefined ? undefined : desired?.peers.get(found.lane.receiverId);
  if (found === undefined || peer === undefined) {
    if (desired === undefined) {
      throw new QiaoError('LANE_UNKNOWN', 'no snapshot yet', { fate: 'transient' });
    }
    throw new QiaoError('LANE_UNKNOWN', `lane ${laneId} is not among this node’s lanes`);
  }
  return { lane: found.lane, peer };
}

function decodeReceipt(signed: Signed): Receipt {
  try {
    return readMessage(Receipt, signed.payload, 'receipt');
  } catch (error) {
    throw new QiaoError('CONTROL_INVALID', 'the receipt cannot be decoded', { cause: error });
  }
}
