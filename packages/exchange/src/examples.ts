/**
 * Examples of a bridge: rows as the source has them, and what shall become of each. They are kept beside the bridge and played
 * without any server, so that whoever changes a step sees at once what else it changes.
 */
import { z } from 'zod';
import type { BridgeDefinition, BridgeTable } from './bridge.ts';
import { checkValue } from './checkValue.ts';
import { type ColumnType, parseTypeText, typeText } from './columnType.ts';
import { TABLE_NAME_MAX } from './content.ts';
import { type Problem, ProblemsError } from './errors.ts';
import { columnName, name } from './nameSchema.ts';
import { didYouMean } from './nearestName.ts';
import { pathText, schemaProblems } from './schemaProblems.ts';
import { compileTransform, type TransformedRow } from './transform/compile.ts';
import type { Hasher } from './transform/transform.ts';
import { typeName } from './transform/transformSchema.ts';
import { readYaml } from './yamlText.ts';

const row = z.record(columnName, z.string().nullable());

const exampleSchema = z
  .strictObject({
    title: name(200, 'a title').optional(),
    row,
    becomes: row.optional(),
    refused: z.strictObject({ code: z.string(), column: columnName }).optional(),
    filtered: z.literal(true, 'true').optional(),
  })
  .refine((each) => [each.becomes, each.refused, each.filtered].filter((one) => one !== undefined).length === 1, {
    error: 'a row and exactly one of becomes, refused and filtered',
  });

/** How examples are written; also what documents them. */
export const examplesSchema = z.strictObject({
  kind: z.literal('Examples', 'Examples'),
  tables: z.record(
    name(TABLE_NAME_MAX, 'a table name'),
    z.strictObject({
      types: z.record(columnName, typeName).optional(),
      key: z.array(columnName).min(1, 'one key column or more').optional(),
      examples: z.array(exampleSchema).min(1, 'one example or more'),
    }),
  ),
});

export type Examples = z.infer<typeof examplesSchema>;
type TableExamples = Examples['tables'][string];
type Example = z.infer<typeof exampleSchema>;
type Row = z.infer<typeof row>;

/** What an example expected beside what it got. */
export interface Mismatch {
  table: string;
  /** From 1. */
  example: number;
  title: string;
  differences: { what: string; expected: string; got: string }[];
}

export interface Played {
  examples: number;
  mismatches: Mismatch[];
}

/** Reads examples as they are written. Every problem at once. */
export function parseExamples(yamlText: string): { examples?: Examples; problems: Problem[] } {
  const { value, problems } = readYaml(yamlText);
  if (problems.length > 0) return { problems };
  const found = schemaProblems(examplesSchema, value);
  return found.length > 0 ? { problems: found } : { examples: examplesSchema.parse(value), problems: [] };
}

/** Plays every example. Throws ProblemsError where examples and bridge do not go together: tables, columns, types, steps. */
export function playExamples(definition: BridgeDefinition, { tables }: Examples, hasher: Hasher): Played {
  const known = definition.source.tables;
  const problems: Problem[] = [];
  const played: Played = { examples: 0, mismatches: [] };
  for (const [table, written] of Object.entries(tables)) {
    const definitionOfTable = known.find((each) => each.name === table);
    if (definitionOfTable === undefined) {
      problems.push({
        code: 'TABLE_UNKNOWN',
        path: pathText(['tables', table]),
        message: `Found table ${table}; the bridge has none of that name.`,
        hint: didYouMean(
          table,
          known.map((each) => each.name),
        ),
      });
      continue;
    }
    try {
      playTable(definitionOfTable, written, hasher, played);
    } catch (error) {
      if (!(error instanceof ProblemsError)) throw error;
      problems.push(...error.problems);
    }
  }
  if (problems.length > 0) throw new ProblemsError(problems, { code: 'EXAMPLES_INVALID' });
  return played;
}

function playTable(table: BridgeTable, written: TableExamples, hasher: Hasher, played: Played): void {
  const named = new Set(written.examples.flatMap(({ row: given }) => Object.keys(given)));
  const key = table.key ?? written.key ?? [];
  const names = [...new Set([...key, ...(table.columns ?? []), ...named, ...Object.keys(written.types ?? {})])];
  const columns = names.map((column) => ({ name: column, type: typeOf(written, column) }));
  const problems = valueProblems(table.name, written);
  if (problems.length > 0) throw new ProblemsError(problems);
  const compiled = compileTransform(table, columns, key, hasher);
  for (const [index, example] of written.examples.entries()) {
    const result = compiled.apply(names.map((column) => example.row[column] ?? null));
    const differences = differencesOf(example, result, compiled.layout.columns);
    played.examples += 1;
    if (differences.length > 0) {
      played.mismatches.push({ table: table.name, example: index + 1, title: example.title ?? '', differences });
    }
  }
}

function typeOf({ types }: TableExamples, column: string): ColumnType {
  const text = types !== undefined && Object.hasOwn(types, column) ? types[column] : undefined;
  return (text === undefined ? undefined : parseTypeText(text)) ?? { type: 'text' };
}

/** A source never gives what is no value of its column's type. */
function valueProblems(table: string, written: TableExamples): Problem[] {
  return written.examples.flatMap(({ row: given }, index) =>
    Object.entries(given).flatMap(([column, value]): Problem[] => {
      const type = typeOf(written, column);
      const problem = value === null ? undefined : checkValue(type, value);
      if (problem === undefined) return [];
      const path = pathText(['tables', table, 'examples', index, 'row', column]);
      const message = `Found a value that no source has in a column of ${typeText(type)}: ${problem}.`;
      return [{ code: 'WRONG_VALUE', path, message, hint: 'Write it as the source prints it, or mend types:.' }];
    }),
  );
}

function differencesOf(example: Example, result: TransformedRow, columns: readonly string[]): Mismatch['differences'] {
  const expected = fateOf(example);
  const got = result.kind === 'refused' ? `refused: ${result.code} at ${result.column}` : WORDS[result.kind];
  if (expected !== got) return [{ what: 'the row', expected, got }];
  if (example.becomes === undefined || result.kind !== 'row') return [];
  const { becomes } = example;
  return [...new Set([...columns, ...Object.keys(becomes)])].flatMap((column) => {
    const wanted = fieldText(becomes, column);
    const at = columns.indexOf(column);
    const found = at < 0 ? NO_COLUMN : shown(result.fields[at] as string | null);
    return wanted === found ? [] : [{ what: column, expected: wanted, got: found }];
  });
}

const WORDS = { row: 'carried', filtered: 'filtered' } as const;
const NO_COLUMN = 'no such column';

function fateOf({ refused, filtered }: Example): string {
  if (refused !== undefined) return `refused: ${refused.code} at ${refused.column}`;
  return filtered === undefined ? WORDS.row : WORDS.filtered;
}

function fieldText(row: Row, column: string): string {
  return Object.hasOwn(row, column) ? shown(row[column] as string | null) : NO_COLUMN;
}

/** Blanks at the ends are seen, and NULL is no text. */
function shown(value: string | null): string {
  return value === null ? 'NULL' : JSON.stringify(value);
}
