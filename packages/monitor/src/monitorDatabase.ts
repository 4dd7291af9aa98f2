// The monitor's store: the books line by line, tallies that sum them up, the last word of every node, alerts.
// A line of the books enters once: (lane, epoch, nonce, sequence) is its identity, and each change of a line moves the tallies
// in the same transaction.

import { type DatabaseTarget, type Migration, openDatabase } from '@qiao/database';
import type { Generated, Kysely, Selectable } from 'kysely';

/** Where a delivery stands in the books, without regard to the clock (lateness is asked at reading). */
export type DeliveryState = 'unstated' | 'inFlight' | 'balanced' | 'explained' | 'open' | 'deviation';

export interface MonitorSchema {
  /** Per node and exchange database: its entries up to `through` are here without a hole. */
  book_position: {
    node_id: string;
    database_id: string;
    through: number;
    /** Mark of entry `through`, hexadecimal; empty when it has none. */
    mark: Generated<string>;
    /** From when on the node still had its entries when they were asked for; 0 when none were missing. */
    begins_at_ms: Generated<number>;
    /** When the first entry of this exchange database was made, by its node’s clock as far as the entry says. */
    first_at_ms: Generated<number>;
  };
  /** Per lane: the newest epoch of which sender and receiver agree about a delivery. */
  lane_epoch: { lane_id: string; epoch: number; nonce: string };
  delivery: DeliveryRow;
  /** Sums per owner (lane, or bridge for capture) and day; see tallies.ts for the measures. */
  tally: {
    owner_id: string;
    day: string;
    measure: string;
    table_name: string;
    kind: string;
    detail: string;
    amount: number;
  };
  /** Parcels whose capture counts are in the tallies already: several lanes repeat them. */
  counted_parcel: { parcel_id: string; counted_at_ms: number };
  /** What a receipt said before a later revision took its place: the books are amended, never rewritten. */
  amendment: {
    lane_id: string;
    epoch: number;
    nonce: string;
    sequence: number;
    revision: number;
    /** OutcomeCell[] as JSON. */
    outcomes: string;
    state: DeliveryState;
    amended_at_ms: number;
    /** The signed bytes, kept as evidence. */
    receipt: Uint8Array | null;
  };
  /** Entries whose signature or shape failed: never dropped, never believed. */
  broken_entry: {
    node_id: string;
    database_id: string;
    number: number;
    lane_id: string;
    reason: string;
    at_ms: number;
    /** A person looked into it: it raises no alert any more. */
    resolved_at_ms: Generated<number>;
  };
  /** Refusals as nodes report them. */
  refusal: {
    node_id: string;
    database_id: string;
    number: number;
    lane_id: string;
    code: string;
    message: string;
    hint: string;
  };
  node_state: { node_id: string; code: string; heartbeat: Uint8Array; received_at_ms: number };
  directory: {
    id: number;
    generation: number;
    number: number;
    bytes: Uint8Array;
    /** When the hub last said it, by the monitor's clock; 0 before that was kept. */
    heard_at_ms: Generated<number>;
  };
  /** Heads of the hub's audit as its directories named them; the newest is kept for every number. */
  audit_head: { replica: string; number: number; hash: string; at_ms: number };
  /** Deviations of a lane that a person looked into: the newest statement or receipt it covers. */
  resolved_deviation: { condition_key: string; message: string; at_ms: number };
  /** When this store was put back from a backup, and when that was made. What was heard between is heard again only as far as nodes keep it. */
  restoration: { made_at_ms: number; restored_at_ms: number };
  alert: AlertTable;
}

