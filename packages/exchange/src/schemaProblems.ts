/**
 * Turns the issues of a zod schema into problems for a person: where, what was found, what was expected, and for a
 * mistyped key the nearest one known there. Used for bridges here and for configuration files by `runtime`.
 */
import { z } from 'zod';
import type { Problem } from './errors.ts';
import { didYouMean } from './nearestName.ts';

type Path = readonly PropertyKey[];
type Issue = z.core.$ZodIssue;

// Of one mapping; a file that is something else altogether would list itself.
const MOST_UNKNOWN_KEYS = 50;

/** Every problem of `input` under `schema`; empty when it fits. Unknown keys do not hide the rest. */
export function schemaProblems(schema: z.ZodType, input: unknown): Problem[] {
  const { known, unknown } = divideKeys(schema, input);
  const rest = schema.safeParse(known);
  return [...problemsOf(schema, input, unknown), ...(rest.success ? [] : problemsOf(schema, known, rest.error.issues))];
}

/** The input without the keys that `schema` does not know: rules across fields only run once its keys are known. */
export function withoutUnknownKeys(schema: z.ZodType, input: unknown): unknown {
  return divideKeys(schema, input).known;
}

function divideKeys(schema: z.ZodType, input: unknown): { known: unknown; unknown: Issue[] } {
  const { error } = schema.safeParse(input);
  const unknown = flatIssues(error?.issues ?? []).filter(({ issue }) => issue.code === 'unrecognized_keys');
  if (unknown.length === 0) return { known: input, unknown: [] };
  const known = structuredClone(input);
  for (const { issue, path } of unknown) {
    const holder = valueAt(known, path) as Record<string, unknown>;
    for (const key of (issue as z.core.$ZodIssueUnrecognizedKeys).keys) delete holder[key];
  }
  return { known, unknown: unknown.map(({ issue, path }) => ({ ...issue, path: [...path] })) };
}

/** A path as people read it: `source.tables[0].columns[3]`. */
export function pathText(path: Path): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (/^[\p{L}_][\p{L}\p{N}_-]*$/u.test(String(part))) text += text === '' ? String(part) : `.${String(part)}`;
    else text += `[${JSON.stringify(String(part))}]`;
  }
  return text;
}

