/** Promises T1–T8: what triggers note, and when they do not. */
import { describe, expect, test } from 'vitest';
import type { TrackedTable, TriggerPlan, Triggers } from '../triggers.ts';
import { type Fixture, quoted, scan, type Waivers } from './fixture.ts';

type Made = Fixture & { readonly triggers: Triggers };

/** Triggers at a table, and what they have noted. */
class Noted {
  readonly #fixture: Fixture;
  readonly triggers: Triggers;
  readonly plan: TriggerPlan;

  constructor(fixture: Fixture, triggers: Triggers, plan: TriggerPlan) {
    this.#fixture = fixture;
    this.triggers = triggers;
    this.plan = plan;
  }

  /** Every entry that is visible now: id, operation, key. */
  async all(): Promise<(string | null)[][]> {
    const { rows, refused } = await scan(this.#fixture.dataSource, this.plan.entries);
    if (refused.length > 0) throw new Error('an entry cannot be carried');
    return rows;
  }

  /** Takes what is there out of the change table; as `operation key`, in no order. */
  async take(): Promise<string[]> {
    const rows = await this.all();
    await this.triggers.forget(this.plan, [...new Set(rows.map(([id]) => id as string))]);
    return rows.map(([, operation, ...key]) => [operation, ...key.map((text) => text ?? '∅')].join(' ')).toSorted();
  }

  state() {
    return this.triggers.state(this.plan);
  }
}

async function install(fixture: Fixture, tracked: Omit<TrackedTable, 'owner' | 'table'>): Promise<Noted> {
  const { triggers } = fixture.dataSource as unknown as Made;
  const plan = await triggers.plan({ table: 'label', owner: 'health', ...tracked });
  await triggers.run(plan.install);
  const noted = new Noted(fixture, triggers, plan);
  expect(await noted.take()).toEqual([['S', ...plan.entries.columns.slice(2).map(() => '∅')].join(' ')]);
  return noted;
}

export function triggerContract(make: () => Promise<Fixture>, waivers: Waivers): void {
  describe('triggers', () => {
    test('a view has no triggers that see every change, and says so', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
      await fixture.sql('CREATE VIEW v AS SELECT id FROM t');
      const { triggers } = fixture.dataSource as unknown as Made;
      await expect(
        triggers.plan({ table: 'v', ref: { name: 'v' }, key: ['id'], owner: 'health' }),
      ).rejects.toMatchObject({
        code: 'TRIGGER_IMPOSSIBLE',
        hint: expect.stringContaining('capture: compare'),
      });
    });

    test('what is inserted, updated and deleted is noted by key, and forgotten by id', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x bigint)');
      await fixture.sql('INSERT INTO t VALUES (1, 1), (9007199254740993, 1)');
      const noted = await install(fixture, { ref: { name: 't' } });
      await fixture.sql('INSERT INTO t VALUES (2, 1)');
      await fixture.sql('UPDATE t SET x = 5 WHERE id = 9007199254740993');
      await fixture.sql('DELETE FROM t WHERE id = 1');
      const before = await noted.all();
      await fixture.sql('UPDATE t SET x = 6 WHERE id = 2');
      await noted.triggers.forget(
        noted.plan,
        before.map(([id]) => id as string),
      );
      expect(before.map(([, ...rest]) => rest.join(' ')).toSorted()).toEqual(['D 1', 'I 2', 'U 9007199254740993']);
      expect(await noted.take()).toEqual(['U 2']);
      expect(await noted.take()).toEqual([]);
    });

    test('a key that changes is noted twice: the old one and the new one, swaps too', async () => {
      await using fixture = await make();
      const { keyTextType = 'text' } = fixture.dialect;
      await fixture.sql(`CREATE TABLE t (area ${keyTextType} NOT NULL, no bigint NOT NULL, PRIMARY KEY (area, no))`);
      await fixture.sql("INSERT INTO t VALUES ('济南', 1), ('b', 2)");
      const noted = await install(fixture, { ref: { name: 't' } });
      await fixture.sql("UPDATE t SET area = 'B' WHERE no = 2");
      expect(await noted.take()).toEqual(['D b 2', 'I B 2']);
      await fixture.sql('BEGIN');
      await fixture.sql("UPDATE t SET no = 3 WHERE area = '济南'");
      await fixture.sql("UPDATE t SET area = '济南', no = 1 WHERE no = 2");
      await fixture.sql("UPDATE t SET area = 'B', no = 2 WHERE no = 3");
      await fixture.sql('COMMIT');
      expect(await noted.take()).toEqual(['D B 2', 'D 济南 1', 'D 济南 3', 'I B 2', 'I 济南 1', 'I 济南 3']);
    });

