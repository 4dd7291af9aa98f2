// How control messages look on the bus: always a Signed (context qiao.control.v1) around a ControlMessage. Receipts and
// snapshots inside carry their own signature besides, and it is that one that counts for them.

import { ControlMessage } from '@qiao/contract/control';
import { Signed } from '@qiao/contract/signed';
import { QiaoError, readMessage } from '@qiao/exchange';

export interface ControlSigner {
  sign(context: 'qiao.control.v1', payload: Uint8Array): Signed;
}

/** Bytes for the bus. */
export function encodeControl(message: ControlMessage, signer: ControlSigner): Uint8Array {
  return Signed.encode(signer.sign('qiao.control.v1', ControlMessage.encode(message).finish())).finish();
}

export interface DecodedControl {
  readonly message: ControlMessage;
  /** The outer signature, not yet verified: whose it must be depends on what the message says. */
  readonly signed: Signed;
}

/** Reads bytes of a control stream. Throws CONTROL_INVALID. */
export function decodeControl(bytes: Uint8Array): DecodedControl {
  let signed: Signed;
  let message: ControlMessage;
  try {
    signed = readMessage(Signed, bytes, 'signed message');
    message = readMessage(ControlMessage, signed.payload, 'control message');
  } catch (error) {
    throw new QiaoError('CONTROL_INVALID', 'the control message cannot be decoded', { cause: error });
  }
  if (message.body === undefined) {
    throw new QiaoError('CONTROL_INVALID', 'the control message says nothing this agent reads');
  }
  return { message, signed };
}