export interface DeliveryRow {
  lane_id: string;
  epoch: number;
  nonce: string;
  sequence: number;
  bridge_id: string;
  sender_id: string;
  receiver_id: string;
  /** Day of the books; empty until the statement is here. */
  day: string;
  sealed_at_ms: number;
  received_at_ms: number;
  applied_at_ms: number;
  sent_hash: string;
  received_hash: string;
  /** KindCount[] as JSON. */
  counts: string;
  /** OutcomeCell[] as JSON; empty list without a receipt. */
  outcomes: string;
  /** {table, deleted, kept}[] as JSON. */
  extras: string;
  revision: number;
  settlement_code: string;
  /** Why its rows travelled (change, load, resync, resend); empty until the statement is here. */
  origin: string;
  state: DeliveryState;
  reason: string;
  /** Why the sums of the 抽取 leg fail; empty when they hold. */
  capture_reason: string;
  rows: number;
  /** The signed bytes, kept as evidence. */
  statement: Uint8Array | null;
  receipt: Uint8Array | null;
}

export type AlertRow = Selectable<AlertTable>;

interface AlertTable {
  id: number;
  /** What makes two sightings the same alert: code and subject's identity. */
  condition_key: string;
  level: 'warning' | 'fault';
  code: string;
  subject: string;
  message: string;
  hint: string;
  state: 'open' | 'acknowledged' | 'resolved';
  opened_at_ms: number;
  acknowledged_at_ms: number;
  acknowledged_by: string;
  resolved_at_ms: number;
  times: number;
  /** Who ended it by hand, and why; empty otherwise. */
  resolved_by: Generated<string>;
  resolve_reason: Generated<string>;
}