    test('what was rolled back, to a savepoint too, leaves nothing', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
      const noted = await install(fixture, { ref: { name: 't' } });
      await fixture.sql('BEGIN');
      await fixture.sql('INSERT INTO t VALUES (1)');
      await fixture.sql('SAVEPOINT a');
      await fixture.sql('INSERT INTO t VALUES (2)');
      await fixture.sql('ROLLBACK TO SAVEPOINT a');
      await fixture.sql('INSERT INTO t VALUES (3)');
      await fixture.sql('COMMIT');
      await fixture.sql('BEGIN');
      await fixture.sql('INSERT INTO t VALUES (4)');
      await fixture.sql('ROLLBACK');
      expect(await noted.take()).toEqual(['I 1', 'I 3']);
    });

    test('several changes of a row in one transaction and upserts are noted each', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x bigint)');
      const noted = await install(fixture, { ref: { name: 't' } });
      await fixture.sql('BEGIN');
      await fixture.sql('INSERT INTO t VALUES (1, 1)');
      await fixture.sql('UPDATE t SET x = 2');
      await fixture.sql('UPDATE t SET x = 3');
      await fixture.sql('COMMIT');
      expect(await noted.take()).toEqual(['I 1', 'U 1', 'U 1']);
      for (const [statement, expected] of fixture.dialect.upserts ?? []) {
        await fixture.sql(statement);
        expect([...new Set(await noted.take())], statement).toEqual(expected);
      }
    });

    test('keys of every kind come with the text that the table itself gives them', async () => {
      await using fixture = await make();
      const { bytes, keyTextType = 'text', keyBytesType = fixture.dialect.bytesType } = fixture.dialect;
      const { timestampType = 'timestamp' } = fixture.dialect;
      await fixture.sql(
        `CREATE TABLE t (a bigint NOT NULL, b decimal(20,2) NOT NULL, c ${keyTextType} NOT NULL, d ${keyBytesType} NOT NULL, e ${timestampType} NOT NULL, f double precision NOT NULL, x bigint)`,
      );
      const key = ['a', 'b', 'c', 'd', 'e', 'f'];
      const noted = await install(fixture, { ref: { name: 't' }, key });
      await fixture.sql(
        `INSERT INTO t VALUES (-9007199254740993, 12.50, 'a\t𠮷''', ${bytes('00ff')}, '2024-01-31 08:00:00.5', 0.1, 1)`,
      );
      const described = await fixture.dataSource.describe({ name: 't' });
      const columns = key.map((name) => described?.columns.find((each) => each.name === name));
      const table = { ref: { name: 't' }, keyColumns: 6, columns: columns as typeof noted.plan.entries.columns };
      const whole = await scan(fixture.dataSource, table);
      const [entry] = await noted.all();
      expect(entry?.slice(2)).toEqual(whole.rows[0]);
    });

    test('names of any kind: Chinese, quotes, and as long as the database allows', async () => {
      await using fixture = await make();
      for (const name of ['居民 "档案"', "o'clock`", 'x'.repeat(63), 'order']) {
        const on = fixture.dialect.quote?.(name) ?? quoted(name);
        const [id, x] = ['编号 "1"', 'select'].map((each) => fixture.dialect.quote?.(each) ?? quoted(each));
        await fixture.sql(`CREATE TABLE ${on} (${id} bigint NOT NULL PRIMARY KEY, ${x} bigint)`);
        const noted = await install(fixture, { ref: { name } });
        await fixture.sql(`INSERT INTO ${on} VALUES (1, 1)`);
        expect(await noted.take(), name).toEqual(['I 1']);
        expect(await noted.state(), name).toMatchObject({ kind: 'ready' });
      }
    });

    test('two owners have triggers of their own, and installing again begins anew', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
      const noted = await install(fixture, { ref: { name: 't' } });
      const other = await noted.triggers.plan({ ...noted.plan.table, owner: 'police' });
      await noted.triggers.run(other.install);
      await fixture.sql('INSERT INTO t VALUES (1)');
      expect(await noted.take()).toEqual(['I 1']);
      expect(await new Noted(fixture, noted.triggers, other).take()).toEqual(['I 1', 'S ∅']);
      await fixture.sql('INSERT INTO t VALUES (2)');
      await noted.triggers.run(noted.plan.install);
      expect(await noted.take()).toEqual(['S ∅']);
      await noted.triggers.run(other.remove);
      await noted.triggers.run(other.remove);
      await fixture.sql('INSERT INTO t VALUES (3)');
      expect(await noted.take()).toEqual(['I 3']);
      expect(await noted.state()).toMatchObject({ kind: 'ready' });
    });

    test('an id is never given twice: who forgets what another reader has forgotten takes nothing with it', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
      const noted = await install(fixture, { ref: { name: 't' } });
      await fixture.sql('INSERT INTO t VALUES (1)');
      const ids = (await noted.all()).map(([id]) => id as string);
      await noted.triggers.forget(noted.plan, ids);
      await fixture.sql('INSERT INTO t VALUES (2)');
      await noted.triggers.forget(noted.plan, ids);
      expect(await noted.take()).toEqual(['I 2']);
    });

    test('a missing trigger, an altered one and a missing change table are told apart', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
      const { triggers } = fixture.dataSource as unknown as Made;
      const plan = await triggers.plan({ table: 'label', owner: 'health', ref: { name: 't' } });
      expect(await triggers.state(plan)).toMatchObject({ kind: 'broken', code: 'TRIGGER_MISSING' });
      await triggers.run(plan.install);
      const ready = await triggers.state(plan);
      expect(ready).toMatchObject({ kind: 'ready' });
      expect(await triggers.state(plan)).toEqual(ready);
      await fixture.sql((plan.remove[0] ?? '').replace(/IF EXISTS /, ''));
      expect(await triggers.state(plan)).toMatchObject({ kind: 'broken', code: 'TRIGGER_MISSING' });
      await triggers.run(plan.install);
      await triggers.run(plan.install.map((statement) => statement.replace("'I'", "'X'")));
      expect(await triggers.state(plan)).toMatchObject({ kind: 'broken', code: 'TRIGGER_ALTERED' });
      await triggers.run(plan.install);
      const drop = plan.remove.find((statement) => statement.startsWith('DROP TABLE')) ?? '';
      await fixture.sql(drop);
      expect(await triggers.state(plan)).toMatchObject({ kind: 'broken', code: 'TRIGGER_MISSING' });
      await triggers.run(plan.remove);
    });

    test('a full change table keeps about its budget and one F, harms nobody, and notes again once the F is forgotten', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
      const noted = await install(fixture, { ref: { name: 't' }, budget: 20 });
      for (let id = 0; id < 400; id++) await fixture.sql(`INSERT INTO t VALUES (${id})`);
      await noted.state();
      const entries = await noted.all();
      expect(entries.filter(([, operation]) => operation === 'F').length).toBeGreaterThan(0);
      expect(entries.length).toBeLessThan(200);
      expect((await fixture.query('SELECT count(*) FROM t'))[0]?.[0]).toBe('400');
      await noted.take();
      await fixture.sql('INSERT INTO t VALUES (1000)');
      expect(await noted.take()).toEqual(['I 1000']);
    });

    test('the programs of the department get their own last generated id', async () => {
      await using fixture = await make();
      const { lastId } = fixture.dialect;
      if (lastId === undefined) throw new Error('the dialect says how a program asks for its last generated id');
      await fixture.sql(lastId.table);
      const noted = await install(fixture, { ref: { name: 't' } });
      await fixture.sql('INSERT INTO t (x) VALUES (1)');
      await fixture.sql('INSERT INTO t (x) VALUES (1)');
      await noted.take();
      await fixture.sql('INSERT INTO t (x) VALUES (1)');
      expect(await fixture.query(lastId.ask)).toEqual([['3']]);
    });

    if (waivers.openTransactions === undefined) openTransactions(make);
  });
}

