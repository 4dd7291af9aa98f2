/**
 * Reads protobuf's wire format one field at a time, so that content.ts can stop a hostile message before it becomes a
 * hundred million objects (the generated decoder builds them all first). Knows no message; views, never copies.
 */
import type { QiaoError } from './errors.ts';

/** A cursor over one message. `refuse` makes the error for damaged bytes. */
export class WireReader {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  readonly #refuse: (found: string) => QiaoError;
  #position: number;

  constructor(bytes: Uint8Array, refuse: (found: string) => QiaoError, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#refuse = refuse;
    this.#position = start;
    this.#end = end;
  }

  get isAtEnd(): boolean {
    return this.#position >= this.#end;
  }

  /** Field number and wire type as one number: `number * 8 + type`. Fields above 30 are unknown to this house. */
  tag(): number {
    const tag = this.number();
    if (tag < 8 || tag > 30 * 8 + 7) throw this.#refuse(`field ${tag >>> 3} that no version knows`);
    return tag;
  }

  /** A varint of at most 32 bits. */
  number(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      if (this.#position >= this.#end) throw this.#refuse('a number cut short');
      const byte = this.#bytes[this.#position++] as number;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) {
        if (value > 0xffff_ffff) break;
        return value;
      }
    }
    throw this.#refuse('a number over 32 bits');
  }

  /** Length-delimited bytes, as a view. */
  bytes(): Uint8Array {
    const [start, end] = this.#take();
    return this.#bytes.subarray(start, end);
  }

  /** Length-delimited UTF-8 of at most `maxBytes`. */
  text(maxBytes: number): string {
    const bytes = this.bytes();
    if (bytes.length > maxBytes) throw this.#refuse(`a name of ${bytes.length} bytes; expected at most ${maxBytes}`);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  }

  /** A message inside this one. */
  message(): WireReader {
    const [start, end] = this.#take();
    return new WireReader(this.#bytes, this.#refuse, start, end);
  }

  #take(): [start: number, end: number] {
    const length = this.number();
    const start = this.#position;
    if (length > this.#end - start) {
      throw this.#refuse(`a field of ${length} bytes where ${this.#end - start} are left`);
    }
    this.#position = start + length;
    return [start, this.#position];
  }
}
