/** For tests only: what other nodes said of rows, and what follows from it for changes that are found here. For each capture that asks. */
import { type Path, parseId } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { type Arrival, type CaptureTable, type ExchangeDatabase, GONE } from '../exchange-database/index.ts';
import { BRIDGE_ID, type MemoryDestination, placeThere } from './captureWorld.testing.ts';
import { digestOf } from './compare.ts';
import { type Circle, hear } from './otherEnd.ts';

/** A table `person` (id, name, city) with rows 1 to 3, loaded into one destination. */
export interface SaidWorld extends AsyncDisposable {
  readonly database: ExchangeDatabase;
  readonly destination: MemoryDestination;
  /** Rows of the source as they would land. */
  rows(): Promise<string[]>;
  /** One transaction at the source, and what leaves of it applied at the destination; its last statement inserts this row. */
  change(statements: readonly string[], last: string): Promise<void>;
  /** One transaction at the source that a whole scan sees, and nothing else does. */
  scanWhole(...statements: readonly string[]): Promise<void>;
  /** Whatever is to be looked at was, and what leaves of it is applied. */
  looked(): Promise<void>;
}

const ELSEWHERE = { node: 'e'.repeat(32), dataSource: 'own', table: 'person' };
const BACK = [placeThere('person')];

/** Says things to a world, and hears what follows. */
class Said implements AsyncDisposable {
  readonly world: SaidWorld;
  readonly #circle: Circle;
  readonly #one: string;
  #heard: number;

  constructor(world: SaidWorld, circle: Circle) {
    this.world = world;
    this.#circle = circle;
    this.#heard = world.destination.outcomes.length;
    this.#one = world.database.digests.after(this.id, '', 1)[0]?.[0] as string;
  }

  get id(): number {
    return (this.world.database.captures.table(parseId(BRIDGE_ID), 'person') as CaptureTable).id;
  }

  /** Said, and landed. */
  say(number: number, row: string, path: Path = BACK): void {
    this.begin(number, row, path);
    this.land(number, row);
  }

