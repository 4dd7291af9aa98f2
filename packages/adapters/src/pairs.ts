/**
 * Types by pair: what becomes of the values of one column in a column of one database. `fit` judges the logical types; this file adds what a
 * database's own column lacks beside its logical type, and says it in the words of the preflight (D4 of adapter.ts). Every adapter's
 * `checkTarget` asks here, and the pairs in its TYPES.md are written from here, so that check, documents and landing agree.
 */
import { type ColumnType, type Fit, fit, longestText, type Problem, pairText, typeText } from '@qiao/exchange';
import type { DataSourceConfig, DescribedType, SourceShape, TargetTable } from './adapter.ts';

/** Of a database that rows land in. */
export type TargetAdapter = Extract<DataSourceConfig['adapter'], 'postgres' | 'mysql' | 'sqlite'>;

/** The column of a target, as far as types go. */
export interface PairedColumn {
  readonly type: DescribedType;
  /** As the database writes it. */
  readonly nativeType: string;
}

/** What single values of an exact or lossy pair may be that the column does not hold: rows with one are isolated, never altered. */
export type Limit = keyof typeof LIMITS;

interface LimitWords {
  readonly says: string;
  /** Met in ordinary tables: the check warns of it. */
  readonly isOrdinary?: true;
}

const LIMITS = {
  notFinite: { says: 'NaN and infinities' },
  notANumber: { says: 'NaN' },
  minusZero: { says: '-0' },
  years: { says: 'infinity and years outside 1 to 9999' },
  yearsOfTimestamp: { says: 'times outside 1970-01-01 00:00:01 to 2038-01-19 03:14:07 UTC', isOrdinary: true },
  midnight24: { says: '24:00:00' },
  bytesOfText: { says: 'texts whose characters take more bytes than the column holds', isOrdinary: true },
  otherLength: { says: 'values shorter than the column', isOrdinary: true },
  above63Bits: { says: 'numbers above 9223372036854775807' },
  digits15: { says: 'fractions of more than 15 digits' },
  negative: { says: 'negative numbers', isOrdinary: true },
  rounded: { says: 'numbers that the column would round or has no room for', isOrdinary: true },
  exponent: { says: 'numbers that are written with an exponent' },
  bareNumber: { says: 'documents that are a bare number' },
  notJson: { says: 'texts that are no JSON' },
} as const satisfies Record<string, LimitWords>;

export interface PairFit {
  readonly fit: Fit;
  readonly isolates: readonly Limit[];
}

/** What a pair does to values. */
export function judgePair(source: ColumnType, adapter: TargetAdapter, column: PairedColumn): PairFit {
  const { type } = column;
  if ('unsupported' in type) {
    return { fit: { kind: 'refused', why: `${type.unsupported || 'no type'} promises nothing` }, isolates: [] };
  }
  const judged = fit(source, type);
  return { fit: judged, isolates: judged.kind === 'refused' ? [] : limitsOf(source, adapter, type, column.nativeType) };
}

export function limitText(limit: Limit): string {
  return LIMITS[limit].says;
}

/** The type of a column that a database makes for values whose own type it does not have: one that holds each of them as it is. */
export function homeOf(type: ColumnType, adapter: TargetAdapter): ColumnType {
  const isForeign = type.type === 'native' && type.system !== adapter;
  const isTooWide = adapter === 'sqlite' && type.type === 'integer' && type.bits === 64 && type.unsigned === true;
  if (!isForeign && !isTooWide) return type;
  const length = longestText(type);
  const text: ColumnType = { type: 'text', ...(Number.isFinite(length) ? { maxLength: length } : {}) };
  const homes: ColumnType[] = [{ type: 'integer', bits: 16 }, { type: 'decimal', precision: 20, scale: 0 }, text];
  return homes.find((home) => fit(type, home).kind === 'exact') ?? type;
}

