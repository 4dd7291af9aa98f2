/**
 * Follows a table's columns through its transforms, and says what cannot be: columns that are not there, two of one name, keys
 * that would change. Works with the columns of the source when they are known, and with what the bridge says when they are not.
 */
import type { BridgeTable } from '../bridge.ts';
import type { Problem } from '../errors.ts';
import { didYouMean } from '../nearestName.ts';
import { pathText } from '../schemaProblems.ts';
import { changedColumn } from './change.ts';
import type { Transform } from './transform.ts';

/** A column on its way: read from the source, or made by a step. */
export interface TracedColumn {
  /** Name after the steps so far; undefined once it was dropped. */
  name: string | undefined;
  /** Name at the source; undefined for a made column. */
  readonly source: string | undefined;
}

export interface TracedColumns {
  /** Columns that leave: those of the source in order, then the made ones in the order of the steps. */
  leaving: TracedColumn[];
  problems: Problem[];
}

/**
 * Traces one table. `available` are the source's columns, `key` its key columns there (of the bridge, else the primary
 * key); either may be unknown. Problems carry `path` before their own.
 */
export function traceColumns(
  table: BridgeTable,
  available: readonly string[] | undefined,
  key: readonly string[] | undefined,
  path: string,
): TracedColumns {
  const problems: Problem[] = [];
  const add: AddProblem = (code, at, message, hint) => {
    problems.push({ code, path: path === '' ? at : `${path}.${at}`, message, hint });
  };
  selectionProblems(table, available, key, add);

  const columns = new Columns(table.columns ?? available);
  const keyNames = key ?? table.key ?? [];
  for (const [index, transform] of table.transform.entries()) {
    applyTransform(columns, transform, keyNames, (code, at, message, hint) =>
      add(code, `transform[${index}].${at}`, message, hint),
    );
  }
  for (const [index, { column }] of table.checks.entries()) {
    if (columns.named(column) === undefined) {
      add(
        'COLUMN_UNKNOWN',
        `checks[${index}].column`,
        columns.unknownText(column),
        didYouMean(column, columns.names()),
      );
    }
  }
  return { leaving: columns.leaving(), problems };
}

/** Names of the columns that leave, as far as the bridge itself says them: undefined where it leaves them to the source. */
export function leavingNames(table: BridgeTable): string[] | undefined {
  if (table.columns === undefined) return undefined;
  const { leaving } = traceColumns(table, undefined, table.key, '');
  return leaving.flatMap(({ name }) => name ?? []);
}

/** The key that the bridge names, as it leaves; undefined where it names none. */
export function leavingKey(table: BridgeTable): string[] | undefined {
  return table.key?.map((column) =>
    table.transform.reduce(
      (name, step) => ('rename' in step && Object.hasOwn(step.rename, name) ? (step.rename[name] as string) : name),
      column,
    ),
  );
}

/** What a step needs and makes. */
export interface Reach {
  /** Columns it reads, each with its place in the step. */
  reads: { column: string; at: string }[];
  /** Columns it makes. */
  makes: { column: string; at: string }[];
  /** The column it changes, if any: one of those it reads. */
  changes?: string;
  drops: string[];
}

/** The one name of a step: `rename`, `mask`, … */
export function stepName(transform: Transform): string {
  return Object.keys(transform)[0] as string;
}

export function reachOf(transform: Transform): Reach {
  if ('rename' in transform) {
    const reads = Object.keys(transform.rename).map((column) => ({ column, at: pathText(['rename', column]) }));
    return { reads, makes: [], drops: [] };
  }
  if ('constant' in transform) {
    return { reads: [], makes: [{ column: transform.constant.column, at: 'constant.column' }], drops: [] };
  }
  if ('concatenate' in transform) {
    const { columns, into } = transform.concatenate;
    const reads = columns.map((column, index) => ({ column, at: `concatenate.columns[${index}]` }));
    return { reads, makes: [{ column: into, at: 'concatenate.into' }], drops: [] };
  }
  if ('split' in transform) {
    const { column, into } = transform.split;
    const makes = into.map((made, index) => ({ column: made, at: `split.into[${index}]` }));
    return { reads: [{ column, at: 'split.column' }], makes, drops: [] };
  }
  if ('drop' in transform) {
    const reads = transform.drop.map((column, index) => ({ column, at: `drop[${index}]` }));
    return { reads, makes: [], drops: transform.drop };
  }
  if ('check' in transform) {
    return { reads: [{ column: transform.check.column, at: 'check.column' }], makes: [], drops: [] };
  }
  const column = changedColumn(transform);
  return { reads: [{ column, at: `${stepName(transform)}.column` }], makes: [], changes: column, drops: [] };
}

type AddProblem = (code: string, at: string, message: string, hint: string) => void;

