// `qiao operator`: further operators join with a token; the context learns where the monitor is.

import { joinOperator } from '@qiao/hub';
import type { Command } from 'commander';
import { contextDirectory, readContext, rememberMonitor } from './context.ts';
import { say } from './output.ts';

export function registerOperator(program: Command): void {
  const operator = program.command('operator').description("operators and this machine's context");

  operator
    .command('join')
    .description('make a key here and get a certificate, with a token from `qiao node invite --role operator`')
    .requiredOption('--token <token>', 'the one-time token (or QIAO_TOKEN)', process.env.QIAO_TOKEN)
    .option('--monitor <host:port>', 'where the monitor answers')
    .action(async (options: { token: string; monitor?: string }, command: Command) => {
      const directory = contextDirectory(command);
      const joined = await joinOperator({
        directory,
        token: options.token,
        ...(options.monitor === undefined ? {} : { monitorAddress: options.monitor }),
      });
      say(`Joined ${joined.platformCode} as ${joined.nodeCode}; the context is in ${directory}.`);
    });

  operator
    .command('monitor <host:port>')
    .description('remember where the monitor answers')
    .action((address: string, _options: object, command: Command) => {
      rememberMonitor(readContext(command), address);
      say(`This context calls the monitor at ${address}.`);
    });
}
