import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { compilePattern } from './pattern.ts';

const matches = (pattern: string, value: string): boolean => {
  const { matches: compiled, problem } = compilePattern(pattern);
  if (compiled === undefined) throw new Error(problem);
  return compiled(value);
};

test('a pattern matches the whole value', () => {
  expect(matches('1[3-9]\\d{9}', '13812345678')).toBe(true);
  expect(matches('1[3-9]\\d{9}', '138123456789')).toBe(false);
  expect(matches('^[A-Z]{2}|\\d+$', '0042')).toBe(true);
  expect(matches('\\p{Han}{2,4}(·\\p{Han}+)*', '阿卜杜拉·买买提')).toBe(true);
  expect(matches('\\p{Han}{2,4}', '𠮷野')).toBe(true);
  expect(matches('.', '𠮷')).toBe(true);
  expect(matches('[^0-9]*', 'a\nb')).toBe(true);
  expect(matches('', '')).toBe(true);
});

test('what is read is what a regular expression would say', () => {
  const atom = fc.oneof(
    fc.constantFrom('a', 'b', '.', '\\d', '\\w', '[ab]', '[^a]', '[0-9a]', '\\.', '中', '\\S'),
    fc.constantFrom('(a|b)', '(?:ab)', '(a?)', '(|b)'),
  );
  const piece = fc
    .tuple(atom, fc.constantFrom('', '', '', '?', '*', '+', '{2}', '{0,2}', '{1,}'))
    .map(([one, times]) => one + times);
  const pattern = fc.array(
    fc.array(piece, { maxLength: 4 }).map((list) => list.join('')),
    { minLength: 1, maxLength: 3 },
  );
  const value = fc.array(fc.constantFrom('a', 'b', '1', '.', '中', ' ', '\n', '𠮷'), { maxLength: 8 });
  fc.assert(
    fc.property(pattern, fc.array(value, { minLength: 10, maxLength: 10 }), (parts, values) => {
      const text = parts.join('|');
      const reference = new RegExp(`^(?:${text})$`, 'u');
      for (const each of values.map((list) => list.join(''))) {
        expect(`${text} ${each} ${matches(text, each)}`).toBe(`${text} ${each} ${reference.test(each)}`);
      }
    }),
    { numRuns: 300 },
  );
});

test('a pattern that would make another engine run away takes its time by the length of the value', () => {
  const hostile = ['(a+)+b', '(a|a)*b', '(a|aa)+b', '(.*)*(.*)*(.*)*b', '(a?){100}a{100}b', '([a-z]+)*\\d'];
  const value = 'a'.repeat(9_000);
  const startedMs = performance.now();
  for (const pattern of hostile) expect(matches(pattern, value)).toBe(false);
  expect(performance.now() - startedMs).toBeLessThan(10_000);
  expect(matches('a*', 'a'.repeat(10_001))).toBe(false);
});

test('what is not understood is named with its place', () => {
  const problems: Record<string, string> = {
    '(?=a)': 'only (…) and (?:…)',
    '(?<=a)b': 'only (…) and (?:…)',
    '(a)\\1': '\\1 at character',
    'a*(': 'the end',
    '^\\d+?$': '? after a quantifier (leave one out, or repeat a group) at character',
    'a*?': '? after a quantifier',
    'a??': '? after a quantifier',
    'a{2}?': '? after a quantifier',
    'a++': '+ after a quantifier',
    'a**': '* after a quantifier',
    'a?{2}': '{ after a quantifier',
    '*a': '* with nothing to repeat',
    'a{3,2}': 'a repetition other than',
    'a{,2}': 'a repetition other than',
    '[a': 'the end in the middle',
    '[z-a]': 'the range z-a',
    'a)': 'a ) that nothing opened',
    a$b: '$ inside',
    '\\p{Greek}': 'expected one of Han, L, N',
    '\\p{constructor}': 'expected one of Han, L, N',
    '(a{100}){100}': 'more than 2000 states',
    '((((a{9}){9}){9}){9}){9}': 'more than 2000 states',
    [`${'('.repeat(60)}${')'.repeat(60)}`]: 'more than 50 groups',
    ['a'.repeat(1_001)]: 'at most 1000 characters',
  };
  for (const [pattern, expected] of Object.entries(problems)) {
    const { matches: compiled, problem } = compilePattern(pattern);
    expect(compiled, pattern).toBeUndefined();
    expect(problem).toContain(expected);
  }
});

test('may be any text: it is read or refused at once', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...Array.from('ab(){}[]|*+?\\.^$,0123-p')) }), (text) => {
      const { matches: compiled, problem } = compilePattern(text);
      expect((compiled === undefined) !== (problem === undefined)).toBe(true);
      compiled?.('aab');
    }),
    { numRuns: 2_000 },
  );
});
