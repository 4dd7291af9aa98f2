// Is this message what it says, and for us? Everything that can be known of a delivery without its target: shape, addressee,
// the sender's signature, the part's hash. What is not yet knowable (a lane the snapshot has not brought) is `unknown`, to be
// tried again; what is wrong is `refused` or `dropped`; the rest is a verified delivery.

import { createHash } from 'node:crypto';
import { RefusalFate } from '@qiao/contract/control';
import type { DeliveryHeader } from '@qiao/contract/delivery';
import { Signed } from '@qiao/contract/signed';
import { checkHeader, QiaoError, type ReadDelivery, readDelivery, sameBytes } from '@qiao/exchange';
import { type Desired, type DesiredBridge, type DesiredLane, findLane } from '../control/desired.ts';
import { idOrEmpty, type Trust } from '../control/trust.ts';

export interface VerifiedDelivery {
  readonly header: DeliveryHeader;
  /** Encoded Signed, as it was received. */
  readonly signedHeader: Uint8Array;
  /** SHA-256 of the signed payload. */
  readonly headerHash: Uint8Array;
  readonly part: number;
  readonly body: Uint8Array;
  readonly bridge: DesiredBridge;
  readonly lane: DesiredLane;
}

export type Intake =
  | { readonly kind: 'delivery'; readonly delivery: VerifiedDelivery }
  /** Our own knowledge may be old: a newer snapshot may explain it. */
  | { readonly kind: 'unknown'; readonly code: string; readonly message: string; readonly laneId: string }
  /** Genuine, but unusable: its sender is told. */
  | {
      readonly kind: 'refused';
      readonly header: DeliveryHeader;
      readonly lane: DesiredLane;
      readonly code: string;
      readonly message: string;
      readonly fate: RefusalFate;
    }
  /** Never part of a lane: forged, foreign or unreadable. Nobody is answered, for nobody is known to have sent it. */
  | { readonly kind: 'dropped'; readonly code: string; readonly message: string };

export interface IntakePorts {
  readonly nodeId: string;
  readonly platformId: string;
  desired(): Desired | undefined;
  readonly trust: Trust;
  /** Name of this node's sealing key, as headers say it; undefined without a key. */
  readonly sealedFor: Uint8Array | undefined;
}

export function takeIn(bytes: Uint8Array, ports: IntakePorts): Intake {
  let read: ReadDelivery;
  try {
    read = readDelivery(bytes);
    checkHeader(read.header);
  } catch (error) {
    return { kind: 'dropped', code: codeOf(error, 'DELIVERY_INVALID'), message: textOf(error) };
  }
  const { header, signed, body } = read;
  const laneId = idOrEmpty(header.laneId);
  if (idOrEmpty(header.receiverId) !== ports.nodeId || idOrEmpty(header.platformId) !== ports.platformId) {
    return { kind: 'dropped', code: 'DELIVERY_FOREIGN', message: `it is for node ${idOrEmpty(header.receiverId)}` };
  }
  const desired = ports.desired();
  const found = findLane(desired, laneId);
  if (found === undefined || found.lane.receiverId !== ports.nodeId) {
    return { kind: 'unknown', code: 'LANE_UNKNOWN', message: `lane ${laneId} is not among this node’s lanes`, laneId };
  }
  const { bridge, lane } = found;
  const peer = desired?.peers.get(lane.senderId);
  if (
    idOrEmpty(header.senderId) !== lane.senderId ||
    idOrEmpty(header.bridgeId) !== bridge.bridgeId ||
    peer === undefined
  ) {
    return { kind: 'dropped', code: 'DELIVERY_FOREIGN', message: `lane ${laneId} has another sender or bridge` };
  }
  if (peer.revoked) {
    // Whoever holds the stolen key could have written it. The node that joins again sends what has no receipt anew.
    return { kind: 'dropped', code: 'SENDER_REVOKED', message: `the rights of ${peer.code} were ended` };
  }
  try {
    // Asked at each delivery: the certificate that held when the snapshot came may have ended since.
    ports.trust.checkPeer(peer.certificate, lane.senderId);
    ports.trust.checkSigned('qiao.delivery.v1', signed, peer.certificate);
  } catch (error) {
    const code = codeOf(error, 'SIGNATURE_INVALID');
    // Another key of the same node: it may have joined again, and the snapshot that says so is on its way.
    if (code === 'KEY_MISMATCH') return { kind: 'unknown', code, message: textOf(error), laneId };
    return { kind: 'dropped', code, message: textOf(error) };
  }
  const refused = (code: string, why: string, fate: RefusalFate): Intake => ({
    kind: 'refused',
    header,
    lane,
    code,
    message: why,
    fate,
  });
  if (isSealedForAnother(header, ports.sealedFor)) {
    return refused('KEY_UNKNOWN', KEY_UNKNOWN_WHY, RefusalFate.RESEND);
  }
  const part = header.parts[read.part];
  if (header.parts.length > 0) {
    const hash = createHash('sha256').update(body).digest();
    if (part === undefined || part.bytes !== body.length || !hash.equals(part.sha256)) {
      return refused('BODY_TAMPERED', `part ${read.part} is not the one that the header signs`, RefusalFate.RESEND);
    }
  } else if (read.part !== 0 || body.length > 0) {
    return refused('BODY_TAMPERED', 'the message has a body, its header signs none', RefusalFate.RESEND);
  }
  return {
    kind: 'delivery',
    delivery: {
      header,
      signedHeader: Signed.encode(signed).finish(),
      headerHash: createHash('sha256').update(signed.payload).digest(),
      part: read.part,
      body,
      bridge,
      lane,
    },
  };
}

export const KEY_UNKNOWN_WHY = 'the body is sealed for a key that this node had before it joined again';

/** A header of an older program names no key: then only opening the body tells. */
export function isSealedForAnother(header: DeliveryHeader, own: Uint8Array | undefined): boolean {
  return header.sealedFor.length > 0 && own !== undefined && !sameBytes(header.sealedFor, own);
}

function codeOf(error: unknown, otherwise: string): string {
  return error instanceof QiaoError ? error.code : otherwise;
}

function textOf(error: unknown): string {
  return error instanceof QiaoError ? error.message : 'the message cannot be decoded';
}
