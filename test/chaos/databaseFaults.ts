// Databases that refuse: connections ended, tables locked by their owner, deadlocks, a database that is read only, statements that
// fail for reasons that are no row's. PostgreSQL has them all; a SQLite file and MySQL know the lock alone.

import { setTimeout as pause } from 'node:timers/promises';
import { type PostgresSession, postgresSession } from '@qiao/testkit';
import Sqlite from 'better-sqlite3';
import type { NodeCode } from './departments.ts';
import type { Heal } from './faults.ts';
import type { DestinationPlan } from './plan.ts';
import type { Play } from './play.ts';

/** Ends every connection of the node's agent to its database, again and again. */
export async function terminate(play: Play, node: NodeCode, database: 'pg' | 'pg-in'): Promise<Heal> {
  const end = () => endConnections(play, node, database).catch(() => undefined);
  await end();
  const timer = setInterval(() => void end(), 150);
  return async () => clearInterval(timer);
}

export async function readOnly(play: Play, node: NodeCode): Promise<Heal> {
  const { database } = play.stage.postgresConfig(node, 'pg-in');
  const alter = (what: string) =>
    persist(async () => {
      await using owner = await session(play, node, 'pg-in');
      await owner.query('SET default_transaction_read_only = off');
      await owner.query(`ALTER DATABASE ${database} ${what}`);
      await endConnections(play, node, 'pg-in');
    });
  await alter('SET default_transaction_read_only = on');
  return () => alter('RESET default_transaction_read_only');
}

/** The owner of the target works on the whole table. */
export async function lockTable(play: Play, bridge: string): Promise<Heal> {
  const { node, dataSource, table } = play.destinations(bridge)[0] as DestinationPlan;
  if (dataSource === 'lite-in') {
    const { file } = play.stage.database(node, dataSource).config as { file: string };
    const owner = new Sqlite(file);
    owner.pragma('busy_timeout = 200');
    await persist(async () => owner.exec('BEGIN IMMEDIATE'));
    return async () => void owner.close();
  }
  if (dataSource === 'my-in') {
    const owner = await persist(async () => {
      const opened = play.stage.mysqlSession(node, dataSource);
      try {
        await opened.query(`LOCK TABLES ${table} WRITE`);
      } catch (error) {
        await opened[Symbol.asyncDispose]();
        throw error;
      }
      return opened;
    });
    return async () => owner[Symbol.asyncDispose]();
  }
  const owner = await persist(() => begun(play, node, dataSource, `LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`));
  return async () => owner[Symbol.asyncDispose]();
}

/** The owner in the middle of a transaction that did this. */
async function begun(play: Play, node: NodeCode, database: 'pg-in', statement: string): Promise<PostgresSession> {
  const owner = await session(play, node, database);
  try {
    await owner.query('BEGIN');
    await owner.query(statement);
    return owner;
  } catch (error) {
    await owner[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * The agent writes its mark and then rows; the owner holds the rows and then wants the mark. The owner is patient, so that the
 * server chooses the agent.
 */
export async function deadlock(play: Play, bridge: string, forMs: number): Promise<Heal | undefined> {
  const target = postgresTarget(play, bridge);
  if (target === undefined) return undefined;
  const owner = await persist(async () => {
    const opened = await session(play, target.node, 'pg-in');
    await opened.query(`SET deadlock_timeout = '30s'`);
    return opened;
  });
  const endsAtMs = performance.now() + forMs;
  const working = (async () => {
    while (performance.now() < endsAtMs) {
      await owner.query('BEGIN');
      await owner.query(`LOCK TABLE ${target.table} IN SHARE MODE`);
      await pause(60);
      await owner.query('LOCK TABLE qiao_mark IN EXCLUSIVE MODE');
      await owner.query('ROLLBACK');
      await pause(20);
    }
  })().catch(() => undefined);
  return async () => {
    await working;
    await owner[Symbol.asyncDispose]();
  };
}

export async function statementError(play: Play, bridge: string, sqlState: string): Promise<Heal | undefined> {
  const target = postgresTarget(play, bridge);
  if (target === undefined) return undefined;
  const { node, table } = target;
  const name = `drill_${table}`;
  const run = (...statements: string[]) =>
    persist(async () => {
      await using owner = await session(play, node, 'pg-in');
      for (const statement of statements) await owner.query(statement);
    });
  await run(
    `CREATE OR REPLACE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql AS
     $$ BEGIN RAISE EXCEPTION 'drill' USING ERRCODE = '${sqlState}'; END $$`,
    `CREATE OR REPLACE TRIGGER ${name} BEFORE INSERT OR UPDATE OR DELETE ON ${table} FOR EACH STATEMENT EXECUTE FUNCTION ${name}()`,
  );
  return () => run(`DROP FUNCTION IF EXISTS ${name}() CASCADE`);
}

function postgresTarget(play: Play, bridge: string): DestinationPlan | undefined {
  return play.destinations(bridge).find(({ dataSource }) => dataSource === 'pg-in');
}

async function endConnections(play: Play, node: NodeCode, database: 'pg' | 'pg-in'): Promise<void> {
  await using other = await session(play, node, database);
  await other.query(
    'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
  );
}

function session(play: Play, node: NodeCode, database: 'pg' | 'pg-in'): Promise<PostgresSession> {
  return postgresSession(play.stage.postgresConfig(node, database));
}

/** Against a server that another fault keeps ending; on a busy machine one start may take half a minute. */
export async function persist<T>(act: () => Promise<T>): Promise<T> {
  const endsAtMs = performance.now() + 90_000;
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (performance.now() > endsAtMs) throw error;
      await pause(100);
    }
  }
}
