// `qiao quarantine`: rows that wait at a destination. Listing tells why and never what; contents are opened in this session alone.

import { createInterface } from 'node:readline/promises';
import { ChangeKind } from '@qiao/contract/counts';
import type { SettleRowsResponse } from '@qiao/contract/hub';
import { type CheckProblem, type OpenRow, RowAction, type RowSelector } from '@qiao/contract/node';
import { joinRow, QiaoError } from '@qiao/exchange';
import type { Command } from 'commander';
import { readContext, withHub } from './context.ts';
import { EXIT } from './exitCodes.ts';
import { readText } from './files.ts';
import { wantsJson } from './json.ts';
import { wholeNumber } from './numbers.ts';
import { moment, printFacts, printJson, printProblems, printTable, remark, say } from './output.ts';
import { type OpenedRow, openRow, sealEdit } from './quarantineContents.ts';

interface SelectOptions {
  readonly node?: string;
  readonly bridge?: string;
  readonly lane?: string;
  readonly table?: string;
  readonly code?: string;
}

interface BulkOptions extends SelectOptions {
  readonly reason?: string;
  readonly yes?: boolean;
}

export function registerQuarantine(program: Command): void {
  const quarantine = program
    .command('quarantine')
    .description('rows that a destination refused (问题数据), and rows that wait behind them');

  selecting(quarantine.command('list').description('rows that wait, with the reason; never their contents'))
    .option('--settled', 'also rows that were settled, as long as they are kept')
    .option('--limit <n>', 'at most this many', '100')
    .action(async (options: SelectOptions & { settled?: boolean; limit: string }, command: Command) => {
      const limit = wholeNumber('--limit', options.limit);
      const list = { rows: selector([], options), includeSettled: options.settled ?? false, limit };
      const answer = await withHub(command, (hub) => hub.listOpenRows({ list, node: options.node ?? '' }));
      if (wantsJson(command)) printJson(answer);
      else
        printRows(answer.rows, answer.total, answer.problems.length === 0 ? undefined : 'at the nodes that answered');
      reportProblems(answer.problems, command);
    });

  quarantine
    .command('show <ref>')
    .description('the contents of one row, as received and as edited; the node must name you in operators.mayRead')
    .action(async (ref: string, _options: object, command: Command) => {
      const row = await withHub(command, (hub) => openRow(hub, readContext(command), ref));
      if (wantsJson(command)) return printJson({ ...row.shown.row, ...contents(row) });
      printRow(row);
    });

  quarantine
    .command('edit <ref>')
    .description(
      'change values of one row; it waits on until it is replayed. The node must name you in operators.mayEdit',
    )
    .option('--set <column=value>', 'a new value; may be given several times', collect, [])
    .option('--null <column>', 'no value; may be given several times', collect, [])
    .option('-f, --file <file>', 'new values as a JSON object {column: text or null}, - for standard input')
    .option('--replay', 'try it again at once')
    .option('--reason <text>', 'why; kept in the audit')
    .action(async (ref: string, options: EditOptions, command: Command) => {
      const answer = await withHub(command, async (hub) => {
        const context = readContext(command);
        const row = await openRow(hub, context, ref);
        const line = Buffer.from(`${joinRow(changed(row, options))}\n`);
        const settle = { rows: selector([ref], {}), reason: options.reason ?? '', mostRows: 1 };
        const edit = await sealEdit(context, ref, row, line);
        const edited = await hub.settleRows({ node: '', settle: { ...settle, action: RowAction.EDIT, edit } });
        if (options.replay !== true) return edited;
        return await hub.settleRows({ node: '', settle: { ...settle, action: RowAction.REPLAY, edit: undefined } });
      });
      if (options.replay === true) return report('replayed', answer, command);
      if (wantsJson(command)) return printJson(answer);
      say(`${ref} is edited; the row as received is kept beside it.\n\nNext:  qiao quarantine replay ${ref}`);
    });

  bulk(quarantine.command('replay [refs...]').description('try rows again, edited ones as edited')).action(
    async (refs: string[], options: BulkOptions, command: Command) =>
      report('replayed', await settle(refs, options, RowAction.REPLAY, command), command),
  );

  bulk(quarantine.command('abandon [refs...]').description('give rows up, with a reason')).action(
    async (refs: string[], options: BulkOptions, command: Command) => {
      if (options.reason === undefined || options.reason.trim() === '') {
        throw new QiaoError('REASON_MISSING', 'found no reason; rows are given up only with one', {
          hint: 'qiao quarantine abandon … --reason TEXT',
        });
      }
      report('abandoned', await settle(refs, options, RowAction.ABANDON, command), command);
    },
  );
}

