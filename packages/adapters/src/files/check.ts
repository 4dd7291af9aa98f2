/**
 * The preflight of a directory as a source: every problem at once, nothing changed and no file read (D4 of adapter.ts).
 */
import { readdir } from 'node:fs/promises';
import type { Problem } from '@qiao/exchange';
import type { FilesTable, SourceTable } from '../adapter.ts';
import { columnMeant } from '../preflight.ts';
import { DROP_CURSOR, descriptionOf, tableOf } from './describe.ts';
import { folderOf, nameMatcher } from './folder.ts';

export async function checkSource(
  directory: string,
  tables: Readonly<Record<string, FilesTable>>,
  wanted: readonly SourceTable[],
): Promise<Problem[]> {
  const problems: Problem[] = [];
  for (const one of wanted) {
    const definition = tableOf(tables, one.ref);
    if (definition === undefined) {
      problems.push({
        code: 'TABLE_MISSING',
        path: one.table,
        message: `agent.yaml declares no table ${one.ref.name} of this data source`,
        hint: `Declare it under tables:, or name one of ${Object.keys(tables).join(', ')}.`,
      });
      continue;
    }
    const ofFolder = await folderProblems(directory, one, definition);
    problems.push(...(ofFolder.length > 0 ? ofFolder : await nameProblems(directory, one, definition)));
    problems.push(...tableProblems(one, definition));
  }
  return problems;
}

/** The folder is there and may be read. */
export async function folderProblems(
  directory: string,
  { table, ref }: Pick<SourceTable, 'table' | 'ref'>,
  definition: FilesTable,
): Promise<Problem[]> {
  try {
    await folderOf(directory, ref.name, definition);
    return [];
  } catch (error) {
    const {
      code = 'SOURCE_UNAVAILABLE',
      message,
      hint = '',
    } = error as { code?: string; message: string; hint?: string };
    return [{ code, path: table, message, hint }];
  }
}

/** A pattern or a marker that no file ever has reads nothing, and says nothing. */
async function nameProblems(
  directory: string,
  { table, ref }: SourceTable,
  definition: FilesTable,
): Promise<Problem[]> {
  if (definition.nature === 'target') return [];
  const path = await folderOf(directory, ref.name, definition);
  const entries = await readdir(path, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
  const { files = `*.${definition.format}`, marker } = definition;
  const ours = names.filter(nameMatcher(definition));
  const say = (message: string, hint: string): Problem[] => [
    { code: 'FILES_UNMATCHED', path: table, message, hint, warning: true },
  ];
  if (names.length > 0 && ours.length === 0) {
    return say(`${path} has ${names.length} file(s), and none is ${files}`, 'Declare files: as their names are.');
  }
  if (marker === undefined || ours.length === 0 || ours.some((name) => names.includes(name + marker))) return [];
  return say(
    `${path} has ${ours.length} file(s) ${files}, and none has its marker ${marker}`,
    'Let the department write the marker behind each file, or leave marker: out.',
  );
}

function tableProblems({ table, ref, key, columns, cursor, log }: SourceTable, definition: FilesTable): Problem[] {
  const problems: Problem[] = [];
  const add = (code: string, path: string, message: string, hint: string) =>
    problems.push({ code, path, message, hint });
  const { nature } = definition;
  if (nature === 'target') {
    add(
      'TABLE_KIND',
      table,
      `${ref.name} is a target: files are written there, not read`,
      'Name a table whose nature is state or drop.',
    );
    return problems;
  }
  if (nature === 'drop' && cursor !== DROP_CURSOR) {
    add(
      'CAPTURE_NOT_AVAILABLE',
      table,
      `${ref.name} is a drop: its files bring rows, and a file that is gone takes none away`,
      `Write capture: cursor, and for the table cursor: {column: ${DROP_CURSOR}}.`,
    );
  }
  if (nature === 'state' && (cursor !== undefined || log === true)) {
    add(
      'CAPTURE_NOT_AVAILABLE',
      table,
      `${ref.name} is a state: its last file is the whole table`,
      'Write capture: compare.',
    );
  }
  const description = descriptionOf(ref.name, definition, async () => true);
  const known = new Set(description.columns.map(({ name }) => name));
  const named = columns ?? [...known];
  for (const name of new Set([...named, ...(key ?? [])])) {
    if (known.has(name)) continue;
    add(
      'COLUMN_MISSING',
      `${table}.${name}`,
      `agent.yaml declares no column ${name} of ${ref.name}`,
      columnMeant(name, description.columns),
    );
  }
  const used = key ?? description.primaryKey;
  for (const name of used) {
    if (!known.has(name) || named.includes(name)) continue;
    add(
      'COLUMN_MISSING',
      `${table}.${name}`,
      `the key column ${name} is not among the columns of the bridge`,
      `Add ${name} to columns.`,
    );
  }
  const isDeclared =
    used.length === description.primaryKey.length && used.every((name) => description.primaryKey.includes(name));
  if (!isDeclared && used.every((name) => known.has(name))) {
    add(
      'KEY_NOT_UNIQUE',
      table,
      `(${used.join(', ')}) is not the key that agent.yaml declares for ${ref.name}`,
      `Name the key (${description.primaryKey.join(', ')}), or none.`,
    );
  }
  return problems;
}
