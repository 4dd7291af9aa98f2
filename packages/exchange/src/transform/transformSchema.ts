/** How operators write the steps of `transform:`, and what their words become. */
import { z } from 'zod';
import type { BridgeFiles } from '../bridgeFiles.ts';
import { checkOf, checkSchema, writtenCheck } from '../checks/checkSchema.ts';
import { checkValue } from '../checkValue.ts';
import { type ColumnType, parseTypeText, typeText } from '../columnType.ts';
import { own, sorted } from '../mapping.ts';
import { columnName, fileName, name } from '../nameSchema.ts';
import { datePatternProblem } from './dateFormat.ts';
import { HASH_DIGITS } from './mask.ts';
import { NORMAL_FORMS, type Transform } from './transform.ts';

const TYPES = 'a type such as text(20), integer(64), decimal(10,2), boolean, date, timestamp(6)';

export const typeName = z.string(TYPES).refine((text) => parseTypeText(text) !== undefined, { error: TYPES });

const datePattern = (mayBeType: boolean) =>
  z.string().superRefine((text, context) => {
    const problem = datePatternProblem(text, mayBeType);
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
  });

const kept = z.int().min(0, '0 or more').max(1_000, 'at most 1000');
const place = z.int().min(1, '1 or more').max(100_000, 'at most 100000');

const constant = z
  .strictObject({ column: columnName, value: z.string(), type: typeName.optional() })
  .superRefine(({ value, type }, context) => {
    const problem = type === undefined ? undefined : checkValue(parseTypeText(type) ?? { type: 'text' }, value);
    if (problem !== undefined) {
      context.addIssue({ code: 'custom', path: ['value'], message: `a value of ${type} (${problem})` });
    }
  });

const split = z
  .strictObject({
    column: columnName,
    separator: z.string().min(1, 'one character or more').optional(),
    at: z.array(place).min(1, 'one place or more').max(100, 'at most 100 places').optional(),
    into: z.array(columnName).min(2, 'two columns or more').max(101, 'at most 101 columns'),
  })
  .superRefine(({ separator, at, into }, context) => {
    const add = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
    if ((separator === undefined) === (at === undefined)) add('separator', 'either separator: or at:');
    if (at === undefined) return;
    if (at.some((each, index) => index > 0 && each <= (at[index - 1] as number))) add('at', 'ascending places');
    if (into.length !== at.length + 1) add('into', `${at.length + 1} columns for ${at.length} places`);
  });

const steps = {
  rename: z.record(columnName, columnName),
  constant,
  concatenate: z.strictObject({
    columns: z.array(columnName).min(2, 'two columns or more').max(100, 'at most 100 columns'),
    into: columnName,
    separator: z.string().optional(),
  }),
  split,
  cast: z.strictObject({ column: columnName, to: typeName }),
  dateFormat: z.strictObject({ column: columnName, from: datePattern(false).optional(), to: datePattern(true) }),
  dictionary: z
    .strictObject({
      column: columnName,
      map: z.record(z.string(), z.string()).optional(),
      file: fileName.optional(),
      otherwise: z.enum(['refuse', 'keep', 'null']).optional(),
    })
    .refine(({ map, file }) => (map === undefined) !== (file === undefined), { error: 'either map: or file:' }),
  mask: z.strictObject({
    column: columnName,
    keepFirst: kept,
    keepLast: kept,
    with: z
      .string()
      .refine((text) => Array.from(text).length === 1 && !/\p{Cc}/u.test(text), { error: 'one character' })
      .optional(),
  }),
  hash: z.strictObject({
    column: columnName,
    scope: name(64, 'a scope').optional(),
    digits: z.int().min(16, '16 or more').max(HASH_DIGITS, `at most ${HASH_DIGITS}`).optional(),
  }),
  generalise: z.strictObject({ column: columnName, to: z.enum(['year', 'month', 'province', 'city', 'district']) }),
  normalise: z.strictObject({
    column: columnName,
    to: z
      .array(z.enum(NORMAL_FORMS))
      .min(1, 'one form or more')
      .refine((forms) => !(forms.includes('halfWidth') && forms.includes('fullWidth')), {
        error: 'halfWidth or fullWidth, not both',
      }),
  }),
  default: z.strictObject({ column: columnName, value: z.string() }),
  drop: z.array(columnName).min(1, 'one column or more'),
  check: checkSchema,
} as const;

