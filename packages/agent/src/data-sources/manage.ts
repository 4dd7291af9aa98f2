// Data sources for a person at the command line: add one to agent.yaml without losing a comment, test it, name its tables.
// Passwords are encrypted with this host's key before they touch the file.

import { readFileSync, statSync } from 'node:fs';
import { type DataSource, type DataSourceConfig, openDataSource, type Probe, type TableRef } from '@qiao/adapters';
import { CODE, QiaoError } from '@qiao/exchange';
import { parseConfig } from '@qiao/runtime';
import { encryptSecret, openHostKey, writeFileAtomically } from '@qiao/security';
import { parseDocument } from 'yaml';
import { type AgentConfig, type AgentDataSource, agentConfigSchema } from '../config.ts';
import { dataSourceConfigs, EXCHANGE, hostKeyFile, readAgentConfig } from './settings.ts';

interface NewServer {
  readonly host: string;
  readonly port?: number;
  readonly user: string;
  /** Plain text, or `${ENV:NAME}` to leave it in the environment. */
  readonly password: string;
  readonly tls?: 'disable' | 'require' | { readonly ca: string };
}

export type NewDataSource =
  | (NewServer & {
      readonly adapter: 'postgres' | 'mssql' | 'oracle';
      readonly database: string;
      readonly schema?: string;
    })
  | (NewServer & { readonly adapter: 'mysql'; readonly database: string })
  | (NewServer & { readonly adapter: 'dameng'; readonly schema?: string; readonly driver?: string })
  | { readonly adapter: 'sqlite'; readonly file: string }
  /** Its tables are declared in agent.yaml itself. */
  | { readonly adapter: 'files'; readonly directory: string; readonly tables: Record<string, never> };

export interface AddDataSourceOptions {
  /** Path of agent.yaml. */
  readonly file: string;
  readonly name: string;
  readonly settings: NewDataSource;
  /** Take the place of one that has this name. */
  readonly replace?: boolean;
}

/**
 * Writes a data source into agent.yaml; comments and order stay. The file is checked whole before it is written.
 * Throws DATA_SOURCE_NAME, DATA_SOURCE_EXISTS, CONFIG_INVALID.
 */
export function addDataSource({ file, name, settings, replace = false }: AddDataSourceOptions): void {
  if (!CODE.test(name)) {
    throw new QiaoError(
      'DATA_SOURCE_NAME',
      `${JSON.stringify(name)} is no name of a data source, expected ${CODE.source}`,
    );
  }
  const config = readAgentConfig(file);
  const path = name === EXCHANGE ? [EXCHANGE] : ['dataSources', name];
  const exists = name === EXCHANGE ? config.exchange !== undefined : Object.hasOwn(config.dataSources, name);
  if (exists && !replace) {
    throw new QiaoError('DATA_SOURCE_EXISTS', `${file} has a data source ${name} already`, {
      hint: 'the same command with --replace takes its place',
    });
  }
  const document = parseDocument(readFileSync(file, 'utf8'));
  document.setIn(path, document.createNode(stored(settings, config)));
  const text = document.toString({ lineWidth: 0 });
  parseConfig(text, file, agentConfigSchema);
  // The file may hold secrets of before: its mode stays as the department set it, but never wider than 0640.
  writeFileAtomically(file, text, statSync(file).mode & 0o640);
}

function stored(settings: NewDataSource, config: AgentConfig): Record<string, unknown> {
  if (settings.adapter === 'sqlite' || settings.adapter === 'files') return { ...settings };
  const { password, ...rest } = settings;
  const isReference = password === '' || password.startsWith('${ENV:');
  return {
    ...rest,
    password: isReference
      ? password
      : { encrypted: encryptSecret(password, openHostKey(hostKeyFile(config), { create: true })) },
  };
}

/** Connects once and says how it went. Throws DATA_SOURCE_UNKNOWN. */
export async function testDataSource(config: AgentConfig, name: string): Promise<Probe> {
  return await withDataSource(config, name, (source) => source.probe());
}

/** Every table and view that the connection may see. */
export async function dataSourceTables(config: AgentConfig, name: string): Promise<TableRef[]> {
  return await withDataSource(config, name, (source) => source.tables());
}

async function withDataSource<T>(
  config: AgentConfig,
  name: string,
  use: (source: DataSource) => Promise<T>,
): Promise<T> {
  const settings = dataSourceNamed(config, name);
  const source = await openDataSource(settings);
  try {
    return await use(source);
  } finally {
    await source.close();
  }
}

/** Only the named source's secret is read: a broken one elsewhere must not keep this one from being tested. */
export function dataSourceNamed(config: AgentConfig, name: string): DataSourceConfig {
  const named = Object.hasOwn(config.dataSources, name) ? config.dataSources[name] : undefined;
  const found: AgentDataSource | undefined = name === EXCHANGE ? config.exchange : named;
  if (found === undefined && name !== EXCHANGE) {
    throw new QiaoError(
      'DATA_SOURCE_UNKNOWN',
      `data source ${name} is not in agent.yaml; it has ${[...Object.keys(config.dataSources), EXCHANGE].join(', ')}`,
      { hint: `qiao agent datasource add ${name}` },
    );
  }
  const only = { ...config, dataSources: found === undefined || name === EXCHANGE ? {} : { [name]: found } };
  const settings = dataSourceConfigs(only).find((one) => one.name === name);
  if (settings === undefined) throw new QiaoError('DATA_SOURCE_UNKNOWN', `data source ${name} is not in agent.yaml`);
  return settings;
}
