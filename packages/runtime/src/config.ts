// Configuration files: YAML, parsed once at the edge, strict. A typo is an error, every problem is reported at once, and
// nothing runs on a file that has one.

import { readFileSync } from 'node:fs';
import { type Problem, ProblemsError, QiaoError } from '@qiao/exchange';
import { type Document, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';

/** Configuration files larger than this are refused unread. */
const CONFIG_MAX_BYTES = 1024 * 1024;

/**
 * Reads and validates a configuration file.
 * Throws CONFIG_NOT_FOUND, or CONFIG_INVALID (a ProblemsError) that names every problem with its path.
 */
export function readConfig<T>(file: string, schema: z.ZodType<T>): T {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw new QiaoError('CONFIG_NOT_FOUND', `cannot read ${file}: ${code ?? String(error)}`, {
      hint: 'name the file with --config, or write one from the samples in deploy/config/',
      cause: error,
    });
  }
  return parseConfig(text, file, schema);
}

/** Validates configuration text; `file` only names it in messages. Throws CONFIG_INVALID. */
export function parseConfig<T>(text: string, file: string, schema: z.ZodType<T>): T {
  if (Buffer.byteLength(text) > CONFIG_MAX_BYTES) {
    throw new QiaoError('CONFIG_INVALID', `${file} is larger than ${CONFIG_MAX_BYTES} bytes`);
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  if (document.errors.length > 0) {
    throw invalid(
      file,
      document.errors.map((error) => ({
        code: 'YAML_INVALID',
        path: `line ${lines.linePos(error.pos[0]).line}`,
        message: error.message,
        hint: 'mend the YAML at that line',
      })),
    );
  }
  const parsed = schema.safeParse(plainValue(document, file));
  if (parsed.success) return parsed.data;
  throw invalid(
    file,
    parsed.error.issues.map((issue) => ({
      code: issue.code === 'unrecognized_keys' ? 'UNKNOWN_KEY' : 'CONFIG_VALUE',
      path: issue.path.map(String).join('.') || '(top)',
      message: issue.message,
      hint: issue.code === 'unrecognized_keys' ? 'remove the key or mend its spelling' : 'see the commented sample',
    })),
  );
}

/** The document as plain values; aliases that multiply are refused. */
function plainValue(document: Document, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 16 }) ?? {};
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw invalid(file, [{ code: 'YAML_INVALID', path: '(top)', message, hint: 'write the values out' }]);
  }
}

function invalid(file: string, problems: Problem[]): ProblemsError {
  const named = problems.map((problem) => ({ ...problem, path: `${file} ${problem.path}` }));
  return new ProblemsError(named, { code: 'CONFIG_INVALID' });
}
