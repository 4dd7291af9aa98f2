// What must be small again when every bridge of a stage has been retired and everything is at rest: rows of the exchange databases,
// messages in the streams, marks in the targets. Sizes that only grow end in a full disk in some year.

import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import Sqlite from 'better-sqlite3';
import { NODES } from './departments.ts';
import { waitingInStreams } from './quiet.ts';
import type { Stage } from './stage.ts';

/** The bus redelivers what a killed reader held after a minute at the most; settled parcels are purged once a minute. */
const FLOOR_WITHIN_MS = 150_000;

/** What is still there though nobody needs it, after so many lanes were retired; empty when everything is back to its floor. */
export async function whatStays(stage: Stage, lanesServed: number): Promise<string[]> {
  const endsAtMs = performance.now() + FLOOR_WITHIN_MS;
  for (;;) {
    const stays = [...(await waitingInStreams(stage)), ...rowsThatStay(stage, lanesServed)];
    if (stays.length === 0 || performance.now() > endsAtMs) return stays;
    await pause(500);
  }
}

function rowsThatStay(stage: Stage, lanesServed: number): string[] {
  return NODES.flatMap((node) =>
    tableSizes(join(stage.platform.agentDirectory(node), 'exchange.db'))
      .filter(([table, rows]) => rows > (FLOORS[table] ?? (PER_LANE[table] ?? 0) * lanesServed))
      .map(([table, rows]) => `${rows} rows stay in ${table} of ${node}`),
  );
}

/** Rows that may stay for ever, per table; every other table ends empty. */
const FLOORS: Readonly<Record<string, number>> = {
  meta: 20,
  migration: 100,
  book_cursor: 1,
  // The monitor may be restored from a backup: 100,000 entries stay.
  book: 100_000,
  sqlite_sequence: 20,
  // Remembered until the command would have expired.
  command_seen: 10_000,
};

/** What an ended lane may leave: its place, so that a late delivery is known for what it is, and its last word. */
const PER_LANE: Readonly<Record<string, number>> = {
  lane_in: 1,
  lane_out: 1,
  delivery_out: 1,
  receipt_in: 1,
  receipt_out: 8,
  // Rows in quarantine are kept for a person, also when their bridge has ended.
  quarantine: 100,
  bridge_version: 2,
  lane_loss: 1,
};

function tableSizes(file: string): [string, number][] {
  const database = new Sqlite(file, { readonly: true });
  try {
    const tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").pluck().all() as string[];
    return tables.map((name) => [name, database.prepare(`SELECT count(*) FROM "${name}"`).pluck().get() as number]);
  } finally {
    database.close();
  }
}
