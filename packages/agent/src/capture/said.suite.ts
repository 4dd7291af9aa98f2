/** For tests only: what other nodes said of rows, and what follows from it for changes that are found here. For each capture that asks. */
import { parseId } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { type CaptureTable, type ExchangeDatabase, GONE } from '../exchange-database/index.ts';
import { BRIDGE_ID, type MemoryDestination, placeThere } from './captureWorld.testing.ts';
import { digestOf } from './compare.ts';

/** A table `person` (id, name, city) with rows 1 to 3, loaded into one destination. */
export interface SaidWorld extends AsyncDisposable {
  readonly database: ExchangeDatabase;
  readonly destination: MemoryDestination;
  /** One transaction at the source, and what leaves of it applied at the destination; its last statement inserts this row. */
  change(statements: readonly string[], last: string): Promise<void>;
}

const ELSEWHERE = { node: 'e'.repeat(32), dataSource: 'own', table: 'person' };

export function saidByOthers(make: () => Promise<SaidWorld>): void {
  test('a change is judged by what the destination said, and goes on with its path where another node said it', async () => {
    await using world = await make();
    const { database, destination } = world;
    const { id } = database.captures.table(parseId(BRIDGE_ID), 'person') as CaptureTable;
    const [one, , three] = database.digests.after(id, '', 10).map(([key]) => key) as [string, string, string];
    const keyOf = (number: number) => one.replace('1', String(number));
    expect([one, three]).toEqual([keyOf(1), keyOf(3)]);
    const before = destination.outcomes.length;
    const back = [placeThere('person')];
    const say = (number: number, row: string, path = back) =>
      database.transaction(() =>
        database.arrivals.put(
          id,
          [{ key: keyOf(number), digest: row === GONE ? GONE : digestOf(Buffer.from(`${row}\n`)) }],
          path,
        ),
      );

    // Landed here, and nothing else: no news there. The place before it is the one that matters, however long the path.
    say(1, '1\tb\tx');
    say(4, '4\tb\tx', [...back, ELSEWHERE]);
    say(3, GONE);
    const landed = ["UPDATE person SET name = 'b' WHERE id = 1", "INSERT INTO person VALUES (4, 'b', 'x')"];
    await world.change([...landed, 'DELETE FROM person WHERE id = 3'], "(5, 'end', 'x')");
    expect(destination.outcomes.slice(before)).toEqual(['insert-missing']);
    expect(database.arrivals.hasAny(id)).toBe(false);

    // Landed, and changed back, taken away or taken up again before it was found: the destination has what it said.
    say(1, '1\tc\tx');
    say(6, '6\tb\tx');
    say(2, GONE);
    await world.change(
      [
        "UPDATE person SET name = 'c' WHERE id = 1",
        "UPDATE person SET name = 'b' WHERE id = 1",
        "INSERT INTO person VALUES (6, 'b', 'x')",
        'DELETE FROM person WHERE id = 6',
        'DELETE FROM person WHERE id = 2',
        "INSERT INTO person VALUES (2, 'again', 'x')",
      ],
      "(7, 'end', 'x')",
    );
    expect(destination.outcomes.slice(before + 1).sort()).toEqual([
      'delete-missing',
      'insert',
      'insert-missing',
      'update',
    ]);
    expect(database.arrivals.hasAny(id)).toBe(false);

    // Said by a node that is not the destination: it goes on, with the way it took.
    say(8, '8\tb\tx', [ELSEWHERE]);
    say(7, GONE, [ELSEWHERE]);
    say(2, '2\tc\tx', [ELSEWHERE]);
    await world.change(
      [
        "INSERT INTO person VALUES (8, 'b', 'x')",
        'DELETE FROM person WHERE id = 7',
        "UPDATE person SET name = 'c' WHERE id = 2",
      ],
      "(9, 'end', 'x')",
    );
    expect(destination.outcomes.slice(before + 5).sort()).toEqual([
      'delete after e',
      'insert-missing',
      'insert-missing after e',
      'update after e',
    ]);
    expect(database.arrivals.hasAny(id)).toBe(false);
  });
}
