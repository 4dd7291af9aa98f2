/**
 * Text of other character sets as UTF-8, exactly as the server converts it: what each character becomes is asked of the server once, and one that
 * does not come back the same is refused, as a snapshot refuses it. The log carries the bytes as they are stored.
 */
import { QiaoError } from '@qiao/exchange';
import type { Session } from './session.ts';
import { literal } from './sql.ts';

/** Writes text as UTF-8; gives the place behind it, or -1 for a character that has no equal. `into` has room for four bytes a byte. */
export type CharsetReader = (from: Buffer, start: number, end: number, into: Buffer, to: number) => number;

/** Sets whose bytes are UTF-8 already. */
const UTF8 = /^(utf8|utf8mb3|utf8mb4|ascii|binary)$/;

/** Sets of one byte, and of two whose second belongs to the first whatever it is. Others are not read: `gb18030`, `ujis`, `eucjpms`. */
const MOST_BYTES = 2;

/** By character set; undefined where the bytes are UTF-8. Throws LOG_CHARSET for one that is not read. */
export async function charsetReaders(
  session: Session,
  charsets: readonly string[],
): Promise<ReadonlyMap<string, CharsetReader | undefined>> {
  const readers = new Map<string, CharsetReader | undefined>();
  for (const charset of new Set(charsets)) {
    if (UTF8.test(charset)) readers.set(charset, undefined);
    else readers.set(charset, wideReader(charset) ?? (await tableReader(session, charset)));
  }
  return readers;
}

/** Whether `charsetReaders` knows it; `mostBytes` of a character. */
export function isReadable(charset: string, mostBytes: number): boolean {
  return UTF8.test(charset) || wideReader(charset) !== undefined || mostBytes <= MOST_BYTES;
}

function wideReader(charset: string): CharsetReader | undefined {
  switch (charset) {
    case 'utf16':
    case 'ucs2':
      return (from, start, end, into, to) => readUtf16(from, start, end, into, to, 1, 0);
    case 'utf16le':
      return (from, start, end, into, to) => readUtf16(from, start, end, into, to, 0, 1);
    case 'utf32':
      return readUtf32;
    default:
      return undefined;
  }
}

function readUtf16(
  from: Buffer,
  start: number,
  end: number,
  into: Buffer,
  begin: number,
  low: 0 | 1,
  high: 0 | 1,
): number {
  let to = begin;
  for (let at = start; at < end; at += 2) {
    let code = ((from[at + high] as number) << 8) | (from[at + low] as number);
    if (code >= 0xd800 && code < 0xdc00) {
      at += 2;
      if (at >= end) return -1;
      const second = ((from[at + high] as number) << 8) | (from[at + low] as number);
      if (second < 0xdc00 || second > 0xdfff) return -1;
      code = 0x10000 + ((code - 0xd800) << 10) + (second - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) return -1;
    to = writeUtf8(into, to, code);
  }
  return to;
}

function readUtf32(from: Buffer, start: number, end: number, into: Buffer, begin: number): number {
  let to = begin;
  for (let at = start; at < end; at += 4) {
    const code = from.readUInt32BE(at);
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return -1;
    to = writeUtf8(into, to, code);
  }
  return to;
}

function writeUtf8(into: Buffer, begin: number, code: number): number {
  let to = begin;
  if (code < 0x80) into[to++] = code;
  else if (code < 0x800) {
    into[to++] = 0xc0 | (code >> 6);
    into[to++] = 0x80 | (code & 0x3f);
  } else if (code < 0x10000) {
    into[to++] = 0xe0 | (code >> 12);
    into[to++] = 0x80 | ((code >> 6) & 0x3f);
    into[to++] = 0x80 | (code & 0x3f);
  } else {
    into[to++] = 0xf0 | (code >> 18);
    into[to++] = 0x80 | ((code >> 12) & 0x3f);
    into[to++] = 0x80 | ((code >> 6) & 0x3f);
    into[to++] = 0x80 | (code & 0x3f);
  }
  return to;
}

const DIGITS = Array.from({ length: 16 }, (_, digit) => `SELECT '${digit.toString(16)}' h`).join(' UNION ALL ');

/** What each sequence of so many bytes becomes, where it is a character that comes back the same. */
function characters(charset: string, bytes: 1 | 2): string {
  const digits = Array.from({ length: 2 * bytes }, (_, place) => `d${place}`);
  const found = `CONVERT(UNHEX(x.h) USING ${charset})`;
  return `SELECT x.h, HEX(CONVERT(${found} USING utf8mb4))
    FROM (SELECT CONCAT(${digits.map((digit) => `${digit}.h`).join(', ')}) h FROM ${digits.map((digit) => `(${DIGITS}) ${digit}`).join(', ')}) x
   WHERE HEX(${found}) = UPPER(x.h) AND CHAR_LENGTH(${found}) = 1 AND HEX(CONVERT(CONVERT(${found} USING utf8mb4) USING ${charset})) = UPPER(x.h)`;
}

const tables = new Map<string, readonly (Buffer | undefined)[]>();

/** A character set means the same on every server of a version: asked once in the life of the process. */
async function tableReader(session: Session, charset: string): Promise<CharsetReader> {
  const name = `${session.server.version} ${charset}`;
  const known = tables.get(name) ?? (await readTable(session, charset));
  tables.set(name, known);
  return (from, start, end, into, begin) => {
    let to = begin;
    for (let at = start; at < end; at++) {
      const byte = from[at] as number;
      let text = known[byte];
      if (text === undefined) {
        at += 1;
        text = at < end ? known[0x100 + ((byte << 8) | (from[at] as number))] : undefined;
        if (text === undefined) return -1;
      }
      if (text.length === 1) into[to++] = text[0] as number;
      else to += text.copy(into, to);
    }
    return to;
  };
}

async function readTable(session: Session, charset: string): Promise<readonly (Buffer | undefined)[]> {
  const [row] = await session.rows(
    `SELECT MAXLEN FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME = ${literal(charset)}`,
  );
  const most = Number(row?.[0] ?? 0);
  if (most !== 1 && most !== 2) throw new QiaoError('LOG_CHARSET', `text of ${charset} is not read from the log`);
  const known: (Buffer | undefined)[] = Array.from({ length: most === 1 ? 0x100 : 0x10100 });
  for (const [hex, text] of await session.rows(characters(charset, 1)))
    known[Number.parseInt(hex ?? '', 16)] = Buffer.from(text ?? '', 'hex');
  if (most === 1) return known;
  for (const [hex, text] of await session.rows(characters(charset, 2)))
    known[0x100 + Number.parseInt(hex ?? '', 16)] = Buffer.from(text ?? '', 'hex');
  return known;
}
