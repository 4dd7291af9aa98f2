// `qiao bridge preview|refused`: rows at the source of a bridge. What is in them is opened in this session alone.

import type { NodeAnswer } from '@qiao/contract/hub';
import {
  type CommandResult,
  PreviewContents,
  RefusedContents,
  type RefusedCount,
  type RefusedRow,
  RowAction,
} from '@qiao/contract/node';
import { readMessage, splitRow } from '@qiao/exchange';
import { rowContext, sealing } from '@qiao/security';
import type { Command } from 'commander';
import { type HubClient, type OperatorContext, readContext, withHub } from './context.ts';
import { wantsJson } from './json.ts';
import { wholeNumber } from './numbers.ts';
import { grouped, printJson, printTable, say } from './output.ts';
import { answerInvalid, signAccess, verifiedResult } from './rowAccess.ts';

export function registerBridgeRows(bridge: Command): void {
  bridge
    .command('preview <name>')
    .description('the first rows of a table as they would leave; the source node must name you in operators.mayRead')
    .requiredOption('--table <table>', 'the source table')
    .option('--rows <n>', 'so many, at most 100', '10')
    .action(async (name: string, options: { table: string; rows: string }, command: Command) => {
      const rows = wholeNumber('--rows', options.rows);
      const contents = await withHub(command, (hub) => preview(hub, readContext(command), name, options.table, rows));
      if (wantsJson(command)) return printJson(previewJson(contents));
      printPreview(contents);
    });

  bridge
    .command('refused <name>')
    .description('rows that the source refused in its last scan, by code and column, with references')
    .option('--table <table>', 'only of this source table')
    .option('--limit <n>', 'at most so many references', '20')
    .option('--keys', 'their keys, too; the source node must name you in operators.mayRead')
    .action(async (name: string, options: RefusedOptions, command: Command) => {
      const found = await withHub(command, (hub) => refusedRows(hub, readContext(command), name, options));
      if (wantsJson(command)) return printJson({ counts: found.counts, rows: found.rows.map(refusedJson) });
      printCounts(found.counts, 'the last scan refused no row');
      if (found.rows.length === 0) return;
      say('');
      printRefused(found.rows, options.keys === true);
    });
}

interface RefusedOptions {
  readonly table?: string;
  readonly limit: string;
  readonly keys?: boolean;
}

async function preview(
  hub: HubClient,
  context: OperatorContext,
  name: string,
  table: string,
  rows: number,
): Promise<PreviewContents> {
  const session = await sessionOf(hub, context, name, table);
  const answer = await hub.previewRows({ preview: { bridge: name, table, rows, ...session.signed } });
  const opened = await session.open(answer, ({ previewedRows }) => previewedRows);
  return readMessage(PreviewContents, opened, 'preview');
}

async function refusedRows(hub: HubClient, context: OperatorContext, name: string, options: RefusedOptions) {
  const { table = '', keys = false } = options;
  const list = { bridge: name, table, limit: wholeNumber('--limit', options.limit) };
  if (!keys) {
    const { sourceNode } = await hub.getBridge({ name });
    const answer = await hub.listRefusedRows({
      list: { ...list, access: undefined, certificate: new Uint8Array(0) },
    });
    const { counts = [], rows = [] } = verifiedResult(answer, context, sourceNode).refusedRows ?? {};
    return { counts, rows };
  }
  const session = await sessionOf(hub, context, name, table);
  const answer = await hub.listRefusedRows({ list: { ...list, ...session.signed } });
  const opened = await session.open(answer, ({ refusedRows: found }) => found);
  const contents = readMessage(RefusedContents, opened, 'list of rows');
  return { counts: session.verified(answer).refusedRows?.counts ?? [], rows: contents.rows };
}

/** A key made here and now; what is sealed for it this session alone opens. */
async function sessionOf(hub: HubClient, context: OperatorContext, name: string, table: string) {
  const { sourceNode } = await hub.getBridge({ name });
  const ref = `${sourceNode}/${name}/${table}`;
  const { publicKey, privateKey } = await sealing.generateKey();
  const verified = (answer: NodeAnswer) => verifiedResult(answer, context, sourceNode);
  return {
    signed: signAccess(context, ref, RowAction.PREVIEW, { sessionKey: publicKey }),
    verified,
    async open(
      answer: NodeAnswer,
      part: (result: CommandResult) => { sealed: Uint8Array; wrappedKey: Uint8Array } | undefined,
    ): Promise<Uint8Array> {
      const found = part(verified(answer));
      if (found === undefined) throw answerInvalid('an answer without rows');
      const { sealed: body, wrappedKey } = found;
      return await sealing.open({ body, wrappedKey }, privateKey, rowContext('preview', ref));
    },
  };
}

function linesOf(rows: Uint8Array): (string | null)[][] {
  return Buffer.from(rows).toString('utf8').split('\n').slice(0, -1).map(splitRow);
}

function printPreview(contents: PreviewContents): void {
  const { columns, keyColumns, rows, refused, filtered, sizeLimited } = contents;
  printTable(
    columns.map((column, index) => (index < keyColumns ? `${column} (key)` : column)),
    linesOf(rows).map((fields) => fields.map((field) => field ?? 'NULL')),
    'no row would leave',
  );
  if (sizeLimited) say('The next row does not fit into an answer: fewer rows than were asked for.');
  if (filtered > 0) say(`${filtered} rows met on the way are outside the filter.`);
  if (contents.refusedCounts.length > 0) {
    say('\nRefused on the way:');
    printCounts(contents.refusedCounts);
  }
  if (refused.length === 0) return;
  say('');
  printRefused(refused, true);
}

function printCounts(counts: readonly RefusedCount[], empty?: string): void {
  printTable(
    ['table', 'code', 'column', 'rows'],
    counts.map(({ table, code, column, rows }) => [table, code, column, grouped(rows)]),
    empty,
  );
}

function printRefused(rows: readonly RefusedRow[], keys: boolean): void {
  printTable(
    ['row', 'table', 'code', 'column', ...(keys ? ['key'] : [])],
    rows.map((row) => [row.ref, row.table, row.code, row.column, ...(keys ? [keyText(row)] : [])]),
  );
}

function keyText({ key }: RefusedRow): string {
  return key.length === 0 ? '' : (linesOf(key)[0] ?? []).map((field) => field ?? 'NULL').join(', ');
}

function refusedJson({ ref, table, code, column, key }: RefusedRow): object {
  return { ref, table, code, column, ...(key.length === 0 ? {} : { key: linesOf(key)[0] }) };
}

function previewJson(contents: PreviewContents): object {
  const { columns, keyColumns, rows, refused, filtered, refusedCounts, sizeLimited } = contents;
  const named = linesOf(rows).map((fields) =>
    Object.fromEntries(columns.map((column, index) => [column, fields[index] ?? null])),
  );
  return {
    key: columns.slice(0, keyColumns),
    rows: named,
    filtered,
    refused: refused.map(refusedJson),
    refusedCounts,
    sizeLimited,
  };
}
