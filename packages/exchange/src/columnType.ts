/**
 * Logical types and their canonical text: one text per value, the same from snapshot, stream, trigger and verify, because
 * digests and comparisons are over this text. It is what PostgreSQL prints with DateStyle ISO, TimeZone UTC,
 * IntervalStyle iso_8601, extra_float_digits 1 and bytea_output hex. fit.ts says which type goes into which,
 * checkValue.ts which text fits a type.
 */
import { z } from 'zod';
import { QiaoError } from './errors.ts';

export type ColumnType =
  /** `-12`. Signed two's complement unless `unsigned`. */
  | { type: 'integer'; bits: 8 | 16 | 24 | 32 | 64; unsigned?: boolean }
  /**
   * `12.50`: the scale is kept. Without precision and scale: unlimited. A scale below 0 counts zeros before the point. `trimmed`: a number, whose
   * text never has zeros at the end of its fraction.
   */
  | { type: 'decimal'; precision?: number; scale?: number; trimmed?: true }
  /** Shortest round trip: `0.1` `1e+20` `NaN` `Infinity` `-Infinity`. */
  | { type: 'float'; bits: 32 | 64 }
  /** `t` or `f`. */
  | { type: 'boolean' }
  /** `maxLength` in characters (code points). `padded` is char(n): blanks are significant as stored. */
  | { type: 'text'; maxLength?: number; padded?: boolean }
  /** `\x` and lower-case hex; in row text therefore `\\x6869`. */
  | { type: 'bytes'; maxBytes?: number }
  /** `2024-01-31`, `0044-03-15 BC`, `infinity`. */
  | { type: 'date' }
  /** `08:00:00.5`: no trailing zeros. `digits` after the point: 0 to 9. */
  | { type: 'time'; digits: number }
  /** `2024-01-31 08:00:00.123456`, without a zone. */
  | { type: 'timestamp'; digits: number }
  /** `2024-01-31 00:00:00+00`: always UTC. */
  | { type: 'timestamptz'; digits: number }
  /** Lower-case `8-4-4-4-12`. */
  | { type: 'uuid' }
  /** The text untouched. */
  | { type: 'json' }
  /** Exact only to the same system and name: inet, interval, jsonb, ranges, arrays, enums, sets, years. */
  | { type: 'native'; system: 'postgres' | 'mysql'; name: string };

/** A type as people read it: `integer(64)`, `decimal(10,2)`, `text(20)`. */
export function typeText(type: ColumnType): string {
  switch (type.type) {
    case 'integer':
      return `${type.unsigned ? 'unsigned ' : ''}integer(${type.bits})`;
    case 'float':
      return `float(${type.bits})`;
    case 'decimal':
      return type.precision === undefined ? 'decimal' : `decimal(${type.precision},${type.scale ?? 0})`;
    case 'text': {
      const name = type.padded ? 'char' : 'text';
      return type.maxLength === undefined ? name : `${name}(${type.maxLength})`;
    }
    case 'bytes':
      return type.maxBytes === undefined ? 'bytes' : `bytes(${type.maxBytes})`;
    case 'time':
    case 'timestamp':
    case 'timestamptz':
      return `${type.type}(${type.digits})`;
    case 'native':
      return `${type.system} ${type.name}`;
    case 'boolean':
    case 'date':
    case 'uuid':
    case 'json':
      return type.type;
    default:
      return type satisfies never;
  }
}

/** Reads what typeText writes, for the types that a bridge may name; undefined for anything else. */
export function parseTypeText(text: string): ColumnType | undefined {
  const [, name = '', first, second] = /^([a-z]+)(?:\((\d{1,9})(?:,(\d{1,4}))?\))?$/.exec(text) ?? [];
  const size = first === undefined ? undefined : Number(first);
  if (second !== undefined && name !== 'decimal') return undefined;
  switch (name) {
    case 'integer':
      return size === 16 || size === 32 || size === 64 ? { type: 'integer', bits: size } : undefined;
    case 'float':
      return size === 32 || size === 64 ? { type: 'float', bits: size } : undefined;
    case 'decimal': {
      if (size === undefined) return { type: 'decimal' };
      const scale = Number(second ?? 0);
      return size >= 1 && size <= 1_000 && scale <= size ? { type: 'decimal', precision: size, scale } : undefined;
    }
    case 'text':
      if (size === undefined) return { type: 'text' };
      return size >= 1 ? { type: 'text', maxLength: size } : undefined;
    case 'time':
    case 'timestamp':
    case 'timestamptz':
      return size !== undefined && size <= 9 ? { type: name, digits: size } : undefined;
    case 'boolean':
    case 'date':
    case 'uuid':
    case 'json':
      return size === undefined ? { type: name } : undefined;
    default:
      return undefined;
  }
}

const SIZE = z
  .int()
  .min(0)
  .max(2 ** 32);
const DIGITS = z.int().min(0).max(9);

const COLUMN_TYPE: z.ZodType<ColumnType> = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('integer'),
    bits: z.literal([8, 16, 24, 32, 64]),
    unsigned: z.boolean().exactOptional(),
  }),
  z.strictObject({
    type: z.literal('decimal'),
    precision: z.int().min(0).max(1_000).exactOptional(),
    scale: z.int().min(-1_000).max(1_000).exactOptional(),
    trimmed: z.literal(true).exactOptional(),
  }),
  z.strictObject({ type: z.literal('float'), bits: z.literal([32, 64]) }),
  z.strictObject({
    type: z.literal('text'),
    maxLength: SIZE.exactOptional(),
    padded: z.boolean().exactOptional(),
  }),
  z.strictObject({ type: z.literal('bytes'), maxBytes: SIZE.exactOptional() }),
  z.strictObject({ type: z.literal(['boolean', 'date', 'uuid', 'json']) }),
  z.strictObject({ type: z.literal(['time', 'timestamp', 'timestamptz']), digits: DIGITS }),
  z.strictObject({ type: z.literal('native'), system: z.literal(['postgres', 'mysql']), name: z.string() }),
]);

/**
 * The type that another node wrote as JSON (`typeJson` of the contract's ColumnShape). Throws COLUMN_TYPE_UNREADABLE, which quotes
 * nothing of it: it may be anything.
 */
export function columnTypeOf(typeJson: string): ColumnType {
  const type = COLUMN_TYPE.safeParse(parsed(typeJson)).data;
  if (type !== undefined) return type;
  throw new QiaoError(
    'COLUMN_TYPE_UNREADABLE',
    `found ${typeJson.length} characters that are no type of a column that this version knows`,
    { hint: 'compare the versions of both ends: qiao node list' },
  );
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    // What the parser says quotes the text.
    return undefined;
  }
}
