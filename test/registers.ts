// Departments that keep one and the same register, each in its own database, and edit it. The seed says who edits what.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BINLOG, connectMysql, type MysqlServer, startMysql } from '@qiao/adapters/mysql-testing';
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { type Answer, type Platform, postgresDatabase, sqliteDatabase, until } from '@qiao/testkit';
import Database from 'better-sqlite3';
import { expect } from 'vitest';
import { applyBridges, booksLine } from './world.ts';

export interface Register extends AsyncDisposable {
  /** As in agent.yaml. */
  readonly config: object;
  readonly capture: 'log' | 'trigger';
  run(...statements: string[]): Promise<void>;
  /** All rows in one order and one spelling, whatever the database. */
  rows(where?: string): Promise<(string | null)[][]>;
  ask(sql: string): Promise<(string | null)[][]>;
}

export interface Servers extends AsyncDisposable {
  readonly postgres: PostgresServer;
  readonly mysql: MysqlServer;
}

export async function startServers(): Promise<Servers> {
  const [mysql, postgres] = await Promise.all([
    startMysql(BINLOG, { own: true }),
    startPostgres(['wal_level=logical']),
  ]);
  return {
    mysql,
    postgres,
    async [Symbol.asyncDispose]() {
      await mysql[Symbol.asyncDispose]();
      await postgres[Symbol.asyncDispose]();
    },
  };
}

const TABLE = (time: string) =>
  `CREATE TABLE register (id bigint NOT NULL PRIMARY KEY, name varchar(64), place varchar(64), seen_at ${time} NULL)`;
const ROWS = (id: string, minute: string, where = '1 = 1') =>
  `SELECT ${id}, name, place, ${minute} FROM register WHERE ${where} ORDER BY id`;

/** An empty register in PostgreSQL. */
export async function inPostgres({ postgres }: Servers, capture: Register['capture']): Promise<Register> {
  const database = await postgresDatabase(await postgres.database());
  await database.run(TABLE('timestamp(6)'));
  return {
    ...database,
    capture,
    ask: database.rows,
    rows: (where) => database.rows(ROWS('id', `to_char(seen_at, 'HH24:MI')`, where)),
  };
}