/** The problems of types between what is sent and the columns of one target table; columns that are missing are told elsewhere. */
export function pairProblems(
  { table: label, key, landing }: Pick<TargetTable, 'table' | 'key' | 'landing'>,
  shape: SourceShape | undefined,
  adapter: TargetAdapter,
  columnOf: (name: string) => PairedColumn | undefined,
  /** The statement that gives a column another type; undefined where none does. */
  retype: (name: string, type: ColumnType) => string | undefined = () => undefined,
): Problem[] {
  return (shape?.columns ?? []).flatMap(({ name, type: source, stored }): Problem[] => {
    const column = columnOf(name);
    if (column === undefined) return [];
    const path = `${label}.${name}`;
    const pair = judgePair(source, adapter, column);
    const into = `column ${name}: ${typeText(source)} into ${column.nativeType || 'a column without a type'}`;
    if (pair.fit.kind === 'refused') {
      const statement = retype(name, source);
      const hint = `${statement ?? 'widen the column of the target'} or convert the value in the bridge (cast:), or leave it out of \`columns\``;
      return [{ code: 'TYPE_REFUSED', path, message: `${into}: ${pair.fit.why}`, hint }];
    }
    const problems: Problem[] = [];
    if (pair.fit.kind === 'lossy') {
      const isKey = landing === 'mirror' && key.includes(name);
      if (isKey && 'type' in column.type && pairText(source, column.type).kind === 'none') {
        const message = `${into}: ${pair.fit.why}, so that two keys of the source could meet in one row`;
        return [
          {
            code: 'TYPE_REFUSED',
            path,
            message,
            hint: 'give the key column of the target a type that keeps every key',
          },
        ];
      }
      const hint = 'agree to it, give the target a column that keeps the value, or leave it out of `columns`';
      problems.push({ code: 'TYPE_LOSSY', path, message: `${into}: ${pair.fit.why}`, hint, warning: true });
    }
    const ordinary = pair.isolates
      .filter((limit) => 'isOrdinary' in LIMITS[limit] || isWideDecimal(source, limit))
      .filter((limit) => stored?.adapter !== adapter || !isBounded(stored.nativeType, limit, column.nativeType));
    if (ordinary.length > 0) {
      const message = `${into}: rows with ${ordinary.map(limitText).join(', and with ')} will be quarantined`;
      const hint = 'give the target a column that holds them, or filter them at the source (where:)';
      problems.push({ code: 'TYPE_NARROW', path, message, hint, warning: true });
    }
    return problems;
  });
}

/** The values come from a column of the same database that holds no more than this one: a warning would stand at every such table. */
function isBounded(fromType: string, limit: Limit, intoType: string): boolean {
  const [from, into] = [fromType.toLowerCase(), intoType.toLowerCase()];
  switch (limit) {
    case 'yearsOfTimestamp':
      return from.startsWith('timestamp');
    case 'negative':
      return from.includes('unsigned');
    case 'bytesOfText':
      return (TEXT_BYTES[from] ?? Number.POSITIVE_INFINITY) <= (TEXT_BYTES[into] ?? 0);
    case 'digits15':
      return !isText(from);
    default:
      return from === into;
  }
}

/** Of the character set that every column of a destination should have. */
const TEXT_BYTES: Readonly<Partial<Record<string, number>>> = { tinytext: 255, text: 65_535, mediumtext: 16_777_215 };

function isText(declared: string): boolean {
  return /TEXT|CHAR|CLOB/i.test(declared);
}

/** A decimal that promises more digits than the column keeps, unlike one that merely might. */
function isWideDecimal(source: ColumnType, limit: Limit): boolean {
  return limit === 'digits15' && source.type === 'decimal' && (source.precision ?? 0) > 15 && (source.scale ?? 0) > 0;
}

