import { ChangeKind, Outcome as ContractOutcome } from '@qiao/contract/counts';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { contractCounts, countsOf, safeCount, sumCounts, totalRows } from './counts.ts';
import { contractKind, KINDS, kindOf } from './kind.ts';
import { Matrix } from './matrix.ts';
import { contractOutcome, isFinal, isOpen, OUTCOMES, outcomeOf } from './outcome.ts';

const table = fc.constantFrom('births', 'deaths', '婚姻');
const cell = fc.record({
  table,
  sent: fc.constantFrom(...KINDS),
  outcome: fc.constantFrom(...OUTCOMES),
  rows: fc.integer({ min: 0, max: 1_000_000 }),
});
const cells = fc.array(cell, { maxLength: 40 });
const counts = fc.array(fc.record({ table, inserts: fc.nat(), updates: fc.nat(), deletes: fc.nat() }), {
  maxLength: 10,
});

describe('the matrix', () => {
  test('holds every row once: the sum of its cells is what was added', () => {
    fc.assert(
      fc.property(cells, (list) => {
        const matrix = Matrix.from(list);
        const added = list.reduce((sum, { rows }) => sum + rows, 0);
        expect(matrix.total()).toBe(added);
        expect(matrix.cells().reduce((sum, { rows }) => sum + rows, 0)).toBe(added);
        const byTable = ['births', 'deaths', '婚姻'].flatMap((name) => KINDS.map((kind) => matrix.total(name, kind)));
        expect(byTable.reduce((sum, rows) => sum + rows, 0)).toBe(added);
        expect(matrix.openRows()).toBe(
          list.filter(({ outcome }) => isOpen(outcome)).reduce((sum, { rows }) => sum + rows, 0),
        );
        expect(matrix.cells().every(({ rows }) => rows > 0)).toBe(true);
      }),
    );
  });

  test('does not care about order, and travels in the contract unchanged', () => {
    fc.assert(
      fc.property(cells, cells, (a, b) => {
        const merged = Matrix.from(a);
        merged.merge(Matrix.from(b));
        expect(merged.cells()).toEqual(Matrix.from([...b.toReversed(), ...a]).cells());
        expect(Matrix.ofContract(merged.contract()).cells()).toEqual(merged.cells());
      }),
    );
  });

  test('moves a row from one cell to another, and never below zero', () => {
    const matrix = Matrix.from([{ table: 'births', sent: 'insert', outcome: 'quarantined', rows: 1 }]);
    matrix.add('births', 'insert', 'quarantined', -1);
    matrix.add('births', 'insert', 'inserted', 1);
    expect(matrix.cells()).toEqual([{ table: 'births', sent: 'insert', outcome: 'inserted', rows: 1 }]);
    expect(() => matrix.add('births', 'insert', 'quarantined', -1)).toThrow('-1 rows');
    expect(() => matrix.add('births', 'insert', 'inserted', 0.5)).toThrow('0.5 rows');
  });

  test('its cells are copies', () => {
    const matrix = Matrix.from([{ table: 'births', sent: 'insert', outcome: 'inserted', rows: 1 }]);
    for (const each of matrix.cells()) each.rows = 99;
    expect(matrix.total()).toBe(1);
  });
});

describe('kinds, outcomes and counts', () => {
  test('each travels in the contract and comes back', () => {
    for (const kind of KINDS) expect(kindOf(contractKind(kind))).toBe(kind);
    for (const outcome of OUTCOMES) expect(outcomeOf(contractOutcome(outcome))).toBe(outcome);
    expect(OUTCOMES.length).toBe(12);
    expect(() => kindOf(ChangeKind.UNRECOGNIZED)).toThrow('UNRECOGNIZED');
    expect(() => outcomeOf(ContractOutcome.UNSPECIFIED)).toThrow('UNSPECIFIED');
  });

  test('only quarantined and held rows are open', () => {
    expect(OUTCOMES.filter(isOpen)).toEqual(['quarantined', 'held']);
    expect(OUTCOMES.filter((outcome) => isFinal(outcome) === isOpen(outcome))).toEqual([]);
  });

  test('counts add up and travel in the contract unchanged', () => {
    fc.assert(
      fc.property(counts, (list) => {
        const sum = sumCounts(list);
        expect(totalRows(sum)).toBe(totalRows(list));
        expect(new Set(sum.map((count) => count.table)).size).toBe(sum.length);
        expect(countsOf(contractCounts(sum))).toEqual(sum);
      }),
    );
    expect(() => safeCount(2n ** 53n)).toThrow('9007199254740992');
  });
});
