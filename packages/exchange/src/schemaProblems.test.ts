import { expect, test } from 'vitest';
import { z } from 'zod';
import { schemaProblems } from './schemaProblems.ts';

test.each<[z.ZodType, unknown, string]>([
  [z.string().regex(/^[a-z]+$/, 'expected a code'), 'A', 'Found "A"; expected a code.'],
  [z.string().refine(() => false, 'expected a zone'), 'A', 'Found "A"; expected a zone.'],
  [z.int().min(5), 1, 'Found number 1; expected 5 or more.'],
  [z.int().max(9), 10, 'Found number 10; expected 9 or less.'],
  [z.number().positive(), 0, 'Found number 0; expected more than 0.'],
  [z.number().lt(2), 2, 'Found number 2; expected less than 2.'],
  [z.string().min(1), '', 'Found ""; expected 1 character or more.'],
  [z.string().max(2), 'abc', 'Found "abc"; expected at most 2 characters.'],
  [z.array(z.string()).min(2), [], 'Found an empty list; expected 2 entries or more.'],
  [z.number().multipleOf(3), 4, 'Found number 4; expected a multiple of 3.'],
  [z.string().regex(/^a/), 'b', 'Found "b"; expected text that matches /^a/.'],
  [z.string().startsWith('tls://'), 'b', 'Found "b"; expected text that starts with tls://.'],
  [z.url(), 'b', 'Found "b"; expected text of the form url.'],
  [z.union([z.string(), z.number()]), true, 'Found boolean true; expected text or a number.'],
  [z.union([z.string().regex(/^a/, 'a, b'), z.string().regex(/^c/, 'a, b')]), 'd', 'Found "d"; expected a, b.'],
  [z.string().min(1, 'a name'), '', 'Found ""; expected a name.'],
])('%#: what is expected reads as one sentence', (schema, input, message) => {
  expect(schemaProblems(schema, input).map((problem) => problem.message)).toEqual([message]);
});

test('a mapping of an unknown kind names the kinds there are', () => {
  const schema = z.discriminatedUnion('engine', [
    z.strictObject({ engine: z.literal('mysql') }),
    z.strictObject({ engine: z.literal('oracle') }),
  ]);
  expect(schemaProblems(schema, { engine: 'orakle' })).toMatchObject([
    {
      code: 'WRONG_VALUE',
      path: 'engine',
      message: 'Found "orakle"; expected mysql or oracle.',
      hint: expect.stringContaining('oracle'),
    },
  ]);
  expect(schemaProblems(schema, {})).toMatchObject([
    { code: 'KEY_MISSING', message: 'Found nothing; expected mysql or oracle.' },
  ]);
});

test.each([
  ['optional', z.strictObject({ everyMs: z.int() }).optional()],
  ['with defaults inside', z.strictObject({ everyMs: z.int().default(1) }).prefault({})],
  ['nullable', z.strictObject({ everyMs: z.int() }).nullable()],
  ['read-only', z.strictObject({ everyMs: z.int() }).readonly()],
])('an unknown key of a mapping that is %s names the known ones', (_, limits) => {
  expect(schemaProblems(z.strictObject({ limits }), { limits: { everyMs: 1, every: 1 } })).toMatchObject([
    { code: 'UNKNOWN_KEY', message: 'Found key every; expected one of everyMs.', hint: 'Did you mean everyMs?' },
  ]);
});
