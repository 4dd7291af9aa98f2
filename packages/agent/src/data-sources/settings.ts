// agent.yaml as the running agent needs it: paths relative to the file made absolute, secrets read from the environment or
// opened with this host's key, the built-in data source `exchange` added, permissions with each source's own schema.

import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import type { DataSourceConfig } from '@qiao/adapters';
import { type Problem, QiaoError } from '@qiao/exchange';
import { readConfig } from '@qiao/runtime';
import { decryptSecret, openHostKey } from '@qiao/security';
import { type AgentConfig, type AgentDataSource, type AgentSecret, agentConfigSchema } from '../config.ts';
import type { Permissions } from '../control/permissions.ts';
import { filesConfig } from './files.ts';
import type { DataSourceRegistry } from './registry.ts';

/** Name of the data source that every agent has. */
export const EXCHANGE = 'exchange';
const ENVIRONMENT_SECRET = /^\$\{ENV:([A-Za-z_][A-Za-z0-9_]*)\}$/;

/** Reads agent.yaml; relative paths in it count from the file. Throws CONFIG_NOT_FOUND or CONFIG_INVALID with every problem. */
export function readAgentConfig(file: string): AgentConfig {
  const [, other] = /^(hub|monitor)\.yaml$/.exec(basename(file)) ?? [];
  if (other !== undefined) {
    const message = `${resolve(file)} is the configuration of a ${other}, expected that of an agent`;
    throw new QiaoError('CONFIG_INVALID', message, { hint: 'name the agent.yaml of this node with --config' });
  }
  const config = readConfig(file, agentConfigSchema);
  const base = dirname(resolve(file));
  const absolute = (path: string) => (isAbsolute(path) ? path : join(base, path));
  const source = <T extends AgentDataSource>(one: T): T => ({
    ...one,
    ...(one.adapter === 'sqlite' && { file: absolute(one.file) }),
    ...(one.adapter === 'dameng' && one.driver !== undefined && { driver: absolute(one.driver) }),
    ...(one.adapter === 'files' && { directory: absolute(one.directory) }),
  });
  return {
    ...config,
    directory: absolute(config.directory),
    dataSources: Object.fromEntries(Object.entries(config.dataSources).map(([name, one]) => [name, source(one)])),
    ...(config.exchange === undefined ? {} : { exchange: source(config.exchange) }),
  };
}

export function exchangeDatabaseFile(config: Pick<AgentConfig, 'directory'>): string {
  return join(config.directory, 'exchange.db');
}

export function exchangeTablesFile(config: Pick<AgentConfig, 'directory'>): string {
  return join(config.directory, 'exchange-tables.db');
}

/** Which dropped files of a data source were met. */
export function ledgerFile(config: Pick<AgentConfig, 'directory'>, name: string): string {
  return join(config.directory, 'files', `${name}.db`);
}

/** Where this host's key for encrypted secrets lies. */
export function hostKeyFile(config: Pick<AgentConfig, 'directory'>): string {
  return join(config.directory, 'host.key');
}

/** What row contents in the exchange database are sealed with: beside it, never in it. */
export function rowKeyFile(config: Pick<AgentConfig, 'directory'>): string {
  return join(config.directory, 'rows.key');
}

/** What `hash:` hashes with: it stays when the exchange database is made anew, so that the same value stays the same hash. */
export function maskingKeyFile(config: Pick<AgentConfig, 'directory'>): string {
  return join(config.directory, 'masking.key');
}

/** Every data source with its secrets read. Throws SECRET_MISSING, SECRET_UNREADABLE, HOST_KEY_MISSING. */
export function dataSourceConfigs(
  config: AgentConfig,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): DataSourceConfig[] {
  const own: AgentDataSource = config.exchange ?? { adapter: 'sqlite', file: exchangeTablesFile(config) };
  return [...Object.entries(config.dataSources), [EXCHANGE, own] as const].map(([name, source]) =>
    dataSourceConfig(name, source, config, environment),
  );
}

export function dataSourceConfig(
  name: string,
  source: AgentDataSource,
  config: Pick<AgentConfig, 'directory'>,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): DataSourceConfig {
  if (source.adapter === 'sqlite') return { name, adapter: 'sqlite', file: source.file };
  if (source.adapter === 'files') return filesConfig(name, source, ledgerFile(config, name));
  return { ...source, name, password: readSecret(source.password, name, config, environment) };
}

function readSecret(
  secret: AgentSecret,
  dataSource: string,
  config: Pick<AgentConfig, 'directory'>,
  environment: Readonly<Record<string, string | undefined>>,
): string {
  if (typeof secret !== 'string') return decryptSecret(secret.encrypted, openHostKey(hostKeyFile(config)));
  const variable = ENVIRONMENT_SECRET.exec(secret)?.[1];
  if (variable === undefined) return secret;
  const value = environment[variable];
  if (value === undefined) {
    throw new QiaoError(
      'SECRET_MISSING',
      `the password of data source ${dataSource} is in ${variable}, which is not set`,
      {
        hint: `set ${variable} in the agent’s environment, or store it encrypted: qiao agent datasource add ${dataSource}`,
      },
    );
  }
  return value;
}

export function permissionsOf(config: AgentConfig, sources: Pick<DataSourceRegistry, 'defaultSchema'>): Permissions {
  return {
    exposes: config.exposes,
    accepts: config.accepts,
    defaultSchema: (dataSource) => sources.defaultSchema(dataSource),
  };
}

/** Rules of the file that name a data source it does not have. */
export function settingsProblems(config: AgentConfig): Problem[] {
  const known = new Set([...Object.keys(config.dataSources), EXCHANGE]);
  const problems: Problem[] = [];
  if (config.dataSources[EXCHANGE] !== undefined) {
    problems.push({
      code: 'DATA_SOURCE_RESERVED',
      path: `dataSources.${EXCHANGE}`,
      message: `the name ${EXCHANGE} is the built-in data source`,
      hint: 'write its settings under the key exchange: at the top of the file',
    });
  }
  for (const list of ['exposes', 'accepts'] as const) {
    for (const [index, rule] of config[list].entries()) {
      if (known.has(rule.dataSource)) continue;
      problems.push({
        code: 'DATA_SOURCE_UNKNOWN',
        path: `${list}[${index}].dataSource`,
        message: `${rule.dataSource} is not among ${[...known].join(', ')}`,
        hint: `qiao agent datasource add ${rule.dataSource}`,
      });
    }
  }
  return problems;
}
