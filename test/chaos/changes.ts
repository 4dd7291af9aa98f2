// What departments do to their tables, and which capture promises to bring it: the kinds of change that a seed may choose. How each is
// written as statements is in statements.ts.

import type { Adapter } from './departments.ts';

/** How the rows are captured. By a cursor no delete is, and so none is made. */
export const CAPTURES = ['compare', 'cursor', 'trigger', 'log'] as const;
export type Capture = (typeof CAPTURES)[number];

/** Steps of a transaction. */
const STEPS = {
  insert: 3,
  update: 3,
  /** INSERT … ON CONFLICT, ON DUPLICATE KEY. */
  upsert: 2,
  /** REPLACE of MariaDB and SQLite, which may take another row's unique value and that row with it; MERGE of PostgreSQL. */
  replace: 2,
  delete: 1.5,
  /** A key that was deleted comes back with other contents. */
  reuse: 1.5,
  keyUpdate: 1,
  /** Two rows exchange their keys in one transaction. */
  keySwap: 1,
  /** Two to four rows pass on the values of another unique column, in a circle. */
  codeSwap: 1,
  /** DELETE of every row in SQLite, which has no other. */
  truncate: 0.8,
  /** Several changes of one row, its coming and going among them. */
  manyOfOne: 2,
  /** Steps that are undone to a savepoint. */
  savepoint: 1,
} as const;

/** How a transaction ends. */
const ENDINGS = {
  commit: 7,
  rollback: 1,
  /** Stays open over the commits of others. */
  held: 1.5,
} as const;

export type Step = keyof typeof STEPS;
export type Ending = keyof typeof ENDINGS;
export type ChangeKind = Step | Exclude<Ending, 'commit'>;

/**
 * By a cursor no row goes. And it reads the two rows of an exchange by their times, in one scan or in two: a unique value that moved with
 * them may be at two rows of the destination for a moment, and is refused there.
 */
const NOT_BY_CURSOR: readonly string[] = ['delete', 'reuse', 'keyUpdate', 'codeSwap', 'truncate'];

export function stepsOf(capture: Capture, adapter: Adapter): readonly (readonly [Step, number])[] {
  return (Object.entries(STEPS) as [Step, number][]).filter(([step]) => {
    if (capture === 'cursor' && NOT_BY_CURSOR.includes(step)) return false;
    // No trigger of MariaDB sees it: the next scan of the whole table does, which is a day away.
    return !(step === 'truncate' && capture === 'trigger' && adapter === 'mysql');
  });
}

export function endingsOf(adapter: Adapter): readonly (readonly [Ending, number])[] {
  // SQLite has one writer at a time: nobody commits beside it.
  return (Object.entries(ENDINGS) as [Ending, number][]).filter(
    ([ending]) => ending !== 'held' || adapter !== 'sqlite',
  );
}

/** Every kind that some source of this capture can be given. */
export function kindsOf(capture: Capture): readonly ChangeKind[] {
  const kinds = new Set<ChangeKind>();
  for (const adapter of ['postgres', 'mysql', 'sqlite'] as const) {
    for (const [step] of stepsOf(capture, adapter)) kinds.add(step);
    for (const [ending] of endingsOf(adapter)) if (ending !== 'commit') kinds.add(ending);
  }
  return [...kinds];
}