const STEP_NAMES = Object.keys(steps) as (keyof typeof steps)[];

export const transformSchema = z
  .strictObject(steps)
  .partial()
  .refine((each) => Object.values(each).filter((value) => value !== undefined).length === 1, {
    error: `exactly one of ${STEP_NAMES.slice(0, -1).join(', ')} and ${STEP_NAMES.at(-1)}`,
  });

export type WrittenTransform = z.infer<typeof transformSchema>;

/** A step as it runs: defaults filled in, types read, files in the place of their names. */
export function transformOf(written: WrittenTransform, bridge: string, files: BridgeFiles): Transform {
  const { rename, constant, concatenate, split, cast, dictionary, mask, hash, dateFormat, drop } = written;
  if (rename !== undefined) return { rename: own(Object.entries(rename)) };
  if (constant !== undefined) {
    const { column, value, type } = constant;
    return { constant: { column, value, ...(type === undefined ? {} : { type: typeOf(type) }) } };
  }
  if (concatenate !== undefined) {
    const { columns, into, separator = '' } = concatenate;
    return { concatenate: { columns, into, separator } };
  }
  if (split !== undefined) {
    const { column, separator = '', at, into } = split;
    return { split: { column, by: at === undefined ? { separator } : { at }, into } };
  }
  if (cast !== undefined) return { cast: { column: cast.column, to: typeOf(cast.to) } };
  if (dateFormat !== undefined) {
    const { column, from, to } = dateFormat;
    return { dateFormat: { column, ...(from === undefined ? {} : { from }), to } };
  }
  if (dictionary !== undefined) {
    const { column, map, file, otherwise = 'refuse' } = dictionary;
    return { dictionary: { column, map: own(Object.entries(map ?? files.map(file as string))), otherwise } };
  }
  if (mask !== undefined) return { mask: { ...mask, with: mask.with ?? '*' } };
  if (hash !== undefined) {
    return { hash: { column: hash.column, scope: hash.scope ?? bridge, digits: hash.digits ?? HASH_DIGITS } };
  }
  const { generalise, normalise } = written;
  if (drop !== undefined) return { drop };
  if (written.check !== undefined) return { check: checkOf(written.check, files) };
  if (generalise !== undefined) return { generalise };
  if (normalise !== undefined) return { normalise };
  return { default: written.default as NonNullable<typeof written.default> };
}

/** A step as written, with its keys in one order: the same step has one text. */
export function writtenTransform(transform: Transform): WrittenTransform {
  if ('rename' in transform) return { rename: sorted(transform.rename, (to) => to) };
  if ('dictionary' in transform) {
    const { column, map, otherwise } = transform.dictionary;
    return { dictionary: { column, map: sorted(map, (to) => to), otherwise } };
  }
  if ('constant' in transform) {
    const { column, value, type } = transform.constant;
    return { constant: { column, value, type: type === undefined ? undefined : typeText(type) } };
  }
  if ('cast' in transform) return { cast: { column: transform.cast.column, to: typeText(transform.cast.to) } };
  if ('split' in transform) {
    const { column, by, into } = transform.split;
    return { split: { column, ...by, into } };
  }
  if ('check' in transform) return { check: writtenCheck(transform.check) };
  // The schema's own order of keys.
  return transformSchema.parse(transform);
}

function typeOf(text: string): ColumnType {
  return parseTypeText(text) as ColumnType;
}
