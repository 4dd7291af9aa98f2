/** Lines of a log as they are decoded, one behind the other in memory that is taken for many at once; the same for every log. */

/** At least so much is taken. */
const SLAB_BYTES = 256 * 1024;

/** Where each value of a row lies in the bytes that hold it. A length of -1 is null, of -2 a value that was not sent. */
export interface RowPlaces {
  readonly starts: Int32Array;
  readonly lengths: Int32Array;
}

export class LineSlab {
  #bytes = Buffer.alloc(0);
  #used = 0;

  /** Holds the line that is being written. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  /** Where a line begins that has no more bytes than these. */
  begin(most: number): number {
    if (this.#used + most > this.#bytes.length) {
      this.#bytes = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, most));
      this.#used = 0;
    }
    return this.#used;
  }

  /** The line, whose last byte lies before this place. */
  end(to: number): Buffer {
    const line = this.#bytes.subarray(this.#used, to);
    this.#used = to;
    return line;
  }
}

/** Whether both have the same bytes in these columns. Nearly every update leaves the key alone: then nothing has to be written to find that out. */
export function isSameKey(
  bytes: Buffer,
  before: RowPlaces,
  after: RowPlaces,
  from: Int32Array,
  keyColumns: number,
): boolean {
  for (let place = 0; place < keyColumns; place++) {
    const column = from[place] as number;
    const length = before.lengths[column] as number;
    if (length !== after.lengths[column]) return false;
    if (length <= 0) continue;
    const [a, b] = [before.starts[column] as number, after.starts[column] as number];
    if (bytes.compare(bytes, a, a + length, b, b + length) !== 0) return false;
  }
  return true;
}
