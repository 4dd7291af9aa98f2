/**
 * The preflight of a directory as a target: every problem at once, nothing changed (D4 of adapter.ts).
 */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fit, type Problem, typeText } from '@qiao/exchange';
import type { FilesTable, SourceShape, TargetTable } from '../adapter.ts';
import { folderProblems } from './check.ts';
import { tableOf } from './describe.ts';
import { writerOf } from './encodings.ts';
import { folderOf } from './folder.ts';
import { OWN_FOLDER } from './markFiles.ts';

export async function checkTarget(
  directory: string,
  tables: Readonly<Record<string, FilesTable>>,
  wanted: readonly TargetTable[],
  shapes: ReadonlyMap<string, SourceShape>,
): Promise<Problem[]> {
  const problems: Problem[] = [];
  const own = join(directory, OWN_FOLDER);
  const hasOwn = (await device(own)) !== undefined;
  if (!(await mayWrite(hasOwn ? own : directory))) {
    problems.push({
      code: 'MARK_REFUSED',
      path: 'mark',
      message: `the user of the agent may not write ${hasOwn ? own : directory}`,
      hint: `Give it the right to keep its mark in the folder ${OWN_FOLDER} there.`,
    });
  }
  for (const one of wanted) {
    const definition = tableOf(tables, one.ref);
    if (definition?.nature !== 'target') {
      problems.push({
        code: 'TABLE_MISSING',
        path: one.table,
        message: `agent.yaml declares no table ${one.ref.name} of nature target`,
        hint: `Declare ${one.ref.name} under tables: of the data source.`,
      });
      continue;
    }
    problems.push(...(await placeProblems(directory, one, definition)));
    problems.push(...landingProblems(one, definition));
    for (const { name } of one.columns) {
      problems.push(...columnProblems(one, definition, name, shapes.get(one.table)));
    }
  }
  return problems;
}

async function placeProblems(
  directory: string,
  { table, ref }: TargetTable,
  definition: FilesTable,
): Promise<Problem[]> {
  const problems = await folderProblems(directory, { table, ref }, definition);
  if (problems.length > 0) return problems;
  const folder = await folderOf(directory, ref.name, definition);
  if (!(await mayWrite(folder))) {
    problems.push({
      code: 'RIGHTS_MISSING',
      path: table,
      message: `the user of the agent may not write ${folder}`,
      hint: 'Give it the right to make files there.',
    });
  }
  if ((await device(folder)) !== (await device(directory))) {
    problems.push({
      code: 'FOLDER_ELSEWHERE',
      path: table,
      message: `${folder} is another file system than ${directory}: no file can be renamed into it`,
      hint: 'Declare a data source of its own for it.',
    });
  }
  return problems;
}

function landingProblems(
  { table, ref, landing, journalColumns, columns }: TargetTable,
  definition: FilesTable,
): Problem[] {
  if (landing !== 'journal') {
    return [
      {
        code: 'LANDING_REFUSED',
        path: table,
        message: `${ref.name} is files, of which nothing is changed once it is there: they cannot mirror a table`,
        hint: 'Write landing: journal.',
      },
    ];
  }
  const own = Object.values(journalColumns) as string[];
  const declared = definition.columns.map(({ name }) => name);
  const problems: Problem[] = [...new Set([...columns.map(({ name }) => name), ...declared])]
    .filter((name) => own.includes(name))
    .map((name) => ({
      code: 'JOURNAL_COLUMN_TWICE',
      path: `${table}.${name}`,
      message: `${name} is a column of the table and of the journal`,
      hint: 'Rename one of them: rename in the bridge and in agent.yaml, or journalColumns.',
    }));
  const write = writerOf(definition);
  const hasHeader = definition.format === 'csv' && definition.csv.header;
  for (const name of hasHeader ? [...own, ...declared] : []) {
    if (write(name) !== undefined) continue;
    problems.push({
      code: 'NAME_UNENCODABLE',
      path: `${table}.${name}`,
      message: `${definition.encoding} has not all characters of ${name}, a column of the header`,
      hint: 'Declare encoding: gb18030 or utf-8, or header: false.',
    });
  }
  return problems;
}

function columnProblems(
  { table, ref }: TargetTable,
  definition: FilesTable,
  name: string,
  shape: SourceShape | undefined,
): Problem[] {
  const path = `${table}.${name}`;
  const column = definition.columns.find((each) => each.name === name);
  if (column === undefined) {
    return [
      {
        code: 'COLUMN_MISSING',
        path,
        message: `agent.yaml declares no column ${name} of ${ref.name}`,
        hint: 'Declare it, or leave it out of the bridge.',
      },
    ];
  }
  const source = shape?.columns.find((each) => each.name === name);
  const fits = source === undefined ? undefined : fit(source.type, column.type);
  if (source === undefined || fits === undefined || fits.kind === 'exact') return [];
  return [
    {
      code: fits.kind === 'lossy' ? 'TYPE_LOSSY' : 'TYPE_REFUSED',
      path,
      message: `${typeText(source.type)} into ${typeText(column.type)}: ${fits.why}`,
      hint: 'Declare a wider type in agent.yaml, or leave the column out of the bridge.',
      ...(fits.kind === 'lossy' ? { warning: true } : {}),
    },
  ];
}

async function mayWrite(path: string): Promise<boolean> {
  try {
    await access(path, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function device(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).dev;
  } catch {
    return undefined;
  }
}
