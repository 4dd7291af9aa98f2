/**
 * What happens to a row between capture and parcel: filter, then the bridge's transforms in their order, then its checks. Compiled
 * once per table and version; pure. Rows of a transform that changes nothing are carried as bytes.
 */
import type { BridgeTable } from '../bridge.ts';
import { type CompiledRule, compileRule } from '../checks/check.ts';
import type { ColumnType } from '../columnType.ts';
import { type Problem, ProblemsError } from '../errors.ts';
import { type CompiledFilter, checkFilter, compileFilter } from '../evaluateFilter.ts';
import { filterColumns, parseFilter } from '../filter.ts';
import { didYouMean } from '../nearestName.ts';
import type { TableLayout } from '../parcel.ts';
import { traceColumns } from './columns.ts';
import { compileSteps } from './steps.ts';
import type { Hasher } from './transform.ts';

/** A column as the source reads it. */
export interface TypedColumn {
  name: string;
  type: ColumnType;
  /** Unknown counts as yes. */
  nullable?: boolean;
}

export type TransformedRow =
  | { kind: 'row'; fields: (string | null)[] }
  /** Outside the bridge's filter. */
  | { kind: 'filtered' }
  /** A transform or a check refused it; `column` as at the destination. Counted, never altered. */
  | { kind: 'refused'; code: string; column: string };

