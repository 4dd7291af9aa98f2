import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fold, type KeyChange } from './folding.ts';

type Row = ReadonlyMap<string, string | null>;
const value = fc.option(fc.constantFrom('1', '2', '3'), { nil: null });
const whole = fc.record({ a: value, b: value }).map((row): Row => new Map(Object.entries(row)));
const partial = fc.record({ a: value, b: value }, { requiredKeys: [] }).map((row): Row => new Map(Object.entries(row)));

/** A history that a table can have: from a row or none, each change following from the one before. */
const history = fc
  .record({
    before: fc.option(whole, { nil: undefined }),
    steps: fc.array(fc.record({ deletes: fc.boolean(), whole, partial, isWhole: fc.boolean() }), {
      minLength: 1,
      maxLength: 8,
    }),
  })
  .map(({ before, steps }) => {
    let exists = before !== undefined;
    const changes = steps.map((step): KeyChange => {
      if (!exists) {
        exists = true;
        return { kind: 'insert', row: step.whole, whole: true };
      }
      if (step.deletes) {
        exists = false;
        return { kind: 'delete', row: new Map(), whole: false };
      }
      return { kind: 'update', row: step.isWhole ? step.whole : step.partial, whole: step.isWhole };
    });
    return { before, changes };
  });

/** What a target does: an update of a missing row inserts it when it is whole, a delete of none does nothing. */
function replay(row: Row | undefined, changes: readonly KeyChange[]): Row | undefined {
  return changes.reduce<Row | undefined>((now, { kind, row: next, whole: isWhole }) => {
    if (kind === 'delete') return undefined;
    if (kind === 'insert' || isWhole) return next;
    return now === undefined ? undefined : new Map([...now, ...next]);
  }, row);
}

const plain = (row: Row | undefined) => (row === undefined ? undefined : Object.fromEntries(row));

describe('folding', () => {
  test('the one change leaves the target as replaying all of them does', () => {
    fc.assert(
      fc.property(history, ({ before, changes }) => {
        const { change, folded } = fold(changes);
        expect(folded).toBe(changes.length - 1);
        expect(plain(replay(before, [change]))).toEqual(plain(replay(before, changes)));
      }),
      { numRuns: 2000 },
    );
  });

  test('folding parts first changes nothing', () => {
    fc.assert(
      fc.property(history, fc.nat(), ({ changes }, where) => {
        const at = 1 + (where % changes.length);
        const [head, tail] = [changes.slice(0, at), changes.slice(at)];
        expect(fold([fold(head).change, ...tail]).change).toEqual(fold(changes).change);
      }),
    );
  });

  test('a delete and an insert are an update that carries the whole row', () => {
    const row = new Map([['a', '1']]);
    expect(
      fold([
        { kind: 'delete', row: new Map(), whole: false },
        { kind: 'insert', row, whole: true },
      ]),
    ).toEqual({
      change: { kind: 'update', row, whole: true },
      folded: 1,
    });
  });

  test('a history that no table can have is refused', () => {
    const of = (kind: KeyChange['kind']): KeyChange => ({ kind, row: new Map(), whole: true });
    for (const [before, then] of [
      ['insert', 'insert'],
      ['update', 'insert'],
      ['delete', 'update'],
      ['delete', 'delete'],
    ] as const) {
      expect(() => fold([of(before), of(then)])).toThrow(`${then} after ${before}`);
    }
    expect(() => fold([])).toThrow('no change');
  });
});
