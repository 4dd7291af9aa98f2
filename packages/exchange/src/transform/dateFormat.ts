/**
 * Dates written one way into dates written another, by patterns of `yyyy M MM d dd HH mm ss`: 20240131, 2024年1月31日. A date that
 * does not exist, or a time that the new way cannot show, is refused.
 */
import { checkValue } from '../checkValue.ts';
import type { ColumnType } from '../columnType.ts';

type Part = { field: Field; digits: number; mayBeShort: boolean } | { text: string };
type Field = 'y' | 'M' | 'd' | 'H' | 'm' | 's';
type Moment = Record<Field, string>;

/** What a bridge may write beside patterns. */
const DATE_TYPES = ['date', 'timestamp'] as const;

/** Why a text is neither a pattern nor one of the types; undefined when it is. */
export function datePatternProblem(text: string, mayBeType: boolean): string | undefined {
  if (mayBeType && isDateType(text)) return undefined;
  const parts = partsOf(text);
  if (parts === undefined) return 'a pattern of yyyy, MM, dd, HH, mm, ss, M and d, such as yyyyMMdd';
  const fields = parts.flatMap((part) => ('field' in part ? [part.field] : []));
  if (new Set(fields).size !== fields.length) return 'a pattern that names each part of a date once';
  if (!['y', 'M', 'd'].every((field) => fields.includes(field as Field))) {
    return 'a pattern with year, month and day; to keep less of a date write generalise:';
  }
  const touches = parts.some((part, index) => {
    const next = parts[index + 1];
    return 'field' in part && next !== undefined && 'field' in next && (part.mayBeShort || next.mayBeShort);
  });
  return touches ? 'M and d beside other signs than digits; write MM and dd there' : undefined;
}

export interface CompiledDateFormat {
  type: ColumnType;
  convert(text: string): string | undefined;
}

/** A string says why the column cannot be read so. Patterns must have been checked. */
export function compileDateFormat(
  { from, to }: { from?: string; to: string },
  source: ColumnType,
): CompiledDateFormat | string {
  if (from === undefined) {
    if (source.type !== 'date' && source.type !== 'timestamp') return 'a column of dates or timestamps, or from:';
  } else if (source.type !== 'text' && source.type !== 'integer') return 'a column of text or integers with from:';
  const read = from === undefined ? momentOfValue : compileReader(partsOf(from) as Part[]);
  const { type, write } = compileWriter(to);
  return {
    type,
    convert(text) {
      const moment = read(text);
      return moment === undefined || checkValue(MOMENT, timestampOf(moment)) !== undefined ? undefined : write(moment);
    },
  };
}

const MOMENT: ColumnType = { type: 'timestamp', digits: 0 };

function isDateType(text: string): text is (typeof DATE_TYPES)[number] {
  return (DATE_TYPES as readonly string[]).includes(text);
}

const TOKEN = /yyyy|MM?|dd?|HH|mm|ss|T|[^A-Za-z0-9]/gu;

function partsOf(pattern: string): Part[] | undefined {
  const parts: Part[] = [];
  let length = 0;
  for (const [token] of pattern.matchAll(TOKEN)) {
    length += token.length;
    if (/^[yMdHms]/.test(token)) {
      const digits = token.length === 1 ? 2 : token.length;
      parts.push({ field: token[0] as Field, digits, mayBeShort: token.length === 1 });
    } else parts.push({ text: token });
  }
  return length === pattern.length ? parts : undefined;
}

function compileReader(parts: readonly Part[]): (text: string) => Moment | undefined {
  const fields = parts.flatMap((part) => ('field' in part ? [part.field] : []));
  const source = parts.map((part) => {
    if (!('field' in part)) return part.text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
    return part.mayBeShort ? '([1-9]\\d?)' : `(\\d{${part.digits}})`;
  });
  const shape = new RegExp(`^${source.join('')}$`, 'u');
  return (text) => {
    const found = shape.exec(text);
    if (found === null) return undefined;
    const moment: Moment = { y: '', M: '', d: '', H: '00', m: '00', s: '00' };
    for (const [index, field] of fields.entries()) moment[field] = (found[index + 1] as string).padStart(2, '0');
    return moment;
  };
}

/** Canonical text; infinity, years past four digits and fractions of a second have no pattern. */
function momentOfValue(text: string): Moment | undefined {
  const found = /^(\d{4})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d))?$/.exec(text);
  if (found === null) return undefined;
  const [, y = '', M = '', d = '', H = '00', m = '00', s = '00'] = found;
  return { y, M, d, H, m, s };
}

function compileWriter(to: string): { type: ColumnType; write(moment: Moment): string | undefined } {
  if (to === 'timestamp') return { type: MOMENT, write: timestampOf };
  const parts = to === 'date' ? (partsOf('yyyy-MM-dd') as Part[]) : (partsOf(to) as Part[]);
  const missing = (['H', 'm', 's'] as const).filter(
    (field) => !parts.some((part) => 'field' in part && part.field === field),
  );
  const longest = parts.reduce((sum, part) => sum + ('field' in part ? part.digits : 1), 0);
  return {
    type: to === 'date' ? { type: 'date' } : { type: 'text', maxLength: longest },
    write(moment) {
      if (missing.some((field) => moment[field] !== '00')) return undefined;
      return parts.map((part) => ('field' in part ? fieldText(moment, part) : part.text)).join('');
    },
  };
}

function fieldText(moment: Moment, { field, mayBeShort }: { field: Field; mayBeShort: boolean }): string {
  return mayBeShort ? moment[field].replace(/^0/, '') : moment[field];
}

function timestampOf({ y, M, d, H, m, s }: Moment): string {
  return `${y}-${M}-${d} ${H}:${m}:${s}`;
}
