// How control messages look on the bus: always a Signed (context qiao.control.v1) around a ControlMessage. Receipts and
// snapshots inside carry their own signature besides, and it is that one that counts for them.

import { ControlMessage } from '@qiao/contract/control';
import { Signed } from '@qiao/contract/signed';
import { QiaoError } from '@qiao/exchange';

export interface ControlSigner {
  sign(context: 'qiao.control.v1', payload: Uint8Array): Signed;
}

/** Bytes for the bus. */
export function encodeControl(message: ControlMessage, signer: ControlSigner): Uint8Array {
  return Signed.encode(signer.sign('qiao.control.v1', ControlMessage.encode(message).finish())).finish();
}

export interface DecodedControl {
  readonly message: ControlMessage;
  /** The outer signature; absent for messages that carry their own. */
  readonly signed: Signed | undefined;
}

/** Reads bytes of a control stream. Throws CONTROL_INVALID. */
export function decodeControl(bytes: Uint8Array): DecodedControl {
  const signed = asSigned(bytes);
  const message = decodeMessage(signed?.payload ?? bytes);
  if (message.body === undefined)
    throw new QiaoError('CONTROL_INVALID', 'the control message says nothing this agent reads');
  const carriesOwn = message.body.$case === 'receipt' || message.body.$case === 'snapshot';
  if (signed === undefined && !carriesOwn) {
    throw new QiaoError('CONTROL_INVALID', `a control message of kind ${message.body.$case} came without a signature`);
  }
  return { message, signed };
}

/** Undefined when the bytes are not a Signed: its key id has 32 bytes and a suite, which a bare ControlMessage never shows there. */
function asSigned(bytes: Uint8Array): Signed | undefined {
  try {
    const signed = Signed.decode(bytes);
    return signed.keyId.length === 32 && signed.suite.length > 0 && signed.signature.length > 0 ? signed : undefined;
  } catch {
    return undefined;
  }
}

function decodeMessage(bytes: Uint8Array): ControlMessage {
  try {
    return ControlMessage.decode(bytes);
  } catch (error) {
    throw new QiaoError('CONTROL_INVALID', 'the control message cannot be decoded', { cause: error });
  }
}
