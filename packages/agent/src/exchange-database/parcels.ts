/**
 * Parcels: the packed changes, each stored once however many lanes it serves. The body lies beside the record, which changes with every delivery that is
 * settled, and stays with it until all are and the retention has passed.
 */
import type { KindCount } from '@qiao/exchange';
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';
import type { RowsAtRest } from './rowsAtRest.ts';

export type ParcelOrigin = 'change' | 'load' | 'resync' | 'resend';

/** How a stored body is compressed. */
export type Compression = 'zstd' | 'none';

export interface NewParcel {
  /** Random identity: 16 bytes. */
  readonly parcel: Uint8Array;
  readonly bridge: Uint8Array;
  readonly bridgeVersion: number;
  readonly origin: ParcelOrigin;
  /** SHA-256 of the plaintext content: 32 bytes. */
  readonly contentHash: Uint8Array;
  readonly contentBytes: number;
  readonly counts: readonly KindCount[];
  readonly madeAtMs: number;
  /** How many lanes it serves: 1 or more. */
  readonly deliveries: number;
  readonly compression: Compression;
  /** The content, compressed so. */
  readonly content: Uint8Array;
}

export interface Parcel {
  /** The store's own number, which deliveries refer to. */
  readonly number: number;
  readonly parcel: Uint8Array;
  readonly bridge: Uint8Array;
  readonly bridgeVersion: number;
  readonly origin: ParcelOrigin;
  readonly contentHash: Uint8Array;
  readonly contentBytes: number;
  readonly counts: readonly KindCount[];
  readonly madeAtMs: number;
  readonly openDeliveries: number;
  readonly settledAtMs: number | undefined;
  readonly storedBytes: number;
  readonly compression: Compression;
}

interface Row {
  number: number;
  parcel: Buffer;
  bridge: Buffer;
  bridge_version: number;
  origin: ParcelOrigin;
  is_resend: number;
  content_hash: Buffer;
  content_bytes: number;
  counts: string;
  made_at_ms: number;
  open_deliveries: number;
  settled_at_ms: number | null;
  stored_bytes: number;
  compression: Compression;
}

const FACTS = `number, parcel, bridge, bridge_version, origin, is_resend, content_hash, content_bytes, counts, made_at_ms,
 open_deliveries, settled_at_ms, stored_bytes, compression`;
const ADD = `INSERT INTO parcel (parcel, bridge, bridge_version, origin, is_resend, content_hash, content_bytes, counts, made_at_ms,
 open_deliveries, stored_bytes, compression) VALUES (@parcel, @bridge, @bridgeVersion, @origin, @isResend, @contentHash, @contentBytes,
 @counts, @madeAtMs, @deliveries, @storedBytes, @compression) RETURNING number`;
const ADD_BODY = 'INSERT INTO parcel_body (number, sealed, content) VALUES (?, ?, ?)';
export const GET_PARCEL = `SELECT ${FACTS} FROM parcel WHERE number = ?`;
export const CONTENT = `SELECT coalesce(b.content, p.content) AS content, coalesce(b.sealed, p.sealed) AS sealed, p.parcel
 FROM parcel AS p LEFT JOIN parcel_body AS b ON b.number = p.number WHERE p.number = ?`;
const COUNT_OPEN = `UPDATE parcel SET open_deliveries = open_deliveries + @change,
 settled_at_ms = CASE WHEN open_deliveries + @change = 0 THEN @atMs ELSE NULL END WHERE number = @number`;
export const SETTLED_PARCELS = `SELECT number FROM parcel WHERE settled_at_ms IS NOT NULL AND settled_at_ms < ?
 ORDER BY settled_at_ms LIMIT ?`;
export const SETTLED_LATER = `SELECT number FROM parcel WHERE settled_at_ms IS NOT NULL AND settled_at_ms > ?
 ORDER BY settled_at_ms LIMIT ?`;
/** Settled at the beginning of time: the next purge takes it, whatever the retention. */
export const LET_GO = `UPDATE parcel SET settled_at_ms = 0 WHERE number = ? AND open_deliveries = 0
 AND NOT EXISTS (SELECT 1 FROM delivery_out WHERE delivery_out.parcel = parcel.number AND answer <> 'closed')`;
