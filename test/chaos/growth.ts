// What must be small again when every bridge of a stage has been retired and everything is at rest: rows of the exchange databases,
// messages in the streams, marks in the targets. Sizes that only grow end in a full disk in some year.

import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import Sqlite from 'better-sqlite3';
import { LANDINGS, NODES } from './departments.ts';
import { waitingInStreams } from './quiet.ts';
import type { Stage } from './stage.ts';

/** The bus redelivers what a killed reader held after a minute at the most; settled parcels are purged once a minute. */
const FLOOR_WITHIN_MS = 150_000;

/** What is still there though nobody needs it, after every bridge was retired; empty when everything is back to its floor. */
export async function whatStays(stage: Stage): Promise<string[]> {
  const endsAtMs = performance.now() + FLOOR_WITHIN_MS;
  for (;;) {
    const stays = [...(await waitingInStreams(stage)), ...rowsThatStay(stage), ...(await marksThatStay(stage))];
    if (stays.length === 0 || performance.now() > endsAtMs) return stays;
    await pause(500);
  }
}

function rowsThatStay(stage: Stage): string[] {
  return NODES.flatMap((node) =>
    tableSizes(join(stage.platform.agentDirectory(node), 'exchange.db'))
      .filter(([table, rows]) => rows > (FLOORS[table] ?? 0))
      .map(([table, rows]) => `${rows} rows stay in ${table} of ${node}`),
  );
}

/** Rows that may stay for ever, per table; every other table ends empty. */
const FLOORS: Readonly<Record<string, number>> = {
  meta: 20,
  migration: 100,
  book_cursor: 1,
  // The number of the last look at triggers.
  capture_look: 1,
  // The monitor may be restored from a backup: 100,000 entries stay.
  book: 100_000,
  sqlite_sequence: 20,
  // Remembered until the command would have expired.
  command_seen: 10_000,
  // What was verified is kept a week for people to read; of shared targets, the rows of others are among it.
  job: 1_000,
  job_row: 1_000_000,
};

/** Marks of lanes, and notes of loads, in the targets: the database's own id alone stays. */
async function marksThatStay(stage: Stage): Promise<string[]> {
  const found: string[] = [];
  for (const node of NODES) {
    for (const landing of LANDINGS) {
      const database = stage.database(node, landing);
      const names = await database.rows(OWN_TABLES[database.adapter]);
      for (const name of names.map(([text]) => String(text))) {
        const isMark = name === 'qiao_mark';
        const [[rows] = []] = await database.rows(
          `SELECT count(*) FROM ${name}${isMark ? " WHERE lane <> 'target'" : ''}`,
        );
        // MySQL has one table for the notes of all loads, which stays.
        const mayStay = isMark || database.adapter === 'mysql';
        if (!mayStay || Number(rows) > 0) found.push(`${name} with ${rows} rows stays in ${landing} of ${node}`);
      }
    }
  }
  return found;
}

const OWN_TABLES = {
  postgres: "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 'qiao\\_%'",
  mysql:
    "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND LEFT(TABLE_NAME, 5) = 'qiao_'",
  sqlite: "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'qiao\\_%' ESCAPE '\\'",
} as const;

function tableSizes(file: string): [string, number][] {
  const database = new Sqlite(file, { readonly: true });
  try {
    const tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").pluck().all() as string[];
    return tables.map((name) => [name, database.prepare(`SELECT count(*) FROM "${name}"`).pluck().get() as number]);
  } finally {
    database.close();
  }
}
