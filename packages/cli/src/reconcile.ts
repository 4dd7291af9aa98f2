// `qiao reconcile`: sent and received side by side, with outcomes and verdict. With --check its exit code is the proof of the morning.

import { ChangeKind, type OutcomeCount } from '@qiao/contract/counts';
import { Origin } from '@qiao/contract/delivery';
import {
  type BooksLine,
  type DeliveryLine,
  type Heard,
  type OriginRows,
  type ReconcileResponse,
  Verdict,
} from '@qiao/contract/monitor';
import { BridgeState, ServiceLeg } from '@qiao/contract/node';
import { QiaoError } from '@qiao/exchange';
import { type Command, Option } from 'commander';
import { withMonitor } from './context.ts';
import { EXIT } from './exitCodes.ts';
import { wantsJson } from './json.ts';
import { wholeNumber } from './numbers.ts';
import { type Cell, colour, grouped, moment, printJson, printTable, remark, say } from './output.ts';

export function registerReconcile(program: Command): void {
  program
    .command('reconcile [bridge]')
    .description('the books (核对): what was sent and what was received, per bridge and destination')
    .option('--from <day>', 'first day of the books, YYYY-MM-DD')
    .option('--to <day>', 'last day of the books, YYYY-MM-DD')
    .option('--by-day', 'one line a day')
    .option('--deliveries', 'one line a delivery, newest first')
    .addOption(new Option('--verdict <verdict>', 'with --deliveries: only those').choices([...VERDICTS.keys()]))
    .option('--limit <n>', 'with --deliveries: at most this many', '1000')
    .option(
      '--check',
      `exit with ${EXIT.notBalanced} unless everything was heard, nothing stands still, and all is balanced or explained`,
    )
    .action(async (bridge: string | undefined, options: ReconcileOptions, command: Command) => {
      if (options.deliveries === true) return printDeliveries(bridge, options, command);
      requireDeliveries(command);
      const books = await withMonitor(command, (monitor) =>
        monitor.reconcile({
          bridge: bridge ?? '',
          fromDay: options.from ?? '',
          toDay: options.to ?? '',
          byDay: options.byDay ?? false,
          fromDepartment: '',
          toDepartment: '',
        }),
      );
      if (wantsJson(command)) printJson(books);
      else {
        for (const line of books.lines) printLine(line);
        printVerdict(books);
      }
      if (options.check === true && (books.incomplete || !isClean(books.verdict))) process.exitCode = EXIT.notBalanced;
    });
}

interface ReconcileOptions {
  readonly from?: string;
  readonly to?: string;
  readonly byDay?: boolean;
  readonly deliveries?: boolean;
  readonly verdict?: string;
  readonly limit: string;
  readonly check?: boolean;
}

const GOOD: readonly Verdict[] = [Verdict.BALANCED, Verdict.EXPLAINED];

/** No line at all counts as balanced: nothing was sent and nothing is owed. */
function isClean(verdict: Verdict): boolean {
  return GOOD.includes(verdict) || verdict === Verdict.UNSPECIFIED;
}

/** The verdict with whom it rests on: nobody proves what was not heard. */
function printVerdict({ verdict, atMs, timeZone, heard, incomplete }: ReconcileResponse): void {
  const at = (ms: bigint) => moment(ms, timeZone);
  say(`\n${verdictWord(verdict)}${incomplete ? ' as far as was heard,' : ''} at ${at(atMs)} (${timeZone})`);
  const present = heard.filter(({ silent }) => !silent);
  for (const one of heard.filter(({ silent }) => silent)) say(silentText(one, at));
  for (const { code, waitingSinceMs } of present.filter(({ late }) => late)) {
    const since = colour('red', `${code}: since ${at(waitingSinceMs)}`);
    say(`waits     ${since}, longer than lateAfter: a delivery for its receipt, or its books for the monitor`);
  }
  for (const { code, booksMissing } of present.filter((one) => one.booksMissing > 0n)) {
    say(
      `missing   ${colour('red', `${code}: ${booksMissing} entries of its books`)}: the monitor lost them, and they are sent again`,
    );
  }
  for (const { code: node, standing } of present) {
    for (const { bridge, leg, code } of standing) {
      say(`stands    ${colour('red', `${bridge} at ${node}: ${legWord(leg)}, ${code}`)}: qiao alert list`);
    }
  }
  if (present.length > 0) {
    say(`heard     ${present.map(({ code, lastHeardAtMs }) => `${code} ${at(lastHeardAtMs)}`).join(', ')}`);
  }
}

function silentText({ code, lastHeardAtMs }: Heard, at: (ms: bigint) => string): string {
  const since = lastHeardAtMs === 0n ? 'never heard' : `silent since ${at(lastHeardAtMs)}`;
  return `unheard   ${colour('red', `${code}: ${since}`)}, what it did since is in no line`;
}

function legWord(leg: ServiceLeg): string {
  switch (leg) {
    case ServiceLeg.CAPTURE:
      return 'capture 抽取';
    case ServiceLeg.SEND:
      return 'send 传输';
    default:
      return 'apply 入库';
  }
}

