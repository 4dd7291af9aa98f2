/**
 * Single facts about this exchange database: its identity, the secret of its row references, how often an agent started on it, the fencing token
 * of the last start, the cached snapshot.
 */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';

const GET = 'SELECT value FROM meta WHERE name = ?';
const PUT = 'INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value';

export class MetaStore {
  readonly #get: Statement<[string]>;
  readonly #put: Statement<[string, unknown]>;

  constructor(sqlite: Sqlite) {
    this.#get = sqlite.prepare<[string]>(GET).pluck();
    this.#put = sqlite.prepare(PUT);
  }

  /** The identity of this file, made by `newId` at the first call of its life. */
  databaseId(newId: () => Uint8Array): Uint8Array {
    const held = this.#get.get('databaseId');
    if (held instanceof Uint8Array) return held;
    const made = newId();
    this.#put.run('databaseId', made);
    return made;
  }

  /** What makes references of quarantined rows opaque; made by `newSecret` at the first call of this file's life. */
  rowReferenceSecret(newSecret: () => Uint8Array): Uint8Array {
    const held = this.#get.get('rowReferenceSecret');
    if (held instanceof Uint8Array) return held;
    const made = newSecret();
    this.#put.run('rowReferenceSecret', made);
    return made;
  }

  /** Whether joining made this file. One that a start finds missing and makes is in the place of one that was lost. */
  isMadeByJoining(): boolean {
    return this.#get.get('madeByJoining') !== undefined;
  }

  setMadeByJoining(): void {
    this.#put.run('madeByJoining', 1);
  }

  setDatabaseId(id: Uint8Array): void {
    this.#put.run('databaseId', id);
  }

  /**
   * The newest fencing token this file ever worked under; 0n for none. A start does not run on it: it takes its own from
   * the hub. It is kept to notice a hub that gives out a smaller one.
   */
  fencingToken(): bigint {
    const held = this.#get.get('fencingToken');
    return typeof held === 'string' ? BigInt(held) : 0n;
  }

  setFencingToken(token: bigint): void {
    this.#put.run('fencingToken', token.toString());
  }

  /** Counts a start of the agent on this file and answers how many there were, this one included. */
  countStart(): bigint {
    const held = this.#get.get('starts');
    const start = (typeof held === 'string' ? BigInt(held) : 0n) + 1n;
    this.#put.run('starts', start.toString());
    return start;
  }

  /** The newest snapshot that was accepted (encoded Signed), to run on while the hub is away. */
  snapshot(): Uint8Array | undefined {
    const held = this.#get.get('snapshot');
    return held instanceof Uint8Array ? held : undefined;
  }

  setSnapshot(signed: Uint8Array): void {
    this.#put.run('snapshot', signed);
  }

  /** Which key rows are sealed with; undefined while none ever was. */
  rowKeyName(): string | undefined {
    const held = this.#get.get('rowKeyName');
    return typeof held === 'string' ? held : undefined;
  }

  setRowKeyName(name: string): void {
    this.#put.run('rowKeyName', name);
  }

  /** Which key values are hashed with; undefined before the first start. */
  maskingKeyName(): string | undefined {
    const held = this.#get.get('maskingKeyName');
    return typeof held === 'string' ? held : undefined;
  }

  setMaskingKeyName(name: string): void {
    this.#put.run('maskingKeyName', name);
  }

  /** The secret under which this node names rows to people who may not see them; made by `newSecret` at the first call. */
  referenceSecret(newSecret: () => Uint8Array): Uint8Array {
    const held = this.#get.get('referenceSecret');
    if (held instanceof Uint8Array) return held;
    const made = newSecret();
    this.#put.run('referenceSecret', made);
    return made;
  }
}
