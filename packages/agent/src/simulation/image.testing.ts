// Exchange databases in memory that are used again for run after run: opening one costs more than a whole run. An image is
// what its tables hold at one moment; putting it back is what restoring an old copy of the file means.

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
  const database = openExchangeDatabase(':memory:');
  return { database, empty: imageOf(database) };
}

function tablesOf({ sqlite }: ExchangeDatabase): string[] {
  return sqlite
    .prepare<[], string>("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'migration'")
    .pluck()
    .all();
}

const statements = new WeakMap<
  ExchangeDatabase,
  Map<string, { read(): unknown[][]; wipe(): void; add(row: unknown[]): void }>
>();

function tableStatements(database: ExchangeDatabase) {
  let known = statements.get(database);
  if (known === undefined) {
    known = new Map(
      tablesOf(database).map((table) => {
        const { sqlite } = database;
        const read = sqlite.prepare(`SELECT * FROM "${table}"`).raw();
        const wipe = sqlite.prepare(`DELETE FROM "${table}"`);
        const add = sqlite.prepare(
          `INSERT INTO "${table}" VALUES (${read
            .columns()
            .map(() => '?')
            .join(', ')})`,
        );
        return [
          table,
          { read: () => read.all() as unknown[][], wipe: () => void wipe.run(), add: (row) => void add.run(row) },
        ];
      }),
    );
    statements.set(database, known);
  }
  return known;
}

function imageOf(database: ExchangeDatabase): Image {
  const image = new Map<string, unknown[][]>();
  for (const [table, { read }] of tableStatements(database)) {
    const rows = read();
    if (rows.length > 0) image.set(table, rows);
  }
  return image;
}

function restore(database: ExchangeDatabase, image: Image): void {
  const { sqlite } = database;
  sqlite.pragma('foreign_keys = OFF');
  database.transaction(() => {
    for (const [table, { wipe, add }] of tableStatements(database)) {
      wipe();
      for (const row of image.get(table) ?? []) add(row);
    }
  });
  sqlite.pragma('foreign_keys = ON');
}
