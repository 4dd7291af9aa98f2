/**
 * What happens to a row between capture and parcel: filter, then renames, dictionaries and masks in the bridge's order,
 * then checks. Compiled once per table and version; pure. Rows of a transform that changes nothing are carried as bytes.
 */
import type { BridgeTable, Dictionary, Mask } from './bridge.ts';
import type { ColumnType } from './columnType.ts';
import { type Problem, ProblemsError } from './errors.ts';
import { type CompiledFilter, checkFilter, compileFilter } from './evaluateFilter.ts';
import { filterColumns, parseFilter } from './filter.ts';
import { longestText } from './fit.ts';
import { didYouMean } from './nearestName.ts';
import type { TableLayout } from './parcel.ts';
import { traceNames } from './transformNames.ts';

/** A column as the source reads it. */
export interface TypedColumn {
  name: string;
  type: ColumnType;
}

export type TransformedRow =
  | { kind: 'row'; fields: (string | null)[] }
  /** Outside the bridge's filter. */
  | { kind: 'filtered' }
  /** REQUIRED_MISSING or DICTIONARY_UNKNOWN_VALUE; `column` as at the destination. Counted, never altered. */
  | { kind: 'refused'; code: string; column: string };

export interface CompiledTransform {
  /** Key first, names after renames. */
  layout: TableLayout;
  /** Types of `layout.columns`, in order. */
  types: readonly ColumnType[];
  /** Transforms one row, its fields in the order of the columns as read. */
  apply(fields: readonly (string | null)[]): TransformedRow;
  /** Every row comes out as it went in: its line may be carried byte for byte. */
  isIdentity: boolean;
}

/**
 * Columns to ask the source for: key first, then the other carried ones, then those that only the filter needs. A
 * transform compiled over these in this order is an identity whenever nothing changes.
 */
export function columnsToRead(
  table: BridgeTable,
  available: readonly string[],
  primaryKey: readonly string[],
): string[] {
  const { filter } = table.where === undefined ? {} : parseFilter(table.where);
  const filtered = filter === undefined ? [] : filterColumns(filter);
  return [...new Set([...(table.key ?? primaryKey), ...(table.columns ?? available), ...filtered])];
}

/**
 * Compiles a table's transform over the columns as read. `primaryKey` (source names) counts where the bridge names no key.
 * Throws ProblemsError with every problem: unknown columns, a changed key, no key at all, a filter that does not fit.
 */
export function compileTransform(
  table: BridgeTable,
  columns: readonly TypedColumn[],
  primaryKey: readonly string[] = [],
): CompiledTransform {
  const key = table.key ?? primaryKey;
  const available = columns.map(({ name }) => name);
  const { carried, problems } = traceNames(table, available, key, table.name);
  const { passes, problem } = compileWhere(table, columns);
  if (problem !== undefined) problems.push(problem);
  if (key.length === 0) problems.push(keyMissing(table.name));
  if (problems.length > 0) throw new ProblemsError(problems, { code: 'TRANSFORM_INVALID' });

  // Where each field comes from, key first.
  const sources = [...new Set([...key, ...carried.keys()])];
  const from = sources.map((name) => available.indexOf(name));
  const names = sources.map((name) => carried.get(name) as string);
  const types = from.map((index) => (columns[index] as TypedColumn).type);
  const steps = compileSteps(table, sources, types);
  const required = compileChecks(table, names);
  const inOrder = from.length === columns.length && from.every((index, position) => index === position);

  return {
    layout: { table: table.name, columns: names, keyColumns: key.length, wholeRows: true },
    types,
    isIdentity: inOrder && passes === undefined && steps.length === 0 && required.length === 0,
    apply(fields) {
      if (passes !== undefined && !passes(fields)) return { kind: 'filtered' };
      const row = from.map((index) => fields[index] as string | null);
      for (const step of steps) {
        if (!step.change(row)) {
          return { kind: 'refused', code: 'DICTIONARY_UNKNOWN_VALUE', column: names[step.position] as string };
        }
      }
      for (const position of required) {
        if (isMissing(row[position] as string | null)) {
          return { kind: 'refused', code: 'REQUIRED_MISSING', column: names[position] as string };
        }
      }
      return { kind: 'row', fields: row };
    },
  };
}

type Fields = readonly (string | null)[];

