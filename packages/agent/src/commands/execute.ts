// What each command does on this node: check_bridge, list_tables and diagnose only look; those about jobs are in jobs.ts,
// those about rows in quarantine in quarantine.ts, at the source in sourceRows.ts.

import { type Command, CommandOutcome, CommandResult } from '@qiao/contract/node';
import { QiaoError } from '@qiao/exchange';
import type { Permissions } from '../control/permissions.ts';
import { type CheckBridgePorts, checkBridge } from './checkBridge.ts';
import { answerJobs, type JobDoor } from './jobs.ts';
import { listOpenRows, type QuarantinePorts, settleRows, showOpenRow } from './quarantine.ts';
import { listRefusedRows, previewRows, type SourceRowPorts } from './sourceRows.ts';

export interface ExecutePorts extends CheckBridgePorts {
  readonly verify: JobDoor;
  /** How everything is, as a JSON document: see status.ts. */
  diagnose(): unknown;
  readonly quarantine: QuarantinePorts;
  readonly sourceRows: SourceRowPorts;
}

export async function executeCommand(command: Command, ports: ExecutePorts): Promise<CommandResult> {
  switch (command.command?.$case) {
    case 'checkBridge': {
      const { problems, tables } = await checkBridge(command.command.value, ports);
      // A check that found something has been carried out, but DONE promises that there are no problems, warnings included.
      const outcome = problems.length === 0 ? CommandOutcome.DONE : CommandOutcome.PARTLY_DONE;
      return CommandResult.fromPartial({ outcome, problems, tables });
    }
    case 'listTables':
      return CommandResult.fromPartial({
        outcome: CommandOutcome.DONE,
        reportJson: JSON.stringify(await listTables(command.command.value.dataSource, ports)),
      });
    case 'diagnose':
      return CommandResult.fromPartial({ outcome: CommandOutcome.DONE, reportJson: JSON.stringify(ports.diagnose()) });
    case 'verifyBridge':
    case 'resyncBridge':
    case 'resendRange':
    case 'jobStatus':
      return CommandResult.fromPartial({
        outcome: CommandOutcome.DONE,
        jobs: answerJobs(command.command, command.operator, ports.verify),
      });
    case 'listOpenRows':
      return listOpenRows(command.command.value, ports.quarantine);
    case 'showOpenRow':
      return await showOpenRow(command.command.value, ports.quarantine);
    case 'settleRows':
      return await settleRows(command.command.value, ports.quarantine, command.operator);
    case 'previewRows':
      return await previewRows(command.command.value, ports.sourceRows);
    case 'listRefusedRows':
      return await listRefusedRows(command.command.value, ports.sourceRows);
    case undefined:
      throw new QiaoError('COMMAND_UNKNOWN', 'this agent does not know the command', { hint: 'update the agent' });
    default:
      return command.command satisfies never;
  }
}

export interface ListedTable {
  readonly schema?: string | undefined;
  readonly table: string;
  readonly exposed: boolean;
  readonly accepted: boolean;
}

/** Only tables that the node's file names: the names of the others are the department's own business, so they are counted. */
async function listTables(
  dataSource: string,
  ports: ExecutePorts,
): Promise<{ dataSource: string; tables: ListedTable[]; hidden: number }> {
  const source = await ports.open(dataSource);
  const all = (await source.tables()).map(({ schema, name }) => ({
    schema,
    table: name,
    exposed: isNamed(ports.permissions.exposes, ports.permissions, dataSource, schema, name),
    accepted: isNamed(ports.permissions.accepts, ports.permissions, dataSource, schema, name),
  }));
  const tables = all.filter(({ exposed, accepted }) => exposed || accepted);
  return { dataSource, tables, hidden: all.length - tables.length };
}

function isNamed(
  rules: Permissions['exposes'],
  permissions: Permissions,
  dataSource: string,
  schema: string | undefined,
  table: string,
): boolean {
  const standard = permissions.defaultSchema(dataSource);
  return rules.some(
    (rule) =>
      rule.dataSource === dataSource &&
      (rule.schema ?? standard) === (schema ?? standard) &&
      (rule.table === '*' || rule.table === table),
  );
}
