// How each kind of change is written for the source's database, with wide rows and with texts that quoting gets wrong. `changed` rises with
// every insert and update: a cursor goes by it. A row whose name begins with REFUSED is refused by the target's CHECK.

import type { Capture, Step } from './changes.ts';
import { type Adapter, CITIES } from './departments.ts';
import type { Dice } from './dice.ts';
import type { Register } from './register.ts';
import { COLUMNS, REFUSED, WITNESS_NAME, WITNESS_NOTE } from './schema.ts';

export interface StatementsPlan {
  readonly table: string;
  /** Of the source. */
  readonly adapter: Adapter;
  readonly capture: Capture;
  readonly city: string | undefined;
  readonly mayRefuse: boolean;
}

/** More would be asked about before they are deleted at once (deleteGuard). */
const MOST_ROWS = 900;

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

/** Taken by the statement that writes it, as triggers and defaults of departments do. */
const NOW: Readonly<Record<Adapter, string>> = {
  postgres: 'clock_timestamp()',
  sqlite: "strftime('%Y-%m-%d %H:%M:%f', 'now')",
  mysql: 'sysdate(6)',
};

const VALUES = COLUMNS.split(', ').filter((column) => column !== 'id');
const EXCLUDED = `ON CONFLICT (id) DO UPDATE SET ${[...VALUES, 'changed'].map((column) => `${column} = excluded.${column}`).join(', ')}`;
const OR_UPDATE: Readonly<Record<Adapter, string>> = {
  postgres: EXCLUDED,
  sqlite: EXCLUDED,
  mysql: `ON DUPLICATE KEY UPDATE ${[...VALUES, 'changed'].map((column) => `${column} = VALUES(${column})`).join(', ')}`,
};

/** Shorter texts are in every log, whoever changed them. */
const WIDE = 1_000;

export class Statements {
  readonly #dice: Dice;
  readonly #register: Register;
  readonly #plan: StatementsPlan;
  #savepoints = 0;

  constructor(dice: Dice, register: Register, plan: StatementsPlan) {
    this.#dice = dice;
    this.#register = register;
    this.#plan = plan;
  }