function limitsOf(source: ColumnType, adapter: TargetAdapter, target: ColumnType, nativeType: string): Limit[] {
  switch (adapter) {
    case 'postgres':
      return limitsOfPostgres(source, target);
    case 'mysql':
      return limitsOfMysql(source, target, nativeType.toLowerCase());
    case 'sqlite':
      return limitsOfSqlite(source, target, nativeType);
    default:
      return adapter satisfies never;
  }
}

function limitsOfPostgres(source: ColumnType, target: ColumnType): Limit[] {
  if (source.type === 'decimal' && target.type === 'integer') return ['notANumber'];
  return source.type === 'json' && target.type !== 'text' ? ['notJson'] : [];
}

function limitsOfMysql(source: ColumnType, target: ColumnType, nativeType: string): Limit[] {
  switch (target.type) {
    case 'integer':
      return source.type === 'decimal' ? ['notANumber'] : [];
    case 'decimal':
      return [...(source.type === 'decimal' ? (['notANumber'] as const) : []), ...ofUnsigned(source, nativeType)];
    case 'float':
      return [
        ...(source.type === 'float' || source.type === 'decimal' ? (['notFinite'] as const) : []),
        ...(source.type === 'float' ? (['minusZero'] as const) : []),
        ...(/\(\d+,\d+\)/.test(nativeType) ? (['rounded'] as const) : []),
        ...ofUnsigned(source, nativeType),
      ];
    case 'date':
    case 'timestamp':
      return ['years'];
    case 'timestamptz':
      return ['yearsOfTimestamp'];
    case 'text':
      return isShortOf(source, target.maxLength, nativeType) ? ['bytesOfText'] : [];
    case 'bytes':
      return nativeType.startsWith('binary') ? ['otherLength'] : [];
    case 'json':
      return ['notJson'];
    case 'native':
      // A document of MySQL; MariaDB's is text.
      return source.type === 'json' && nativeType === 'json' ? ['notJson'] : [];
    default:
      return [];
  }
}

/** Its length counts bytes (tinytext, text, mediumtext); a character of a text or a label takes up to four, every other canonical text is ASCII. */
function isShortOf(source: ColumnType, bytes: number | undefined, nativeType: string): boolean {
  if (!/^(tiny|medium)?text/.test(nativeType) || (source.type !== 'text' && source.type !== 'native')) return false;
  return 4 * longestText(source) > (bytes ?? Number.POSITIVE_INFINITY);
}

/** Whole numbers have a logical type of their own for that. */
function ofUnsigned(source: ColumnType, nativeType: string): Limit[] {
  const isNeverNegative = source.type === 'integer' && source.unsigned === true;
  return nativeType.includes('unsigned') && !isNeverNegative ? ['negative'] : [];
}

function limitsOfSqlite(source: ColumnType, target: ColumnType, declared: string): Limit[] {
  switch (target.type) {
    case 'integer':
      if (source.type === 'decimal') return ['notANumber'];
      return source.type === 'integer' && source.bits === 64 && source.unsigned === true ? ['above63Bits'] : [];
    case 'decimal':
      return [
        ...(source.type === 'decimal' || source.type === 'float' ? (['notFinite'] as const) : []),
        ...(source.type === 'float' ? (['exponent', 'minusZero'] as const) : []),
        ...(isText(declared) || isShort(source) ? [] : (['digits15'] as const)),
      ];
    case 'float':
      if (source.type === 'float') return ['notANumber', 'minusZero'];
      return source.type === 'decimal' ? ['notANumber'] : [];
    case 'date':
    case 'timestamp':
    case 'timestamptz':
      return ['years'];
    case 'time':
      return ['midnight24'];
    case 'json':
      return isText(declared) ? [] : ['bareNumber'];
    default:
      return [];
  }
}

/** Every fraction has 15 digits at most. */
function isShort(source: ColumnType): boolean {
  if (source.type === 'decimal') return (source.precision ?? Number.POSITIVE_INFINITY) <= 15;
  // Whole numbers are stored as such.
  return source.type === 'native' || (source.type === 'integer' && !(source.bits === 64 && source.unsigned === true));
}