function printLine(line: BooksLine): void {
  const day = line.day === '' ? '' : `  ${line.day}`;
  const retired = line.bridgeState === BridgeState.RETIRED ? ' (retired 已停用)' : '';
  say(
    `\n${colour('bold', line.bridge)}${retired} ${line.title}  ${line.sourceNode} → ${line.destinationNode}${day}  ${verdictWord(line.verdict)}`,
  );
  printTable(
    ['', 'total', 'insert', 'update', 'delete'],
    [
      ['sent 发送', ...sides(line.sent)],
      ['received 接收', ...sides(line.received)],
    ],
  );
  const outcomes = line.outcomes.map(outcomeText).join(', ');
  if (outcomes !== '') say(`outcomes  ${outcomes}`);
  const apart = line.origins.filter(({ origin }) => origin !== Origin.CHANGE);
  if (apart.length > 0) say(`of these  ${line.origins.map(originText).join(', ')}`);
  for (const extra of line.extras) {
    if (extra.deleted > 0n) say(`load      ${extra.table}: ${grouped(extra.deleted)} extra rows removed at the target`);
    if (extra.kept > 0n) say(`load      ${extra.table}: ${grouped(extra.kept)} extra rows kept at the target`);
  }
  if (line.inFlightDeliveries > 0n)
    say(`in flight ${grouped(line.inFlightRows)} rows in ${grouped(line.inFlightDeliveries)} deliveries`);
  if (line.forgottenDeliveries > 0n)
    say(`forgotten ${grouped(line.forgottenRows)} rows in ${grouped(line.forgottenDeliveries)} deliveries`);
  if (line.openRows > 0n) say(`open      ${grouped(line.openRows)} rows`);
  if (line.amendments > 0n)
    say(`amended   ${grouped(line.amendedRows)} rows in ${grouped(line.amendments)} later revisions of receipts`);
  for (const text of line.remarks) say(`remark    ${text}`);
}

function sides(counts: { total: bigint; inserts: bigint; updates: bigint; deletes: bigint } | undefined): string[] {
  const { total = 0n, inserts = 0n, updates = 0n, deletes = 0n } = counts ?? {};
  return [total, inserts, updates, deletes].map(grouped);
}

/** Why rows travelled: changes at the source are not mixed with what was loaded, resynced or resent. */
function originText({ origin, rows }: OriginRows): string {
  return `${origin.replace('ORIGIN_', '').toLowerCase()} ${grouped(rows)}`;
}

function outcomeText({ table, sent, outcome, rows }: OutcomeCount): string {
  const kind =
    { [ChangeKind.INSERT]: 'insert', [ChangeKind.UPDATE]: 'update', [ChangeKind.DELETE]: 'delete' }[sent as string] ??
    'change';
  return `${table} ${kind} → ${outcomeWord(outcome)} ${grouped(rows)}`;
}

/** OUTCOME_INSERTED_INSTEAD_OF_UPDATE → insertedInsteadOfUpdate. */
function outcomeWord(outcome: string): string {
  return outcome
    .replace('OUTCOME_', '')
    .toLowerCase()
    .replace(/_([a-z])/g, (_all, letter: string) => letter.toUpperCase());
}

export function verdictWord(verdict: Verdict): string {
  switch (verdict) {
    case Verdict.BALANCED:
      return colour('green', 'balanced 平');
    case Verdict.EXPLAINED:
      return colour('green', 'explained 已说明');
    case Verdict.IN_FLIGHT:
      return colour('cyan', 'in flight 在途');
    case Verdict.OPEN:
      return colour('yellow', 'open 待处理');
    case Verdict.DEVIATION:
      return colour('red', 'deviation 偏差');
    default:
      return 'nothing sent yet';
  }
}

/** As an operator writes it. */
const VERDICTS: ReadonlyMap<string, Verdict> = new Map([
  ['balanced', Verdict.BALANCED],
  ['explained', Verdict.EXPLAINED],
  ['in-flight', Verdict.IN_FLIGHT],
  ['open', Verdict.OPEN],
  ['deviation', Verdict.DEVIATION],
]);

function requireDeliveries(command: Command): void {
  const odd = ['verdict', 'limit'].find((name) => command.getOptionValueSource(name) === 'cli');
  if (odd === undefined) return;
  throw new QiaoError('OPTION_INVALID', `--${odd} selects deliveries`, { hint: `write --deliveries --${odd} …` });
}

async function printDeliveries(bridge: string | undefined, options: ReconcileOptions, command: Command): Promise<void> {
  const limit = wholeNumber('--limit', options.limit);
  const lines = await withMonitor(command, async (monitor) => {
    const found: DeliveryLine[] = [];
    const request = {
      bridge: bridge ?? '',
      fromDay: options.from ?? '',
      toDay: options.to ?? '',
      verdict: VERDICTS.get(options.verdict ?? '') ?? Verdict.UNSPECIFIED,
      // One more than is shown tells whether there are more.
      limit: limit + 1,
    };
    for await (const line of monitor.listDeliveries(request)) found.push(line);
    return found;
  });
  const shown = lines.slice(0, limit);
  if (wantsJson(command)) printJson(shown);
  else
    printTable(
      ['bridge', 'to', 'epoch', 'sequence', 'sealed', 'applied', 'rows', 'verdict', 'revision', 'reason'],
      shown.map(deliveryCells),
      'no delivery of that kind',
    );
  if (lines.length > limit) {
    const narrower = options.verdict === undefined ? ', --verdict deviation those that are wrong' : '';
    remark(`… the newest ${grouped(limit)}; --limit shows more${narrower}`);
  }
}

function deliveryCells(line: DeliveryLine): Cell[] {
  return [
    line.bridge,
    line.destinationNode,
    line.epoch,
    line.sequence,
    moment(line.sealedAtMs),
    moment(line.appliedAtMs),
    line.counts.reduce((sum, counts) => sum + counts.inserts + counts.updates + counts.deletes, 0n),
    verdictWord(line.verdict),
    line.revision,
    line.reason,
  ];
}
