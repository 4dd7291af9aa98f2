/**
 * Triggers of SQLite (T1–T8 of ../triggers.ts): one for each of insert, update and delete. There is one writer at a time, so that the first
 * and the last id tell how many entries there are, and nobody is open while entries are removed. AUTOINCREMENT: without it an emptied table
 * gives its ids again.
 */
import type { Problem } from '@qiao/exchange';
import {
  blindSpot,
  broken,
  CHANGES_BUDGET,
  changesName,
  entriesOf,
  keyColumn,
  type TrackedTable,
  type TriggerPlan,
  type TriggerState,
  trackedKey,
} from '../triggers.ts';
import { readTable, type SqliteColumn, type SqliteTable } from './describe.ts';
import { type Connection, quote } from './session.ts';

const EVENTS = ['insert', 'update', 'delete'] as const;
type Event = (typeof EVENTS)[number];

export function planTriggers(db: Connection, tracked: TrackedTable): TriggerPlan {
  const table = readTable(db, tracked.ref);
  const key = trackedKey(tracked, table);
  const name = changesName(
    tracked,
    'main',
    key.map((column) => column.name),
  );
  const columns = key.map(({ declared }, place) => `${keyColumn(place)} ${declared}`);
  const remove = [...EVENTS.map((event) => `DROP TRIGGER IF EXISTS ${name}_${event}`), `DROP TABLE IF EXISTS ${name}`];
  return {
    table: tracked,
    changes: { name },
    entries: entriesOf(
      { name },
      key.map(({ type }) => type),
    ),
    remove,
    install: [
      ...remove,
      `CREATE TABLE ${name} (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL, ${columns.join(', ')})`,
      ...EVENTS.map((event) => triggerSql(event, name, table?.name ?? '', key, tracked.budget ?? CHANGES_BUDGET)),
      `INSERT INTO ${name} (operation) VALUES ('S')`,
    ],
    blind: table === undefined ? [] : replaced(tracked.table, table, key),
  };
}

/** In words that every SQLite of the last ten years knows: a program with an older one would fail at its next write. */
function triggerSql(event: Event, name: string, on: string, key: readonly SqliteColumn[], budget: number): string {
  const columns = key.map((_, place) => keyColumn(place)).join(', ');
  const of = (row: 'OLD' | 'NEW') => key.map((column) => `${row}.${quote(column.name)}`).join(', ');
  const size = `(SELECT ifnull((SELECT max(id) FROM ${name}) - (SELECT min(id) FROM ${name}) + 1, 0) AS entries)`;
  const note = (operation: string, row: 'OLD' | 'NEW', when = '') =>
    `INSERT INTO ${name} (operation, ${columns}) SELECT CASE WHEN entries < ${budget} THEN '${operation}' ELSE 'F' END, ${of(row)} FROM ${size} WHERE entries <= ${budget}${when};`;
  const moved = key.map(({ name: column }) => {
    const [was, is] = [`CAST(OLD.${quote(column)} AS BLOB)`, `CAST(NEW.${quote(column)} AS BLOB)`];
    return `${was} IS NOT ${is}`;
  });
  const isMoved = moved.join(' OR ');
  const notes = {
    insert: [note('I', 'NEW')],
    delete: [note('D', 'OLD')],
    update: [
      note('D', 'OLD', ` AND (${isMoved})`),
      note('I', 'NEW', ` AND (${isMoved})`),
      note('U', 'NEW', ` AND NOT (${isMoved})`),
    ],
  };
  return `CREATE TRIGGER ${name}_${event} AFTER ${event.toUpperCase()} ON ${quote(on)} BEGIN\n  ${notes[event].join('\n  ')}\nEND`;
}

/** REPLACE deletes rows by any unique index, and without recursive_triggers no trigger sees it. The key's own row is noted as inserted. */
function replaced(label: string, { uniqueKeys }: SqliteTable, key: readonly SqliteColumn[]): Problem[] {
  const isKey = (columns: readonly string[]) =>
    columns.length === key.length && key.every(({ name }) => columns.includes(name));
  if (uniqueKeys.every(({ columns }) => isKey(columns))) return [];
  return [
    blindSpot(
      label,
      `REPLACE on table ${label} may delete rows by a unique index that is not the key, which fires no trigger`,
      'let the programs set PRAGMA recursive_triggers = ON; the next scan of the whole table finds what was missed (wholeScanEvery:)',
    ),
  ];
}

export function triggerState(db: Connection, plan: TriggerPlan): TriggerState {
  const { name } = plan.changes;
  const label = plan.table.table;
  const found = db.prepare("SELECT name, sql FROM sqlite_schema WHERE name = ? OR (type = 'trigger' AND name GLOB ?)");
  const stored = new Map(found.raw().all(name, `${name}_*`) as [string, string][]);
  const planned = plan.install.filter((sql) => sql.startsWith('CREATE '));
  if (stored.size < planned.length) {
    return broken('TRIGGER_MISSING', `table ${label} has not its three triggers and their change table`);
  }
  if (!planned.every((sql) => [...stored.values()].includes(sql))) {
    return broken('TRIGGER_ALTERED', `the triggers of table ${label} are not as they were installed`);
  }
  return { kind: 'ready', identity: '' };
}

export function runStatements(db: Connection, statements: readonly string[]): void {
  db.transaction(() => {
    for (const statement of statements) db.exec(statement);
  }).immediate();
}

export function forgetEntries(db: Connection, plan: TriggerPlan, ids: readonly string[]): void {
  const remove = db.prepare(`DELETE FROM ${plan.changes.name} WHERE id = ?`);
  db.transaction(() => {
    for (const id of ids) remove.run(BigInt(id));
  }).immediate();
}
