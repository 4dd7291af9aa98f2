import type { ProblemsError } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { parseConfig, readConfig } from './index.ts';

const schema = z.strictObject({ name: z.string(), port: z.int().min(1) });

function problemsOf(text: string) {
  try {
    parseConfig(text, 'x.yaml', schema);
  } catch (error) {
    return (error as ProblemsError).problems;
  }
  throw new Error('it was accepted');
}

test('a configuration with several mistakes names all of them at once', () => {
  const problems = problemsOf('name: 3\nport: 0\nprot: 1\n');
  expect(problems.map((problem) => problem.path).sort()).toEqual(['x.yaml name', 'x.yaml port', 'x.yaml prot']);
  expect(problems.some((problem) => problem.code === 'UNKNOWN_KEY' && problem.message.includes('prot'))).toBe(true);
});

test('a key written twice is refused with its line', () => {
  expect(problemsOf('name: a\nport: 1\nport: 2\n')[0]?.path).toBe('x.yaml line 3');
});

test('an alias bomb is refused', () => {
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nname: n\nport: 1\n`;
  expect(() => parseConfig(bomb, 'x.yaml', schema)).toThrow(/alias/);
});

test('a missing file says how to make one', () => {
  expect(() => readConfig('/nonexistent/agent.yaml', schema)).toThrow(/cannot read/);
});