/** A value as it may stand in a message: short, and never the inside of a mapping. */
function foundText(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'an empty value';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
  if (typeof value === 'object') return 'a mapping';
  const text = typeof value === 'string' ? JSON.stringify(value) : `${typeof value} ${JSON.stringify(value)}`;
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function problemsOf(schema: z.ZodType, input: unknown, issues: readonly Issue[]): Problem[] {
  return flatIssues(issues).flatMap(({ issue, path }): Problem[] => {
    if (issue.code === 'unrecognized_keys') {
      const known = keysAt(schema, path);
      return issue.keys.slice(0, MOST_UNKNOWN_KEYS).map((key) => ({
        code: 'UNKNOWN_KEY',
        path: pathText([...path, key]),
        message: `Found key ${key}; expected one of ${known.join(', ')}.`,
        hint: didYouMean(key, known),
      }));
    }
    const found = valueAt(input, path);
    const code = issue.code === 'custom' ? (issue.params?.['code'] as string | undefined) : undefined;
    if (code !== undefined) return [{ code, path: pathText(path), message: issue.message, hint: 'Mend it there.' }];
    const expected = expectedText(issue);
    return [
      {
        code: found === undefined ? 'KEY_MISSING' : issue.code === 'invalid_type' ? 'WRONG_TYPE' : 'WRONG_VALUE',
        path: pathText(path),
        message: `Found ${foundText(found)}; expected ${expected}.`,
        hint: hintFor(issue, path, found),
      },
    ];
  });
}

function hintFor(issue: Issue, path: Path, found: unknown): string {
  if (found === undefined) return `Add ${String(path.at(-1))}:.`;
  if (
    issue.code === 'invalid_type' &&
    issue.expected === 'string' &&
    !hasOwnMessage(issue) &&
    (typeof found === 'number' || typeof found === 'boolean')
  ) {
    return `Write it in quotes: "${String(found)}".`;
  }
  const known =
    issue.code === 'invalid_value' ? issue.values.map(String) : issue.code === 'invalid_union' ? optionsOf(issue) : [];
  const near = known.length > 0 && typeof found === 'string' ? didYouMean(found, known) : '';
  return near === '' ? 'Write what is expected there.' : near;
}

/** What follows "expected": in the words of the rule, else in ours, never in zod's. */
function expectedText(issue: Issue): string {
  if (hasOwnMessage(issue)) return issue.message.replace(/^expected /, '');
  switch (issue.code) {
    case 'invalid_type':
      return TYPE_NAMES[issue.expected] ?? issue.expected;
    case 'invalid_value':
      return either(issue.values.map(String));
    case 'invalid_key':
      return issue.issues[0] === undefined ? 'another key' : expectedText(issue.issues[0]);
    case 'invalid_union':
      return unionText(issue);
    case 'too_small':
      return tooSmallText(issue);
    case 'too_big':
      return tooBigText(issue);
    case 'not_multiple_of':
      return `a multiple of ${issue.divisor}`;
    case 'invalid_format':
      return formatText(issue);
    case 'unrecognized_keys':
    case 'invalid_element':
    case 'custom':
      return 'another value';
    default:
      return issue satisfies never;
  }
}

function either(texts: readonly string[]): string {
  const last = texts.at(-1) ?? '';
  return texts.length < 2 ? last : `${texts.slice(0, -1).join(', ')} or ${last}`;
}

function unionText(issue: z.core.$ZodIssueInvalidUnion): string {
  const options = optionsOf(issue);
  if (options.length > 0) return either(options);
  const branches = issue.errors.flatMap((branch) => branch.slice(0, 1).map(expectedText));
  return branches.length === 0 ? 'another value' : either([...new Set(branches)]);
}

/** The kinds there are, where one key of a mapping tells its kind. */
function optionsOf(issue: z.core.$ZodIssueInvalidUnion): string[] {
  return 'options' in issue ? (issue.options ?? []).map(String) : [];
}

function tooSmallText({ origin, minimum, inclusive }: z.core.$ZodIssueTooSmall): string {
  const unit = unitOf(origin, minimum);
  return inclusive === false ? `more than ${minimum}${unit}` : `${minimum}${unit} or more`;
}

function tooBigText({ origin, maximum, inclusive }: z.core.$ZodIssueTooBig): string {
  const unit = unitOf(origin, maximum);
  if (inclusive === false) return `less than ${maximum}${unit}`;
  return unit === '' ? `${maximum} or less` : `at most ${maximum}${unit}`;
}

function unitOf(origin: string, count: number | bigint): string {
  if (origin === 'string') return count === 1 ? ' character' : ' characters';
  if (origin === 'array' || origin === 'set' || origin === 'map') return count === 1 ? ' entry' : ' entries';
  return '';
}

function formatText(issue: z.core.$ZodIssueInvalidStringFormat): string {
  if ('prefix' in issue) return `text that starts with ${String(issue.prefix)}`;
  if (issue.format === 'regex') return `text that matches ${issue.pattern ?? ''}`;
  return `text of the form ${issue.format}`;
}

/** The rule says itself what it expects; zod's own sentences all begin alike. */
function hasOwnMessage(issue: Issue): boolean {
  return !/^(Invalid |Too (small|big): )/.test(issue.message);
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a mapping',
  record: 'a mapping',
};

interface FlatIssue {
  issue: Issue;
  path: Path;
}

/** Issues with whole paths. Of a union, those of the branch that was meant: the one whose own type fits. */
function flatIssues(issues: readonly Issue[], above: Path = []): FlatIssue[] {
  return issues.flatMap((issue): FlatIssue[] => {
    const path = [...above, ...issue.path];
    if (issue.code !== 'invalid_union') return [{ issue, path }];
    const meant = issue.errors.find(
      (branch) => !branch.some((each) => each.path.length === 0 && isOfAnotherShape(each)),
    );
    return meant === undefined ? [{ issue, path }] : flatIssues(meant, path);
  });
}

function isOfAnotherShape(issue: Issue): boolean {
  return issue.code === 'invalid_type' || issue.code === 'invalid_value';
}

function valueAt(input: unknown, path: Path): unknown {
  let value = input;
  for (const part of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[part];
  }
  return value;
}

const WRAPPERS = [z.ZodOptional, z.ZodDefault, z.ZodPrefault, z.ZodNullable, z.ZodReadonly];

/** The keys of the object schema at a path, through every wrapper and branch. */
function keysAt(schema: z.core.$ZodType, path: Path): string[] {
  if (WRAPPERS.some((wrapper) => schema instanceof wrapper)) {
    return keysAt((schema as z.ZodOptional).unwrap(), path);
  }
  if (schema instanceof z.ZodPipe) return keysAt(schema.in, path);
  if (schema instanceof z.ZodUnion) return [...new Set(schema.options.flatMap((option) => keysAt(option, path)))];
  const [part, ...rest] = path;
  if (schema instanceof z.ZodObject) {
    if (part === undefined) return Object.keys(schema.shape);
    const field: z.core.$ZodType | undefined = schema.shape[String(part)];
    return field === undefined ? [] : keysAt(field, rest);
  }
  if (part === undefined) return [];
  if (schema instanceof z.ZodArray) return keysAt(schema.element, rest);
  if (schema instanceof z.ZodRecord) return keysAt(schema.valueType, rest);
  return [];
}
