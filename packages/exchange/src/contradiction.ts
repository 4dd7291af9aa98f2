/**
 * Whether two conditions on one column can never both be true, whatever the database's collation, case rules or spelling
 * of a type. Without the column's type only equal literals and plainly different ones prove anything; with it, order does.
 */
import type { ColumnType } from './columnType.ts';
import { comparable, compareTexts, compareValues, exactNumber, literalProblem } from './compareValues.ts';
import type { CompareOperator, Filter, Literal } from './filter.ts';
import { likePrefix } from './like.ts';

/** A condition on one column. */
export type Atom = Extract<Filter, { kind: 'compare' | 'in' | 'isNull' | 'like' }>;

/** True only when no value (and no null) satisfies both; both name the same column. */
export function areContradictory(a: Atom, b: Atom, type: ColumnType | undefined): boolean {
  const isNullA = a.kind === 'isNull' && !a.negated;
  const isNullB = b.kind === 'isNull' && !b.negated;
  // Every other condition is true for values only.
  if (isNullA || isNullB) return isNullA !== isNullB;
  if (a.kind === 'isNull' || b.kind === 'isNull') return false;
  if (a.kind === 'like' || b.kind === 'like') return a.kind === 'like' && b.kind === 'like' && differLikes(a, b);

  const valuesA = allowedValues(a);
  const valuesB = allowedValues(b);
  if (valuesA !== undefined && valuesB !== undefined) {
    return valuesA.every((left) => valuesB.every((right) => areDifferent(left, right, type)));
  }
  if (valuesA !== undefined) return valuesA.every((value) => violates(value, b, type));
  if (valuesB !== undefined) return valuesB.every((value) => violates(value, a, type));
  return a.kind === 'compare' && b.kind === 'compare' && areApart(a, b, type);
}

type Comparison = Extract<Filter, { kind: 'compare' }>;
type Choice = Exclude<Atom, { kind: 'isNull' | 'like' }>;

/** The only values a condition allows; undefined when it does not list them. */
function allowedValues(atom: Choice): readonly Literal[] | undefined {
  if (atom.kind === 'in') return atom.negated ? undefined : atom.literals;
  return atom.operator === '=' ? [atom.literal] : undefined;
}

/** Whether a column equal to `value` provably fails a condition that lists no values. */
function violates(value: Literal, atom: Choice, type: ColumnType | undefined): boolean {
  if (atom.kind === 'in') return atom.literals.some((literal) => areSame(value, literal, type));
  if (atom.operator === '<>') return areSame(value, atom.literal, type);
  if (value.text === atom.literal.text) return !ALLOWS[atom.operator].includes('equal');
  const order = provenOrder(value, atom.literal, type);
  return order !== undefined && !ALLOWS[atom.operator].includes(order);
}

type Order = 'less' | 'equal' | 'greater';

const ALLOWS: Readonly<Record<CompareOperator, readonly Order[]>> = {
  '=': ['equal'],
  '<>': ['less', 'greater'],
  '<': ['less'],
  '<=': ['less', 'equal'],
  '>': ['greater'],
  '>=': ['equal', 'greater'],
};

/** Two comparisons without common values: on one literal by their operators, on two by their proven order. */
function areApart(a: Comparison, b: Comparison, type: ColumnType | undefined): boolean {
  const order = a.literal.text === b.literal.text ? 'equal' : provenOrder(a.literal, b.literal, type);
  if (order === undefined) return false;
  if (order === 'equal') return !ALLOWS[a.operator].some((each) => ALLOWS[b.operator].includes(each));
  const [lower, upper] = order === 'less' ? [a, b] : [b, a];
  const isBelow = lower.operator === '<' || lower.operator === '<=';
  const isAbove = upper.operator === '>' || upper.operator === '>=';
  return isBelow && isAbove;
}

/** The order of two literals as every database sees it: only for types whose order is not a matter of collation. */
function provenOrder(a: Literal, b: Literal, type: ColumnType | undefined): Order | undefined {
  if (type === undefined) return undefined;
  switch (type.type) {
    case 'integer':
    case 'decimal':
    case 'date':
    case 'time':
    case 'timestamp':
    case 'timestamptz': {
      if (literalProblem(type, a.text) !== undefined || literalProblem(type, b.text) !== undefined) return undefined;
      const order = compareValues(comparable(type, a.text), comparable(type, b.text));
      return order < 0 ? 'less' : order > 0 ? 'greater' : 'equal';
    }
    case 'float':
    case 'boolean':
    case 'text':
    case 'bytes':
    case 'uuid':
    case 'json':
    case 'native':
      return undefined;
    default:
      return type satisfies never;
  }
}

function areSame(a: Literal, b: Literal, type: ColumnType | undefined): boolean {
  return a.text === b.text || provenOrder(a, b, type) === 'equal';
}

