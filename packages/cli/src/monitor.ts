// `qiao monitor`: join the platform, run, open the board.

import { createLog, stopSignal, systemClock } from '@qiao/runtime';
import { type Command, Option } from 'commander';
import { type BackupKind, registerBackup } from './backup.ts';
import { withMonitor } from './context.ts';
import { wantsJson } from './json.ts';
import { LOG_LEVELS } from './logLevels.ts';
import { moment, printJson, printTable, remark, say, shellWord } from './output.ts';

export function registerMonitor(program: Command): void {
  const monitor = program.command('monitor').description('the books (监控): join, run, look at the nodes');

  monitor
    .command('join')
    .description('join the platform as its monitor, with a token from `qiao node invite --role monitor`')
    .requiredOption('--dir <dir>', 'where the monitor keeps everything')
    .requiredOption('--token <token>', 'the one-time token (or QIAO_TOKEN)', process.env.QIAO_TOKEN)
    .option('--listen <host:port>', 'where the monitor answers the CLI', '127.0.0.1:7401')
    .option('--board-listen <host:port>', 'where the health board is served to browsers', '127.0.0.1:7402')
    .action(async (options: { dir: string; token: string; listen: string; boardListen: string }) => {
      const { joinMonitor } = await import('@qiao/monitor');
      const joined = await joinMonitor({
        directory: options.dir,
        token: options.token,
        listen: options.listen,
        boardListen: options.boardListen,
        clock: systemClock,
      });
      say(
        `Joined ${joined.platformCode} as ${joined.nodeCode}.\n\nNext:  qiao monitor start --dir ${shellWord(options.dir)}`,
      );
    });

  monitor
    .command('start')
    .description('run the monitor in the foreground')
    .requiredOption('--dir <dir>', 'the directory made by `qiao monitor join`')
    .addOption(new Option('--log-level <level>', 'how much is logged').choices(LOG_LEVELS).default('info'))
    .action(async (options: { dir: string; logLevel: string }) => {
      const { readMonitorConfig, startMonitor } = await import('@qiao/monitor');
      const log = createLog({ component: 'monitor', level: options.logLevel });
      const running = await startMonitor({ config: readMonitorConfig(options.dir), signal: stopSignal(), log });
      log.info({ address: running.address, board: running.boardAddress }, 'monitor is ready');
      await running.closed;
    });

  monitor
    .command('board')
    .description('print a link, good once, that opens the health board in a browser')
    .action(async (_options: object, command: Command) => {
      const link = await withMonitor(command, (client) => client.openBoard({}));
      if (wantsJson(command)) return printJson(link);
      say(link.url);
      remark(`The link opens one browser session and ends at ${moment(link.expiresAtMs)}.`);
    });

  monitor
    .command('nodes')
    .description('every node as its heartbeats tell')
    .action(async (_options: object, command: Command) => {
      const { nodes } = await withMonitor(command, (client) => client.listNodeStates({}));
      if (wantsJson(command)) return printJson(nodes);
      printTable(
        ['node', 'department', 'state', 'last heartbeat', 'data sources', 'cpu %', 'resident MB', 'disk free GB'],
        nodes.map((node) => [
          node.code,
          node.departmentTitle,
          node.silent ? 'silent' : 'alive',
          moment(node.lastHeartbeatAtMs),
          (node.heartbeat?.dataSources ?? [])
            .map(({ name, reachable, code }) => `${name}:${reachable ? 'ok' : code}`)
            .join(' '),
          node.heartbeat?.host?.cpuPercent.toFixed(0),
          megabytes(node.heartbeat?.host?.processResidentBytes, 20),
          megabytes(node.heartbeat?.host?.diskFreeBytes, 30),
        ]),
        'no node has joined',
      );
    });

  registerBackup(monitor, backup);
}

const backup: BackupKind<{ dir: string }> = {
  component: 'monitor',
  place: ['--dir <dir>', "the monitor's directory; at a restore a new one"],
  mayBeOnServer: true,
  backup: async ({ dir }, task) => (await import('@qiao/monitor')).backupMonitor({ directory: dir, ...task }),
  restore: async ({ dir }, task) => ({
    ...(await (await import('@qiao/monitor')).restoreMonitor({ directory: dir, ...task })),
    next: `qiao monitor start --dir ${shellWord(dir)}; the nodes send again what is younger`,
  }),
};

function megabytes(bytes: bigint | undefined, shift: number): number | undefined {
  return bytes === undefined ? undefined : Math.round(Number(bytes) / 2 ** shift);
}
