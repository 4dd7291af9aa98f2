/**
 * For tests only: late commits on a real server, as a suite for each that tells which transactions are open. Transactions take their time
 * early and commit late, many of them open at once, while scans go on. Without any lag, so that nothing but the horizon can save a row.
 */
import { openDataSource } from '@qiao/adapters';
import { type BridgeTable, parseId } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { createCaptureParts } from './capture.ts';
import { BRIDGE_ID, CaptureWorld, type MemoryDestination } from './captureWorld.testing.ts';

const WRITERS = 6;
const STEPS = 200;

/** A connection of the department. */
export interface Writer extends AsyncDisposable {
  query(sql: string): Promise<(string | null)[][]>;
}

/** How a server is spoken to. `entry` is read by its numbers, `person` by its times; a transaction has a name. */
export interface LateServer {
  database(): Promise<Parameters<typeof openDataSource>[0]>;
  connect(config: Parameters<typeof openDataSource>[0]): Promise<Writer>;
  readonly tables: string;
  /** Where times are shown as they travel. */
  readonly showTimes: string;
  begin(name: string): string;
  /** Takes the transaction's time, or shows itself to the server, before anything is written. */
  readonly takeTime: string;
  /** Undefined where a number cannot be taken before its row is written. */
  readonly takeNumber: string | undefined;
  readonly now: readonly string[];
  commit(name: string): string;
  rollback(name: string): string;
  prepare(name: string): string;
  commitPrepared(name: string): string;
}

export function lateCommits(server: LateServer): void {
  test('a row that is committed behind the position is captured when its transaction has ended', async () => {
    await using world = await start(server);
    const [late, other] = [await world.session(), await world.session()];
    await late.query(server.begin('late'));
    await late.query(server.takeTime);
    await late.query(`INSERT INTO person VALUES ('late', 'late', ${server.now[0]})`);
    for (let i = 0; i < 3; i++) {
      await other.query(`INSERT INTO person VALUES ('other ${i}', 'early', ${server.now[0]})`);
      await world.scan();
    }
    await late.query(server.commit('late'));
    await world.scan();
    await world.deliver();
    expect(await world.difference('person')).toEqual([]);
    expect(world.destination.outcomes).toEqual(Array(4).fill('insert-missing'));
  });

  test('a transaction that stays open is named after an hour, and no more when it has ended', async () => {
    await using world = await start(server);
    const forgotten = await world.session();
    await forgotten.query(server.begin('forgotten'));
    await forgotten.query(server.takeTime);
    await world.scan();
    await world.scan();
    expect(world.trouble).toBe('');
    world.nowMs += 61 * 60_000;
    expect(world.trouble).toBe('CURSOR_HELD');
    await forgotten.query(server.commit('forgotten'));
    while (world.trouble !== '') await world.scan();
  });

  const seeds = process.env.QIAO_TEST_SEED === undefined ? [1, 2] : [Number(process.env.QIAO_TEST_SEED)];

  test.each(seeds)('whoever commits when, every row is captured once with its last value (seed %i)', async (seed) => {
    await using world = await start(server);
    const random = randomOf(seed);
    const pick = (count: number) => Math.floor(random() * count);
    const writers = await Promise.all(
      Array.from({ length: WRITERS }, async (_, index) => ({
        index,
        session: await world.session(),
        open: '',
        numbers: [] as string[],
      })),
    );
    let serial = 0;
    for (let step = 0; step < STEPS; step++) {
      const writer = writers[pick(WRITERS)] as (typeof writers)[number];
      const { session, index } = writer;
      const query = (sql: string) => session.query(sql);
      serial += 1;
      if (random() < 0.12) {
        await world.scan();
        continue;
      }
      if (writer.open === '') {
        writer.open = `t${serial}`;
        await query(server.begin(writer.open));
        // Half of them take their time now, and write later.
        if (random() < 0.5) await query(server.takeTime);
        continue;
      }
      switch (pick(7)) {
        case 0: {
          const [[number] = []] = server.takeNumber === undefined ? [] : await query(server.takeNumber);
          if (number !== undefined && number !== null) writer.numbers.push(number);
          break;
        }
        case 1: {
          const number = writer.numbers.pop();
          if (number !== undefined) await query(`INSERT INTO entry VALUES (${number}, 'kept back ${serial}')`);
          break;
        }
        case 2:
          await query(`INSERT INTO entry (text) VALUES ('plain ${serial}')`);
          break;
        case 3:
          await query(
            `INSERT INTO person VALUES ('${index}-${serial}', 'new', ${server.now[pick(server.now.length)]})`,
          );
          break;
        case 4: {
          // Each writer has rows of its own, so that nobody waits for a lock.
          const mine = await query(`SELECT id FROM person WHERE id LIKE '${index}-%' ORDER BY reverse(id) LIMIT 1`);
          const at = server.now[pick(server.now.length)];
          await query(`UPDATE person SET text = 'changed ${serial}', at = ${at} WHERE id = '${mine[0]?.[0] ?? ''}'`);
          break;
        }
        case 5:
          await query(random() < 0.8 ? server.commit(writer.open) : server.rollback(writer.open));
          writer.open = '';
          writer.numbers.length = 0;
          break;
        default: {
          // One stays open for long, and some are prepared and committed by and by.
          if (index === 0 || random() < 0.5) break;
          const prepared = writer.open;
          await query(server.prepare(prepared));
          writer.open = '';
          writer.numbers.length = 0;
          if (random() < 0.5) await world.scan();
          await query(server.commitPrepared(prepared));
        }
      }
    }
    await world.scan();
    for (const { session, open } of writers) if (open !== '') await session.query(server.commit(open));
    await world.scan();
    await world.deliver();
    expect(await world.difference('entry')).toEqual([]);
    expect(await world.difference('person')).toEqual([]);
    const [[rows] = []] = await world.department.query(
      'SELECT (SELECT count(*) FROM entry) + (SELECT count(*) FROM person)',
    );
    const kinds = Object.groupBy(world.destination.outcomes, (outcome) => outcome);
    expect(kinds['insert-missing']?.length).toBe(Number(rows));
    expect(Object.keys(kinds).filter((kind) => kind !== 'insert-missing' && kind !== 'update')).toEqual([]);
    // At rest, both positions are proven and next to nothing is read.
    while ((await world.scan()) >= Number(rows) / 4);
  });
}

