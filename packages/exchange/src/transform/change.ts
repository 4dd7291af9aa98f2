/** Steps that put another value into a column: what comes out, and of which type. Which steps these are is closed here. */
import { type Check, isMissing } from '../checks/check.ts';
import { checkValue } from '../checkValue.ts';
import { type ColumnType, typeText } from '../columnType.ts';
import { longestText } from '../fit.ts';
import { castBetween } from './cast.ts';
import { compileDateFormat } from './dateFormat.ts';
import { compileDictionary, longestTranslation } from './dictionary.ts';
import { compileGeneralise } from './generalise.ts';
import { hashed, masked } from './mask.ts';
import { compileNormalise, longestNormal } from './normalise.ts';
import type { Concatenate, Constant, Hasher, Split, Transform } from './transform.ts';

/** The steps that neither make, move nor drop columns. */
export type ChangingTransform = Exclude<
  Transform,
  | { rename: Record<string, string> }
  | { constant: Constant }
  | { concatenate: Concatenate }
  | { split: Split }
  | { drop: string[] }
  | { check: Check }
>;

type Field = string | null;

/** Why a step does not go with its column. */
export interface Misfit {
  expected: string;
  hint?: string;
}

export interface Change {
  type: ColumnType;
  /** Left out: as before. */
  nullable?: boolean;
  /** Two values may become one. */
  mixesKeys?: boolean;
  /** What a refused row is counted under. */
  code: string;
  /** Undefined refuses the row. */
  change(field: Field): Field | undefined;
}

export function changedColumn(transform: ChangingTransform): string {
  if ('cast' in transform) return transform.cast.column;
  if ('dateFormat' in transform) return transform.dateFormat.column;
  if ('dictionary' in transform) return transform.dictionary.column;
  if ('mask' in transform) return transform.mask.column;
  if ('hash' in transform) return transform.hash.column;
  if ('generalise' in transform) return transform.generalise.column;
  if ('normalise' in transform) return transform.normalise.column;
  if ('default' in transform) return transform.default.column;
  return transform satisfies never;
}

export function compileChange(
  transform: ChangingTransform,
  { type }: { type: ColumnType },
  hasher: Hasher | undefined,
): Change | Misfit {
  const longest = longestText(type);
  if ('cast' in transform) {
    const cast = castBetween(type, transform.cast.to);
    if (cast === undefined) return noCast(transform.cast.to);
    const { convert, keepsApart } = cast;
    return { type: transform.cast.to, mixesKeys: !keepsApart, code: 'CAST_INEXACT', change: ofText(convert) };
  }
  if ('dateFormat' in transform) {
    const format = compileDateFormat(transform.dateFormat, type);
    if (typeof format === 'string') return { expected: format };
    return { type: format.type, code: 'DATE_INVALID', change: ofText(format.convert) };
  }
  if ('dictionary' in transform) {
    const { otherwise } = transform.dictionary;
    return {
      type: textOf(longestTranslation(transform.dictionary, longest)),
      ...(otherwise === 'null' ? { nullable: true } : {}),
      code: 'DICTIONARY_UNKNOWN_VALUE',
      change: ofText(compileDictionary(transform.dictionary)),
    };
  }
  if ('mask' in transform) {
    // Masking keeps the number of characters.
    return { type: textOf(longest), code: '', change: ofText((text) => masked(text, transform.mask)) };
  }
  if ('hash' in transform) {
    if (hasher === undefined) return { expected: 'a node with a key to hash with' };
    const { hash } = transform;
    return { type: textOf(hash.digits), code: '', change: ofText((text) => hashed(text, hash, hasher)) };
  }
  if ('generalise' in transform) {
    const general = compileGeneralise(transform.generalise, type);
    if (typeof general === 'string') return { expected: general, hint: 'Bring it into dates before: dateFormat:.' };
    const isDate = transform.generalise.to === 'year' || transform.generalise.to === 'month';
    return { type: general.type, code: isDate ? 'DATE_INVALID' : 'ADDRESS_UNCLEAR', change: ofText(general.convert) };
  }
  if ('normalise' in transform) {
    const { to } = transform.normalise;
    return { type: textOf(longestNormal(to, longest)), code: '', change: ofText(compileNormalise(to)) };
  }
  if ('default' in transform) {
    const { value } = transform.default;
    const problem = checkValue(type, value);
    if (problem !== undefined) return { expected: `a default of ${typeText(type)} (${problem})` };
    return { type, nullable: false, code: '', change: (field) => (isMissing(field) ? value : field) };
  }
  return transform satisfies never;
}

/** Text as long as the longest value can get: a narrower target must not be refused for values that cannot come. */
export function textOf(longest: number): ColumnType {
  return Number.isFinite(longest) ? { type: 'text', maxLength: longest } : { type: 'text' };
}

export function charactersOf(text: string): number {
  return Array.from(text).length;
}

/** Null stays null. */
function ofText(convert: (text: string) => Field | undefined): Change['change'] {
  return (field) => (field === null ? null : convert(field));
}

function noCast(to: ColumnType): Misfit {
  return {
    expected: `a type that has the values of ${typeText(to)}`,
    hint: 'Cast to text, translate it by dictionary:, or bring dates into form by dateFormat:.',
  };
}
