/**
 * Bytes from outside into messages of the contract. A generated decoder makes an object of every two bytes, so what nobody has
 * signed yet could fill the memory of whoever asks whose it is. It is the decoder's own reader that counts: whatever counts the
 * bytes beside it reads others than the decoder does as soon as a length lies.
 */
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { QiaoError } from './errors.ts';

/** The most messages inside one, however deep. The fullest receipt has 49,000. */
const MOST_MESSAGES = 65_536;

export interface Codec<T> {
  decode(reader: BinaryReader): T;
}

/** Throws MESSAGE_UNREADABLE, also when there are more than `most` messages in the bytes, the outermost among them. */
export function readMessage<T>(codec: Codec<T>, bytes: Uint8Array, what: string, most = MOST_MESSAGES): T {
  try {
    return codec.decode(new CountingReader(bytes, most));
  } catch (cause) {
    throw new QiaoError('MESSAGE_UNREADABLE', `found ${bytes.length} bytes that are no ${what}`, { cause });
  }
}

class CountingReader extends BinaryReader {
  #left: number;
  #depth = 0;

  constructor(bytes: Uint8Array, most: number) {
    super(bytes);
    this.#left = most;
  }

  /** How deep they are: generated decoders keep it in their reader, and set it where a message begins and where it ends. */
  get __tsProtoDecodeDepth(): number {
    return this.#depth;
  }

  set __tsProtoDecodeDepth(depth: number) {
    if (depth > this.#depth && --this.#left < 0) throw new RangeError('more messages than it may hold');
    this.#depth = depth;
  }
}
