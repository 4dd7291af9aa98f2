import { parseFilter, QiaoError, type Section } from '@qiao/exchange';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ApplyWork, defaultJournalColumns, type Target, type TargetTable } from '../adapter.ts';
import { openPostgres } from './dataSource.ts';
import { type Layout, readLayouts } from './layout.ts';
import { departmentSession, type PostgresServer, startPostgres } from './server.testing.ts';
import { openSession, type PostgresConfig, type Session } from './session.ts';
import { fill, type Stage, Stages } from './stage.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const LIMITS = { statementMs: 60_000, lockMs: 5000, idleInTransactionMs: 60_000 };

class World implements AsyncDisposable {
  readonly config: PostgresConfig;
  readonly session: Session;
  readonly target: Target;
  #sequence = 0n;
  readonly #lane: string;

  constructor(config: PostgresConfig, session: Session, target: Target) {
    this.config = config;
    this.session = session;
    this.target = target;
    this.#lane = 'ab'.repeat(16);
  }

  static async make(ddl: string): Promise<World> {
    const config = await server.database();
    const session = await openSession(config, { side: 'TARGET', purpose: 'test', limits: LIMITS });
    await session.run(ddl);
    const target = await openPostgres(config).openTarget();
    await target.prepare();
    return new World(config, session, target);
  }

  async apply(tables: TargetTable[], sections: Section[], more: Partial<ApplyWork> = {}) {
    if (this.#sequence === 0n) {
      await this.target.apply({ ...this.work(tables, []), opensEpoch: true });
      this.#sequence = 1n;
    }
    const result = await this.target.apply({ ...this.work(tables, sections), ...more });
    if (result.kind === 'applied') this.#sequence += 1n;
    return result;
  }

