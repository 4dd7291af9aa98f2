/** A server that somebody named, and what the run has made there: the same to the command and to the suite, which is another process. */
import type { Fixture, Waivers } from '../contractSuite.ts';
import { damengWorld } from '../dameng/contract.testing.ts';
import { mssqlWorld } from '../mssql/contract.testing.ts';
import { claimMysql, mysqlFixture, mysqlWaivers, renewMysql } from '../mysql/contract.testing.ts';
import { oracleWorld } from '../oracle/contract.testing.ts';
import { claimPostgres, postgresFixture, renewPostgres } from '../postgres/contract.testing.ts';
import {
  claimSourceOnly,
  renewSourceOnly,
  type SourceWorld,
  sourceOnlyFixture,
  sourceOnlyWaivers,
} from '../source-only/contract.testing.ts';
import type { ServerConfig } from './address.testing.ts';

export interface Given {
  readonly config: ServerConfig;
  readonly reader?: ServerConfig | undefined;
  readonly waivers: Waivers;
  readonly missing: readonly string[];
}

declare module 'vitest' {
  interface ProvidedContext {
    given: Given;
  }
}

/** Makes the schema or database of the run. Throws CONTRACT_NAME_TAKEN. */
export function claim(config: ServerConfig): Promise<{ reader: ServerConfig | undefined; release(): Promise<void> }> {
  switch (config.adapter) {
    case 'postgres':
      return claimPostgres(config);
    case 'mysql':
      return claimMysql(config);
    default:
      return claimSourceOnly(worldOf(config));
  }
}

/** What no server of the kind has. */
export function waiversOf({ adapter }: ServerConfig): Waivers {
  if (adapter === 'postgres') return {};
  return adapter === 'mysql' ? mysqlWaivers : sourceOnlyWaivers;
}

/** The run's own schema or database, empty. */
export async function fixtureOf({ config, reader, missing }: Omit<Given, 'waivers'>): Promise<Fixture> {
  const fixture = await emptied(config, reader);
  const upserts = fixture.dialect.upserts?.filter(([statement]) => !missing.includes(statement)) ?? [];
  return { ...fixture, dialect: { ...fixture.dialect, upserts } };
}

async function emptied(config: ServerConfig, reader?: ServerConfig): Promise<Fixture> {
  switch (config.adapter) {
    case 'postgres':
      await renewPostgres(config);
      return await postgresFixture(config, reader?.adapter === 'postgres' ? reader : undefined);
    case 'mysql':
      await renewMysql(config);
      return await mysqlFixture(config, reader?.adapter === 'mysql' ? reader : undefined);
    default: {
      const world = worldOf(config);
      await renewSourceOnly(world);
      return await sourceOnlyFixture(world);
    }
  }
}

function worldOf(config: Exclude<ServerConfig, { adapter: 'postgres' | 'mysql' }>): SourceWorld {
  switch (config.adapter) {
    case 'mssql':
      return mssqlWorld(config);
    case 'oracle':
      return oracleWorld(config);
    case 'dameng':
      return damengWorld(config);
    default:
      return config satisfies never;
  }
}
