/** The hub's answer to a hello, read: agents and monitors say hello alike. */
import { HelloReply } from '@qiao/contract/control';
import { NodeSnapshot } from '@qiao/contract/node';
import { QiaoError } from './errors.ts';
import { readMessage } from './readMessage.ts';

/** Throws HELLO_INVALID (transient). */
export function readHelloReply(bytes: Uint8Array): HelloReply {
  return decoded(() => readMessage(HelloReply, bytes, 'answer'));
}

/** When the hub wrote the snapshot that stands in the answer, whose signature is not looked at; 0 without one. Throws HELLO_INVALID. */
export function snapshotWrittenAtMs({ snapshot }: HelloReply): number {
  return snapshot === undefined
    ? 0
    : Number(decoded(() => readMessage(NodeSnapshot, snapshot.payload, 'snapshot')).writtenAtMs);
}

function decoded<T>(decode: () => T): T {
  try {
    return decode();
  } catch {
    throw new QiaoError('HELLO_INVALID', 'the answer to the hello cannot be read', {
      hint: 'compare the versions of hub and node: qiao node list',
      fate: 'transient',
    });
  }
}
