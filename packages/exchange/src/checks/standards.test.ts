import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { creditCheckCharacter, creditCodeProblem } from './creditCode.ts';
import { divisionCodeProblem, PROVINCES } from './divisionCode.ts';
import { idCheckCharacter, idNumberOf, idNumberProblem } from './idNumber.ts';

const digits = (length: number) =>
  fc.array(fc.integer({ min: 0, max: 9 }), { minLength: length, maxLength: length }).map((list) => list.join(''));

describe('a citizen identity number (GB 11643-1999)', () => {
  test('of the examples that the standard prints is right', () => {
    expect(['11010519491231002X', '440524188001010014'].map((text) => idNumberProblem(text))).toEqual([
      undefined,
      undefined,
    ]);
  });

  test('that is wrong says in what', () => {
    const wrong = {
      '11010519491231002x': 'ID_NUMBER_FORM',
      '110105491231002': 'ID_NUMBER_FORM',
      '11010519491231002': 'ID_NUMBER_FORM',
      '011010519491231002': 'ID_NUMBER_FORM',
      '１１０１０５１９４９１２３１００２Ｘ': 'ID_NUMBER_FORM',
      '16010519491231002X': 'ID_NUMBER_DIVISION',
      '11010519490229002X': 'ID_NUMBER_DATE',
      '11010517491231002X': 'ID_NUMBER_DATE',
      '110105194912310021': 'ID_NUMBER_CHECK_CHARACTER',
      '11010519491213002X': 'ID_NUMBER_CHECK_CHARACTER',
    };
    const found = Object.fromEntries(Object.keys(wrong).map((text) => [text, idNumberProblem(text)]));
    expect(found).toEqual(wrong);
  });

  test('of a residence permit of Taiwan carries 83; a table of divisions is gone by where there is one', () => {
    const permit = '83000019900101001';
    expect(idNumberProblem(permit + idCheckCharacter(permit))).toBeUndefined();
    expect(idNumberProblem('11010519491231002X', new Set(['110105']))).toBeUndefined();
    expect(idNumberProblem('11010519491231002X', new Set(['110106']))).toBe('ID_NUMBER_DIVISION');
  });

  test('with any one digit changed, or two neighbours swapped, is refused', () => {
    fc.assert(
      fc.property(digits(3), fc.integer({ min: 0, max: 16 }), fc.integer({ min: 1, max: 9 }), (order, at, by) => {
        const first = `37020219900101${order}`;
        const number = first + idCheckCharacter(first);
        const changed = number.slice(0, at) + ((Number(number[at]) + by) % 10) + number.slice(at + 1);
        const swapped = number.slice(0, at) + number[at + 1] + number[at] + number.slice(at + 2);
        expect(idNumberProblem(number)).toBeUndefined();
        expect(idNumberProblem(changed)).toBeTypeOf('string');
        expect(swapped === number || idNumberProblem(swapped) !== undefined).toBe(true);
      }),
    );
  });

  test('of fifteen digits becomes the one of eighteen, once', () => {
    expect(idNumberOf('110105491231002')).toBe('11010519491231002X');
    expect(idNumberOf('11010519491231002x')).toBe('11010519491231002X');
    // No such day; a sequence of people over a hundred years, born nobody knows in which century; no number at all.
    const left = ['110105490229002', '110105100101997', '11010549123100X', 'x', ''];
    expect(left.map(idNumberOf)).toEqual(left);
    fc.assert(
      fc.property(digits(15), (text) => {
        const made = idNumberOf(text);
        expect(made === text || idNumberProblem(made) === undefined || !(made.slice(0, 2) in PROVINCES)).toBe(true);
        expect(idNumberOf(made)).toBe(made);
      }),
    );
  });
});

describe('a unified social credit code (GB 32100-2015)', () => {
  test('that is in use is right, also the one the standard is explained with', () => {
    const real = ['91350100M000100Y43', '9144030071526726XG', '914403001922038216', '91110108717743469K'];
    expect(real.map(creditCodeProblem)).toEqual(real.map(() => undefined));
  });

  test('that is wrong says in what', () => {
    const form = ['91350100M000100Y4', '91350100m000100Y43', '91350100I000100Y43', '91350100S000100Y43', 'x', ''];
    expect(form.map(creditCodeProblem)).toEqual(form.map(() => 'CREDIT_CODE_FORM'));
    const check = ['91350100M000100Y44', '91350100M000010Y43', '91350101M000100Y43'];
    expect(check.map(creditCodeProblem)).toEqual(check.map(() => 'CREDIT_CODE_CHECK_CHARACTER'));
  });

  test('with any one character changed is refused', () => {
    const character = fc.constantFrom(...Array.from('0123456789ABCDEFGHJKLMNPQRTUWXY'));
    const organisation = fc.array(character, { minLength: 9, maxLength: 9 }).map((list) => list.join(''));
    fc.assert(
      fc.property(organisation, fc.integer({ min: 0, max: 17 }), character, (inner, at, other) => {
        const first = `91370202${inner}`;
        const code = first + creditCheckCharacter(first);
        const changed = code.slice(0, at) + other + code.slice(at + 1);
        expect(creditCodeProblem(code)).toBeUndefined();
        expect(changed === code || creditCodeProblem(changed) !== undefined).toBe(true);
      }),
    );
  });
});

test('an administrative division code (GB/T 2260) has a province, no county without a prefecture, and is in the table if there is one', () => {
  const right = ['370000', '370200', '370202', '710000', '419001'];
  expect(right.map((text) => divisionCodeProblem(text))).toEqual(right.map(() => undefined));
  const form = ['37020', '3702020', '370002', '37020a', ''];
  expect(form.map((text) => divisionCodeProblem(text))).toEqual(form.map(() => 'DIVISION_CODE_FORM'));
  expect(['160000', '830000', '990101'].map((text) => divisionCodeProblem(text))).toEqual(
    Array.from({ length: 3 }, () => 'DIVISION_CODE_UNKNOWN'),
  );
  const table = new Set(['370202', '160000']);
  expect(['370202', '370203', '160000'].map((text) => divisionCodeProblem(text, table))).toEqual([
    undefined,
    'DIVISION_CODE_UNKNOWN',
    undefined,
  ]);
  expect(Object.keys(PROVINCES)).toHaveLength(34);
});
