// `qiao agent datasource`: add one to agent.yaml, test it, name its tables. Passwords come from the environment or standard
// input, never from the command line, where every user of the machine could read them.

import { readFileSync } from 'node:fs';
import type { NewDataSource } from '@qiao/agent';
import { QiaoError } from '@qiao/exchange';
import type { Command } from 'commander';
import { EXIT } from './exitCodes.ts';
import { wantsJson } from './json.ts';
import { wholeNumber } from './numbers.ts';
import { printJson, printTable, remark, say } from './output.ts';

const CONFIG = ['--config <file>', 'agent.yaml', 'agent.yaml'] as const;

export function registerDataSource(agent: Command): void {
  const dataSource = agent.command('datasource').description('data sources (数据源) of this node');

  dataSource
    .command('add <name>')
    .description('write a data source into agent.yaml; a password read from standard input is stored encrypted')
    .option(...CONFIG)
    .requiredOption('--adapter <adapter>', 'postgres or sqlite')
    .option('--file <file>', 'sqlite: the database file')
    .option('--host <host>', 'postgres: host', '127.0.0.1')
    .option('--port <port>', 'postgres: port', '5432')
    .option('--database <name>', 'postgres: database')
    .option('--user <name>', 'postgres: user')
    .option('--schema <name>', 'postgres: schema of tables that name none')
    .option('--tls <mode>', 'postgres: disable or require')
    .option('--password-env <variable>', 'postgres: take the password from this environment variable at every start')
    .option('--password-stdin', 'postgres: read the password from standard input and store it encrypted')
    .option('--replace', 'take the place of a data source of this name')
    .action(async (name: string, options: AddOptions) => {
      const { addDataSource } = await import('@qiao/agent');
      addDataSource({ file: options.config, name, settings: settingsOf(options), replace: options.replace ?? false });
      say(`${name} is in ${options.config}.\n\nNext:  qiao agent datasource test ${name} --config ${options.config}`);
    });

  dataSource
    .command('test <name>')
    .description('connect once and say how it went')
    .option(...CONFIG)
    .action(async (name: string, options: { config: string }, command: Command) => {
      const { readAgentConfig, testDataSource } = await import('@qiao/agent');
      const probe = await testDataSource(readAgentConfig(options.config), name);
      if (wantsJson(command)) printJson(probe);
      else
        say(
          probe.reachable
            ? `${name} answers: ${probe.version}`
            : `${name} does not answer. ${probe.code}: ${probe.message}`,
        );
      if (!probe.reachable) process.exitCode = EXIT.unreachable;
    });

  dataSource
    .command('tables <name>')
    .description('every table and view that the connection may see')
    .option(...CONFIG)
    .action(async (name: string, options: { config: string }, command: Command) => {
      const { dataSourceTables, readAgentConfig } = await import('@qiao/agent');
      const tables = await dataSourceTables(readAgentConfig(options.config), name);
      if (wantsJson(command)) return printJson(tables);
      if (tables.length === 0)
        return remark(`${name} shows this user no table: the department grants SELECT on what is exposed.`);
      printTable(
        ['schema', 'table'],
        tables.map(({ schema, name: table }) => [schema, table]),
      );
    });
}

interface AddOptions {
  readonly config: string;
  readonly adapter: string;
  readonly file?: string;
  readonly host: string;
  readonly port: string;
  readonly database?: string;
  readonly user?: string;
  readonly schema?: string;
  readonly tls?: string;
  readonly passwordEnv?: string;
  readonly passwordStdin?: boolean;
  readonly replace?: boolean;
}

function settingsOf(options: AddOptions): NewDataSource {
  switch (options.adapter) {
    case 'sqlite':
      return { adapter: 'sqlite', file: required(options.file, '--file') };
    case 'postgres': {
      if (options.tls !== undefined && options.tls !== 'disable' && options.tls !== 'require') {
        throw new QiaoError('OPTION_INVALID', `--tls is ${options.tls}; expected disable or require`);
      }
      return {
        adapter: 'postgres',
        host: options.host,
        port: wholeNumber('--port', options.port),
        database: required(options.database, '--database'),
        user: required(options.user, '--user'),
        password: passwordOf(options),
        ...(options.schema === undefined ? {} : { schema: options.schema }),
        ...(options.tls === undefined ? {} : { tls: options.tls }),
      };
    }
    default:
      throw new QiaoError('OPTION_INVALID', `--adapter is ${options.adapter}; expected postgres or sqlite`);
  }
}

function passwordOf({ passwordEnv, passwordStdin }: AddOptions): string {
  if (passwordStdin === true) return readFileSync(0, 'utf8').replace(/\r?\n$/, '');
  return passwordEnv === undefined ? '' : `\${ENV:${passwordEnv}}`;
}

function required(value: string | undefined, option: string): string {
  if (value === undefined) throw new QiaoError('OPTION_MISSING', `${option} is missing for this adapter`);
  return value;
}