const REMOVE = 'DELETE FROM parcel WHERE number = ?';

export class ParcelStore {
  readonly #add: Statement<[object], number>;
  readonly #addBody: Statement<[number, number, Uint8Array]>;
  readonly #get: Statement<[number], Row>;
  readonly #content: Statement<[number], { content: Buffer | null; sealed: number; parcel: Buffer }>;
  readonly #rows: RowsAtRest;
  readonly #countOpen: Statement;
  readonly #settled: Statement<[number, number], number>;
  readonly #settledLater: Statement<[number, number], number>;
  readonly #letGo: Statement;
  readonly #remove: Statement;

  constructor(sqlite: Sqlite, rows: RowsAtRest) {
    this.#rows = rows;
    this.#add = sqlite.prepare<[object], number>(ADD).pluck();
    this.#addBody = sqlite.prepare(ADD_BODY);
    this.#get = sqlite.prepare(GET_PARCEL);
    this.#content = sqlite.prepare(CONTENT);
    this.#countOpen = sqlite.prepare(COUNT_OPEN);
    this.#settled = sqlite.prepare<[number, number], number>(SETTLED_PARCELS).pluck();
    this.#settledLater = sqlite.prepare<[number, number], number>(SETTLED_LATER).pluck();
    this.#letGo = sqlite.prepare(LET_GO);
    this.#remove = sqlite.prepare(REMOVE);
  }

  /** Stores a parcel and returns its number. Must run inside a transaction. */
  add({ content, ...parcel }: NewParcel): number {
    const number = this.#add.get({
      ...parcel,
      origin: parcel.origin === 'resend' ? 'resync' : parcel.origin,
      isResend: parcel.origin === 'resend' ? 1 : 0,
      counts: JSON.stringify(parcel.counts),
      storedBytes: content.byteLength,
    }) as number;
    const { bytes, sealed } = this.#rows.seal(content, placeOf(parcel.parcel));
    this.#addBody.run(number, sealed, bytes);
    return number;
  }

  get(number: number): Parcel | undefined {
    const row = this.#get.get(number);
    if (!row) return undefined;
    return {
      number: row.number,
      parcel: row.parcel,
      bridge: row.bridge,
      bridgeVersion: row.bridge_version,
      origin: row.is_resend === 1 ? 'resend' : row.origin,
      contentHash: row.content_hash,
      contentBytes: row.content_bytes,
      counts: JSON.parse(row.counts) as KindCount[],
      madeAtMs: row.made_at_ms,
      openDeliveries: row.open_deliveries,
      settledAtMs: row.settled_at_ms ?? undefined,
      storedBytes: row.stored_bytes,
      compression: row.compression,
    };
  }

  /** The stored body, compressed as the parcel says, or undefined when it was purged. */
  content(number: number): Uint8Array | undefined {
    const row = this.#content.get(number);
    if (row === undefined || row.content === null) return undefined;
    return this.#rows.open(row.content, row.sealed, placeOf(row.parcel));
  }

  /** One delivery of the parcel was settled (-1) or opened again (+1). */
  countOpen(number: number, change: 1 | -1, atMs: number): void {
    this.#countOpen.run({ number, change, atMs });
  }

  /** Numbers of parcels that were wholly settled before `beforeMs`, oldest first. */
  settledBefore(beforeMs: number, limit: number): number[] {
    return this.#settled.all(beforeMs, limit);
  }

  /** Numbers of parcels that were settled later than this, nearest first: the clock is behind now, or was ahead then. */
  settledAfter(afterMs: number, limit: number): number[] {
    return this.#settledLater.all(afterMs, limit);
  }

  /** The next purge removes it, without the retention, when no other lane has it: its lane gave its bodies up. */
  letGo(number: number): void {
    this.#letGo.run(number);
  }

  /** Removes a parcel whose deliveries were removed before. */
  remove(number: number): void {
    this.#remove.run(number);
  }
}

function placeOf(parcel: Uint8Array): string {
  return `parcel/${Buffer.from(parcel).toString('hex')}`;
}
