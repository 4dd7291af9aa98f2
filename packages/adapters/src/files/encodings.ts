/**
 * The bytes of text files. Whatever is no character of the declared encoding is refused, never replaced: a row with such bytes is left
 * out and counted. In each of the encodings LF, `"`, `,`, tab and `;` are never a part of another character, so that records are cut as bytes.
 */
import { TextDecoder } from 'node:util';
import type { FilesTable } from '../adapter.ts';

export type Encoding = FilesTable['encoding'];

/** Decodes whole records; undefined when they are not of the encoding. */
export class TextReader {
  readonly #strict: TextDecoder;
  readonly #lenient: TextDecoder;

  constructor(encoding: Encoding) {
    this.#strict = new TextDecoder(encoding, { fatal: true, ignoreBOM: true });
    this.#lenient = new TextDecoder(encoding, { ignoreBOM: true });
  }

  read(bytes: Uint8Array): string | undefined {
    try {
      return this.#strict.decode(bytes);
    } catch {
      return undefined;
    }
  }

  /** With U+FFFD for what is no character: only to find out which field it is in. */
  locate(bytes: Uint8Array): string {
    return this.#lenient.decode(bytes);
  }
}

/** Encodes texts; undefined for one with a character that the encoding does not have. */
export type TextWriter = (text: string) => Buffer | undefined;

/** Of a table's files. XLSX is UTF-8, whatever is declared. */
export function writerOf({ format, encoding }: FilesTable): TextWriter {
  return textWriter(format === 'xlsx' ? 'utf-8' : encoding);
}

function textWriter(encoding: Encoding): TextWriter {
  if (encoding === 'utf-8') return (text) => (text.isWellFormed() ? Buffer.from(text) : undefined);
  return (text) => encoded(text, encoding === 'gb18030');
}

/** GB18030 of characters up to U+FFFF: two bytes as a number below 0x10000, four bytes above, 0 for none. Made when first used. */
let basic: Uint32Array | undefined;

function encoded(text: string, withFour: boolean): Buffer | undefined {
  basic ??= basicPlane();
  const bytes = Buffer.allocUnsafe(text.length * 4);
  let at = 0;
  for (const character of text) {
    const point = character.codePointAt(0) as number;
    if (point < 0x80) {
      bytes[at++] = point;
      continue;
    }
    const code = point < 0x10000 ? basic[point] : supplementary(point);
    if (code === undefined || code === 0 || (code >= 0x10000 && !withFour)) return undefined;
    at = code < 0x10000 ? bytes.writeUInt16BE(code, at) : bytes.writeUInt32BE(code, at);
  }
  return bytes.subarray(0, at);
}

/** Asked of the decoder itself, so that what is written is read as it was. */
function basicPlane(): Uint32Array {
  const decoder = new TextDecoder('gb18030', { fatal: true });
  const table = new Uint32Array(0x10000);
  const learn = (bytes: Buffer, code: number) => {
    const point = pointOf(decoder, bytes);
    if (point !== undefined && point < 0x10000 && table[point] === 0) table[point] = code;
  };
  const two = Buffer.alloc(2);
  for (let lead = 0x81; lead <= 0xfe; lead++) {
    for (let trail = 0x40; trail <= 0xfe; trail++) {
      if (trail === 0x7f) continue;
      two[0] = lead;
      two[1] = trail;
      learn(two, two.readUInt16BE());
    }
  }
  // Four bytes of the basic plane end at 84 31 A4 39.
  for (let linear = 0; linear < 39_420; linear++) {
    const four = fourBytes(linear);
    learn(four, four.readUInt32BE());
  }
  return table;
}

function pointOf(decoder: TextDecoder, bytes: Buffer): number | undefined {
  try {
    const text = decoder.decode(bytes);
    const point = text.codePointAt(0);
    return point !== undefined && String.fromCodePoint(point) === text ? point : undefined;
  } catch {
    return undefined;
  }
}

/** The characters from U+10000 on follow each other from 90 30 81 30 on. */
function supplementary(point: number): number {
  return fourBytes(point - 0x10000 + 189_000).readUInt32BE();
}

function fourBytes(linear: number): Buffer {
  const fourth = linear % 10;
  const third = Math.floor(linear / 10) % 126;
  const second = Math.floor(linear / 1_260) % 10;
  const first = Math.floor(linear / 12_600);
  return Buffer.from([first + 0x81, second + 0x30, third + 0x81, fourth + 0x30]);
}
