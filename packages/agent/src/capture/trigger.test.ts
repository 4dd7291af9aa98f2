import { parseId } from '@qiao/exchange';
import { simulateCrashes } from '@qiao/runtime';
import { afterEach, describe, expect, test } from 'vitest';
import type { Arrival, DigestRow } from '../exchange-database/index.ts';
import { BRIDGE_ID, circlesWith, placeThere } from './captureWorld.testing.ts';
import { saidByOthers } from './said.suite.ts';
import { foldedOf } from './trigger.ts';
import { TriggerWorld } from './triggerWorld.testing.ts';
import { wantRows } from './wantedRows.ts';

afterEach(() => simulateCrashes(undefined));

saidByOthers(async (circle) => {
  const world = new TriggerWorld();
  world.circles = circlesWith(circle);
  world.sql("INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'x'), (3, 'c', 'x')");
  await world.install();
  await world.step();
  return {
    database: world.database,
    destination: world.destination,
    rows: async () => world.rows(),
    async change(statements, last) {
      world.sql(`BEGIN; ${statements.join('; ')}; INSERT INTO person VALUES ${last}; COMMIT`);
      await world.step();
    },
    async scanWhole(...statements) {
      world.sql(`BEGIN; ${statements.join('; ')}; COMMIT`);
      world.captureRun += 1n;
      await world.step();
    },
    async looked() {
      await world.step();
    },
    async [Symbol.asyncDispose]() {
      world[Symbol.dispose]();
    },
  };
});