function selectionProblems(
  table: BridgeTable,
  available: readonly string[] | undefined,
  key: readonly string[] | undefined,
  add: AddProblem,
): void {
  for (const [what, names] of [
    ['columns', table.columns],
    ['key', table.key],
  ] as const) {
    for (const [index, name] of (names ?? []).entries()) {
      if (names?.indexOf(name) !== index)
        add('COLUMN_TWICE', `${what}[${index}]`, `Found column ${name} twice.`, 'Name it once.');
      else if (available !== undefined && !available.includes(name)) {
        const message = `Found column ${name}; the source has none of that name.`;
        add('COLUMN_UNKNOWN', `${what}[${index}]`, message, didYouMean(name, available));
      }
    }
  }
  const selected = table.columns ?? available;
  if (selected === undefined) return;
  for (const [index, name] of (table.key ?? key ?? []).entries()) {
    if (!selected.includes(name) && (table.columns !== undefined || table.key === undefined)) {
      const message = `Found key column ${name}, which columns: leaves out.`;
      add('KEY_NOT_CARRIED', `key[${index}]`, message, `Add ${name} to columns:.`);
    }
  }
}

function applyTransform(columns: Columns, transform: Transform, key: readonly string[], add: AddProblem): void {
  const { reads, makes, changes, drops } = reachOf(transform);
  const what = stepName(transform);
  for (const { column, at } of reads) {
    const found = columns.named(column);
    if (found === undefined) {
      add('COLUMN_UNKNOWN', at, columns.unknownText(column), didYouMean(column, columns.names()));
    } else if (found.source !== undefined && key.includes(found.source)) {
      if (column === changes && !keepsKeysApart(transform)) {
        const message = `Found a ${what} on key column ${column}: two rows could become one.`;
        add('KEY_CHANGED', at, message, keyHint(transform));
      } else if ('drop' in transform) {
        add('KEY_NOT_CARRIED', at, `Found key column ${column} dropped.`, 'Carry the key, or name another key.');
      }
    }
  }
  if ('rename' in transform) {
    for (const name of columns.rename(transform.rename)) {
      const message = `Found two columns named ${name} after the rename.`;
      add('COLUMN_TWICE', 'rename', message, 'Give one of them another name.');
    }
  }
  for (const name of drops) columns.drop(name);
  for (const { column, at } of makes) {
    if (!columns.make(column)) {
      const message = `Found column ${column} already; a ${what} makes a new one.`;
      add('COLUMN_TWICE', at, message, 'Give the new column another name, or rename or drop the other one before.');
    }
  }
}

/** Whether two values that differ still differ afterwards. Casts depend on the types and are looked at by compile.ts. */
function keepsKeysApart(transform: Transform): boolean {
  if ('dictionary' in transform) {
    const { map, otherwise } = transform.dictionary;
    return otherwise === 'refuse' && new Set(Object.values(map)).size === Object.keys(map).length;
  }
  if ('hash' in transform) return transform.hash.digits >= KEY_HASH_DIGITS;
  return 'cast' in transform || 'dateFormat' in transform;
}

/** 128 bits: two keys of one table never meet. */
const KEY_HASH_DIGITS = 32;

function keyHint(transform: Transform): string {
  if ('dictionary' in transform) return 'Map every value to another one, and leave otherwise: refuse.';
  if ('hash' in transform) return `Keep digits: ${KEY_HASH_DIGITS} or more.`;
  return 'Leave the key as it is.';
}

/** The columns as they stand after the transforms so far. */
class Columns {
  readonly #all: TracedColumn[];
  #present: Map<string, TracedColumn>;
  /** Without the source's columns, a name nobody mentioned is taken to exist. */
  readonly #isOpen: boolean;
  readonly #gone = new Set<string>();

  constructor(selected: readonly string[] | undefined) {
    this.#all = [...new Set(selected ?? [])].map((name) => ({ name, source: name }));
    this.#present = new Map(this.#all.map((column) => [column.name as string, column]));
    this.#isOpen = selected === undefined;
  }

  /** The present column of a name; undefined when there is none. */
  named(name: string): TracedColumn | undefined {
    const found = this.#present.get(name);
    if (found !== undefined || !this.#isOpen || this.#gone.has(name)) return found;
    return this.#add({ name, source: name });
  }

  /** All renames of one transform happen at once, so names may be swapped. Returns the names that two columns now have. */
  rename(renames: Readonly<Record<string, string>>): string[] {
    const after = new Map<string, TracedColumn>();
    const twice: string[] = [];
    for (const [name, column] of this.#present) {
      const renamed = Object.hasOwn(renames, name) ? (renames[name] as string) : name;
      if (renamed !== name) this.#gone.add(name);
      if (after.has(renamed)) twice.push(renamed);
      column.name = renamed;
      after.set(renamed, column);
    }
    for (const name of after.keys()) this.#gone.delete(name);
    this.#present = after;
    return twice;
  }

  drop(name: string): void {
    const column = this.#present.get(name);
    if (column === undefined) return;
    column.name = undefined;
    this.#present.delete(name);
    this.#gone.add(name);
  }

  /** False when there is one of that name. */
  make(name: string): boolean {
    if (this.#present.has(name)) return false;
    this.#add({ name, source: undefined });
    this.#gone.delete(name);
    return true;
  }

  names(): string[] {
    return [...this.#present.keys()];
  }

  unknownText(name: string): string {
    const why = this.#gone.has(name) ? 'it was renamed or dropped before' : 'no carried column has that name here';
    return `Found column ${name}; ${why}.`;
  }

  leaving(): TracedColumn[] {
    return this.#all.filter(({ name }) => name !== undefined);
  }

  #add(column: { name: string; source: string | undefined }): TracedColumn {
    this.#all.push(column);
    this.#present.set(column.name, column);
    return column;
  }
}
