// `qiao alert`: what a person is told, and that a person has seen it.

import type { Alert } from '@qiao/contract/monitor';
import { QiaoError } from '@qiao/exchange';
import type { Command } from 'commander';
import { withMonitor } from './context.ts';
import { wantsJson } from './json.ts';
import { moment, printJson, printTable, say } from './output.ts';

export function registerAlert(program: Command): void {
  const alert = program.command('alert').description('alerts: 预警 (a threshold or a deviation) and 故障 (a fault)');

  alert
    .command('list')
    .description('open alerts, newest first')
    .option('--all', 'also the resolved ones')
    .action(async (options: { all?: boolean }, command: Command) => {
      const { alerts } = await withMonitor(command, (monitor) =>
        monitor.listAlerts({ includeResolved: options.all ?? false }),
      );
      if (wantsJson(command)) return printJson(alerts);
      printTable(
        ['id', 'level', 'code', 'about', 'state', 'opened', 'resolved', 'times', 'message'],
        alerts.map((one) => [
          one.id,
          level(one),
          one.code,
          one.subject,
          one.state.replace('ALERT_STATE_', '').toLowerCase(),
          moment(one.openedAtMs),
          moment(one.resolvedAtMs),
          one.times,
          one.hint === '' ? one.message : `${one.message} → ${one.hint}`,
        ]),
        'no open alert',
      );
    });

  alert
    .command('acknowledge <id>')
    .description('say that a person has seen it; it stays until its cause is gone')
    .action(async (id: string, _options: object, command: Command) => {
      const request = { id: alertId(id) };
      const one = await withMonitor(command, (monitor) => monitor.acknowledgeAlert(request));
      if (wantsJson(command)) return printJson(one);
      say(`Alert ${one.id} is acknowledged by ${one.acknowledgedBy}.`);
    });

  alert
    .command('resolve <id>')
    .description('end an alert that cannot end by itself, with a reason; anything new of its kind opens another')
    .requiredOption('--reason <text>', 'why it is over; kept with the alert')
    .action(async (id: string, options: { reason: string }, command: Command) => {
      const request = { id: alertId(id), reason: options.reason };
      const one = await withMonitor(command, (monitor) => monitor.resolveAlert(request));
      if (wantsJson(command)) return printJson(one);
      say(`Alert ${one.id} is resolved by ${one.resolvedBy}.`);
    });
}

function alertId(text: string): bigint {
  if (/^\d{1,18}$/.test(text)) return BigInt(text);
  throw new QiaoError('NUMBER_INVALID', `${text} is no alert's id`, { hint: 'qiao alert list' });
}

function level({ level: value }: Alert): string {
  return value === 'ALERT_LEVEL_FAULT' ? '故障 fault' : '预警 warning';
}
