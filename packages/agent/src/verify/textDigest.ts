/**
 * One keyed digest of many rows, in the order in which they come. Two ends with the same one hold the same rows; with another they
 * may hold the same in another order, and only the sums of rows tell.
 */
import type { ComparisonKey } from '@qiao/security';

const LF = 0x0a;
/** Lines are gathered: to hash each alone costs what a digest of its own does. */
const BLOCK_BYTES = 64 * 1024;
const LINE_END = Buffer.from([LF]);

export class TextDigest {
  readonly #hmac: ReturnType<ComparisonKey['text']>;
  readonly #block = Buffer.allocUnsafe(BLOCK_BYTES);
  #length = 0;
  #rows = 0;

  constructor(key: Pick<ComparisonKey, 'text'>) {
    this.#hmac = key.text();
  }

  /** The compared fields of a row, without LF. */
  add(line: Uint8Array): void {
    this.#rows += 1;
    if (this.#length + line.length + 1 > BLOCK_BYTES) this.#flush();
    if (line.length + 1 > BLOCK_BYTES) {
      this.#hmac.update(line).update(LINE_END);
      return;
    }
    this.#block.set(line, this.#length);
    this.#length += line.length;
    this.#block[this.#length++] = LF;
  }

  get rows(): number {
    return this.#rows;
  }

  /** 32 bytes; nothing is added afterwards. */
  digest(): Uint8Array {
    this.#flush();
    return this.#hmac.digest();
  }

  #flush(): void {
    this.#hmac.update(this.#block.subarray(0, this.#length));
    this.#length = 0;
  }
}