function compileWhere(
  table: BridgeTable,
  columns: readonly TypedColumn[],
): { passes?: (fields: Fields) => boolean; problem?: Problem } {
  if (table.where === undefined) return {};
  const invalid = (message: string, hint = ''): { problem: Problem } => ({
    problem: { code: 'FILTER_INVALID', path: `${table.name}.where`, message, hint },
  });
  const { filter, problem } = parseFilter(table.where);
  if (filter === undefined) return invalid(problem ?? 'Found no filter.');
  const positions = new Map(columns.map(({ name }, index) => [name, index]));
  const typeOf = (column: string): ColumnType | undefined => columns[positions.get(column) ?? -1]?.type;
  const misfit = checkFilter(filter, typeOf);
  if (misfit !== undefined) {
    const unknown = filterColumns(filter).find((column) => !positions.has(column));
    return invalid(misfit, unknown === undefined ? '' : didYouMean(unknown, [...positions.keys()]));
  }
  const compiled: CompiledFilter = compileFilter(filter, typeOf);
  return { passes: (fields) => compiled((column) => fields[positions.get(column) as number] as string | null) };
}

/** Changes a row in place; false refuses it. */
interface Step {
  position: number;
  change(row: (string | null)[]): boolean;
}

/** Renames only move names, so a step's column is found by its name at that point. Changed columns become text. */
function compileSteps(table: BridgeTable, sources: readonly string[], types: ColumnType[]): Step[] {
  const steps: Step[] = [];
  let present = [...sources];
  for (const transform of table.transform) {
    if ('rename' in transform) {
      const { rename } = transform;
      present = present.map((name) => (Object.hasOwn(rename, name) ? (rename[name] as string) : name));
      continue;
    }
    const column = 'mask' in transform ? transform.mask.column : transform.dictionary.column;
    const position = present.indexOf(column);
    types[position] = changedType(transform, types[position] as ColumnType);
    const change =
      'mask' in transform ? maskField(transform.mask, position) : translateField(transform.dictionary, position);
    steps.push({ position, change });
  }
  return steps;
}

/** Text as long as the longest value can get: a narrower target must not be refused for values that cannot come. */
function changedType(transform: { dictionary: Dictionary } | { mask: Mask }, source: ColumnType): ColumnType {
  // Masking keeps the number of characters.
  let longest = longestText(source);
  if ('dictionary' in transform) {
    const { map, otherwise } = transform.dictionary;
    const translated = Object.values(map).reduce((most, text) => Math.max(most, Array.from(text).length), 1);
    longest = otherwise === 'keep' ? Math.max(longest, translated) : translated;
  }
  return Number.isFinite(longest) ? { type: 'text', maxLength: longest } : { type: 'text' };
}

function translateField({ map, otherwise }: Dictionary, position: number): Step['change'] {
  const translations = new Map(Object.entries(map));
  return (row) => {
    const value = row[position] as string | null;
    if (value === null) return true;
    const translated = translations.get(value);
    if (translated !== undefined) row[position] = translated;
    else if (otherwise === 'refuse') return false;
    else if (otherwise === 'null') row[position] = null;
    return true;
  };
}

function maskField({ keepFirst, keepLast, with: cover }: Mask, position: number): Step['change'] {
  return (row) => {
    const value = row[position] as string | null;
    if (value !== null) row[position] = masked(value, keepFirst, keepLast, cover);
    return true;
  };
}

/** Covers the characters between the first and the last kept ones; a value too short to hide any of is covered whole. */
function masked(value: string, keepFirst: number, keepLast: number, cover: string): string {
  const characters = Array.from(value);
  const hidden = characters.length - keepFirst - keepLast;
  if (hidden <= 0) return cover.repeat(characters.length);
  const end = keepLast === 0 ? '' : characters.slice(-keepLast).join('');
  return characters.slice(0, keepFirst).join('') + cover.repeat(hidden) + end;
}

function compileChecks(table: BridgeTable, names: readonly string[]): number[] {
  return [...new Set(table.checks.map(({ column }) => names.indexOf(column)))];
}

/** A required field with nothing but blanks is as missing as null: 必填. */
function isMissing(value: string | null): boolean {
  return value === null || value.trim() === '';
}

function keyMissing(table: string): Problem {
  return {
    code: 'KEY_MISSING',
    path: `${table}.key`,
    message: `Found no key for table ${table}.`,
    hint: 'Give the table a primary key, or name unique NOT NULL columns in key:.',
  };
}
