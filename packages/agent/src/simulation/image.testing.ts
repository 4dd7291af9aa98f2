// Exchange databases in memory that are used again for run after run: opening one costs more than a whole run. An image is
// what its tables hold at one moment; putting it back is what restoring an old copy of the file means, and losing the power what was
// written lazily since the disk was last waited for.

import { type ExchangeDatabase, openExchangeDatabase } from '../exchange-database/index.ts';

/** Rows by table. */
type Image = ReadonlyMap<string, readonly unknown[][]>;

export class DatabasePool {
  readonly #free: { readonly database: ExchangeDatabase; readonly empty: Image }[] = [];
  readonly #taken = new Map<ExchangeDatabase, Image>();

  /** An empty exchange database. */
  take(): ExchangeDatabase {
    const one = this.#free.pop() ?? opened();
    this.#taken.set(one.database, one.empty);
    return one.database;
  }

  /** Empties the database, as if its file were new. */
  clear(database: ExchangeDatabase): void {
    restore(database, this.#taken.get(database) ?? new Map());
  }

  giveBack(database: ExchangeDatabase): void {
    const empty = this.#taken.get(database) ?? new Map();
    restore(database, empty);
    this.#taken.delete(database);
    this.#free.push({ database, empty });
  }
}

/** What the database holds now; calling the result puts it back. */
export function backup(database: ExchangeDatabase): () => void {
  const image = imageOf(database);
  return () => restore(database, image);
}

function opened() {
  const database = openExchangeDatabase(':memory:', { pageBytes: 1_024 });
  return { database, empty: imageOf(database) };
}

/** What of a database lies in the memory of the machine alone. */
export class Unsynced {
  readonly #database: ExchangeDatabase;
  readonly #changes: () => number;
  #since: { readonly restore: () => void; changes: number } | undefined;

  /** Watches the database until it is disposed of. */
  constructor(database: ExchangeDatabase) {
    this.#database = database;
    const count = database.sqlite.prepare<[], number>('SELECT total_changes()').pluck();
    this.#changes = () => count.get() ?? 0;
    const lazily = database.lazyTransaction.bind(database);
    database.lazyTransaction = (work) => {
      if (database.sqlite.inTransaction) return work();
      if (!this.isAny) this.#since = { restore: backup(database), changes: 0 };
      try {
        return lazily(work);
      } finally {
        if (this.#since !== undefined) this.#since.changes = this.#changes();
      }
    };
  }

  /** Whatever was written since in the usual way waited for the disk, and took along what lay there. */
  get isAny(): boolean {
    return this.#since !== undefined && this.#since.changes === this.#changes();
  }

  /** The power is gone. */
  lose(): void {
    if (this.isAny) this.#since?.restore();
    this.#since = undefined;
  }

  [Symbol.dispose](): void {
    // The class has the method itself.
    Reflect.deleteProperty(this.#database, 'lazyTransaction');
  }
}

/** A table's rows, by statements that stay prepared. */
interface Table {
  readonly name: string;
  read(): unknown[][];
  wipe(): void;
  add(row: unknown[]): void;
}

interface Tables {
  /** A table that others refer to stands before them. */
  readonly all: readonly Table[];
  /** Those that hold a row, in the same order. */
  filled(): Table[];
}

const tables = new WeakMap<ExchangeDatabase, Tables>();

function tablesOf(database: ExchangeDatabase): Tables {
  const known = tables.get(database);
  if (known !== undefined) return known;
  const { sqlite } = database;
  const names = sqlite
    .prepare<[], string>("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'migration'")
    .pluck()
    .all();
  const ordered = new Set<string>();
  const put = (name: string) => {
    for (const { table } of sqlite.pragma(`foreign_key_list("${name}")`) as { table: string }[]) {
      if (!ordered.has(table)) put(table);
    }
    ordered.add(name);
  };
  for (const name of names) put(name);
  const all = [...ordered].map((name) => tableOf(database, name));
  const isFilled = sqlite
    .prepare<[], number[]>(`SELECT ${all.map(({ name }) => `EXISTS (SELECT 1 FROM "${name}")`).join(', ')}`)
    .raw();
  const filled = () => {
    const flags = isFilled.get() ?? [];
    return all.filter((_, index) => flags[index] === 1);
  };
  tables.set(database, { all, filled });
  return { all, filled };
}

function tableOf({ sqlite }: ExchangeDatabase, name: string): Table {
  const read = sqlite.prepare(`SELECT * FROM "${name}"`).raw();
  const wipe = sqlite.prepare(`DELETE FROM "${name}"`);
  const places = read.columns().map(() => '?');
  const add = sqlite.prepare(`INSERT INTO "${name}" VALUES (${places.join(', ')})`);
  return {
    name,
    read: () => read.all() as unknown[][],
    wipe: () => void wipe.run(),
    add: (row) => void add.run(row),
  };
}

function imageOf(database: ExchangeDatabase): Image {
  const image = new Map<string, unknown[][]>();
  for (const { name, read } of tablesOf(database).filled()) image.set(name, read());
  return image;
}

// Foreign keys stay on: to set them off and on again would have every prepared statement of the connection prepared anew, which
// costs more than a whole run.
function restore(database: ExchangeDatabase, image: Image): void {
  const { all, filled } = tablesOf(database);
  database.transaction(() => {
    for (const { wipe } of filled().toReversed()) wipe();
    for (const { name, add } of all) for (const row of image.get(name) ?? []) add(row);
  });
}
