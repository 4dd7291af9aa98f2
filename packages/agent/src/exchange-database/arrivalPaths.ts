/**
 * The ways that rows took to this node, each kept once however many words came by it. A way that no word came by any more goes when enough
 * new ones have come: what a sender writes as its path is its own affair, and the file must not grow by it.
 */
import { PATH_FORMAT, type Path, QiaoError } from '@qiao/exchange';
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';

/** Ways kept before those that are not in use are looked for, and ways held in memory. */
const MOST_PATHS = 1_000;

const PUT = 'INSERT INTO arrival_path (format, path) VALUES (?, ?)';
const ID = 'SELECT id FROM arrival_path WHERE format = ? AND path = ?';
const COUNT = 'SELECT count(*) FROM arrival_path';
const PRUNE = 'DELETE FROM arrival_path WHERE id NOT IN (SELECT path_id FROM arrival)';

export class ArrivalPaths {
  readonly #put: Statement<[number, string]>;
  readonly #id: Statement<[number, string], number>;
  readonly #count: Statement<[], number>;
  readonly #prune: Statement<[]>;
  /** By text and not by id, which another path may take after this one. */
  readonly #read = new Map<string, Path>();
  #pruneAt = MOST_PATHS;

  constructor(sqlite: Sqlite) {
    this.#put = sqlite.prepare(PUT);
    this.#id = sqlite.prepare<[number, string], number>(ID).pluck();
    this.#count = sqlite.prepare<[], number>(COUNT).pluck();
    this.#prune = sqlite.prepare(PRUNE);
  }

  /** For words that are written in the same transaction. */
  idOf(path: Path): number {
    const text = JSON.stringify(path);
    const known = this.#id.get(PATH_FORMAT, text);
    if (known !== undefined) return known;
    this.#makeRoom();
    return Number(this.#put.run(PATH_FORMAT, text).lastInsertRowid);
  }

  /** As `arrival_path` has it. Throws EXCHANGE_DATABASE_NEWER. */
  read(format: number, text: string): Path {
    if (format !== PATH_FORMAT) {
      throw new QiaoError(
        'EXCHANGE_DATABASE_NEWER',
        `a path of format ${format} in the exchange database; expected ${PATH_FORMAT}`,
        { hint: 'start the newer agent, or restore the file from before the upgrade' },
      );
    }
    let path = this.#read.get(text);
    if (path === undefined) {
      if (this.#read.size >= MOST_PATHS) this.#read.clear();
      path = JSON.parse(text) as Path;
      this.#read.set(text, path);
    }
    return path;
  }

  #makeRoom(): void {
    if ((this.#count.get() ?? 0) < this.#pruneAt) return;
    this.#prune.run();
    this.#pruneAt = Math.max(MOST_PATHS, 2 * (this.#count.get() ?? 0));
  }
}