interface EditOptions {
  readonly set: string[];
  readonly null: string[];
  readonly file?: string;
  readonly replay?: boolean;
  readonly reason?: string;
}

function selecting(command: Command): Command {
  return command
    .option('--node <code>', 'only rows at this destination')
    .option('--bridge <name>', 'only rows of this bridge')
    .option('--lane <id>', 'only rows of this lane (32 hexadecimal digits)')
    .option('--table <name>', 'only rows of this source table')
    .option('--code <code>', 'only rows refused under this code, for example FOREIGN_KEY');
}

function bulk(command: Command): Command {
  return selecting(command)
    .option('--reason <text>', 'why; kept with the rows and in the audit')
    .option('--yes', 'do not ask before rows are settled in bulk');
}

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

function selector(refs: readonly string[], options: SelectOptions): RowSelector {
  const { bridge = '', lane = '', table = '', code = '' } = options;
  if (lane !== '' && !/^[0-9a-f]{32}$/i.test(lane)) {
    throw new QiaoError('LANE_INVALID', `found lane ${lane}, expected 32 hexadecimal digits`, {
      hint: 'qiao --json bridge show NAME  # names its lanes',
    });
  }
  return { refs: [...refs], bridge, laneId: Buffer.from(lane, 'hex'), table, code: code.toUpperCase() };
}

/** Counts what a bulk selection names, has a person confirm that number, and settles no more than it. */
async function settle(
  refs: string[],
  options: BulkOptions,
  action: RowAction,
  command: Command,
): Promise<SettleRowsResponse> {
  const rows = selector(refs, options);
  const node = options.node ?? '';
  const isBulk = refs.length === 0;
  if (isBulk && rows.bridge === '' && rows.laneId.length === 0 && node === '') {
    throw new QiaoError('SELECTION_MISSING', 'found no selection; expected references, --bridge, --lane or --node', {
      hint: 'qiao quarantine list',
    });
  }
  return await withHub(command, async (hub) => {
    let mostRows = refs.length;
    if (isBulk) {
      const { total, problems } = await hub.listOpenRows({ list: { rows, includeSettled: false, limit: 1 }, node });
      mostRows = Number(total);
      if (mostRows === 0) return { settled: undefined, problems };
      if (options.yes !== true)
        await confirm(`${action === RowAction.REPLAY ? 'Replay' : 'Abandon'} ${mostRows} rows?`);
    }
    return await hub.settleRows({
      node,
      settle: { rows, action, reason: options.reason ?? '', edit: undefined, mostRows },
    });
  });
}

async function confirm(question: string): Promise<void> {
  const unconfirmed = (why: string) =>
    new QiaoError('NOT_CONFIRMED', why, { hint: 'add --yes to settle rows in bulk without being asked' });
  if (!process.stdin.isTTY) throw unconfirmed('found no terminal to ask at');
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${question} [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw unconfirmed('nothing was changed');
  } finally {
    terminal.close();
  }
}

function report(word: string, { settled, problems }: SettleRowsResponse, command: Command): void {
  const { decided = 0, settled: done = 0, refused = 0, pending = 0, refusedRows = [] } = settled ?? {};
  if (wantsJson(command)) printJson({ decided, settled: done, refused, pending, refusedRows, problems });
  else {
    if (decided > 0) say(`${done} of ${decided} rows are ${word}.`);
    else say(problems.length === 0 ? 'No row is selected.' : 'No row is selected at the nodes that answered.');
    if (refused > 0) {
      say(`${refused} were refused again and wait on:`);
      printRows(refusedRows, BigInt(refused));
    }
    if (pending > 0)
      say(`${pending} are under way; the node goes on with them by itself.\n\nNext:  qiao quarantine list`);
  }
  if (refused > 0) process.exitCode = EXIT.problems;
  reportProblems(problems, command);
}

function reportProblems(problems: readonly CheckProblem[], command: Command): void {
  if (problems.length === 0) return;
  if (!wantsJson(command)) printProblems(problems, remark);
  process.exitCode ||= problems.every(({ code }) => code === 'NODE_SILENT') ? EXIT.unreachable : EXIT.problems;
}