function openTransactions(make: () => Promise<Fixture>): void {
  test('a transaction that stays open while others commit and are read is noted when it commits', async () => {
    await using fixture = await make();
    await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x bigint)');
    const noted = await install(fixture, { ref: { name: 't' } });
    await using other = await second(fixture);
    await other.sql('BEGIN');
    await other.sql('INSERT INTO t VALUES (1, 1)');
    await fixture.sql('INSERT INTO t VALUES (2, 1)');
    expect(await noted.take()).toEqual(['I 2']);
    await fixture.sql('INSERT INTO t VALUES (3, 1)');
    await other.sql('INSERT INTO t VALUES (4, 1)');
    expect(await noted.take()).toEqual(['I 3']);
    await other.sql('COMMIT');
    expect(await noted.take()).toEqual(['I 1', 'I 4']);
  });

  test('an F is not forgotten while a transaction is open that left changes unnoted, and meanwhile nobody else waits', async () => {
    await using fixture = await make();
    await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
    const noted = await install(fixture, { ref: { name: 't' }, budget: 10 });
    for (let id = 0; id < 200; id++) await fixture.sql(`INSERT INTO t VALUES (${id})`);
    await using other = await second(fixture);
    await other.sql('BEGIN');
    await other.sql('INSERT INTO t VALUES (1000)');
    let isForgotten = false;
    const forgetting = untilForgotten(noted).then(() => {
      isForgotten = true;
    });
    // Each of these is noted, or left out by a transaction that is over before the F is.
    for (let id = 2000; id < 2030; id++) await fixture.sql(`INSERT INTO t VALUES (${id})`);
    expect(isForgotten).toBe(false);
    await other.sql('COMMIT');
    await forgetting;
    await untilForgotten(noted, false);
    await fixture.sql('INSERT INTO t VALUES (3000)');
    expect(await noted.take()).toContain('I 3000');
  });
}

/** Takes entries until an F was among them, or until none is. */
async function untilForgotten(noted: Noted, isFull = true): Promise<void> {
  for (;;) {
    await noted.state();
    const entries = await noted.take();
    if (entries.some((entry) => entry.startsWith('F ')) === isFull) return;
  }
}

async function second(fixture: Fixture) {
  const other = await fixture.second?.();
  if (other === undefined) throw new Error('the fixture opens a second connection');
  return other;
}