  work(tables: TargetTable[], sections: Section[]): ApplyWork {
    const at = (sequence: bigint) => new Uint8Array(32).fill(Number(sequence) + 1);
    return {
      laneId: this.#lane,
      epoch: 1n,
      nonce: new Uint8Array(16).fill(7),
      sequence: this.#sequence,
      previousChain: this.#sequence === 0n ? new Uint8Array(32) : at(this.#sequence - 1n),
      chain: at(this.#sequence),
      contentHash: this.#sequence === 0n ? new Uint8Array() : at(this.#sequence + 100n),
      settledThrough: 0n,
      tables: new Map(tables.map((table) => [table.table, table])),
      sections,
      opensEpoch: false,
      load: { begins: false, ends: false, allowedDeletes: 0 },
      batchNo: 'b1',
      sourceDepartment: 'health',
      appliedAtMs: 1_700_000_000_000,
      deleteGuard: { rows: 1000, share: 0.05 },
      beforeCommit: () => undefined,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.target.close();
    await this.session.close();
  }
}

function table(name: string, columns: string[], more: Partial<TargetTable> = {}): TargetTable {
  return {
    table: name,
    ref: { name },
    key: columns.slice(0, 1),
    columns: columns.map((column) => ({ name: column, type: { type: 'text' } })),
    ownership: 'whole',
    landing: 'mirror',
    onDelete: 'delete',
    journalColumns: defaultJournalColumns,
    ...more,
  };
}

function section(name: string, kind: Section['kind'], columns: string[], lines: string[]): Section {
  const rows = Buffer.from(lines.map((line) => `${line}\n`).join(''));
  return { table: name, kind, columns, keyColumns: 1, rowCount: lines.length, rows, wholeRows: kind !== 'delete' };
}

/** `inserted 2, unchanged 1` of an applied result. */
function outcomes(result: Awaited<ReturnType<Target['apply']>>): string {
  if (result.kind !== 'applied')
    return JSON.stringify(result, (_, value) => (typeof value === 'bigint' ? `${value}` : value));
  return result.answer.outcomes.map((cell) => `${cell.sent}:${cell.outcome} ${cell.rows}`).join(', ');
}

describe('rows', () => {
  test('an insert is inserted, unchanged or updatedInsteadOfInsert, and a delete says whether there was a row', async () => {
    await using world = await World.make('CREATE TABLE "人" ("编号" int PRIMARY KEY, "姓名" text, other text)');
    const people = table('人', ['编号', '姓名']);
    const columns = ['编号', '姓名'];
    expect(
      outcomes(await world.apply([people], [section('人', 'insert', columns, ['1\t王', '2\t李', '3\t\\N'])])),
    ).toBe('insert:inserted 3');
    await world.session.run("UPDATE 人 SET other = 'kept'");
    expect(
      outcomes(await world.apply([people], [section('人', 'insert', columns, ['1\t王', '2\t赵', '3\t\\N', '4\t孙'])])),
    ).toBe('insert:inserted 1, insert:unchanged 2, insert:updatedInsteadOfInsert 1');
    expect(
      outcomes(
        await world.apply(
          [people],
          [
            section('人', 'update', columns, ['1\t钱', '9\t周', '2\t赵']),
            section('人', 'delete', ['编号'], ['3', '77']),
          ],
        ),
      ),
    ).toBe(
      'update:updated 1, update:unchanged 1, update:insertedInsteadOfUpdate 1, delete:deleted 1, delete:deletedNothing 1',
    );
    expect(await world.session.rows('SELECT * FROM 人 ORDER BY 1')).toEqual([
      ['1', '钱', 'kept'],
      ['2', '赵', 'kept'],
      ['4', '孙', null],
      ['9', '周', null],
    ]);
  });

  test('rows that come again as they are write nothing, and the others among them land', async () => {
    await using world = await World.make('CREATE TABLE t (id int PRIMARY KEY, v text)');
    const t = table('t', ['id', 'v']);
    const insert = (...lines: string[]) => world.apply([t], [section('t', 'insert', ['id', 'v'], lines)]);
    const versions = () => world.session.rows('SELECT id, ctid, xmin, xmax FROM t WHERE id < 4 ORDER BY 1');
    await insert('1\ta', '2\tb', '3\t\\N', '4\td');
    expect(outcomes(await insert('1\ta', '2\tb', '3\t\\N', '4\td'))).toBe('insert:unchanged 4');
    const before = await versions();
    expect(outcomes(await insert('1\ta', '2\tb', '3\t\\N', '4\tD', '5\te'))).toBe(
      'insert:inserted 1, insert:unchanged 3, insert:updatedInsteadOfInsert 1',
    );
    expect(await versions()).toEqual(before);
    expect(await world.session.rows('SELECT id, v FROM t WHERE id > 3 ORDER BY 1')).toEqual([
      ['4', 'D'],
      ['5', 'e'],
    ]);
  });

  test('a row that only looks equal is not unchanged', async () => {
    await using world = await World.make(
      'CREATE TABLE t (id numeric PRIMARY KEY, f float8, j json, n numeric, x xml, p point)',
    );
    const columns = ['id', 'f', 'j', 'n', 'x', 'p'];
    const t = table('t', columns);
    await world.apply(
      [t],
      [section('t', 'insert', columns, ['1.0\t0\t{"a":1}\t1.0\t<a/>\t(1,2)', '2\tNaN\t{}\t1\t<a/>\t(0,0)'])],
    );
    expect(
      outcomes(
        await world.apply(
          [t],
          [section('t', 'insert', columns, ['1.00\t-0\t{"a": 1}\t1.00\t<a />\t(1,2)', '2\tNaN\t{}\t1\t<a/>\t(0,0)'])],
        ),
      ),
    ).toBe('insert:unchanged 1, insert:updatedInsteadOfInsert 1');
    expect(await world.session.rows('SELECT id, f, j, n FROM t WHERE id = 1')).toEqual([
      ['1.00', '-0', '{"a": 1}', '1.00'],
    ]);
  });

  test('bad rows are isolated with their place, and all others land', async () => {
    await using world = await World.make(
      'CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p, v varchar(3) NOT NULL, u int UNIQUE)',
    );
    const parents = table('p', ['id']);
    const children = table('c', ['id', 'p', 'v', 'u']);
    const columns = ['id', 'p', 'v', 'u'];
    let handed = 0;
    const result = await world.apply(
      [parents, children],
      [
        section('c', 'insert', columns, [
          '1\t1\tabc\t1',
          '2\t1\tlonger\t2',
          '3\t1\t\\N\t3',
          '4\t99\tabc\t4',
          '5\t1\tabc\t1',
          'x\t1\tabc\t6',
          '7\t2\tabc\t7',
        ]),
        section('p', 'insert', ['id'], ['1', '2']),
      ],
      { beforeCommit: (rows) => void (handed = rows.length) },
    );
    expect(outcomes(result)).toBe('insert:inserted 2, insert:quarantined 5, insert:inserted 2');
    expect(handed).toBe(5);
    if (result.kind !== 'applied') throw new Error('applied is expected');
    expect(result.quarantined.map((row) => [row.index, row.code, Buffer.from(row.line).toString()])).toEqual([
      [1, 'VALUE_INVALID', '2\t1\tlonger\t2\n'],
      [2, 'NOT_NULL', '3\t1\t\\N\t3\n'],
      [3, 'FOREIGN_KEY', '4\t99\tabc\t4\n'],
      [4, 'UNIQUE', '5\t1\tabc\t1\n'],
      [5, 'VALUE_INVALID', 'x\t1\tabc\t6\n'],
    ]);
    expect(JSON.stringify(result.quarantined.map((row) => row.reason))).not.toMatch(/longer|99/);
  });

  test('children sent before their parents land whole in another order, deletes too', async () => {
    await using world = await World.make(
      'CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY, p int NOT NULL REFERENCES p)',
    );
    const tables = [table('p', ['id']), table('c', ['id', 'p'])];
    expect(
      outcomes(
        await world.apply(tables, [
          section('c', 'insert', ['id', 'p'], ['1\t1', '2\t2']),
          section('p', 'insert', ['id'], ['1', '2']),
        ]),
      ),
    ).toBe('insert:inserted 2, insert:inserted 2');
    expect(
      outcomes(
        await world.apply(tables, [section('p', 'delete', ['id'], ['1']), section('c', 'delete', ['id'], ['1'])]),
      ),
    ).toBe('delete:deleted 1, delete:deleted 1');
  });

  test('rows that wait for each other land by deferred constraints; those that never fit are isolated', async () => {
    await using world = await World.make(
      `CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a DEFERRABLE);
       ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE`,
    );
    const tables = [table('a', ['id', 'b']), table('b', ['id', 'a'])];
    expect(
      outcomes(
        await world.apply(tables, [
          section('a', 'insert', ['id', 'b'], ['1\t1']),
          section('b', 'insert', ['id', 'a'], ['1\t1']),
        ]),
      ),
    ).toBe('insert:inserted 1, insert:inserted 1');
    expect(outcomes(await world.apply(tables, [section('a', 'insert', ['id', 'b'], ['2\t1', '3\t9'])]))).toBe(
      'insert:inserted 1, insert:quarantined 1',
    );
  });

  test('a mark that a DBA altered meanwhile is asked anew over another connection', async () => {
    await using w = await World.make('CREATE TABLE t (id int PRIMARY KEY)');
    const tables = [table('t', ['id'])];
    const insert = (id: number) => w.apply(tables, [section('t', 'insert', ['id'], [`${id}`])]);
    expect((await insert(1)).kind).toBe('applied');
    await w.session.run('ALTER TABLE qiao_mark ALTER answer TYPE varchar(100000)');
    await expect(insert(2)).rejects.toMatchObject({ code: 'TARGET_UNAVAILABLE', fate: 'transient' });
    expect((await insert(2)).kind).toBe('applied');
    expect(await w.session.rows('SELECT id FROM t ORDER BY id')).toEqual([['1'], ['2']]);
  });

  test('more than a thousand bad rows are a bad schema', async () => {
    await using world = await World.make('CREATE TABLE t (id int PRIMARY KEY, v varchar(1))');
    const lines = Array.from({ length: 1100 }, (_, index) => `${index}\tlong`);
    const applied = world.apply([table('t', ['id', 'v'])], [section('t', 'insert', ['id', 'v'], lines)]);
    await expect(applied).rejects.toMatchObject({ code: 'QUARANTINE_LIMIT', fate: 'permanent' });
    expect(await world.target.points('ab'.repeat(16))).toHaveLength(1);
  });

  test('a missing table, a missing right and a trigger that swallows rows stop the lane', async () => {
    await using world = await World.make(
      `CREATE TABLE t (id int PRIMARY KEY, v text);
       CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
       CREATE TABLE s (id int PRIMARY KEY); CREATE TRIGGER s BEFORE INSERT ON s FOR EACH ROW EXECUTE FUNCTION swallow();`,
    );
    const one = [section('t', 'insert', ['id', 'v'], ['1\ta'])];
    await expect(world.apply([table('t', ['id', 'v'], { ref: { name: 'gone' } })], one)).rejects.toMatchObject({
      code: 'TARGET_SCHEMA',
    });
    await expect(world.apply([table('s', ['id'])], [section('s', 'insert', ['id'], ['1'])])).rejects.toMatchObject({
      code: 'TARGET_SCHEMA',
    });
    await world.session.run('CREATE ROLE poor LOGIN; GRANT ALL ON qiao_mark TO poor; GRANT SELECT ON t TO poor');
    const poor = await openPostgres({ ...world.config, user: 'poor' }).openTarget();
    try {
      const work = { ...world.work([table('t', ['id', 'v'])], one), sequence: 1n };
      const at = (value: number) => new Uint8Array(32).fill(value);
      const refused = poor.apply({ ...work, previousChain: at(1), chain: at(2), contentHash: at(102) });
      await expect(refused).rejects.toMatchObject({ code: 'TARGET_RIGHTS', fate: 'permanent' });
    } finally {
      await poor.close();
    }
  });

  test('a marked row counts as absent and comes back', async () => {
    await using world = await World.make('CREATE TABLE t (id int PRIMARY KEY, v text, gone smallint)');
    const t = table('t', ['id', 'v'], { onDelete: 'mark', markColumn: 'gone' });
    await world.apply([t], [section('t', 'insert', ['id', 'v'], ['1\ta', '2\tb'])]);
    expect(outcomes(await world.apply([t], [section('t', 'delete', ['id'], ['1', '5'])]))).toBe(
      'delete:deleted 1, delete:deletedNothing 1',
    );
    expect(outcomes(await world.apply([t], [section('t', 'delete', ['id'], ['1'])]))).toBe('delete:deletedNothing 1');
    expect(outcomes(await world.apply([t], [section('t', 'insert', ['id', 'v'], ['1\ta', '2\tb', '3\tc'])]))).toBe(
      'insert:inserted 2, insert:unchanged 1',
    );
    expect(await world.session.rows('SELECT * FROM t ORDER BY 1')).toEqual([
      ['1', 'a', '0'],
      ['2', 'b', '0'],
      ['3', 'c', '0'],
    ]);
  });

  test('rows outside the ownership are kept, and incoming ones are isolated', async () => {
    await using world = await World.make(
      "CREATE TABLE t (id int PRIMARY KEY, city char(4), v text); INSERT INTO t VALUES (1, '3702', 'a'), (2, '1100', 'b')",
    );
    const filter = parseFilter("city = '3702'").filter;
    if (filter === undefined) throw new Error('the filter parses');
    const t = table('t', ['id', 'city', 'v'], { ownership: filter });
    const columns = ['id', 'city', 'v'];
    expect(
      outcomes(
        await world.apply(
          [t],
          [
            section('t', 'insert', columns, ['1\t3702\tc', '2\t3702\tmine', '3\t1100\tx', '4\t3702\tnew']),
            section('t', 'delete', ['id'], ['2', '1', '9']),
          ],
        ),
      ),
    ).toBe(
      'insert:inserted 1, insert:updatedInsteadOfInsert 1, insert:keptTarget 1, insert:quarantined 1, ' +
        'delete:deleted 1, delete:deletedNothing 1, delete:keptTarget 1',
    );
  });

  test('a partial update without its row is held, with it updates only what was sent', async () => {
    await using world = await World.make(
      "CREATE TABLE t (id int PRIMARY KEY, a text, b text); INSERT INTO t VALUES (2, 'x', 'y')",
    );
    const t = table('t', ['id', 'a', 'b']);
    const partial = { ...section('t', 'update', ['id', 'b'], ['1\tz', '2\tz']), wholeRows: false };
    const result = await world.apply([t], [partial]);
    expect(outcomes(result)).toBe('update:updated 1, update:held 1');
    expect(result.kind === 'applied' && result.quarantined[0]).toMatchObject({
      index: 0,
      outcome: 'held',
      code: 'MISSING_BASE',
    });
    expect(await world.session.rows('SELECT * FROM t')).toEqual([['2', 'x', 'z']]);
  });

  test('a journal takes every change as a new row', async () => {
    await using world = await World.make('SELECT 1');
    const source = openPostgres(world.config);
    const t = table('t', ['id', 'v'], { landing: 'journal' });
    await source.createTable(t);
    expect(
      outcomes(
        await world.apply(
          [t],
          [
            section('t', 'insert', ['id', 'v'], ['1\ta']),
            section('t', 'update', ['id', 'v'], ['1\tb']),
            section('t', 'delete', ['id'], ['1']),
          ],
        ),
      ),
    ).toBe('insert:inserted 1, update:updated 1, delete:deleted 1');
    expect(await world.session.rows('SELECT * FROM t ORDER BY 1')).toEqual([
      ['1', '1', 'a', 'I', 'b1', 'health', '2023-11-14 22:13:20+00', '0'],
      ['2', '1', 'b', 'U', 'b1', 'health', '2023-11-14 22:13:20+00', '0'],
      ['3', '1', null, 'D', 'b1', 'health', '2023-11-14 22:13:20+00', '0'],
    ]);
  });

  test('partitioned targets count like others', async () => {
    await using world = await World.make(
      'CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE t2 (v text, id int NOT NULL); ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (10) TO (20)',
    );
    const t = table('t', ['id', 'v']);
    await world.apply([t], [section('t', 'insert', ['id', 'v'], ['1\ta', '11\ta'])]);
    expect(
      outcomes(
        await world.apply([t], [section('t', 'insert', ['id', 'v'], ['1\tb', '11\tb', '2\tc', '12\td', '50\tq'])]),
      ),
    ).toBe('insert:inserted 2, insert:updatedInsteadOfInsert 2, insert:quarantined 1');
  });
});

describe('loads', () => {
  const load = (begins: boolean, ends: boolean, allowedDeletes = 0) => ({ load: { begins, ends, allowedDeletes } });

  test('rows that the load did not name are removed at its end, isolated ones stay', async () => {
    await using world = await World.make(
      "CREATE TABLE t (id int PRIMARY KEY, v varchar(2)); INSERT INTO t SELECT i, 'a' FROM generate_series(1, 10) i",
    );
    const t = table('t', ['id', 'v']);
    await world.apply([t], [section('t', 'insert', ['id', 'v'], ['1\ta', '2\tb'])], load(true, false));
    await world.apply([t], [section('t', 'insert', ['id', 'v'], ['3\tlong', '11\tz'])], load(false, false));
    const end = await world.apply([t], [section('t', 'insert', ['id', 'v'], ['4\ta'])], load(false, true));
    expect(end).toMatchObject({ kind: 'applied', answer: { extras: [{ table: 't', deleted: 6, kept: 0 }] } });
    expect((await world.session.rows('SELECT id FROM t ORDER BY id')).flat()).toEqual(['1', '2', '3', '4', '11']);
    expect(await world.session.rows("SELECT 1 FROM pg_class WHERE relname LIKE 'qiao\\_load%'")).toEqual([]);
  });

  test('deleteGuard stops the end until a person allows it, and ownership none only counts', async () => {
    await using world = await World.make(
      "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'a' FROM generate_series(1, 3000) i",
    );
    const t = table('t', ['id', 'v']);
    const rows = [section('t', 'insert', ['id', 'v'], ['1\ta'])];
    expect(await world.apply([t], rows, load(true, true))).toEqual({ kind: 'guard', table: 't', rows: 2999, of: 3000 });
    const none = table('t', ['id', 'v'], { ownership: 'none' });
    expect(await world.apply([none], rows, load(true, true))).toMatchObject({
      answer: { extras: [{ table: 't', deleted: 0, kept: 2999 }] },
    });
    expect(await world.apply([t], rows, load(true, true, 2999))).toMatchObject({
      answer: { extras: [{ table: 't', deleted: 2999, kept: 0 }] },
    });
  });

  test('a row that another table needs is kept', async () => {
    await using world = await World.make(
      'CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3); CREATE TABLE other (t int REFERENCES t); INSERT INTO other VALUES (2)',
    );
    const end = await world.apply([table('t', ['id'])], [section('t', 'insert', ['id'], ['9'])], load(true, true));
    expect(end).toMatchObject({ kind: 'applied', answer: { extras: [{ table: 't', deleted: 2, kept: 1 }] } });
  });
});

describe('the mark', () => {
  test('a delivery asked again is answered as before, a gap and a fork are told', async () => {
    await using world = await World.make('CREATE TABLE t (id int PRIMARY KEY)');
    const t = table('t', ['id']);
    const rows = [section('t', 'insert', ['id'], ['1'])];
    const first = await world.apply([t], rows);
    const work = { ...world.work([t], rows) };
    const before = {
      ...work,
      sequence: 1n,
      previousChain: new Uint8Array(32).fill(1),
      chain: new Uint8Array(32).fill(2),
    };
    const again = await world.target.apply({ ...before, contentHash: new Uint8Array(32).fill(102) });
    expect(again).toMatchObject({ kind: 'alreadyApplied' });
    expect(again.kind === 'alreadyApplied' && again.answer).toEqual(first.kind === 'applied' && first.answer);
    expect(await world.target.apply({ ...before, contentHash: new Uint8Array(32) })).toMatchObject({ kind: 'fork' });
    expect(await world.target.apply({ ...work, sequence: 9n })).toEqual({ kind: 'gap', expected: 2n });
  });

  test('of two appliers of one delivery exactly one wins', async () => {
    await using world = await World.make('CREATE TABLE t (id int PRIMARY KEY, v text)');
    const t = table('t', ['id', 'v']);
    await world.apply([t], []);
    const other = await openPostgres(world.config).openTarget();
    try {
      const work = world.work([t], [section('t', 'insert', ['id', 'v'], ['1\ta'])]);
      const kinds = (await Promise.all([world.target.apply(work), other.apply(work)])).map((result) => result.kind);
      expect(kinds.toSorted()).toEqual(['alreadyApplied', 'applied']);
    } finally {
      await other.close();
    }
  });

  test('a beforeCommit that throws leaves nothing behind', async () => {
    await using world = await World.make('CREATE TABLE t (id int PRIMARY KEY)');
    const refused = world.apply([table('t', ['id'])], [section('t', 'insert', ['id'], ['1', 'x'])], {
      beforeCommit: () => {
        throw new QiaoError('DISK', 'full', { fate: 'transient' });
      },
    });
    await expect(refused).rejects.toMatchObject({ code: 'DISK' });
    expect(await world.session.rows('SELECT * FROM t')).toEqual([]);
    expect(await world.target.points('ab'.repeat(16))).toHaveLength(1);
  });

  test('a stage that is filled for one piece after the other gets a new file only now and then', async () => {
    await using world = await World.make('CREATE TABLE t (id int PRIMARY KEY)');
    const { session } = world;
    const layouts = await readLayouts(session, 'public', 'ab'.repeat(16), [table('t', ['id'])]);
    const shape = { layout: layouts.get('t') as Layout, columns: ['id'], isNumbered: false };
    const stage = (await new Stages().ensure(session, new Map([['t', shape]]))).get('t') as Stage;
    await session.run('BEGIN');
    const files = new Set<string | null | undefined>();
    for (let piece = 0; piece < 100; piece += 1) {
      await session.run('SAVEPOINT piece');
      await fill(session, stage, Buffer.from(`${piece}\n`.repeat(90)), 90);
      const [[held, file] = []] = await session.rows(
        `SELECT count(*), pg_relation_filenode('${stage.sql}') FROM ${stage.sql} WHERE id = ${piece}`,
      );
      expect(held).toBe('90');
      expect(await session.rows(`SELECT count(*) FROM ${stage.sql}`)).toEqual([['90']]);
      files.add(file);
      // Refused pieces come back as they were before, accepted ones stay.
      await session.run(piece % 3 === 0 ? 'RELEASE piece' : 'ROLLBACK TO piece; RELEASE piece');
    }
    expect(files.size).toBeGreaterThan(1);
    expect(files.size).toBeLessThan(10);
  });

  test('a row that is committed while the delivery waits for it is the target’s, and counted so', async () => {
    await using world = await World.make('CREATE TABLE t (id int PRIMARY KEY, x text)');
    await using other = await departmentSession(world.config);
    const tables = [table('t', ['id', 'x'], { ownership: 'none', conflict: 'targetWins' })];
    await other.query('BEGIN');
    await other.query("INSERT INTO t VALUES (7, 'theirs')");
    const applied = world.apply(tables, [section('t', 'update', ['id', 'x'], ['7\tsent', '8\tsent'])]);
    const waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while ((await world.session.rows(waits)).length === 0);
    await other.query('COMMIT');
    expect(outcomes(await applied)).toBe('update:insertedInsteadOfUpdate 1, update:keptTarget 1');
    expect(await world.session.rows('SELECT x FROM t ORDER BY id')).toEqual([['theirs'], ['sent']]);
  });

  test('a server that restarted is used again', async () => {
    await using world = await World.make('CREATE TABLE t (id int PRIMARY KEY)');
    await world.apply([table('t', ['id'])], [section('t', 'insert', ['id'], ['1'])]);
    await server.restart();
    const again = () => world.apply([table('t', ['id'])], [section('t', 'insert', ['id'], ['2'])]);
    let fate = 'transient';
    const result = await again().catch((error: QiaoError) => {
      fate = error.fate;
      return again();
    });
    expect(fate).toBe('transient');
    expect(outcomes(result)).toBe('insert:inserted 1');
  });
});