export interface CompiledTransform {
  /** Key first, names as they leave. */
  layout: TableLayout;
  /** Types of `layout.columns`, in order. */
  types: readonly ColumnType[];
  /** Whether a field of `layout.columns` may be null when it leaves. */
  nullable: readonly boolean[];
  /** For each of `layout.columns` the column as read whose values leave as they are; undefined where a step makes them. */
  unaltered: readonly (string | undefined)[];
  /** Transforms one row, its fields in the order of the columns as read. */
  apply(fields: readonly (string | null)[]): TransformedRow;
  /** The key of a row that was filtered or refused; undefined when the key itself is refused. */
  keyOf(fields: readonly (string | null)[]): (string | null)[] | undefined;
  /** Keys leave as the source has them. */
  keepsKeys: boolean;
  /** Every row comes out as it went in: its line may be carried byte for byte. */
  isIdentity: boolean;
  /** Rows that come out at all do so as they went in. */
  keepsLines: boolean;
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
 * Compiles a table's transform over the columns as read. `primaryKey` (source names) counts where the bridge names no key, `hasher`
 * is needed where it hashes. Throws ProblemsError with every problem: unknown columns, a changed key, no key at all, a filter, a
 * transform or a check that does not fit.
 */
export function compileTransform(
  table: BridgeTable,
  columns: readonly TypedColumn[],
  primaryKey: readonly string[] = [],
  hasher?: Hasher,
): CompiledTransform {
  const key = table.key ?? primaryKey;
  const available = columns.map(({ name }) => name);
  const { leaving, problems } = traceColumns(table, available, key, table.name);
  const { passes, problem } = compileWhere(table, columns);
  if (problem !== undefined) problems.push(problem);
  if (key.length === 0) problems.push(keyMissing(table.name));
  const refuse = (): never => {
    throw new ProblemsError(problems, { code: 'TRANSFORM_INVALID' });
  };
  if (problems.length > 0) refuse();

  // A row on its way: key first, the other columns that were read, then the made ones. Dropped ones stay in their place to the end.
  const sources = [...new Set([...key, ...(table.columns ?? available)])];
  const from = sources.map((name) => available.indexOf(name));
  const read = from.map((index) => columns[index] as TypedColumn);
  const { steps, slots, problems: misfits } = compileSteps(table, read, key.length, hasher);
  problems.push(...misfits);

  const left = slots.flatMap(({ name }, index) => (name === undefined ? [] : [index]));
  const names = left.map((index) => slots[index]?.name as string);
  const { checks, problems: unfit } = compileChecks(table, slots);
  problems.push(...unfit);
  if (problems.length > 0) refuse();
  if (leaving.length !== left.length) throw new TypeError('columns were traced otherwise than compiled');

  const isWhole = left.length === slots.length;
  const required = new Set(table.checks.flatMap((check) => ('required' in check ? [check.column] : [])));
  const keepsLines =
    isWhole &&
    steps.length === 0 &&
    from.length === columns.length &&
    from.every((index, position) => index === position);
  const keySteps = steps.filter(({ writes }) => writes < key.length);
  const refused = (code: string, position: number): TransformedRow => ({
    kind: 'refused',
    code,
    column: slots[position]?.reported as string,
  });

  return {
    layout: { table: table.name, columns: names, keyColumns: key.length, wholeRows: true },
    types: left.map((index) => slots[index]?.type as ColumnType),
    nullable: left.map((index) => slots[index]?.nullable === true && !required.has(slots[index]?.name as string)),
    unaltered: left.map((index) => (steps.some(({ writes }) => writes === index) ? undefined : sources[index])),
    keepsLines,
    keepsKeys: keySteps.length === 0,
    isIdentity: keepsLines && passes === undefined && checks.length === 0,
    apply(fields) {
      if (passes !== undefined && !passes(fields)) return { kind: 'filtered' };
      const row = from.map((index) => fields[index] as string | null);
      for (const { change, position } of steps) {
        const code = change(row);
        if (code !== undefined) return refused(code, position);
      }
      for (const { rule, position } of checks) {
        const code = rule(row[position] as string | null);
        if (code !== undefined) return refused(code, position);
      }
      return { kind: 'row', fields: isWhole ? row : left.map((index) => row[index] as string | null) };
    },
    keyOf(fields) {
      const row = from.slice(0, key.length).map((index) => fields[index] as string | null);
      return keySteps.every(({ change }) => change(row) === undefined) ? row : undefined;
    },
  };
}

type Fields = readonly (string | null)[];

function compileWhere(
  table: BridgeTable,
  columns: readonly TypedColumn[],
): { passes?: (fields: Fields) => boolean; problem?: Problem } {
  if (table.where === undefined) return {};
  const invalid = (message: string, hint = 'Correct where: in the bridge.'): { problem: Problem } => ({
    problem: { code: 'FILTER_INVALID', path: `${table.name}.where`, message, hint },
  });
  const { filter, problem } = parseFilter(table.where);
  if (filter === undefined) return invalid(problem ?? 'Found no filter.');
  const positions = new Map(columns.map(({ name }, index) => [name, index]));
  const typeOf = (column: string): ColumnType | undefined => columns[positions.get(column) ?? -1]?.type;
  const misfit = checkFilter(filter, typeOf);
  if (misfit !== undefined) {
    const unknown = filterColumns(filter).find((column) => !positions.has(column));
    return invalid(misfit, unknown === undefined ? undefined : didYouMean(unknown, [...positions.keys()]));
  }
  const compiled: CompiledFilter = compileFilter(filter, typeOf);
  return { passes: (fields) => compiled((column) => fields[positions.get(column) as number] as string | null) };
}

function compileChecks(
  table: BridgeTable,
  slots: readonly { name: string | undefined; type: ColumnType }[],
): { checks: { rule: CompiledRule; position: number }[]; problems: Problem[] } {
  const positions = new Map(slots.map(({ name }, position) => [name, position]));
  const checks: { rule: CompiledRule; position: number }[] = [];
  const problems: Problem[] = [];
  for (const [index, check] of table.checks.entries()) {
    const position = positions.get(check.column);
    const slot = slots[position ?? -1];
    if (position === undefined || slot === undefined) continue;
    const rule = compileRule(check, slot.type);
    if (typeof rule !== 'string') checks.push({ rule, position });
    else {
      const message = `Found column ${check.column}; expected ${rule}.`;
      problems.push({
        code: 'CHECK_MISFIT',
        path: `${table.name}.checks[${index}]`,
        message,
        hint: 'Write another check, or a cast before it.',
      });
    }
  }
  return { checks, problems };
}

function keyMissing(table: string): Problem {
  return {
    code: 'KEY_MISSING',
    path: `${table}.key`,
    message: `Found no key for table ${table}.`,
    hint: 'Give the table a primary key, or name unique NOT NULL columns in key:.',
  };
}
