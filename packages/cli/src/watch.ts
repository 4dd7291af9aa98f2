// `qiao watch`: the health board in the terminal, until it is stopped.

import type { Board, BoardLane } from '@qiao/contract/monitor';
import { ServiceCondition } from '@qiao/contract/node';
import type { Command } from 'commander';
import { withMonitor } from './context.ts';
import { wantsJson } from './json.ts';
import { colour, grouped, moment, printJson, printTable, say } from './output.ts';
import { verdictWord } from './reconcile.ts';

export function registerWatch(program: Command): void {
  program
    .command('watch')
    .description('the health board in the terminal; Ctrl-C ends it')
    .option('--once', 'print it once')
    .action(async (options: { once?: boolean }, command: Command) => {
      await withMonitor(command, async (monitor) => {
        if (options.once === true) return show(await monitor.getBoard({}), command);
        for await (const board of monitor.watchBoard({})) {
          if (process.stdout.isTTY) process.stdout.write('\u001B[2J\u001B[H');
          show(board, command);
        }
      });
    });
}

function show(board: Board, command: Command): void {
  if (wantsJson(command)) return printJson(board);
  say(`${moment(board.atMs, board.timeZone)}  ${verdictWord(board.verdict)}\n`);
  printTable(
    [
      'bridge',
      'from → to',
      'sent',
      'ins/upd/del',
      'received',
      'ins/upd/del',
      'in flight',
      'verdict',
      'capture',
      'send',
      'apply',
    ],
    board.lanes.map(laneRow),
    'no bridge is deployed yet',
  );
  for (const node of board.nodes.filter((one) => one.silent))
    say(colour('red', `node ${node.code} is silent since ${moment(node.lastHeartbeatAtMs)}`));
  for (const alert of board.alerts) say(`${colour('yellow', alert.code)} ${alert.subject}: ${alert.message}`);
}

function laneRow({ books, capture, send, apply }: BoardLane): string[] {
  const sent = books?.sent;
  const received = books?.received;
  return [
    books?.bridge ?? '',
    `${books?.sourceNode} → ${books?.destinationNode}`,
    grouped(sent?.total ?? 0n),
    `${grouped(sent?.inserts ?? 0n)}/${grouped(sent?.updates ?? 0n)}/${grouped(sent?.deletes ?? 0n)}`,
    grouped(received?.total ?? 0n),
    `${grouped(received?.inserts ?? 0n)}/${grouped(received?.updates ?? 0n)}/${grouped(received?.deletes ?? 0n)}`,
    grouped(books?.inFlightRows ?? 0n),
    books === undefined ? '' : verdictWord(books.verdict),
    ...[capture, send, apply].map(conditionWord),
  ];
}

function conditionWord(condition: ServiceCondition): string {
  switch (condition) {
    case ServiceCondition.RUNNING:
      return colour('green', 'running');
    case ServiceCondition.STOPPED:
      return colour('grey', 'stopped');
    case ServiceCondition.RETRYING:
      return colour('yellow', 'retrying');
    case ServiceCondition.STUCK:
      return colour('red', 'stuck');
    default:
      return '?';
  }
}
