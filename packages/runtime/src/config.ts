// Configuration files: YAML, parsed once at the edge, strict. A typo is an error, every problem is reported at once, and
// nothing runs on a file that has one.

import { readFileSync, writeFileSync } from 'node:fs';
import { type Problem, ProblemsError, QiaoError, readYaml, schemaProblems } from '@qiao/exchange';
import { parseDocument } from 'yaml';
import type { z } from 'zod';
import { foundInstead } from './directoryOwner.ts';
import { readTextFile } from './textFile.ts';

/** Configuration files larger than this are refused unread. */
const CONFIG_MAX_BYTES = 1024 * 1024;

const NAME_THE_FILE = 'name the file with --config, or write one from the samples in deploy/config/';

/**
 * Reads and validates a configuration file; `whenMissing` is the hint where there is none.
 * Throws CONFIG_NOT_FOUND, FILE_REFUSED, FILE_NOT_UTF8, or CONFIG_INVALID (a ProblemsError) that names every problem with its path.
 */
export function readConfig<T>(file: string, schema: z.ZodType<T>, whenMissing = NAME_THE_FILE): T {
  const instead = () => foundInstead(file);
  return parseConfig(readTextFile(file, { code: 'CONFIG_NOT_FOUND', hint: whenMissing, instead }), file, schema);
}

/** Validates configuration text; `file` only names it in messages. Throws CONFIG_INVALID. */
export function parseConfig<T>(text: string, file: string, schema: z.ZodType<T>): T {
  if (Buffer.byteLength(text) > CONFIG_MAX_BYTES) {
    throw new QiaoError('CONFIG_INVALID', `${file} is larger than ${CONFIG_MAX_BYTES} bytes`);
  }
  const { value, problems } = readYaml(text);
  if (problems.length > 0) throw invalid(file, problems);
  const parsed = schema.safeParse(value ?? {});
  if (parsed.success) return parsed.data;
  throw invalid(file, schemaProblems(schema, value ?? {}));
}

/** Sets keys of a configuration file that nobody reads meanwhile; its comments stay. */
export function changeConfig(file: string, changes: Readonly<Record<string, unknown>>): void {
  const document = parseDocument(readFileSync(file, 'utf8'));
  for (const [key, value] of Object.entries(changes)) document.set(key, value);
  writeFileSync(file, document.toString());
}

function invalid(file: string, problems: Problem[]): ProblemsError {
  const named = problems.map((problem) => ({ ...problem, path: `${file} ${problem.path}`.trimEnd() }));
  return new ProblemsError(named, { code: 'CONFIG_INVALID' });
}
