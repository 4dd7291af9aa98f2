/** A server that somebody named, and what the run has made there: the same to the command and to the suite, which is another process. */
import type { Fixture, Waivers } from '../contractSuite.ts';
import { claimMysql, mysqlFixture, mysqlWaivers, renewMysql } from '../mysql/contract.testing.ts';
import { claimPostgres, postgresFixture, renewPostgres } from '../postgres/contract.testing.ts';
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
  return config.adapter === 'postgres' ? claimPostgres(config) : claimMysql(config);
}

/** What no server of the kind has. */
export function waiversOf({ adapter }: ServerConfig): Waivers {
  return adapter === 'postgres' ? {} : mysqlWaivers;
}

/** The run's own schema or database, empty. */
export async function fixtureOf({ config, reader, missing }: Omit<Given, 'waivers'>): Promise<Fixture> {
  const fixture = await (config.adapter === 'postgres' ? postgres(config, reader) : mysql(config, reader));
  const upserts = fixture.dialect.upserts?.filter(([statement]) => !missing.includes(statement)) ?? [];
  return { ...fixture, dialect: { ...fixture.dialect, upserts } };
}

async function postgres(config: ServerConfig & { adapter: 'postgres' }, reader?: ServerConfig): Promise<Fixture> {
  await renewPostgres(config);
  return await postgresFixture(config, reader?.adapter === 'postgres' ? reader : undefined);
}

async function mysql(config: ServerConfig & { adapter: 'mysql' }, reader?: ServerConfig): Promise<Fixture> {
  await renewMysql(config);
  return await mysqlFixture(config, reader?.adapter === 'mysql' ? reader : undefined);
}
