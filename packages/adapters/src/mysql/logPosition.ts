/**
 * Places in the binary log. A place is a file and an offset in it, which order the transactions of one server exactly; beside it stand what prove that
 * it is the same log: the last GTID of each replication domain, in MySQL of each source and tag, and the second at which the file was begun. Written
 * `0-1-4711@binlog.000003:52718#1763830000`, in MySQL `9ac4…:4711@binlog.000003:52718#1763830000`.
 */
import { QiaoError } from '@qiao/exchange';

export interface LogPosition extends LogPlace {
  /**
   * Domain → `domain-server-sequence` of its last transaction before the place; domains that were not met are absent. In MySQL source, or source and tag,
   * → the same and its number.
   */
  readonly gtids: ReadonlyMap<string, string>;
  /** Seconds since 1970; 0: not known. */
  readonly fileBegunAt: number;
}

export interface LogPlace {
  readonly file: string;
  readonly offset: number;
}

/** Where a file's events begin. */
export const FIRST_OFFSET = 4;

const POSITION = /^([\da-z_:,-]*)@([^\0]+\.(\d+)):(\d{1,15})#(\d{1,10})$/;

/** Reads a position. Throws LOG_POSITION_INVALID. */
export function parsePosition(text: string): LogPosition {
  const found = POSITION.exec(text);
  if (found === null) throw invalid();
  return {
    gtids: parseGtids(found[1] ?? ''),
    file: found[2] ?? '',
    offset: Number(found[4]),
    fileBegunAt: Number(found[5]),
  };
}

export function positionText({ gtids, file, offset, fileBegunAt }: LogPosition): string {
  return `${[...gtids.values()].join(',')}@${file}:${offset}#${fileBegunAt}`;
}

/** A place of which nothing else is known. */
export function placeText({ file, offset }: LogPlace): string {
  return `@${file}:${offset}#0`;
}

export function parseGtids(text: string): Map<string, string> {
  const each = text.split(',').filter((gtid) => gtid !== '');
  return new Map(each.map((gtid) => [domainOf(gtid), gtid]));
}

function domainOf(gtid: string): string {
  const colon = gtid.lastIndexOf(':');
  return gtid.slice(0, colon === -1 ? gtid.indexOf('-') : colon);
}

/** Negative when `a` lies before `b`. The files of a server are numbered; their names are as long as the number needs. */
export function comparePlaces(a: LogPlace, b: LogPlace): number {
  return a.file === b.file ? a.offset - b.offset : fileNumber(a.file) - fileNumber(b.file);
}

let parsedLast = new Map<string, LogPosition>();

/** Negative when the first position lies before the second. Throws LOG_POSITION_INVALID. */
export function comparePositions(a: string, b: string): number {
  return comparePlaces(remembered(a), remembered(b));
}

/** The same few positions are compared again and again. Throws LOG_POSITION_INVALID. */
export function remembered(text: string): LogPosition {
  let position = parsedLast.get(text);
  if (position === undefined) {
    if (parsedLast.size >= 64) parsedLast = new Map();
    position = parsePosition(text);
    parsedLast.set(text, position);
  }
  return position;
}

function fileNumber(file: string): number {
  return Number(file.slice(file.lastIndexOf('.') + 1));
}

function invalid(): QiaoError {
  return new QiaoError('LOG_POSITION_INVALID', 'found a position that is no place in the binary log');
}