  /** None where the table has nothing to do it to. `inner` are the steps that a savepoint undoes. */
  of(step: Step, inner: () => Step): string[] {
    const dice = this.#dice;
    switch (step) {
      case 'insert':
        return this.insert(this.#fresh(dice.between(1, 60)));
      case 'update':
        return this.#update(this.#some(dice.between(1, 40)));
      case 'upsert':
        return this.#upsert([...this.#some(dice.between(1, 40)), ...this.#fresh(dice.between(0, 10))]);
      case 'replace':
        return this.#replace();
      case 'delete':
        return this.#delete(this.#some(dice.between(1, 20)));
      case 'reuse':
        return this.insert(this.#back(dice.between(1, 10)));
      case 'keyUpdate':
        return this.#some(dice.between(1, 5)).flatMap((key) => this.#rename(key, this.#newKey()));
      case 'keySwap':
        return this.#swapKeys();
      case 'codeSwap':
        return this.#passOnCodes(this.#some(dice.between(2, 4)));
      case 'truncate':
        return this.#truncate();
      case 'manyOfOne':
        return this.#manyOfOne();
      case 'savepoint':
        return this.#savepoint(inner);
      default:
        return step satisfies never;
    }
  }

  /** Plain: each key must be new or gone. */
  insert(keys: readonly number[]): string[] {
    if (keys.length === 0) return [];
    const { table } = this.#plan;
    return [`INSERT INTO ${table} (${COLUMNS}, changed) VALUES ${this.#rows(keys)}`];
  }

  /** Keys of rows that are to be new. */
  #fresh(count: number): number[] {
    return Array.from({ length: Math.min(count, Math.max(0, MOST_ROWS - this.#register.size)) }, () =>
      this.#register.newKey(),
    );
  }

  #some(count: number): number[] {
    return this.#dice.shuffled(this.#register.free).slice(0, count);
  }

  #back(count: number): number[] {
    const room = Math.max(0, MOST_ROWS - this.#register.size);
    return this.#dice.shuffled(this.#register.gone).slice(0, Math.min(count, room));
  }

  #newKey(): number {
    return (this.#dice.chance(0.3) ? this.#back(1)[0] : undefined) ?? this.#register.newKey();
  }

  #update(keys: readonly number[]): string[] {
    if (keys.length === 0) return [];
    // A large value that an update leaves alone is not in every log. Then nobody can tell that nothing else of the row changed either,
    // and the destination counts it as unchanged: such rows are let be.
    const set = this.#dice.pick([['name'], ['city'], ['note'], ['name', 'city', 'note']]);
    const values = set.map((column) => [column, this.#valueOf(column, keys)] as const);
    const changes = values.map(([column, value]) => `${column} <> ${value}`);
    const which = set.includes('note') ? '' : ` AND (coalesce(length(note), 0) < ${WIDE} OR ${changes.join(' OR ')})`;
    return [
      `UPDATE ${this.#plan.table} SET ${values.map((each) => each.join(' = ')).join(', ')}, changed = ${this.#now} WHERE id IN (${touched(keys, this.#register)})${which}`,
    ];
  }

  #upsert(keys: readonly number[]): string[] {
    if (keys.length === 0) return [];
    const { table, adapter } = this.#plan;
    return [`INSERT INTO ${table} (${COLUMNS}, changed) VALUES ${this.#rows(keys)} ${OR_UPDATE[adapter]}`];
  }

  #replace(): string[] {
    const { table, adapter, capture } = this.#plan;
    const keys = [...this.#some(this.#dice.between(1, 10)), ...this.#fresh(this.#dice.between(0, 3))];
    if (keys.length === 0) return [];
    if (adapter === 'postgres') {
      const from = this.#rows(keys);
      const sets = [...VALUES, 'changed'].map((column) => `${column} = v.${column}`).join(', ');
      const values = [...COLUMNS.split(', '), 'changed'].map((column) => `v.${column}`).join(', ');
      return [
        `MERGE INTO ${table} AS t USING (VALUES ${from}) AS v (${COLUMNS}, changed) ON t.id = v.id WHEN MATCHED THEN UPDATE SET ${sets} WHEN NOT MATCHED THEN INSERT (${COLUMNS}, changed) VALUES (${values})`,
      ];
    }
    // No trigger of SQLite sees whom it takes away.
    const takes = capture !== 'cursor' && !(adapter === 'sqlite' && capture === 'trigger') && this.#dice.chance(0.5);
    const victim = takes ? this.#register.free.find((key) => !keys.includes(key)) : undefined;
    if (victim === undefined) return [`REPLACE INTO ${table} (${COLUMNS}, changed) VALUES ${this.#rows(keys)}`];
    const [first, ...others] = keys as [number, ...number[]];
    const code = this.#register.codeOf(victim);
    this.#register.remove(victim);
    this.#register.take(first, code, victim);
    const rows = [this.#row(first, code), ...(others.length > 0 ? [this.#rows(others)] : [])];
    return [`REPLACE INTO ${table} (${COLUMNS}, changed) VALUES ${rows.join(', ')}`];
  }

  #delete(keys: readonly number[]): string[] {
    if (keys.length === 0) return [];
    for (const key of keys) this.#register.remove(key);
    return [`DELETE FROM ${this.#plan.table} WHERE id IN (${keys.join(', ')})`];
  }

  #rename(key: number, to: number): string[] {
    const code = this.#register.codeOf(key);
    this.#register.remove(key);
    this.#register.take(to, code, key);
    return [this.#move(key, to)];
  }

  #swapKeys(): string[] {
    const [one, other] = this.#some(2);
    if (one === undefined || other === undefined) return [];
    const [codeOfOne, codeOfOther] = [this.#register.codeOf(one), this.#register.codeOf(other)];
    if (this.#plan.capture === 'cursor') {
      const [first, second] = [this.#register.put(one), this.#register.put(other)];
      this.#register.join(one, other);
      return [
        this.#move(one, -one),
        this.#move(other, one, `code = ${first}, `),
        this.#move(-one, other, `code = ${second}, `),
      ];
    }
    this.#register.take(one, codeOfOther, other);
    this.#register.take(other, codeOfOne, one);
    return [this.#move(one, -one), this.#move(other, one), this.#move(-one, other)];
  }

  #move(key: number, to: number, also = ''): string {
    return `UPDATE ${this.#plan.table} SET id = ${to}, ${also}changed = ${this.#now} WHERE id = ${key}`;
  }

  /** Each gets the code of the next, the last that of the first. */
  #passOnCodes(keys: readonly number[]): string[] {
    const [first] = keys;
    if (first === undefined || keys.length < 2) return [];
    const codes = keys.map((key) => this.#register.codeOf(key));
    const set = (key: number, code: number | 'NULL') =>
      `UPDATE ${this.#plan.table} SET code = ${code}, changed = ${this.#now} WHERE id = ${key}`;
    const statements = [set(first, 'NULL')];
    for (const [index, key] of [...keys.entries()].toReversed()) {
      const next = (index + 1) % keys.length;
      this.#register.take(key, codes[next] as number, keys[next] as number);
      statements.push(set(key, codes[next] as number));
    }
    return statements;
  }

  #truncate(): string[] {
    const { table, adapter } = this.#plan;
    for (const key of this.#register.free) this.#register.remove(key);
    const emptied = adapter === 'sqlite' ? `DELETE FROM ${table}` : `TRUNCATE TABLE ${table}`;
    // MariaDB commits with it.
    if (adapter === 'mysql' || this.#dice.chance(0.3)) return [emptied];
    return [
      emptied,
      ...this.insert([...this.#fresh(this.#dice.between(0, 60)), ...this.#back(this.#dice.between(1, 30))]),
    ];
  }

  #manyOfOne(): string[] {
    const [known] = this.#some(1);
    const [fresh] = this.#fresh(1);
    const what = this.#dice.between(1, 6);
    if (known !== undefined && (what <= 2 || fresh === undefined)) {
      const updates = [...this.#update([known]), ...this.#update([known]), ...this.#upsert([known])];
      return this.#plan.capture === 'cursor' || what === 1 ? updates : [...updates, ...this.#delete([known])];
    }
    if (known !== undefined && what === 3) {
      return [...this.#delete([known]), ...this.insert([known]), ...this.#update([known])];
    }
    if (fresh === undefined) return [];
    const coming = this.insert([fresh]);
    if (what === 4) return [...coming, ...this.#update([fresh]), ...this.#delete([fresh])];
    if (what === 5) {
      const moved = this.#newKey();
      return [...coming, ...this.#rename(fresh, moved), ...this.#update([moved])];
    }
    return [...coming, ...this.#update([fresh]), ...this.#update([fresh])];
  }

  #savepoint(inner: () => Step): string[] {
    this.#savepoints += 1;
    const name = `s${this.#savepoints}`;
    const undone = this.#register.undone(() =>
      Array.from({ length: this.#dice.between(1, 2) }, () => this.of(inner(), inner)).flat(),
    );
    if (undone.length === 0) return [];
    return [`SAVEPOINT ${name}`, ...undone, `ROLLBACK TO SAVEPOINT ${name}`];
  }

  #rows(keys: readonly number[]): string {
    return keys.map((key) => this.#row(key, this.#register.put(key))).join(', ');
  }

  #row(key: number, code: number): string {
    const values = ['name', 'city'].map((column) => this.#valueOf(column, [key]));
    return `(${key}, ${values.join(', ')}, ${code}, ${this.#valueOf('note', [key])}, ${this.#now})`;
  }

  #valueOf(column: string, keys: readonly number[]): string {
    const dice = this.#dice;
    const { city, mayRefuse } = this.#plan;
    switch (column) {
      case 'name': {
        const [key] = keys;
        if (!mayRefuse || !dice.chance(0.03)) return `'${dice.pick(['王', '李', 'Ann', 'Ø', WITNESS_NAME])}${key}'`;
        for (const each of keys) this.#register.refuse(each);
        return `'${REFUSED} ${key}'`;
      }
      case 'city':
        // Rows of a bridge with a filter are mostly of its city; a few are of the other and stay at home.
        return `'${city === undefined || dice.chance(0.1) ? dice.pick(CITIES) : city}'`;
      default:
        if (dice.chance(0.15)) return 'NULL';
        if (dice.chance(0.004)) return `'${'wide '.repeat(dice.between(1_000, 60_000))}'`;
        return `'${dice.pick(TEXTS)} ${dice.between(0, 1_000_000)}'`;
    }
  }

  get #now(): string {
    return NOW[this.#plan.adapter];
  }
}

function touched(keys: readonly number[], register: Register): string {
  for (const key of keys) register.touch(key);
  return keys.join(', ');
}
