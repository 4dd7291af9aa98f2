/**
 * Definitions of bridges that end here, by version: a delivery lands under the definition it was captured with, even when the
 * bridge has gone on since. Kept as the hub signed them; read by apply, forgotten when no delivery of them can come any more.
 */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';

const KEEP = `INSERT INTO bridge_version (bridge, version, definition, seen_at_ms) VALUES (?, ?, ?, ?)
 ON CONFLICT (bridge, version) DO UPDATE SET definition = excluded.definition, seen_at_ms = excluded.seen_at_ms`;
const GET = 'SELECT definition FROM bridge_version WHERE bridge = ? AND version = ?';
export const FORGET = `DELETE FROM bridge_version WHERE seen_at_ms < @beforeMs
 AND version < (SELECT max(version) FROM bridge_version AS newest WHERE newest.bridge = bridge_version.bridge)`;
const REMOVE = 'DELETE FROM bridge_version WHERE bridge = ?';
const BRIDGES = 'SELECT DISTINCT bridge FROM bridge_version';

export class BridgeVersionStore {
  readonly #keep: Statement;
  readonly #get: Statement<[Uint8Array, number], string>;
  readonly #forget: Statement;
  readonly #remove: Statement;
  readonly #bridges: Statement<[], Buffer>;

  constructor(sqlite: Sqlite) {
    this.#keep = sqlite.prepare(KEEP);
    this.#get = sqlite.prepare<[Uint8Array, number], string>(GET).pluck();
    this.#forget = sqlite.prepare(FORGET);
    this.#remove = sqlite.prepare(REMOVE);
    this.#bridges = sqlite.prepare<[], Buffer>(BRIDGES).pluck();
  }

  /** Keeps the definition (canonical JSON) of the version that is deployed now. */
  keep(bridge: Uint8Array, version: number, definition: string, atMs: number): void {
    this.#keep.run(bridge, version, definition, atMs);
  }

  /** Canonical JSON, or undefined when this node never saw that version or has forgotten it. */
  get(bridge: Uint8Array, version: number): string | undefined {
    return this.#get.get(bridge, version);
  }

  /** Forgets versions that were last deployed before this, the newest of each bridge excepted. */
  forgetBefore(beforeMs: number): number {
    return this.#forget.run({ beforeMs }).changes;
  }

  remove(bridge: Uint8Array): void {
    this.#remove.run(bridge);
  }

  bridges(): Uint8Array[] {
    return this.#bridges.all();
  }
}