describe('capture by trigger', () => {
  test('a row that stayed against an older one of the destination is sent back once; one that is the same, or has no word, is not', async () => {
    using world = new TriggerWorld();
    world.sql("INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'x'), (3, 'c', 'x'), (4, 'd', 'x')");
    await world.install();
    await world.step();
    const { arrivals, digests, sendBacks } = world.database;
    const [one, two, three, four] = digests.after(world.tableId, '', 10) as [
      DigestRow,
      DigestRow,
      DigestRow,
      DigestRow,
    ];
    const before = world.destination.outcomes.length;
    const stay = (...said: Arrival[]) =>
      world.database.transaction(() => {
        arrivals.put(world.tableId, said, [placeThere('person')]);
        sendBacks.keepAgainst(world.tableId, said);
      });
    stay({ key: one[0], digest: 'older' }, { key: two[0], digest: two[1] }, { key: four[0], digest: 'older' });
    sendBacks.keepAgainst(world.tableId, [{ key: three[0], digest: 'older' }]);
    world.sql('DELETE FROM person WHERE id = 4');
    expect(await world.step()).toBe(2);
    expect(world.destination.outcomes.slice(before)).toEqual(['update', 'delete']);
    expect(sendBacks.due(world.tableId, 10)).toEqual([]);
    // The same word again: both ends think theirs the newer one, and neither shall say so for ever. Another word is answered.
    stay({ key: one[0], digest: 'older' }, { key: two[0], digest: 'older' });
    await world.step();
    expect(world.destination.outcomes.slice(before)).toEqual(['update', 'delete', 'update']);
    expect(await world.step()).toBe(0);
  });

  test('a load reads the table whole, what follows is read by its keys alone', async () => {
    using world = new TriggerWorld();
    world.sql(
      "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO person SELECT i, 'a', 'x' FROM n",
    );
    await world.install();
    expect(await world.step()).toBe(500);
    expect(world.destination.rows('person')).toEqual(world.rows());
    expect(await world.step()).toBe(0);
    world.sql(
      "UPDATE person SET name = 'b' WHERE id = 7; DELETE FROM person WHERE id = 8; INSERT INTO person VALUES (501, 'c', 'y'); UPDATE person SET id = 502 WHERE id = 9",
    );
    expect(await world.step()).toBe(3);
    expect(world.destination.rows('person')).toEqual(world.rows());
    expect(await world.waiting()).toBe(0);
    expect(world.trouble).toBe('');
  });

  test('several changes of a row are folded, and the books add up to what was noted', async () => {
    using world = new TriggerWorld();
    world.sql("INSERT INTO person VALUES (1, 'a', 'x'), (2, 'a', 'x')");
    await world.install();
    await world.step();
    const before = world.books;
    world.sql("UPDATE person SET name = 'b' WHERE id = 1; UPDATE person SET name = 'c' WHERE id = 1");
    world.sql("INSERT INTO person VALUES (3, 'a', 'x'); DELETE FROM person WHERE id = 3");
    world.sql("UPDATE person SET name = 'z' WHERE id = 2; UPDATE person SET name = 'a' WHERE id = 2");
    await world.step();
    expect(world.destination.rows('person')).toEqual(world.rows());
    const { captured, packed, folded } = world.books;
    expect({ captured: captured - before.captured, packed: packed - before.packed, folded }).toEqual({
      captured: 6,
      packed: 1,
      folded: 5,
    });
  });

  test('without triggers nothing is captured, and once they were there, that is a gap that ends with a whole scan and a person', async () => {
    using world = new TriggerWorld();
    world.sql("INSERT INTO person VALUES (1, 'a', 'x')");
    await expect(world.scan()).rejects.toMatchObject({ code: 'TRIGGER_MISSING', fate: 'transient' });
    await world.install();
    await world.step();
    expect(world.trouble).toBe('');
    const { triggers, plan } = await world.triggers();
    await triggers.run(plan.remove);
    world.sql("INSERT INTO person VALUES (2, 'b', 'x')");
    await expect(world.scan()).rejects.toMatchObject({ code: 'TRIGGER_MISSING' });
    expect(world.trouble).toBe('TRIGGER_GAP');
    await world.install();
    expect(await world.step()).toBe(2);
    expect(world.destination.rows('person')).toEqual(world.rows());
    expect(world.trouble).toBe('TRIGGER_GAP');
    world.captureRun = 1n;
    await world.step();
    expect(world.trouble).toBe('');
  });

  test('triggers made anew between two looks are a gap', async () => {
    using world = new TriggerWorld();
    await world.install();
    await world.step();
    const { triggers, plan } = await world.triggers();
    await triggers.run(plan.remove);
    world.sql("INSERT INTO person VALUES (1, 'a', 'x')");
    await world.install();
    expect(await world.step()).toBe(1);
    expect(world.trouble).toBe('TRIGGER_GAP');
    expect(world.destination.rows('person')).toEqual(world.rows());
  });

  test('a gap that is found while the whole table is read is answered by another whole scan', async () => {
    using world = new TriggerWorld();
    await world.install();
    await world.step();
    world.database.triggers.owe(world.tableId);
    world.onFlush = () => {
      world.onFlush = () => {};
      world.database.triggers.owe(world.tableId);
    };
    world.sql("INSERT INTO person VALUES (1, 'a', 'x')");
    expect(await world.step()).toBe(1);
    expect(await world.step()).toBe(1);
    expect(await world.step()).toBe(0);
  });

  test.each(['entries.noted', 'entries.forgotten', 'capture.read', 'capture.packed'])(
    'dead at %s, the rows travel once when the agent is back',
    async (point) => {
      using world = new TriggerWorld();
      await world.install();
      await world.step();
      world.sql("INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'x')");
      simulateCrashes((name) => {
        if (name === point) throw new Error(`dead at ${name}`);
      });
      await expect(world.step()).rejects.toThrow(`dead at ${point}`);
      simulateCrashes(undefined);
      world.reopen();
      await world.step();
      await world.step();
      expect(world.destination.rows('person')).toEqual(world.rows());
      expect(world.destination.outcomes).toEqual(['insert-missing', 'insert-missing']);
      expect(await world.waiting()).toBe(0);
      expect(world.books.packed).toBe(2);
      // What was noted before the death is not noted again.
      if (point === 'entries.noted') expect(world.books.captured).toBe(2);
    },
  );

  test('what leaves the filter is deleted, what enters it is inserted, and a key is read as it leaves', async () => {
    using world = new TriggerWorld('id TEXT NOT NULL PRIMARY KEY');
    Object.assign(world.person, {
      where: "city = 'x'",
      transform: [{ dictionary: { column: 'id', map: { a: '1', b: '2', c: '3' }, otherwise: 'refuse' } }],
    });
    world.sql("INSERT INTO person VALUES ('a', 'n', 'x'), ('b', 'n', 'y'), ('c', 'n', 'x')");
    await world.install();
    await world.step();
    expect(world.destination.rows('person')).toEqual(['1\tn\tx', '3\tn\tx']);
    world.sql(
      "UPDATE person SET city = 'y' WHERE id = 'a'; UPDATE person SET city = 'x' WHERE id = 'b'; DELETE FROM person WHERE id = 'c'",
    );
    await world.step();
    expect(world.destination.rows('person')).toEqual(['2\tn\tx']);
  });

  test('a row that cannot be carried stays as it was at the destination, and does not keep its neighbours', async () => {
    using world = new TriggerWorld();
    world.sql("INSERT INTO person VALUES (1, 'a', 'x'), (2, 'a', 'x'), (3, 'a', 'x'), (4, 'a', 'x')");
    await world.install();
    await world.step();
    world.sql(
      "UPDATE person SET name = x'00' WHERE id = 2; DELETE FROM person WHERE id = 3; UPDATE person SET name = 'b' WHERE id = 4; DELETE FROM person WHERE id = 1",
    );
    await world.step();
    expect(world.destination.rows('person')).toEqual(['2\ta\tx', '4\tb\tx']);
    expect(world.books.refused).toBe(1);
  });

  test('a destination that asks for rows gets them by their keys', async () => {
    using world = new TriggerWorld();
    world.sql("INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'x')");
    await world.install();
    await world.step();
    const section = {
      table: 'person',
      kind: 'delete' as const,
      columns: ['id'],
      keyColumns: 1,
      rowCount: 2,
      wholeRows: false,
    };
    wantRows(world.database, parseId(BRIDGE_ID), [{ ...section, rows: Buffer.from('2\n5\n') }]);
    expect(await world.step()).toBe(1);
    expect(world.destination.outcomes.slice(-2)).toEqual(['update', 'delete-missing']);
  });

  test('a wanted row of a table that left the bridge keeps none of the others waiting', async () => {
    using world = new TriggerWorld();
    world.sql("INSERT INTO person VALUES (1, 'a', 'x')");
    await world.install();
    await world.step();
    const section = { kind: 'delete' as const, columns: ['id'], keyColumns: 1, rowCount: 1, wholeRows: false };
    const gone = { ...section, table: 'gone', rows: Buffer.from('7\n') };
    const here = { ...section, table: 'person', rows: Buffer.from('1\n') };
    expect(wantRows(world.database, parseId(BRIDGE_ID), [gone, here])).toBe(1);
    expect(() => wantRows(world.database, parseId(BRIDGE_ID), [gone])).toThrow(/does not capture/);
  });

  test('a row that cannot be carried is named at once, and no more when it can', async () => {
    using world = new TriggerWorld();
    world.sql("INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'x')");
    await world.install();
    await world.step();
    const { refusals } = world.database;
    world.sql(
      "INSERT INTO person VALUES (3, X'00FF', 'x'), (4, 'd', 'x'); UPDATE person SET name = X'00' WHERE id = 1",
    );
    await world.step();
    const refused = () => refusals.rows(world.tableId, 10).map(({ code, column, key }) => [code, column, key]);
    expect(refused().map(([code, column]) => [code, column])).toEqual([
      ['STORAGE_CLASS', 'name'],
      ['STORAGE_CLASS', 'name'],
    ]);
    const both = [{ code: 'STORAGE_CLASS', column: 'name', count: 2 }];
    expect(refusals.counts(world.tableId)).toEqual(both);
    // A look that finds nothing noted says nothing of them.
    await world.step();
    expect(refusals.counts(world.tableId)).toEqual(both);
    world.sql("UPDATE person SET name = 'c' WHERE id = 3");
    await world.step();
    expect(refusals.counts(world.tableId)).toEqual([{ code: 'STORAGE_CLASS', column: 'name', count: 1 }]);
    world.sql('DELETE FROM person WHERE id = 1');
    await world.step();
    expect([refused(), refusals.counts(world.tableId)]).toEqual([[], []]);
    world.sql("INSERT INTO person VALUES (5, X'00FF', 'x')");
    world.captureRun += 1n;
    await world.step();
    await world.step();
    expect(refusals.counts(world.tableId)).toEqual([{ code: 'STORAGE_CLASS', column: 'name', count: 1 }]);
    expect(world.destination.rows('person')).toEqual(['2\tb\tx', '3\tc\tx', '4\td\tx']);
  });

  test('rows of a primary key that SQLite let be NULL are refused alone, also where they come and go', async () => {
    using world = new TriggerWorld('id TEXT PRIMARY KEY');
    world.sql("INSERT INTO person VALUES (NULL, 'nobody', 'x'), ('1', 'a', 'x'), (NULL, 'nobody', 'x')");
    await world.install();
    await world.step();
    expect(world.destination.rows('person')).toEqual(['1\ta\tx']);
    world.sql("INSERT INTO person VALUES (NULL, 'nobody', 'y'), ('2', 'b', 'x')");
    world.sql("UPDATE person SET name = 'c' WHERE id = '1'; UPDATE person SET id = '3' WHERE city = 'y'");
    await world.step();
    world.sql("UPDATE person SET id = NULL WHERE id = '2'; DELETE FROM person WHERE id IS NULL");
    await world.step();
    expect(world.destination.rows('person')).toEqual(['1\tc\tx', '3\tnobody\ty']);
  });

  test('an emptied source stops at the guard, and its keys wait for a person', async () => {
    using world = new TriggerWorld();
    world.deleteGuard = { rows: 10, share: 0.05 };
    world.sql(
      "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO person SELECT i, 'a', 'x' FROM n",
    );
    await world.install();
    await world.step();
    world.sql('DELETE FROM person WHERE id > 20');
    expect((await world.scan()).guarded).toMatchObject({ code: 'DELETE_GUARD' });
    await world.deliver();
    expect(world.destination.rows('person').length).toBe(100);
    world.captureRun = 1n;
    world.allowedDeletes = 80n;
    await world.step();
    expect(world.destination.rows('person')).toEqual(world.rows());
  });

  test('a change table that was full is a gap, and what came after it is captured', async () => {
    using world = new TriggerWorld();
    await world.install(5);
    const { triggers, plan } = await world.triggers(5);
    const real = triggers.plan;
    world.source = world.dataSource.then((source) => ({
      ...wrapped(source),
      triggers: { ...triggers, plan: (table) => real({ ...table, budget: 5 }) },
    }));
    await world.step();
    for (let id = 0; id < 20; id++) world.sql(`INSERT INTO person VALUES (${id}, 'a', 'x')`);
    expect(await world.waiting()).toBeLessThan(8);
    expect(plan.changes.name).toMatch(/^qiao_changes_/);
    expect(await world.step()).toBe(20);
    expect(world.trouble).toBe('TRIGGER_GAP');
    world.sql("UPDATE person SET name = 'b' WHERE id = 3");
    expect(await world.step()).toBe(1);
    expect(world.destination.rows('person')).toEqual(world.rows());
  });

  test('what commits between the noted keys and their rows arrives whole: a unique value is never at two rows for a moment', async () => {
    using world = new TriggerWorld();
    world.sql("INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'x')");
    await world.install();
    await world.step();
    const before = world.books;
    world.sql("UPDATE person SET city = 'y' WHERE id = 1");
    simulateCrashes((point) => {
      if (point !== 'entries.forgotten') return;
      simulateCrashes(undefined);
      world.sql("BEGIN; UPDATE person SET name = 'b' WHERE id = 1; UPDATE person SET name = 'a' WHERE id = 2; COMMIT");
    });
    await world.step();
    expect(world.rows()).toEqual(['1\tb\ty', '2\ta\tx']);
    expect(world.destination.rows('person')).toEqual(world.rows());
    expect(await world.step()).toBe(0);
    expect(await world.waiting()).toBe(0);
    const { captured, packed, folded } = world.books;
    expect([captured - before.captured, packed - before.packed, folded - before.folded]).toEqual([3, 2, 1]);
  });

  test('a table that was emptied at once is read whole, and nobody has to say that they know', async () => {
    using world = new TriggerWorld();
    world.sql("INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'x')");
    await world.install();
    await world.step();
    const { triggers, plan } = await world.triggers();
    // As PostgreSQL notes a TRUNCATE.
    world.sql(`INSERT INTO person VALUES (3, 'c', 'x'); DELETE FROM person; DELETE FROM ${plan.changes.name}`);
    world.sql(`INSERT INTO ${plan.changes.name} (operation) VALUES ('T')`);
    await world.step();
    expect(world.destination.rows('person')).toEqual([]);
    expect([world.trouble, await world.waiting(), (await triggers.state(plan)).kind]).toEqual(['', 0, 'ready']);
    expect(await world.step()).toBe(0);
  });

  test('what no trigger sees is found by the whole scan of the day', async () => {
    using world = new TriggerWorld();
    world.sql("INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'x')");
    await world.install();
    await world.step();
    const { triggers, plan } = await world.triggers();
    await triggers.forget(plan, []);
    world.sql(`UPDATE person SET name = 'c' WHERE id = 2; DELETE FROM ${plan.changes.name}`);
    await world.step();
    expect(world.destination.rows('person')).not.toEqual(world.rows());
    world.nowMs += 24 * 60 * 60_000;
    await world.step();
    expect(world.destination.rows('person')).toEqual(world.rows());
  });

  test.each([1, 2, 3])(
    'random transactions, scans and crashes end with equal ends and books that add up (%i)',
    async (run) => {
      const seed = Math.floor(Math.random() * 2 ** 31);
      const random = mulberry(seed);
      const pick = (count: number) => Math.floor(random() * count);
      using world = new TriggerWorld();
      await world.install();
      try {
        for (let round = 0; round < 40; round++) {
          world.sql('BEGIN');
          for (let change = pick(8); change > 0; change--) {
            const [id, other] = [pick(30), pick(30)];
            const value = `n${pick(4)}`;
            const sql = [
              `INSERT INTO person VALUES (${id}, '${value}', 'x') ON CONFLICT (id) DO UPDATE SET name = '${value}'`,
              `REPLACE INTO person VALUES (${id}, '${value}', 'y')`,
              `DELETE FROM person WHERE id = ${id}`,
              `UPDATE OR IGNORE person SET id = ${other} WHERE id = ${id}`,
              `UPDATE person SET name = '${value}' WHERE id BETWEEN ${id} AND ${id + 3}`,
              `SAVEPOINT s; DELETE FROM person; ROLLBACK TO s; RELEASE s`,
            ][pick(6)] as string;
            world.sql(sql);
          }
          world.sql(pick(5) === 0 ? 'ROLLBACK' : 'COMMIT');
          if (pick(3) === 0) await world.step();
          if (pick(6) === 0) {
            // A kill in the middle: whatever was packed before stays packed.
            const stop = new AbortController();
            world.onFlush = () => stop.abort();
            await world.scan(stop.signal).catch(() => undefined);
            world.onFlush = () => {};
            world.reopen();
          }
        }
        await world.step();
        expect(world.destination.rows('person')).toEqual(world.rows());
        expect(world.books.captured).toBeGreaterThan(0);
      } catch (error) {
        throw new Error(`seed ${seed}, run ${run}`, { cause: error });
      }
    },
  );
});

test('noted changes and outcomes add up, whatever became of what', () => {
  const none = { insert: 0, update: 0, delete: 0 };
  expect(foldedOf({ inserts: 1, updates: 3, deletes: 0 }, { ...none, insert: 1 })).toEqual({ ...none, update: 3 });
  expect(foldedOf({ inserts: 0, updates: 2, deletes: 0 }, { ...none, insert: 1 })).toEqual({ ...none, update: 1 });
  expect(foldedOf({ inserts: 1, updates: 0, deletes: 1 }, none)).toEqual({ insert: 1, update: 0, delete: 1 });
  expect(foldedOf({ inserts: 0, updates: 0, deletes: 0 }, { ...none, update: 4 })).toEqual(none);
});

/** A data source whose members are bound to it, to be given with others. */
function wrapped<T extends object>(source: T): T {
  return new Proxy({} as T, {
    ownKeys: () => ['name', 'adapter', 'describe', 'snapshot'],
    getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true }),
    get(_, name) {
      const value = Reflect.get(source, name) as unknown;
      return typeof value === 'function' ? value.bind(source) : value;
    },
  });
}

function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