export const MONITOR_MIGRATIONS: readonly Migration[] = [
  {
    id: '0001-books',
    sql: `
CREATE TABLE book_position (
  node_id TEXT NOT NULL, database_id TEXT NOT NULL, through INTEGER NOT NULL,
  PRIMARY KEY (node_id, database_id)) STRICT, WITHOUT ROWID;
CREATE TABLE delivery (
  lane_id TEXT NOT NULL, epoch INTEGER NOT NULL, nonce TEXT NOT NULL, sequence INTEGER NOT NULL,
  bridge_id TEXT NOT NULL, sender_id TEXT NOT NULL, receiver_id TEXT NOT NULL,
  day TEXT NOT NULL, sealed_at_ms INTEGER NOT NULL, received_at_ms INTEGER NOT NULL, applied_at_ms INTEGER NOT NULL,
  sent_hash TEXT NOT NULL, received_hash TEXT NOT NULL,
  counts TEXT NOT NULL, outcomes TEXT NOT NULL, extras TEXT NOT NULL,
  revision INTEGER NOT NULL, settlement_code TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
  capture_reason TEXT NOT NULL, rows INTEGER NOT NULL,
  statement BLOB, receipt BLOB,
  PRIMARY KEY (lane_id, epoch, nonce, sequence)) STRICT;
CREATE INDEX delivery_waiting ON delivery (state, sealed_at_ms) WHERE state IN ('inFlight', 'unstated');
CREATE INDEX delivery_by_day ON delivery (day, sealed_at_ms);
CREATE INDEX delivery_by_bridge ON delivery (bridge_id, sealed_at_ms);
CREATE TABLE tally (
  owner_id TEXT NOT NULL, day TEXT NOT NULL, measure TEXT NOT NULL, table_name TEXT NOT NULL, kind TEXT NOT NULL,
  detail TEXT NOT NULL, amount INTEGER NOT NULL,
  PRIMARY KEY (owner_id, day, measure, table_name, kind, detail)) STRICT, WITHOUT ROWID;
CREATE TABLE counted_parcel (parcel_id TEXT PRIMARY KEY, counted_at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE broken_entry (
  node_id TEXT NOT NULL, database_id TEXT NOT NULL, number INTEGER NOT NULL, lane_id TEXT NOT NULL, reason TEXT NOT NULL,
  at_ms INTEGER NOT NULL, PRIMARY KEY (node_id, database_id, number)) STRICT, WITHOUT ROWID;
CREATE TABLE refusal (
  node_id TEXT NOT NULL, database_id TEXT NOT NULL, number INTEGER NOT NULL, lane_id TEXT NOT NULL, code TEXT NOT NULL,
  message TEXT NOT NULL, hint TEXT NOT NULL, PRIMARY KEY (node_id, database_id, number)) STRICT, WITHOUT ROWID;
CREATE TABLE node_state (
  node_id TEXT PRIMARY KEY, code TEXT NOT NULL, heartbeat BLOB NOT NULL, received_at_ms INTEGER NOT NULL) STRICT;
CREATE TABLE directory (
  id INTEGER PRIMARY KEY CHECK (id = 1), generation INTEGER NOT NULL, number INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE TABLE alert (
  id INTEGER PRIMARY KEY AUTOINCREMENT, condition_key TEXT NOT NULL, level TEXT NOT NULL, code TEXT NOT NULL,
  subject TEXT NOT NULL, message TEXT NOT NULL, hint TEXT NOT NULL, state TEXT NOT NULL,
  opened_at_ms INTEGER NOT NULL, acknowledged_at_ms INTEGER NOT NULL, acknowledged_by TEXT NOT NULL,
  resolved_at_ms INTEGER NOT NULL, times INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX alert_unresolved ON alert (condition_key) WHERE state <> 'resolved';
`,
  },
  {
    id: '0002-origins',
    sql: "ALTER TABLE delivery ADD COLUMN origin TEXT NOT NULL DEFAULT '';",
  },
  {
    id: '0003-amendments',
    sql: `
CREATE TABLE amendment (
  lane_id TEXT NOT NULL, epoch INTEGER NOT NULL, nonce TEXT NOT NULL, sequence INTEGER NOT NULL, revision INTEGER NOT NULL,
  outcomes TEXT NOT NULL, state TEXT NOT NULL, amended_at_ms INTEGER NOT NULL, receipt BLOB,
  PRIMARY KEY (lane_id, epoch, nonce, sequence, revision)) STRICT, WITHOUT ROWID;
`,
  },
  {
    id: '0004-continuity',
    sql: `
ALTER TABLE book_position ADD COLUMN mark TEXT NOT NULL DEFAULT '';
ALTER TABLE book_position ADD COLUMN begins_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE broken_entry ADD COLUMN resolved_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE alert ADD COLUMN resolved_by TEXT NOT NULL DEFAULT '';
ALTER TABLE alert ADD COLUMN resolve_reason TEXT NOT NULL DEFAULT '';
CREATE TABLE audit_head (
  replica TEXT NOT NULL, number INTEGER NOT NULL, hash TEXT NOT NULL, at_ms INTEGER NOT NULL,
  PRIMARY KEY (replica, number)) STRICT;
CREATE TABLE resolved_deviation (condition_key TEXT PRIMARY KEY, message TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT;
`,
  },
  {
    id: '0005-superseded-epochs',
    sql: `
ALTER TABLE book_position ADD COLUMN first_at_ms INTEGER NOT NULL DEFAULT 0;
CREATE TABLE lane_epoch (lane_id TEXT PRIMARY KEY, epoch INTEGER NOT NULL, nonce TEXT NOT NULL) STRICT, WITHOUT ROWID;
UPDATE book_position SET first_at_ms = (SELECT coalesce(max(sealed_at_ms), 0) FROM delivery);
CREATE INDEX delivery_in_flight ON delivery (lane_id, epoch) WHERE state = 'inFlight';
`,
  },
  {
    id: '0006-hub-heard',
    sql: 'ALTER TABLE directory ADD COLUMN heard_at_ms INTEGER NOT NULL DEFAULT 0;',
  },
  {
    id: '0007-restorations',
    sql: `
CREATE TABLE restoration (made_at_ms INTEGER NOT NULL, restored_at_ms INTEGER NOT NULL, PRIMARY KEY (restored_at_ms, made_at_ms)) STRICT;
CREATE INDEX delivery_applied ON delivery (lane_id, applied_at_ms);
`,
  },
];

export type MonitorDatabase = Kysely<MonitorSchema>;

/** Opens, and creates when missing, the monitor's store. */
export async function openMonitorDatabase(target: DatabaseTarget | string): Promise<MonitorDatabase> {
  return openDatabase<MonitorSchema>(target, MONITOR_MIGRATIONS);
}