/** An empty register in MariaDB. */
export async function inMariadb({ mysql }: Servers, capture: Register['capture']): Promise<Register> {
  const { name: _, ...config } = await mysql.database();
  const client = connectMysql(mysql.url, config.database);
  await client.query(`GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '${config.user}'@'%'`);
  await client.query(TABLE('datetime(6)'));
  return {
    config,
    capture,
    async run(...statements) {
      for (const statement of statements) await client.query(statement);
    },
    ask: (sql) => client.query(sql),
    rows: (where) => client.query(ROWS("CONCAT(id, '')", "DATE_FORMAT(seen_at, '%H:%i')", where)),
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

/** An empty register in a SQLite file. */
export async function inSqlite(file: string): Promise<Register> {
  const database = sqliteDatabase(file);
  await database.run(TABLE('timestamp(6)'));
  return {
    ...database,
    capture: 'trigger',
    ask: database.rows,
    rows: (where) => database.rows(ROWS('id', "strftime('%H:%M', seen_at)", where)),
  };
}

/** Values of new rows: ids from `first`, all seen at one minute. */
export function newRows(first: number, count: number, side: string, minute: number): string {
  const row = (id: number) => `(${id}, '${side} ${id}', '甲', '${timeOf(minute)}')`;
  return Array.from({ length: count }, (_none, index) => row(first + index)).join(', ');
}

export function timeOf(minute: number): string {
  const [hours, minutes] = [Math.floor(minute / 60), minute % 60];
  return `2026-01-01 ${String(hours).padStart(2, '0')}:${String(minutes).padStart(2, '0')}:00`;
}

export interface Editing {
  pick(count: number): number;
  /** Rows that everybody edits have ids from 1 to this. */
  readonly keys: number;
  /** Name of who edits. */
  readonly side: string;
  /** Of the first id that this side alone gives to new rows. */
  readonly own: number;
  readonly minute: number;
}

/**
 * Statements of one side's round: an edit never has the same minute twice at two ends, but for some that set the time back. Deleted keys are not taken
 * up again by two: which of two new rows under one key is the newer one nobody can say.
 */
export function editsOfRound({ pick, keys, side, own, minute }: Editing): string[] {
  const statements: string[] = [];
  for (let n = 0; n < 12; n++) {
    const id = 1 + pick(keys);
    const at = `'${timeOf(pick(4) === 0 ? 1_000 : minute + pick(40))}'`;
    const write = `UPDATE register SET name = '${side} ${minute} ${n}', place = '${'甲乙丙'[pick(3)]}', seen_at = ${at} WHERE id = ${id}`;
    statements.push(pick(5) === 0 ? `DELETE FROM register WHERE id = ${id}` : write);
  }
  return [
    ...statements,
    `INSERT INTO register VALUES ${newRows(own + minute, 3, side, minute)}`,
    `DELETE FROM register WHERE id = ${own + minute}`,
  ];
}

/** Applies the bridge, with its triggers where it has some: shown, made, and sound, as on the node. */
export async function beginBridge(platform: Platform, node: string, yaml: string): Promise<void> {
  if (yaml.includes('capture: trigger')) {
    const triggers = triggersOf(platform, node, yaml);
    const shown = await triggers('show');
    expect([shown.code, shown.stdout]).toEqual([6, expect.stringContaining('CREATE TRIGGER')]);
    for (const answer of [await triggers('install', '--yes'), await triggers('show')]) {
      expect([answer.code, answer.stderr]).toEqual([0, expect.any(String)]);
    }
  }
  await applyBridges(platform, yaml);
}

/** `qiao agent triggers …` on the node, for a bridge in its file. */
export function triggersOf(platform: Platform, node: string, yaml: string) {
  const file = join(platform.agentDirectory(node), 'triggers.yaml');
  return (...words: string[]): Promise<Answer> => {
    writeFileSync(file, yaml);
    return platform.tryQiao('agent', 'triggers', ...words, '--config', platform.agentConfig(node), '--file', file);
  };
}

/** Waits until all registers have the same rows. */
export function untilAlike(platform: Platform, registers: readonly Register[]): Promise<unknown> {
  return until(platform, 'all registers have the same rows', async () => {
    const all = await Promise.all(registers.map((register) => register.rows()));
    return all.every((rows) => JSON.stringify(rows) === JSON.stringify(all[0]));
  });
}

/** Waits until nothing is under way, and no row waits to be looked at; gives the rows that each bridge has sent. */
export function untilStill<Name extends string>(
  platform: Platform,
  nodes: readonly string[],
  bridges: readonly Name[],
): Promise<Record<Name, number>> {
  return until(platform, 'nothing is under way', async () => {
    if (nodes.some((node) => looks(platform.agentDirectory(node)))) return false;
    const lines = await Promise.all(bridges.map((bridge) => booksLine(platform, bridge)));
    if (lines.some(({ inFlightDeliveries }) => inFlightDeliveries > 0)) return false;
    return Object.fromEntries(bridges.map((bridge, index) => [bridge, lines[index]?.sent.total ?? 0])) as Record<
      Name,
      number
    >;
  });
}

/** Asked of the exchange database: the look at what other nodes said comes within a second. */
function looks(directory: string): boolean {
  const database = new Database(join(directory, 'exchange.db'), { readonly: true });
  try {
    const due = 'SELECT 1 FROM kept_row WHERE is_due = 1 UNION SELECT 1 FROM arrival WHERE landed = 1 AND look = 1';
    return database.prepare(due).get() !== undefined;
  } finally {
    database.close();
  }
}
