/**
 * Follows a table's column names through its transforms, and says what cannot be: columns that are not there, two of one
 * name, keys that would change. Works with the columns of the source when they are known, and with what the bridge says
 * when they are not.
 */
import type { BridgeTable, Transform } from './bridge.ts';
import type { Problem } from './errors.ts';
import { didYouMean } from './nearestName.ts';

/** What the names of a table become. */
export interface TracedNames {
  /** Source name → name at the destination, for every carried column that is known, in order. */
  carried: Map<string, string>;
  problems: Problem[];
}

/**
 * Traces one table. `available` are the source's columns, `key` its key columns there (of the bridge, else the primary
 * key); either may be unknown. Problems carry `path` before their own.
 */
export function traceNames(
  table: BridgeTable,
  available: readonly string[] | undefined,
  key: readonly string[] | undefined,
  path: string,
): TracedNames {
  const problems: Problem[] = [];
  const add = (code: string, at: string, message: string, hint = ''): void => {
    problems.push({ code, path: path === '' ? at : `${path}.${at}`, message, hint });
  };

  for (const [what, names] of [
    ['columns', table.columns],
    ['key', table.key],
  ] as const) {
    for (const [index, name] of (names ?? []).entries()) {
      if (names?.indexOf(name) !== index) add('COLUMN_TWICE', `${what}[${index}]`, `Found column ${name} twice.`);
      else if (available !== undefined && !available.includes(name)) {
        add(
          'COLUMN_UNKNOWN',
          `${what}[${index}]`,
          `Found column ${name}; the source has none of that name.`,
          didYouMean(name, available),
        );
      }
    }
  }
  const selected = table.columns ?? available;
  if (selected !== undefined) {
    for (const [index, name] of (table.key ?? key ?? []).entries()) {
      if (!selected.includes(name) && (table.columns !== undefined || table.key === undefined)) {
        add(
          'KEY_NOT_CARRIED',
          `key[${index}]`,
          `Found key column ${name}, which columns: leaves out.`,
          `Add ${name} to columns:.`,
        );
      }
    }
  }

  const names = new Names(selected);
  for (const [index, transform] of table.transform.entries()) {
    applyTransform(names, transform, key ?? table.key ?? [], (code, at, message, hint) =>
      add(code, `transform[${index}]${at}`, message, hint),
    );
  }
  for (const [index, check] of table.checks.entries()) {
    if (names.sourceOf(check.column) === undefined) {
      add(
        'COLUMN_UNKNOWN',
        `checks[${index}].column`,
        names.unknownText(check.column),
        didYouMean(check.column, names.all()),
      );
    }
  }
  return { carried: names.carried(), problems };
}

type AddProblem = (code: string, at: string, message: string, hint?: string) => void;

function applyTransform(names: Names, transform: Transform, key: readonly string[], add: AddProblem): void {
  if ('rename' in transform) {
    for (const from of Object.keys(transform.rename)) {
      if (names.sourceOf(from) === undefined) {
        add('COLUMN_UNKNOWN', `.rename.${from}`, names.unknownText(from), didYouMean(from, names.all()));
      }
    }
    const twice = names.rename(transform.rename);
    for (const name of twice) {
      add(
        'COLUMN_TWICE',
        '.rename',
        `Found two columns named ${name} after the rename.`,
        'Give one of them another name.',
      );
    }
    return;
  }
  const [what, column] =
    'mask' in transform ? ['mask', transform.mask.column] : ['dictionary', transform.dictionary.column];
  const source = names.sourceOf(column);
  if (source === undefined) {
    add('COLUMN_UNKNOWN', `.${what}.column`, names.unknownText(column), didYouMean(column, names.all()));
  } else if (key.includes(source) && !('dictionary' in transform && isReversible(transform.dictionary))) {
    const hint =
      'dictionary' in transform
        ? 'Map every value to another one, and leave otherwise: refuse.'
        : 'Leave the key as it is.';
    add('KEY_CHANGED', `.${what}.column`, `Found a ${what} on key column ${column}: two rows could become one.`, hint);
  }
}

function isReversible({ map, otherwise }: { map: Record<string, string>; otherwise: string }): boolean {
  return otherwise === 'refuse' && new Set(Object.values(map)).size === Object.keys(map).length;
}

/** The names as they stand after the transforms so far. */
class Names {
  /** Present name → source name. */
  #present: Map<string, string>;
  /** Without the source's columns, a name nobody mentioned is taken to exist. */
  readonly #isOpen: boolean;
  readonly #gone = new Set<string>();

  constructor(selected: readonly string[] | undefined) {
    this.#present = new Map((selected ?? []).map((name) => [name, name]));
    this.#isOpen = selected === undefined;
  }

  /** The source name of a present column; undefined when there is none. */
  sourceOf(name: string): string | undefined {
    const source = this.#present.get(name);
    if (source !== undefined || !this.#isOpen || this.#gone.has(name)) return source;
    this.#present.set(name, name);
    return name;
  }

  /** All renames of one transform happen at once, so names may be swapped. Returns the names that two columns now have. */
  rename(renames: Readonly<Record<string, string>>): string[] {
    const after = new Map<string, string>();
    const twice: string[] = [];
    for (const [name, source] of this.#present) {
      const renamed = Object.hasOwn(renames, name) ? (renames[name] as string) : name;
      if (renamed !== name) this.#gone.add(name);
      if (after.has(renamed)) twice.push(renamed);
      after.set(renamed, source);
    }
    for (const name of after.keys()) this.#gone.delete(name);
    this.#present = after;
    return twice;
  }

  all(): string[] {
    return [...this.#present.keys()];
  }

  unknownText(name: string): string {
    const why = this.#gone.has(name) ? 'it was renamed before' : 'no carried column has that name here';
    return `Found column ${name}; ${why}.`;
  }

  carried(): Map<string, string> {
    return new Map([...this.#present].map(([name, source]) => [source, name]));
  }
}
