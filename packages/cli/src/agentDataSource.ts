// `qiao agent datasource`: add one to agent.yaml, test it, name its tables. Passwords come from the environment or standard
// input, never from the command line, where every user of the machine could read them.

import { readFileSync } from 'node:fs';
import type { AgentDataSource, NewDataSource } from '@qiao/agent';
import { QiaoError } from '@qiao/exchange';
import type { Command } from 'commander';
import { EXIT } from './exitCodes.ts';
import { wantsJson } from './json.ts';
import { wholeNumber } from './numbers.ts';
import { colour, printJson, printTable, remark, say, shellWord } from './output.ts';

/** The first five are servers. */
const ADAPTERS = 'postgres, mysql, mssql, oracle, dameng, sqlite or files';

const CONFIG = ['--config <file>', 'agent.yaml', 'agent.yaml'] as const;

export function registerDataSource(agent: Command): void {
  const dataSource = agent.command('datasource').description('data sources (数据源) of this node');

  dataSource
    .command('add <name>')
    .description('write a data source into agent.yaml; a password read from standard input is stored encrypted')
    .option(...CONFIG)
    .requiredOption('--adapter <adapter>', ADAPTERS)
    .option('--file <file>', 'sqlite: the database file')
    .option('--directory <directory>', 'files: the directory; its tables are declared in agent.yaml')
    .option('--host <host>', 'a server: host', '127.0.0.1')
    .option('--port <port>', 'a server: port; default 5432, 3306, 1433, 1521 and 5236')
    .option('--database <name>', 'a server: database; of oracle the name of its service; dameng has one only')
    .option('--user <name>', 'a server: user')
    .option('--schema <name>', 'a server but mysql: schema of tables that name none')
    .option('--tls <mode>', 'a server: disable or require')
    .option('--driver <directory>', 'dameng: where its driver is installed; default /opt/qiao-drivers')
    .option('--password-env <variable>', 'a server: take the password from this environment variable at every start')
    .option('--password-stdin', 'a server: read the password from standard input and store it encrypted')
    .option('--replace', 'take the place of a data source of this name')
    .action(async (name: string, options: AddOptions) => {
      const { addDataSource } = await import('@qiao/agent');
      addDataSource({ file: options.config, name, settings: settingsOf(options), replace: options.replace ?? false });
      const next = `qiao agent datasource test ${name} --config ${shellWord(options.config)}`;
      say(`${name} is in ${options.config}.\n\nNext:  ${next}`);
      remark('An agent that runs takes it in when it is started again: systemctl restart qiao-agent');
    });

  dataSource
    .command('test <name>')
    .description('connect once and say how it went')
    .option(...CONFIG)
    .action(async (name: string, options: { config: string }, command: Command) => {
      const { readAgentConfig, testDataSource } = await import('@qiao/agent');
      const config = readAgentConfig(options.config);
      const probe = await testDataSource(config, name);
      if (wantsJson(command)) printJson(probe);
      else if (probe.reachable) {
        say(`${name} answers: ${probe.version}`);
        if (probe.remark !== undefined) remark(probe.remark);
      } else {
        say(`${name} does not answer. ${probe.code}: ${probe.message}`);
        if (probe.hint !== '') say(`${colour('cyan', '→')} ${probe.hint}`);
        const source = name === 'exchange' ? config.exchange : config.dataSources[name];
        // Tables of files are written by hand: no command may take their place.
        if (source !== undefined && source.adapter !== 'files' && !NOT_THE_SETTINGS.test(probe.code)) {
          say(`\nWhat agent.yaml says, to be changed:  ${addCommand(name, options.config, source)}`);
        }
      }
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

/** The database is where agent.yaml says, and something else keeps it from answering. */
const NOT_THE_SETTINGS = /_(BUSY|FULL|CORRUPT|SCHEMA|DRIVER_MISSING)$/;

/** The command that writes the data source as it is; a password is asked for anew, from where it came. */
function addCommand(name: string, file: string, source: Exclude<AgentDataSource, { adapter: 'files' }>): string {
  const settings =
    source.adapter === 'sqlite' ? ['--file', source.file] : [...placeOf(source), ...passwordOption(source.password)];
  const words = ['qiao', 'agent', 'datasource', 'add', name, '--config', file, '--adapter', source.adapter];
  return [...words, ...settings, '--replace'].map(shellWord).join(' ');
}

type Server = Exclude<AgentDataSource, { adapter: 'sqlite' | 'files' }>;

function placeOf(source: Server): string[] {
  const { host, port, user, tls } = source;
  const database = source.adapter === 'dameng' ? undefined : source.database;
  const schema = source.adapter === 'mysql' ? undefined : source.schema;
  const driver = source.adapter === 'dameng' ? source.driver : undefined;
  return [
    ...['--host', host, '--port', String(port)],
    ...(database === undefined ? [] : ['--database', database]),
    ...['--user', user],
    ...(schema === undefined ? [] : ['--schema', schema]),
    ...(typeof tls === 'string' ? ['--tls', tls] : []),
    ...(driver === undefined ? [] : ['--driver', driver]),
  ];
}

function passwordOption(password: Server['password']): string[] {
  const variable = typeof password === 'string' ? /^\$\{ENV:(.+)\}$/.exec(password)?.[1] : undefined;
  return variable === undefined ? ['--password-stdin'] : ['--password-env', variable];
}

interface AddOptions {
  readonly config: string;
  readonly adapter: string;
  readonly file?: string;
  readonly directory?: string;
  readonly host: string;
  readonly port?: string;
  readonly database?: string;
  readonly user?: string;
  readonly schema?: string;
  readonly tls?: string;
  readonly driver?: string;
  readonly passwordEnv?: string;
  readonly passwordStdin?: boolean;
  readonly replace?: boolean;
}

function settingsOf(options: AddOptions): NewDataSource {
  switch (options.adapter) {
    case 'sqlite':
      return { adapter: 'sqlite', file: required(options.file, '--file') };
    case 'files':
      return { adapter: 'files', directory: required(options.directory, '--directory'), tables: {} };
    case 'postgres':
      return { adapter: 'postgres', ...serverOf(options, 5432), ...databaseOf(options), ...schemaOf(options) };
    case 'mysql':
      return { adapter: 'mysql', ...serverOf(options, 3306), ...databaseOf(options) };
    case 'mssql':
      return { adapter: 'mssql', ...serverOf(options, 1433), ...databaseOf(options), ...schemaOf(options) };
    case 'oracle':
      return { adapter: 'oracle', ...serverOf(options, 1521), ...databaseOf(options), ...schemaOf(options) };
    case 'dameng': {
      const driver = options.driver === undefined ? {} : { driver: options.driver };
      return { adapter: 'dameng', ...serverOf(options, 5236), ...schemaOf(options), ...driver };
    }
    default:
      throw new QiaoError('OPTION_INVALID', `--adapter is ${options.adapter}; expected ${ADAPTERS}`);
  }
}

/** What every server is reached by. */
function serverOf(
  options: AddOptions,
  usualPort: number,
): Omit<Extract<NewDataSource, { adapter: 'mysql' }>, 'adapter' | 'database'> {
  const { tls, port } = options;
  if (tls !== undefined && tls !== 'disable' && tls !== 'require') {
    throw new QiaoError('OPTION_INVALID', `--tls is ${tls}; expected disable or require`);
  }
  return {
    host: options.host,
    port: port === undefined ? usualPort : wholeNumber('--port', port),
    user: required(options.user, '--user'),
    password: passwordOf(options),
    ...(tls === undefined ? {} : { tls }),
  };
}

function databaseOf({ database }: AddOptions): { database: string } {
  return { database: required(database, '--database') };
}

function schemaOf({ schema }: AddOptions): { schema?: string } {
  return schema === undefined ? {} : { schema };
}

function passwordOf({ passwordEnv, passwordStdin }: AddOptions): string {
  if (passwordStdin === true) return readFileSync(0, 'utf8').replace(/\r?\n$/, '');
  return passwordEnv === undefined ? '' : `\${ENV:${passwordEnv}}`;
}

function required(value: string | undefined, option: string): string {
  if (value === undefined) throw new QiaoError('OPTION_MISSING', `${option} is missing for this adapter`);
  return value;
}
