/** How operators write the rules of `checks:`, and what their words become. */
import { z } from 'zod';
import type { BridgeFiles } from '../bridgeFiles.ts';
import { columnName, fileName } from '../nameSchema.ts';
import type { Check, Divisions } from './check.ts';
import { compilePattern } from './pattern.ts';

const pattern = z.string().superRefine((text, context) => {
  const { problem } = compilePattern(text);
  if (problem !== undefined) {
    context.addIssue({ code: 'custom', message: problem, params: { code: 'PATTERN_INVALID' } });
  }
});

const file = z.strictObject({ file: fileName });
const list = z.union([z.array(z.string()).min(1, 'one value or more'), file], 'a list of values or {file: NAME}');
const divisions = z.union([z.literal(true), z.strictObject({ divisions: list })], 'true or {divisions: {file: NAME}}');

const rules = {
  required: z.literal(true, 'true'),
  pattern,
  range: z
    .strictObject({ least: z.string().optional(), most: z.string().optional() })
    .refine(({ least, most }) => least !== undefined || most !== undefined, { error: 'least:, most: or both' }),
  dictionary: list,
  idNumber: divisions,
  creditCode: z.literal(true, 'true'),
  divisionCode: divisions,
} as const;

const RULE_NAMES = Object.keys(rules);

export const checkSchema = z
  .strictObject({ column: columnName, ...z.strictObject(rules).partial().shape })
  .refine(({ column: _column, ...rule }) => Object.values(rule).filter((value) => value !== undefined).length === 1, {
    error: `a column and exactly one of ${RULE_NAMES.slice(0, -1).join(', ')} and ${RULE_NAMES.at(-1)}`,
  });

export type WrittenCheck = z.infer<typeof checkSchema>;

/** A rule as it runs: files in the place of their names. */
export function checkOf(written: WrittenCheck, files: BridgeFiles): Check {
  const { column, pattern, range, dictionary, idNumber, creditCode, divisionCode } = written;
  const valuesOf = (values: z.infer<typeof list>, heading: 'value' | 'code') =>
    Array.isArray(values) ? values : files.list(values.file, heading);
  const codesOf = (codes: z.infer<typeof divisions>): Divisions =>
    codes === true ? true : { divisions: valuesOf(codes.divisions, 'code') };
  if (pattern !== undefined) return { column, pattern };
  if (range !== undefined) {
    const { least, most } = range;
    return { column, range: { ...(least === undefined ? {} : { least }), ...(most === undefined ? {} : { most }) } };
  }
  if (dictionary !== undefined) return { column, dictionary: valuesOf(dictionary, 'value') };
  if (idNumber !== undefined) return { column, idNumber: codesOf(idNumber) };
  if (creditCode !== undefined) return { column, creditCode };
  if (divisionCode !== undefined) return { column, divisionCode: codesOf(divisionCode) };
  return { column, required: true };
}

/** A rule as written, with its keys in one order. */
export function writtenCheck(check: Check): WrittenCheck {
  return checkSchema.parse(check);
}