function printRows(rows: readonly OpenRow[], total: bigint, where?: string): void {
  printTable(
    ['row', 'bridge', 'table', 'sent as', 'state', 'code', 'since', 'sequence', 'edited', 'reason'],
    rows.map((row) => [
      row.ref,
      row.bridge,
      row.table,
      kindWord(row.kind),
      stateWord(row),
      row.code,
      moment(row.atMs),
      `${row.epoch}/${row.sequence}`,
      row.editedBy === '' ? '' : `by ${row.editedBy}`,
      row.reason,
    ]),
    where === undefined ? 'no row waits' : `no row waits ${where}`,
  );
  if (total > BigInt(rows.length)) say(`… ${total} rows in all; --limit shows more`);
}

function kindWord(kind: ChangeKind): string {
  return kind.replace('CHANGE_KIND_', '').toLowerCase();
}

function stateWord({ outcome, settled, decision }: OpenRow): string {
  const word = outcome.replace('OUTCOME_', '').toLowerCase();
  if (settled) return word === 'unspecified' ? 'landed' : word;
  return decision === RowAction.UNSPECIFIED ? word : `${word}, being settled`;
}

function contents(row: OpenedRow): object {
  const named = (values: readonly (string | null)[]) =>
    Object.fromEntries(row.columns.map((column, index) => [column, values[index] ?? null]));
  return { received: named(row.received), ...(row.edited === undefined ? {} : { edited: named(row.edited) }) };
}

function printRow(row: OpenedRow): void {
  const facts = row.shown.row;
  if (facts !== undefined) {
    printFacts({
      row: facts.ref,
      bridge: facts.bridge,
      table: facts.table,
      'sent as': kindWord(facts.kind),
      state: stateWord(facts),
      why: `${facts.code}: ${facts.reason}`,
      since: moment(facts.atMs),
      edited: facts.editedBy === '' ? undefined : `by ${facts.editedBy} at ${moment(facts.editedAtMs)}`,
    });
    say('');
  }
  const shown = (value: string | null | undefined) => (value === null || value === undefined ? 'NULL' : value);
  printTable(
    ['column', 'received', ...(row.edited === undefined ? [] : ['edited'])],
    row.columns.map((column, index) => [
      index < row.shown.keyColumns ? `${column} (key)` : column,
      shown(row.received[index]),
      ...(row.edited === undefined ? [] : [shown(row.edited[index])]),
    ]),
  );
}

/** The row's newest values with those that the options name in their place. Throws COLUMN_UNKNOWN, EDIT_EMPTY, EDIT_INVALID. */
function changed(row: OpenedRow, options: EditOptions): (string | null)[] {
  const values = [...(row.edited ?? row.received)];
  const changes = new Map<string, string | null>(Object.entries(fileChanges(options.file)));
  for (const pair of options.set) {
    const at = pair.indexOf('=');
    if (at < 1) throw new QiaoError('EDIT_INVALID', `found --set ${pair}, expected COLUMN=VALUE`);
    changes.set(pair.slice(0, at), pair.slice(at + 1));
  }
  for (const column of options.null) changes.set(column, null);
  if (changes.size === 0) {
    throw new QiaoError('EDIT_EMPTY', 'found no new value; expected --set, --null or --file', {
      hint: 'qiao quarantine edit REF --set COLUMN=VALUE',
    });
  }
  for (const [column, value] of changes) {
    const index = row.columns.indexOf(column);
    if (index < 0) {
      throw new QiaoError('COLUMN_UNKNOWN', `the row has no column ${column}; it has ${row.columns.join(', ')}`);
    }
    values[index] = value;
  }
  return values;
}

function fileChanges(file: string | undefined): Record<string, string | null> {
  if (file === undefined) return {};
  const wrong = (cause?: unknown) =>
    new QiaoError('EDIT_INVALID', 'the file is no JSON object of texts and nulls', {
      hint: 'numbers are written as texts: {"age": "42"}',
      cause,
    });
  let read: unknown;
  try {
    read = JSON.parse(readText(file));
  } catch (cause) {
    if (cause instanceof QiaoError) throw cause;
    throw wrong(cause);
  }
  const isObject = typeof read === 'object' && read !== null && !Array.isArray(read);
  if (!isObject || Object.values(read as object).some((value) => value !== null && typeof value !== 'string'))
    throw wrong();
  return read as Record<string, string | null>;
}
