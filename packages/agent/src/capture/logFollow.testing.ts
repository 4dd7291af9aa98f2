/** For tests only: what holds of every log that a bridge follows, as a suite for each kind of server. */
import type { BridgeTable } from '@qiao/exchange';
import { seededRandom, storySeed } from '@qiao/testkit';
import { expect, test } from 'vitest';
import type { LogWorld } from './logWorld.testing.ts';

/** How a server is spoken to. */
export interface LoggedServer {
  world(ddl: string, ...tables: (Partial<BridgeTable> & { name: string })[]): Promise<LogWorld>;
  /** What to select `n` from, up to and with `last`. */
  numbers(last: number): string;
  upsert(id: number, name: string): string;
  /** Gives a row another key, unless that is taken. */
  move(id: number, to: number): string;
  /** Other ways to change a row. */
  also(id: number): readonly string[];
  /** Makes the log go on in another file. */
  readonly nextFile?: string;
}

const PERSON = 'CREATE TABLE person (id int PRIMARY KEY, name varchar(40), city varchar(100))';
const ROWS = 'SELECT id, name, city FROM person';

export function followsLog(server: LoggedServer): void {
  test('a bridge loads, and then every committed change arrives, folded, in one delivery for a transaction', async () => {
    await using w = await server.world(`${PERSON}; INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'x')`, {
      name: 'person',
    });
    w.start();
    await w.arrived('person', ROWS);
    await w.sql(
      "BEGIN; INSERT INTO person VALUES (3, 'c', 'y'); UPDATE person SET name = 'bb' WHERE id = 2; DELETE FROM person WHERE id = 1; UPDATE person SET id = 4 WHERE id = 3; COMMIT",
    );
    await w.arrived('person', ROWS);
    expect(w.scans).toBe(1);
    expect(w.destination.outcomes.slice(2)).toEqual(['delete', 'insert-missing', 'update']);
    expect(w.destination.sequence).toBe(2n);
  });

  test('a column that comes while the log is prepared travels', async () => {
    await using w = await server.world(`${PERSON}; INSERT INTO person VALUES (1, 'a', 'x')`, { name: 'person' });
    w.start();
    await w.arrived('person', ROWS);
    const altered = Promise.withResolvers<void>();
    w.onPrepare = async () => {
      w.onPrepare = () => Promise.resolve();
      await w.sql("ALTER TABLE person ADD COLUMN born date DEFAULT '2000-01-01'");
      altered.resolve();
    };
    w.changed();
    await altered.promise;
    await w.arrived('person', 'SELECT id, name, city, born FROM person');
  });

  test.each([
    ['renamed', ['id', 'name', 'city'], 'COLUMN_MISSING'],
    ['dropped', ['id', 'name', 'city'], 'COLUMN_MISSING'],
    ['dropped', undefined, 'COLUMN_DROPPED'],
  ] as const)(
    'a column that is %s from %j stops its bridge with %s, and the bridge goes on by itself when it is back',
    async (how, columns, code) => {
      const [gone, back] = {
        renamed: ['RENAME COLUMN city TO town', 'RENAME COLUMN town TO city'],
        dropped: ['DROP COLUMN city', "ADD COLUMN city varchar(100) DEFAULT 'back'"],
      }[how];
      await using w = await server.world(`${PERSON}; INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'x')`, {
        name: 'person',
        ...(columns === undefined ? {} : { columns: [...columns] }),
      });
      w.start();
      await w.arrived('person', ROWS);
      await w.sql(`ALTER TABLE person ${gone}`);
      await w.until('the bridge is stuck', () => w.isStuck && w.trouble === code);
      await w.sql("INSERT INTO person (id, name) VALUES (3, 'c')");
      await w.sql(`ALTER TABLE person ${back}`);
      await w.sql('DELETE FROM person WHERE id = 2');
      await w.arrived('person', ROWS);
      expect(w.trouble).toBe('');
      // With a backlog from before: the agent was away when it happened.
      await w.stop();
      await w.sql("UPDATE person SET name = 'from before', city = 'y' WHERE id = 1");
      await w.sql(`ALTER TABLE person ${gone}`);
      await w.sql("INSERT INTO person (id, name) VALUES (4, 'd')");
      w.start();
      await w.until('the bridge is stuck', () => w.isStuck && w.trouble === code);
      w.version += 1;
      w.bridgeTables.splice(0, 1, { name: 'person', columns: ['id', 'name'], transform: [], checks: [] });
      w.changed();
      await w.arrived('person', 'SELECT id, name FROM person');
      await w.sql('DELETE FROM person WHERE id = 1');
      await w.arrived('person', 'SELECT id, name FROM person');
      expect(w.trouble).toBe('');
    },
  );

  test('an agent that dies in the middle of a large transaction goes on behind what it has, and counts each change once', async () => {
    await using w = await server.world(PERSON, { name: 'person' });
    w.parcelBytes = 64 * 1024;
    w.start();
    await w.arrived('person', ROWS);
    await w.stop();
    await w.sql(`INSERT INTO person SELECT n, concat('name ', n), repeat('x', 100) FROM ${server.numbers(40_000)}`);
    for (const deaths of [1, 2, 3]) {
      const died = w.flushed(deaths * 2);
      w.start();
      await died;
      await w.stop();
    }
    expect(w.state?.part?.changes).toBeGreaterThan(0);
    w.start();
    await w.arrived('person', ROWS);
    expect(w.scans).toBe(1);
    expect(w.books).toEqual(['person insert 40000/0/0/0']);
  });

  test.each([1, 2, 3])(
    'whatever commits while a bridge loads, stops and follows, the destination ends up like the source (%i)',
    async (run) => {
      await using w = await server.world(
        `${PERSON}; INSERT INTO person SELECT n, 'start', 'x' FROM ${server.numbers(300)}`,
        { name: 'person' },
      );
      const random = seededRandom(storySeed(`log ${run}`));
      const pick = (most: number) => Math.floor(random() * most) + 1;
      w.deleteGuard = { rows: 1_000_000, share: 1 };
      w.parcelBytes = 20_000;
      await using second = await w.another();
      const change = () => {
        const id = pick(400);
        const update = `UPDATE person SET name = 'u${pick(9999)}' WHERE id BETWEEN ${id} AND ${id + pick(30)}`;
        const changes = [
          update,
          update,
          server.upsert(id, `n${pick(9999)}`),
          `DELETE FROM person WHERE id = ${id}`,
          server.move(id, 400 + pick(400)),
          `SAVEPOINT s; UPDATE person SET city = 'gone' WHERE id < 100; ROLLBACK TO SAVEPOINT s`,
          ...server.also(id),
        ];
        return changes[pick(changes.length) - 1] as string;
      };
      const transact = async (session: { query(sql: string): Promise<unknown> }) => {
        const changes = Array.from({ length: pick(6) }, change).join('; ');
        try {
          await session.query(`BEGIN; ${changes}; ${random() < 0.15 ? 'ROLLBACK' : 'COMMIT'}`);
        } catch {
          // A deadlock of the two, or a key that is taken: their business.
          await session.query('ROLLBACK');
        }
      };
      for (let round = 0; round < 6; round++) {
        w.start();
        if (round % 2 === 1) {
          w.captureRun += 1n;
          w.changed();
        }
        // At times the log is followed before anything happens, at times the scan is still to come, or under way.
        if (random() < 0.6)
          await w.until('the log is followed', () => w.state !== undefined && w.state.owes === undefined);
        for (let i = 0; i < 25; i++) await Promise.all([transact(w.department), transact(second)]);
        if (server.nextFile !== undefined && random() < 0.3) await w.sql(server.nextFile);
        await w.stop();
      }
      w.start();
      await w.arrived('person', ROWS);
      await w.stop();
      expect(w.books.length).toBeGreaterThan(0);
    },
  );
}