  /** Said, and about to land. */
  begin(number: number, row: string, path: Path = BACK): void {
    const { database } = this.world;
    const heard = { place: placeThere('person'), circle: this.#circle };
    database.transaction(() => hear(database, this.id, [this.#arrival(number, row)], path, heard));
  }

  /** A delete of a row that was never here landed. */
  deleted(number: number, path: Path): Arrival[] {
    this.say(number, GONE, path);
    return [this.#arrival(number, GONE)];
  }

  land(number: number, row: string): void {
    const { database } = this.world;
    database.transaction(() => database.arrivals.landed(this.id, [this.#arrival(number, row)]));
  }

  /** Answered, and the row here stayed against it. */
  keepOff(number: number, row: string): void {
    const { database } = this.world;
    const kept = [this.#arrival(number, row)];
    database.transaction(() => {
      database.arrivals.stayed(this.id, kept);
      database.sendBacks.keepAgainst(this.id, kept);
    });
  }

  /** What the destination was told since it was asked last. */
  get news(): string[] {
    const { outcomes } = this.world.destination;
    const news = outcomes.slice(this.#heard);
    this.#heard = outcomes.length;
    return news.sort();
  }

  get isAnyLeft(): boolean {
    return this.world.database.arrivals.hasAny(this.id);
  }

  #arrival(number: number, row: string) {
    return {
      key: this.#one.replace('1', String(number)),
      digest: row === GONE ? GONE : digestOf(Buffer.from(`${row}\n`)),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]();
  }
}

export function saidByOthers(make: (circle: Circle) => Promise<SaidWorld>): void {
  const began = async (circle: Circle = 'pair') => new Said(await make(circle), circle);

  test('a change is judged by what the destination said, and goes on with its path where another node said it', async () => {
    await using said = await began();
    const { world } = said;
    // Landed here, and nothing else: no news there. The place before it is the one that matters, however long the path.
    said.say(1, '1\tb\tx');
    said.say(4, '4\tb\tx', [...BACK, ELSEWHERE]);
    said.say(3, GONE);
    const landed = ["UPDATE person SET name = 'b' WHERE id = 1", "INSERT INTO person VALUES (4, 'b', 'x')"];
    await world.change([...landed, 'DELETE FROM person WHERE id = 3'], "(5, 'end', 'x')");
    expect(said.news).toEqual(['insert-missing']);
    expect(said.isAnyLeft).toBe(false);

    // Landed, and changed back, taken away or taken up again before it was found: the destination has what it said.
    said.say(1, '1\tc\tx');
    said.say(6, '6\tb\tx');
    said.say(2, GONE);
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
    expect(said.news).toEqual(['delete-missing', 'insert', 'insert-missing', 'update']);
    expect(said.isAnyLeft).toBe(false);

    // Said by a node that is not the destination: it goes on, with the way it took.
    said.say(8, '8\tb\tx', [ELSEWHERE]);
    said.say(7, GONE, [ELSEWHERE]);
    said.say(2, '2\tc\tx', [ELSEWHERE]);
    await world.change(
      [
        "INSERT INTO person VALUES (8, 'b', 'x')",
        'DELETE FROM person WHERE id = 7',
        "UPDATE person SET name = 'c' WHERE id = 2",
      ],
      "(9, 'end', 'x')",
    );
    expect(said.news).toEqual(['delete after e', 'insert-missing', 'insert-missing after e', 'update after e']);
    expect(said.isAnyLeft).toBe(false);
  });

  test('what the destination said stands under the word of another node: a row of it that the other deleted is deleted there', async () => {
    await using said = await began();
    said.world.destination.tables.get('person')?.set('9', '9\tb\tx');
    said.say(9, '9\tb\tx', [...BACK, ELSEWHERE]);
    said.say(9, GONE, [ELSEWHERE]);
    const both = ["INSERT INTO person VALUES (9, 'b', 'x')", 'DELETE FROM person WHERE id = 9'];
    await said.world.change(both, "(5, 'end', 'x')");
    expect(said.news).toEqual(['delete after e', 'insert-missing']);
    expect(said.isAnyLeft).toBe(false);
  });

  test('a row that another node made and that is gone before it was found is deleted all round a ring, and in a pair nowhere', async () => {
    const both = ["INSERT INTO person VALUES (9, 'b', 'x')", 'DELETE FROM person WHERE id = 9'];
    for (const circle of ['pair', 'ring'] as const) {
      await using said = await began(circle);
      said.say(9, '9\tb\tx', [ELSEWHERE]);
      await said.world.change(both, "(5, 'end', 'x')");
      expect(said.news).toEqual(circle === 'ring' ? ['delete-missing', 'insert-missing'] : ['insert-missing']);
      // One that the destination passed comes to nobody who has it.
      said.say(9, '9\tb\tx', [ELSEWHERE]);
      said.say(9, GONE, [...BACK, ELSEWHERE]);
      await said.world.change(both, "(6, 'end', 'x')");
      expect(said.news).toEqual(['insert-missing']);
      expect(said.isAnyLeft).toBe(false);
    }
  });

  test('a row that was never here is deleted all round a ring, though nothing of it can be found', async () => {
    await using said = await began('ring');
    const { arrivals } = said.world.database;
    arrivals.lookAt(said.id, said.deleted(9, [ELSEWHERE]));
    await said.world.looked();
    expect(said.news).toEqual(['delete-missing after e']);
    arrivals.lookAt(said.id, said.deleted(9, [...BACK, ELSEWHERE]));
    await said.world.looked();
    expect(said.news).toEqual([]);
    expect(said.isAnyLeft).toBe(false);
  });

  test('a row that did not change is not sent against what is about to land, nor against what waits; once that has landed it is judged', async () => {
    await using said = await began();
    said.world.destination.tables.get('person')?.delete('1');
    said.begin(1, GONE);
    await said.world.change(['UPDATE person SET name = name WHERE id = 1'], "(5, 'end', 'x')");
    expect(said.news).toEqual(['insert-missing']);
    // It landed meanwhile, and people took the very same row up again.
    said.land(1, GONE);
    await said.world.looked();
    expect(said.news).toEqual(['insert-missing']);
    expect(said.world.destination.rows('person')).toEqual(await said.world.rows());
    expect(said.isAnyLeft).toBe(false);
  });

  test('what landed, and went or was put back before a whole scan that alone saw it, is told', async () => {
    await using said = await began();
    const there = said.world.destination.tables.get('person');
    there?.set('9', '9\tb\tx');
    there?.delete('1');
    there?.set('2', '2\tz\tx');
    said.say(9, '9\tb\tx');
    said.say(1, GONE);
    said.say(2, '2\tz\tx');
    // About to land, and none of the scan's.
    said.begin(3, '3\tz\tx');
    await said.world.scanWhole(
      "INSERT INTO person VALUES (9, 'b', 'x')",
      'DELETE FROM person WHERE id = 9',
      'DELETE FROM person WHERE id = 1',
      "INSERT INTO person VALUES (1, 'a', 'x')",
      "UPDATE person SET name = 'z' WHERE id = 2",
    );
    await said.world.looked();
    expect(said.news).toEqual(['delete', 'insert-missing']);
    expect(said.world.destination.rows('person')).toEqual(await said.world.rows());
    there?.set('3', '3\tz\tx');
    await said.world.change(["UPDATE person SET name = 'z' WHERE id = 3"], "(5, 'end', 'x')");
    expect(said.news).toEqual(['insert-missing']);
    expect(said.isAnyLeft).toBe(false);
  });

  test('what another node said before its last word is found late, and is no news to it', async () => {
    await using said = await began();
    const { world } = said;
    const there = world.destination.tables.get('person');
    said.say(1, '1\tb\tx');
    said.begin(1, '1\tc\tx');
    said.say(9, '9\tb\tx');
    said.begin(9, GONE);
    said.say(2, GONE);
    said.begin(2, '2\tagain\tx');
    there?.set('1', '1\tc\tx').set('2', '2\tagain\tx');
    await world.change(
      [
        "UPDATE person SET name = 'b' WHERE id = 1",
        "INSERT INTO person VALUES (9, 'b', 'x')",
        'DELETE FROM person WHERE id = 2',
      ],
      "(5, 'end', 'x')",
    );
    expect(said.news).toEqual(['insert-missing']);
    said.land(1, '1\tc\tx');
    said.land(9, GONE);
    said.land(2, '2\tagain\tx');
    await world.change(
      [
        "UPDATE person SET name = 'c' WHERE id = 1",
        'DELETE FROM person WHERE id = 9',
        "INSERT INTO person VALUES (2, 'again', 'x')",
      ],
      "(6, 'end', 'x')",
    );
    expect(said.news).toEqual(['insert-missing']);
    expect(said.isAnyLeft).toBe(false);
    expect(world.destination.rows('person')).toEqual(await world.rows());

    // In a ring it goes on as it was said.
    said.say(8, '8\tb\tx', [ELSEWHERE]);
    said.begin(8, '8\tc\tx', [ELSEWHERE]);
    await world.change(["INSERT INTO person VALUES (8, 'b', 'x')"], "(10, 'end', 'x')");
    expect(said.news).toEqual(['insert-missing', 'insert-missing after e']);
    said.land(8, '8\tc\tx');
    await world.change(["UPDATE person SET name = 'c' WHERE id = 8"], "(11, 'end', 'x')");
    expect(said.news).toEqual(['insert-missing', 'update after e']);
    expect(said.isAnyLeft).toBe(false);
  });

  test('a row that people make what another node said before its last word is told once that has landed and the row is still so', async () => {
    await using said = await began();
    said.say(1, '1\tb\tx');
    said.begin(1, '1\tc\tx');
    said.world.destination.tables.get('person')?.set('1', '1\tc\tx');
    await said.world.change(["UPDATE person SET name = 'b' WHERE id = 1"], "(5, 'end', 'x')");
    expect(said.news).toEqual(['insert-missing']);
    said.land(1, '1\tc\tx');
    await said.world.looked();
    expect(said.news).toEqual(['update']);
    expect(said.isAnyLeft).toBe(false);
  });

  test('a row that came and went here is not deleted where another node is about to send it from', async () => {
    await using said = await began();
    said.begin(9, '9\tb\tx');
    said.begin(8, '8\tb\tx');
    const there = said.world.destination.tables.get('person');
    there?.set('9', '9\tb\tx').set('8', '8\tb\tx');
    const mine = (id: number) => [
      `INSERT INTO person VALUES (${id}, 'mine', 'x')`,
      `DELETE FROM person WHERE id = ${id}`,
    ];
    await said.world.change([...mine(8), ...mine(9)], "(5, 'end', 'x')");
    expect(said.news).toEqual(['insert-missing']);
    // One lands now. The other had landed, and that was it that went.
    said.land(8, '8\tb\tx');
    await said.world.looked();
    expect(said.news).toEqual(['delete']);
    await said.world.change(["INSERT INTO person VALUES (9, 'b', 'x')"], "(6, 'end', 'x')");
    said.land(9, '9\tb\tx');
    expect(said.news).toEqual(['insert-missing']);
    await said.world.looked();
    expect(said.news).toEqual([]);
    expect(said.world.destination.rows('person')).toEqual(await said.world.rows());
  });

  test('a row that kept another node’s off and went before either was told of it is deleted there; a delete that was told is told once', async () => {
    await using said = await began();
    const there = said.world.destination.tables.get('person');
    await said.world.change(['DELETE FROM person WHERE id = 1'], "(5, 'end', 'x')");
    expect(said.news).toEqual(['delete', 'insert-missing']);
    said.begin(1, '1\tb\tx');
    said.begin(9, '9\tb\tx');
    there?.set('9', '9\tb\tx');
    await said.world.change(
      ["INSERT INTO person VALUES (9, 'mine', 'x')", 'DELETE FROM person WHERE id = 9'],
      "(6, 'end', 'x')",
    );
    expect(said.news).toEqual(['insert-missing']);
    said.keepOff(9, '9\tb\tx');
    said.keepOff(1, '1\tb\tx');
    await said.world.looked();
    expect(said.news).toEqual(['delete']);
    expect(said.world.destination.rows('person')).toEqual(await said.world.rows());
    expect(said.world.database.sendBacks.isAnyDue).toBe(false);
  });
}
