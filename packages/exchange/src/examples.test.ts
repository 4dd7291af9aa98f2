import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ProblemsError } from './errors.ts';
import { parseExamples, playExamples } from './examples.ts';
import { parseBridge } from './parseBridge.ts';

const golden = (name: string): string => readFileSync(new URL(`../golden/${name}`, import.meta.url), 'utf8');
const hasher = (scope: string, text: string) => `${scope}/${text}`.padEnd(64, '0');

function play(examplesText: string) {
  const { definition, problems } = parseBridge(golden('bridge.yaml'));
  if (definition === undefined) throw new ProblemsError(problems);
  const { examples, problems: wrong } = parseExamples(examplesText);
  if (examples === undefined) throw new ProblemsError(wrong);
  return playExamples(definition, examples, hasher);
}

test('the examples beside the golden bridge are what it does', () => {
  expect(play(golden('bridge.examples.yaml'))).toEqual({ examples: 4, mismatches: [] });
});

test('every step and rule does to the golden rows what is written beside them', () => {
  const { definition } = parseBridge(golden('bridge-steps.yaml'));
  const { examples, problems } = parseExamples(golden('bridge-steps.examples.yaml'));
  expect(problems).toEqual([]);
  if (definition === undefined || examples === undefined) throw new Error('cannot be read');
  expect(playExamples(definition, examples, hasher)).toEqual({ examples: 4, mismatches: [] });
});

test('what comes out otherwise is named with what was expected and what was got', () => {
  const changed = golden('bridge.examples.yaml')
    .replace('sex_code: "1"', 'sex_code: "2"')
    .replace('          mother_id_no: "370202********1234"\n', '')
    .replace('code: DICTIONARY_UNKNOWN_VALUE', 'code: REQUIRED_MISSING')
    .replace('filtered: true', 'refused: { code: REQUIRED_MISSING, column: baby_name }');
  expect(play(changed).mismatches).toEqual([
    {
      table: 'birth_certificate',
      example: 1,
      title: 'a boy',
      differences: [
        { what: 'sex_code', expected: '"2"', got: '"1"' },
        { what: 'mother_id_no', expected: 'no such column', got: '"370202********1234"' },
      ],
    },
    {
      table: 'birth_certificate',
      example: 2,
      title: '',
      differences: [
        {
          what: 'the row',
          expected: 'refused: REQUIRED_MISSING at sex_code',
          got: 'refused: DICTIONARY_UNKNOWN_VALUE at sex_code',
        },
      ],
    },
    {
      table: 'birth_certificate',
      example: 3,
      title: 'born too early',
      differences: [{ what: 'the row', expected: 'refused: REQUIRED_MISSING at baby_name', got: 'filtered' }],
    },
  ]);
});

test('examples that do not go with the bridge, or are no rows of a source, are problems, all at once', () => {
  const problemsOf = (text: string): string[] => {
    try {
      play(text);
    } catch (error) {
      if (error instanceof ProblemsError) return error.problems.map(({ code, path }) => `${code} ${path}`);
      throw error;
    }
    return [];
  };
  const examples = golden('bridge.examples.yaml');
  expect(problemsOf(examples.replace('kind: Examples', 'kind: Example\nbridge: x'))).toEqual([
    'UNKNOWN_KEY bridge',
    'WRONG_VALUE kind',
  ]);
  expect(problemsOf(examples.replace('  birth_certificate:', '  birth_certificates:'))).toEqual([
    'TABLE_UNKNOWN tables.birth_certificates',
  ]);
  expect(problemsOf(examples.replace('birth_date: "2024-01-31"', 'birth_date: "20240131"'))).toEqual([
    'WRONG_VALUE tables.birth_certificate.examples[0].row.birth_date',
  ]);
  expect(problemsOf(examples.replace('filtered: true', 'filtered: true\n        becomes: {}'))).toEqual([
    'WRONG_VALUE tables.birth_certificate.examples[2]',
  ]);
});