interface World extends AsyncDisposable {
  nowMs: number;
  readonly department: Writer;
  readonly destination: MemoryDestination;
  /** The code that the heartbeat would carry. */
  readonly trouble: string;
  session(): Promise<Writer>;
  /** Rows read. */
  scan(): Promise<number>;
  deliver(): Promise<void>;
  /** Lines that one end has and the other has not. */
  difference(table: string): Promise<string[]>;
}

async function start(server: LateServer): Promise<World> {
  const config = await server.database();
  const world = new CaptureWorld();
  const sessions: Writer[] = [];
  const department = await server.connect(config);
  await department.query(server.tables);
  const source = await openDataSource(config);
  world.source = Promise.resolve(source);
  world.capture = 'cursor';
  const tables: BridgeTable[] = [
    { name: 'entry', transform: [], checks: [], cursor: { column: 'no' } },
    { name: 'person', transform: [], checks: [], cursor: { column: 'at', lagMs: 0 } },
  ];
  world.bridgeTables.push(...tables);
  const destination = world.addLane();
  return {
    department,
    destination,
    get nowMs() {
      return world.nowMs;
    },
    set nowMs(nowMs) {
      world.nowMs = nowMs;
    },
    get trouble() {
      return createCaptureParts(world.ports).states()[0]?.code ?? '';
    },
    async session() {
      const session = await server.connect(config);
      sessions.push(session);
      return session;
    },
    scan: async () => (await world.scan()).rows,
    deliver: () => world.deliver(),
    async difference(table) {
      const columns = table === 'entry' ? 'no, text' : `id, text, ${server.showTimes}`;
      const there = (await department.query(`SELECT ${columns} FROM ${table}`)).map((row) => row.join('\t'));
      const here = destination.rows(table);
      const id = world.database.captures.table(parseId(BRIDGE_ID), table)?.id ?? 0;
      const only = [...there.filter((line) => !here.includes(line)), ...here.filter((line) => !there.includes(line))];
      return only.length === 0 ? [] : [...only, JSON.stringify(world.database.cursors.get(id))];
    },
    async [Symbol.asyncDispose]() {
      await source.close();
      for (const session of [...sessions, department]) await session[Symbol.asyncDispose]();
      world[Symbol.dispose]();
    },
  };
}

/** Numbers from 0 to 1 that a seed repeats (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
