// The workload of one bridge: transactions of inserts, updates, deletes and reused keys over a small table, with wide rows and with
// texts that quoting gets wrong. Every statement may be run twice with the same end, because the commit of a database that dies is
// ambiguous. A row whose name begins with REFUSED is refused by the target's CHECK.

import { type Adapter, CITIES } from './departments.ts';
import type { Dice } from './dice.ts';

export interface Transaction {
  /** From the moment the bridges were started; negative: before. */
  readonly atMs: number;
  readonly statements: readonly string[];
}

export interface WorkloadPlan {
  readonly table: string;
  /** Of the source. */
  readonly adapter: Adapter;
  readonly city: string | undefined;
  readonly lengthMs: number;
  readonly mayRefuse: boolean;
  readonly hasDeletes: boolean;
  /** Bridges into one target table must not share keys. */
  readonly firstId: number;
}

export const REFUSED = 'refused';

/** A person's name and a note that stand nowhere but in rows: leaks.ts looks for them everywhere. */
export const WITNESS_NAME = '欧阳证人靖';
export const WITNESS_NOTE = 'Zeugnis-5b1d0e77a4';

const TEXTS = [
  WITNESS_NOTE,
  'plain',
  '山东省青岛市',
  "it''s quoted",
  'tab\there',
  'line\nbreak',
  'back\\slash',
  '\\N',
  '',
  '𠮷 beyond the plane',
  'trailing space ',
];

export const COLUMNS = 'id, name, city, note';

/** `changed` rises with every insert and update: a cursor goes by it. */
export function sourceTable(name: string, adapter: Adapter): string[] {
  const time = adapter === 'mysql' ? 'DATETIME(6)' : 'TIMESTAMP';
  return [
    `CREATE TABLE ${name} (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL, city VARCHAR(4) NOT NULL, note ${text(adapter)}, changed ${time} NOT NULL)`,
    `CREATE INDEX ${name}_changed ON ${name} (changed)`,
  ];
}

export function mirrorTable(name: string, adapter: Adapter): string {
  return `CREATE TABLE ${name} (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL CHECK (name NOT LIKE '${REFUSED}%'), city VARCHAR(4) NOT NULL, note ${text(adapter)})`;
}

/** A journal has no key of its own. `seq` is the harness's, to read it in the order of writing. */
export function journalTable(name: string, adapter: Adapter): string {
  return `CREATE TABLE ${name} (seq ${SEQ[adapter]}, id BIGINT NOT NULL, name VARCHAR(64), city VARCHAR(4), note ${text(adapter)},
 qiao_operation VARCHAR(1), qiao_batch_no VARCHAR(200), qiao_source_department VARCHAR(64), qiao_applied_at ${adapter === 'mysql' ? 'DATETIME(3)' : 'TIMESTAMP'}, qiao_processed VARCHAR(1))`;
}

const SEQ: Readonly<Record<Adapter, string>> = {
  postgres: 'BIGSERIAL PRIMARY KEY',
  sqlite: 'INTEGER PRIMARY KEY AUTOINCREMENT',
  mysql: 'BIGINT AUTO_INCREMENT PRIMARY KEY',
};

/** A TEXT of MySQL ends at 64 KiB. */
function text(adapter: Adapter): string {
  return adapter === 'mysql' ? 'LONGTEXT' : 'TEXT';
}

export function planTransactions(dice: Dice, plan: WorkloadPlan): Transaction[] {
  const { table, adapter, city, lengthMs, mayRefuse, hasDeletes } = plan;
  const live = new Set<number>();
  const gone: number[] = [];
  let nextId = plan.firstId;
  // Rows of a bridge with a filter are mostly of its city; a few are of the other and stay at home.
  const cityOf = () => (city === undefined ? dice.pick(CITIES) : dice.chance(0.9) ? city : dice.pick(CITIES));
  const put = (id: number): string => {
    live.add(id);
    const isRefused = mayRefuse && dice.chance(0.03);
    const name = isRefused ? `${REFUSED} ${id}` : `${dice.pick(['王', '李', 'Ann', 'Ø', WITNESS_NAME])}${id}`;
    return `(${id}, '${name}', '${cityOf()}', ${noteOf(dice)}, ${NOW[adapter]})`;
  };
  // A key may have gone more than once, and a statement may name it only once.
  const insert = (ids: readonly number[]): string[] => {
    const rows = [...new Set(ids)].map(put);
    return rows.length === 0
      ? []
      : [`INSERT INTO ${table} (${COLUMNS}, changed) VALUES ${rows.join(', ')} ${OR_UPDATE[adapter]}`];
  };
  const fresh = (count: number) => Array.from({ length: count }, () => nextId++);
  const some = (count: number) => dice.shuffled([...live]).slice(0, count);
  const remove = (ids: readonly number[]): string[] => {
    for (const id of ids) {
      live.delete(id);
      gone.push(id);
    }
    return ids.length === 0 ? [] : [`DELETE FROM ${table} WHERE id IN (${ids.join(', ')})`];
  };

  const transactions: Transaction[] = [{ atMs: -1, statements: insert(fresh(dice.between(0, 300))) }];
  const count = dice.between(3, 12);
  for (let index = 0; index < count; index += 1) {
    const statements: string[] = [];
    for (let step = dice.between(1, 3); step > 0; step -= 1) {
      const what = dice.between(1, hasDeletes ? 10 : 7);
      if (what <= 4) statements.push(...insert(fresh(dice.between(1, 60))));
      else if (what <= 7) statements.push(...insert(some(dice.between(1, 40))));
      else if (what <= 8) statements.push(...remove(some(dice.between(1, 20))));
      // A key that was deleted comes back with other contents.
      else if (what <= 9) statements.push(...insert(gone.splice(0, dice.between(1, 10))));
      else {
        const ids = some(5);
        statements.push(...remove(ids), ...insert(ids));
      }
    }
    if (statements.length > 0) transactions.push({ atMs: dice.between(0, lengthMs), statements });
  }
  return transactions.sort((a, b) => a.atMs - b.atMs);
}

/** Taken by the statement that writes it, as triggers and defaults of departments do. */
const NOW: Readonly<Record<Adapter, string>> = {
  postgres: 'clock_timestamp()',
  sqlite: "strftime('%Y-%m-%d %H:%M:%f', 'now')",
  mysql: 'sysdate(6)',
};

const EXCLUDED =
  'ON CONFLICT (id) DO UPDATE SET name = excluded.name, city = excluded.city, note = excluded.note, changed = excluded.changed';
const OR_UPDATE: Readonly<Record<Adapter, string>> = {
  postgres: EXCLUDED,
  sqlite: EXCLUDED,
  mysql:
    'ON DUPLICATE KEY UPDATE name = VALUES(name), city = VALUES(city), note = VALUES(note), changed = VALUES(changed)',
};

function noteOf(dice: Dice): string {
  if (dice.chance(0.15)) return 'NULL';
  if (dice.chance(0.004)) return `'${'wide '.repeat(dice.between(1_000, 60_000))}'`;
  return `'${dice.pick(TEXTS)} ${dice.between(0, 1_000_000)}'`;
}
