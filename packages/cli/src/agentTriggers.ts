// `qiao agent triggers`: what capture by trigger needs in the business database, shown before anything is run. Another account's password
// comes from the environment or standard input, never from the command line.

import { readFileSync } from 'node:fs';
import type { Account, TableTriggers } from '@qiao/agent';
import { type BridgeDefinition, ProblemsError, parseBridge, QiaoError } from '@qiao/exchange';
import type { Command } from 'commander';
import { EXIT } from './exitCodes.ts';
import { readBridgeFile } from './files.ts';
import { wantsJson } from './json.ts';
import { printJson, printTable, remark, say } from './output.ts';

interface TriggerOptions {
  readonly config: string;
  readonly bridge?: string;
  readonly file?: string;
  readonly user?: string;
  readonly passwordEnv?: string;
  readonly passwordStdin?: boolean;
  readonly yes?: boolean;
}

export function registerTriggers(agent: Command): void {
  const triggers = agent
    .command('triggers')
    .description('triggers (触发器) in the business database that a bridge with capture: trigger goes by');
  const withBridge = (command: Command) =>
    command
      .option('--config <file>', 'agent.yaml', 'agent.yaml')
      .option('--file <file>', 'the bridge in its file')
      .option('--bridge <name>', 'a bridge that this node has been told of');

  withBridge(triggers.command('show'))
    .description('what is there, and the statements for the DBA')
    .option('--sql', 'the statements alone, as the database’s own client takes them')
    .action(async (options: TriggerOptions & { sql?: boolean }, command: Command) => {
      const { definition, tables } = await read(options, true);
      if (wantsJson(command)) return printJson(tables);
      if (options.sql !== true) {
        printState(tables);
        say('');
      }
      for (const table of tables) printStatements(table, 'install');
      remark(removal(options, definition));
      if (tables.some(({ state }) => state.kind !== 'ready')) process.exitCode = EXIT.problems;
    });

  for (const action of ['install', 'remove'] as const) {
    withBridge(triggers.command(action))
      .description(
        action === 'install'
          ? 'make the triggers of tables that have none that are sound; the statements are shown first'
          : 'remove triggers and change tables; bridges of this node that read the same table by trigger lose them too',
      )
      .option('--user <name>', 'run them under this account instead of the agent’s own')
      .option('--password-env <variable>', 'its password is in this environment variable')
      .option('--password-stdin', 'its password is read from standard input')
      .option('--yes', 'run them; without it they are only shown')
      .action((options: TriggerOptions) => change(action, options));
  }
}

async function change(action: 'install' | 'remove', options: TriggerOptions): Promise<void> {
  const account = accountOf(options);
  const { definition, tables } = await read(options, account !== undefined);
  const due = tables.filter(({ state }) => action === 'remove' || state.kind !== 'ready');
  if (due.length === 0) return say(`The triggers of ${definition.name} are there and sound.`);
  for (const table of due) printStatements(table, action);
  if (action === 'install') remark(removal(options, definition));
  if (options.yes !== true) {
    return remark(`Nothing was run. To run it: qiao agent triggers ${action} ${named(options, definition)} --yes`);
  }
  const { readAgentConfig, runTriggerStatements } = await import('@qiao/agent');
  const config = readAgentConfig(options.config);
  for (const table of due) {
    await runTriggerStatements(config, definition.source.dataSource, table[action], account);
    say(`${table.table}: ${action === 'install' ? 'triggers are installed' : 'triggers are removed'}`);
  }
}

async function read(
  options: TriggerOptions,
  grants: boolean,
): Promise<{ definition: BridgeDefinition; tables: TableTriggers[] }> {
  const { bridgeTriggers, deployedBridge, readAgentConfig } = await import('@qiao/agent');
  const config = readAgentConfig(options.config);
  if ((options.file === undefined) === (options.bridge === undefined)) {
    throw new QiaoError('OPTION_MISSING', 'the bridge is named by one of --file and --bridge');
  }
  const definition =
    options.file === undefined ? deployedBridge(config, options.bridge ?? '') : definitionIn(options.file);
  return { definition, tables: await bridgeTriggers(config, definition, { grants }) };
}

function definitionIn(file: string): BridgeDefinition {
  const { definition, problems } = parseBridge(readBridgeFile(file));
  if (definition === undefined) throw new ProblemsError(problems, { code: 'BRIDGE_INVALID' });
  return definition;
}

function accountOf({ user, passwordEnv, passwordStdin }: TriggerOptions): Account | undefined {
  if (user === undefined) return undefined;
  if (passwordStdin === true) return { user, password: readFileSync(0, 'utf8').replace(/\r?\n$/, '') };
  const password = passwordEnv === undefined ? '' : process.env[passwordEnv];
  if (password === undefined) throw new QiaoError('SECRET_MISSING', `${passwordEnv} is not set`);
  return { user, password };
}

function printState(tables: readonly TableTriggers[]): void {
  printTable(
    ['table', 'state', 'what was found'],
    tables.map(({ table, state }) =>
      state.kind === 'ready' ? [table, 'ready', ''] : [table, state.code, state.message],
    ),
  );
  for (const { blind } of tables) for (const { message, hint } of blind) remark(`${message}: ${hint}`);
}

/** As a client of the database takes them: bodies of triggers hold semicolons, which MySQL's own must be told of. */
function printStatements(table: TableTriggers, action: 'install' | 'remove'): void {
  for (const statement of table[action]) {
    const isBody = table.adapter === 'mysql' && statement.includes(';');
    say(isBody ? `DELIMITER //\n${statement}//\nDELIMITER ;` : `${statement};`);
  }
  say('');
}

/** Triggers name the key's columns: a program's next INSERT would fail. */
function removal(options: TriggerOptions, definition: BridgeDefinition): string {
  return `Before DDL that renames or retypes a key column, and to be rid of them: qiao agent triggers remove ${named(options, definition)}`;
}

function named({ file, bridge }: TriggerOptions, { name }: BridgeDefinition): string {
  return file === undefined ? `--bridge ${bridge ?? name}` : `--file ${file}`;
}