/** Whether no database takes two literals for the same value of a column. */
function areDifferent(a: Literal, b: Literal, type: ColumnType | undefined): boolean {
  if (a.text === b.text) return false;
  const order = provenOrder(a, b, type);
  if (order !== undefined) return order !== 'equal';
  if (type?.type === 'float' || type?.type === 'json' || type?.type === 'native') return false;
  if (type?.type === 'text') return folded(a.text) !== folded(b.text);
  // The type is unknown, or spelled in several ways: different under each reading that both texts allow.
  return (
    folded(a.text) !== folded(b.text) &&
    !areEqualNumbers(a.text, b.text) &&
    !areEqualTruths(a.text, b.text) &&
    !mayBeSameBytes(a.text, b.text) &&
    !mayBeSameTime(a.text, b.text)
  );
}

/** As the coarsest usual collation sees a text: no case, no accents, no width, no blanks at the ends. */
function folded(text: string): string {
  return text.normalize('NFKD').replace(/\p{M}/gu, '').toUpperCase().toLowerCase().normalize('NFKD').trim();
}

const NUMBER = /^\s*([+-]?)(\d+\.?\d*|\.\d+)\s*$/;
const POWER = /^\s*[+-]?[\d.]+e[+-]?\d+\s*$/i;

function areEqualNumbers(a: string, b: string): boolean {
  if (POWER.test(a) || POWER.test(b)) return (POWER.test(a) || NUMBER.test(a)) && (POWER.test(b) || NUMBER.test(b));
  const [left, right] = [numberOf(a), numberOf(b)];
  if (left === undefined || right === undefined) return false;
  return compareValues(exactNumber(left), exactNumber(right)) === 0;
}

function numberOf(text: string): string | undefined {
  const [, sign, digits] = NUMBER.exec(text) ?? [];
  if (digits === undefined) return undefined;
  return (sign === '-' ? '-' : '') + digits.replace(/^\./, '0.').replace(/\.$/, '');
}

const TRUE = /^\s*(?:t|tr|tru|true|y|ye|yes|on|1)\s*$/i;
const FALSE = /^\s*(?:f|fa|fal|fals|false|n|no|of|off|0)\s*$/i;

function areEqualTruths(a: string, b: string): boolean {
  return (TRUE.test(a) && TRUE.test(b)) || (FALSE.test(a) && FALSE.test(b));
}

/** A uuid or bytes may be spelled with and without dashes, braces, `\x`. */
function mayBeSameBytes(a: string, b: string): boolean {
  if (a.startsWith('\\') || b.startsWith('\\')) {
    return !(a.startsWith('\\x') && b.startsWith('\\x')) || hexOf(a.slice(2)) === hexOf(b.slice(2));
  }
  const left = hexOf(a);
  return left.length === 32 && left === hexOf(b);
}

function hexOf(text: string): string {
  return text.replace(/[\s{}-]/g, '').toLowerCase();
}

const TIME_LIKE = /^[\d\s:+./TZBC年月日-]+$/i;
const PLAIN_DIGITS = /^\d+(?:\.\d+)?$/;
const CALENDAR_TIME = /^\d{4}-(?:0\d|1[0-2])-[0-3]\d(?: (?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?)?$/;

/** Dates have many spellings: different only in one layout, digit by digit, or both in the canonical one. */
function mayBeSameTime(a: string, b: string): boolean {
  if (!TIME_LIKE.test(a) || !TIME_LIKE.test(b)) return false;
  if (PLAIN_DIGITS.test(a) && PLAIN_DIGITS.test(b)) return false;
  if (CALENDAR_TIME.test(a) && CALENDAR_TIME.test(b)) return canonicalTime(a) === canonicalTime(b);
  const layout = a.replace(/\d/g, '9');
  return layout.includes(':') || layout !== b.replace(/\d/g, '9');
}

function canonicalTime(text: string): string {
  const withTime = text.includes(':') ? text : `${text} 00:00:00`;
  return withTime.includes('.') ? withTime.replace(/\.?0+$/, '') : withTime;
}

type Like = Extract<Filter, { kind: 'like' }>;

/** Two patterns whose fixed beginnings part ways. Compared unit by unit after folding, so only simple characters count. */
function differLikes(a: Like, b: Like): boolean {
  if (a.negated || b.negated) return a.negated !== b.negated && a.pattern === b.pattern;
  const left = likePrefix(a.pattern);
  const right = likePrefix(b.pattern);
  if (!SIMPLE.test(left.prefix) || !SIMPLE.test(right.prefix)) return false;
  const [p, q] = [left.prefix.toLowerCase(), right.prefix.toLowerCase()];
  const length = Math.min(p.length, q.length);
  return compareTexts(p.slice(0, length), q.slice(0, length)) !== 0;
}

// Folding these never changes their number.
const SIMPLE = /^[\x20-\x7e\u4e00-\u9fff]*$/;
