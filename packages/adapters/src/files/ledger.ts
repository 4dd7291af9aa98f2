/**
 * Which contents were dropped here, and in which order they were met: a small SQLite file of the agent's own. A content is its SHA-256, so
 * that the same file dropped twice, or under another name, is met once. The number that it gets rises from content to content: by it the
 * rows of drops are read like a table with a cursor.
 *
 * A content keeps its number only as long as each meeting finds it whole. One that was away, or not whole, gets a new one when it is back: a
 * position may have passed the old one while nobody could read it. Its rows are read again then, and those that travelled are known by
 * their digests.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import Database from 'better-sqlite3';
import { type Folder, type FoundFile, quotedName } from './folder.ts';

const TABLES = `
CREATE TABLE IF NOT EXISTS ledger (id TEXT NOT NULL PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS content (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  "table" TEXT NOT NULL,
  digest TEXT NOT NULL,
  UNIQUE ("table", digest)
) STRICT;
CREATE TABLE IF NOT EXISTS met (
  "table" TEXT NOT NULL,
  name TEXT NOT NULL,
  stamp TEXT NOT NULL,
  digest TEXT NOT NULL,
  PRIMARY KEY ("table", name)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (
  "table" TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL
) STRICT, WITHOUT ROWID;`;
const MET = `SELECT name, stamp, digest FROM met WHERE "table" = ?`;
const NOTE_MET = `INSERT INTO met VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET stamp = excluded.stamp, digest = excluded.digest`;
const FORGET_MET = `DELETE FROM met WHERE "table" = ? AND name = ?`;
const CONTENTS = `SELECT number, digest FROM content WHERE "table" = ?`;
const NOTE_CONTENT = `INSERT INTO content ("table", digest) VALUES (?, ?)`;
const FORGET_CONTENT = `DELETE FROM content WHERE number = ?`;
/** Of all tables: a number that was given is never given again. */
const NEXT = `SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'content'), 0) + 1`;
const STATE = `SELECT name FROM state WHERE "table" = ?`;
const NOTE_STATE = `INSERT INTO state VALUES (?, ?) ON CONFLICT DO UPDATE SET name = excluded.name`;

/** A content that lies in the folder now. */
export interface Drop {
  readonly number: number;
  /** SHA-256 in hexadecimal. */
  readonly digest: string;
  /** One of the files that have it. */
  readonly file: FoundFile;
}

export interface Drops {
  /** In the order in which they were met. */
  readonly drops: readonly Drop[];
  /** Names under which other contents were met before: nothing of them is read. */
  readonly changed: readonly string[];
  /** Why files that nobody met before cannot be read: nothing of them is noted. */
  readonly failures: readonly QiaoError[];
  /** The number that the next content will get, or a lower one that no content has. */
  readonly next: number;
}

export class Ledger {
  readonly #db: Database.Database;
  /** Made with the file: another id is another ledger. */
  readonly id: string;

  /** Throws LEDGER_UNAVAILABLE. */
  constructor(file: string) {
    try {
      mkdirSync(dirname(file), { recursive: true, mode: 0o750 });
      this.#db = new Database(file, { timeout: 10_000 });
      this.#db.pragma('journal_mode = WAL');
      this.#db.pragma('synchronous = FULL');
      this.#db.exec(TABLES);
      this.#db.prepare('INSERT INTO ledger SELECT ? WHERE NOT EXISTS (SELECT 1 FROM ledger)').run(randomUUID());
      this.id = this.#db.prepare('SELECT id FROM ledger').pluck().get() as string;
    } catch (error) {
      throw new QiaoError('LEDGER_UNAVAILABLE', `the ledger of dropped files, ${file}, cannot be opened`, {
        fate: 'transient',
        hint: 'look at the disk and the rights of the directory of the agent',
        cause: error,
      });
    }
  }

  /**
   * Notes what lies in the folder of a table. `digestOf` reads a file that was not met like this before; what it throws of a single file
   * holds up none of the others.
   */
  async meet(
    table: string,
    { files, names }: Pick<Folder, 'files' | 'names'>,
    digestOf: (file: FoundFile) => Promise<string>,
  ): Promise<Drops> {
    const known = new Map(this.#met(table).map((one) => [one.name, one]));
    const whole: { file: FoundFile; digest: string }[] = [];
    const changed: string[] = [];
    const failures: QiaoError[] = [];
    for (const file of files) {
      const before = known.get(file.name);
      try {
        const isKnown = before?.stamp === file.stamp;
        const digest = isKnown ? before.digest : await digestOf(file);
        if (before !== undefined && before.digest !== digest) {
          changed.push(file.name);
          continue;
        }
        // At once: reading many new files may take longer than one snapshot has.
        if (!isKnown) this.#db.prepare(NOTE_MET).run(table, file.name, file.stamp, digest);
        whole.push({ file, digest });
      } catch (error) {
        if (!isOfOneFile(error)) throw error;
        failures.push(error);
      }
    }
    const lying = new Set(names);
    // A name that is gone may come again with something new.
    const gone = [...known.keys()].filter((name) => !lying.has(name));
    return { drops: this.#note(table, whole, gone), changed, failures, next: this.#next() };
  }

  /** The file that a state was last read of. */
  stateFile(table: string): string | undefined {
    return this.#db.prepare(STATE).pluck().get(table) as string | undefined;
  }

  noteStateFile(table: string, name: string): void {
    if (this.stateFile(table) !== name) this.#db.prepare(NOTE_STATE).run(table, name);
  }

  close(): void {
    this.#db.close();
  }

  #met(table: string): { name: string; stamp: string; digest: string }[] {
    return this.#db.prepare(MET).all(table) as { name: string; stamp: string; digest: string }[];
  }

  /** In one transaction: a number is given, or taken away, by a whole meeting. */
  #note(table: string, whole: readonly { file: FoundFile; digest: string }[], gone: readonly string[]): Drop[] {
    const note = this.#db.transaction(() => {
      const contents = this.#db.prepare(CONTENTS).all(table) as { number: number; digest: string }[];
      const numbers = new Map(contents.map(({ number, digest }) => [digest, number]));
      const noteContent = this.#db.prepare(NOTE_CONTENT);
      const drops = new Map<string, Drop>();
      for (const { file, digest } of whole) {
        if (drops.has(digest)) continue;
        const number = numbers.get(digest) ?? Number(noteContent.run(table, digest).lastInsertRowid);
        drops.set(digest, { number, digest, file });
      }
      const forgetMet = this.#db.prepare(FORGET_MET);
      for (const name of gone) forgetMet.run(table, name);
      const forgetContent = this.#db.prepare(FORGET_CONTENT);
      for (const { number, digest } of contents) if (!drops.has(digest)) forgetContent.run(number);
      return [...drops.values()].sort((a, b) => a.number - b.number);
    });
    return note.immediate();
  }

  #next(): number {
    return this.#db.prepare(NEXT).pluck().get() as number;
  }
}

/** What is wrong with one file; anything else ends the reading. */
export function isOfOneFile(error: unknown): error is QiaoError {
  return error instanceof QiaoError && (error.code === 'FILE_BROKEN' || error.code === 'FILE_UNREADABLE');
}

export function fileChanged(names: readonly string[]): QiaoError {
  const some = names.slice(0, 5).map(quotedName).join(', ');
  return new QiaoError('FILE_CHANGED', `${names.length} file(s) changed after they were read: ${some}`, {
    fate: 'transient',
    hint: 'nothing of the new contents is read; give each file a name of its own, or take it away and drop it again once a scan has passed',
  });
}
