/** Promises G1–G9. */
import { checkRows, splitRow } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import type {
  LogChange,
  LogPiece,
  LogReading,
  LogTransaction,
  PreparedLog,
  SnapshotTable,
  SourceLog,
} from '../adapter.ts';
import { type Fixture, quoted, scan, snapshotTable } from './fixture.ts';

const NAME = 'qiao_suite';

export function logContract(make: () => Promise<Fixture>): void {
  describe('reading the log', () => {
    test('every value of the log is the same bytes as in a snapshot', async () => {
      await using fixture = await make();
      const { bytesType, bytes, timestampType = 'timestamp', uuidType = 'uuid' } = fixture.dialect;
      await fixture.sql(`CREATE TABLE v (i int, id bigint NOT NULL PRIMARY KEY, d decimal(10,2), f double precision, r real, b boolean, t text,
        y ${bytesType}, day date, at ${timestampType}, u ${uuidType})`);
      const table = await snapshotTable(fixture.dataSource, 'v', [
        'id',
        'i',
        'd',
        'f',
        'r',
        'b',
        't',
        'y',
        'day',
        'at',
        'u',
      ]);
      await using log = await follow(fixture, [table]);
      await fixture.sql(`INSERT INTO v VALUES
        (-12, 9007199254740993, 12.50, 0.1, 0.1, TRUE, '张三', ${bytes('6869')}, '2024-01-31', '2024-01-31 08:00:00.5', '0f8fad5b-d9cb-469f-a165-70867728950e'),
        (0, -1, -0.05, 1e20, 1e-7, FALSE, '', ${bytes('')}, '1900-02-28', '1999-12-31 23:59:59.000001', '00000000-0000-0000-0000-000000000000'),
        (NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`);
      const texts = [
        'a\tb',
        'a\nb\r\nc',
        'back\\slash\\N',
        '\\N',
        '𠮷野家 𪚥',
        'it\'s "so"',
        ' ',
        '\b\f\v\u0001\u007f',
        'e\u0301',
      ];
      for (const [index, text] of texts.entries()) {
        await fixture.sql(`INSERT INTO v (id, t) VALUES (${100 + index}, '${text.replaceAll("'", "''")}')`);
      }
      const changes = (await log.transactions(1 + texts.length)).flatMap((each) => each.changes);
      const lines = changes.map(({ line }) => line.toString('utf8')).toSorted();
      const { bytes: snapshot } = await scan(fixture.dataSource, table);
      expect(lines).toEqual(linesOf(snapshot).toSorted());
      for (const { line } of changes) expect(checkRows(line, table.columns.length)).toBe(1);
    });

    test('transactions come in the order of their commits, whole, and what was rolled back never comes', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x text)');
      const table = await snapshotTable(fixture.dataSource, 't', ['id', 'x']);
      await using log = await follow(fixture, [table]);
      await fixture.sql("BEGIN; INSERT INTO t VALUES (1, 'gone'); ROLLBACK");
      await fixture.sql(`BEGIN; INSERT INTO t VALUES (1, 'a'); SAVEPOINT s; INSERT INTO t VALUES (2, 'gone'); ROLLBACK TO SAVEPOINT s;
        INSERT INTO t VALUES (3, 'c'); UPDATE t SET x = 'b' WHERE id = 1; UPDATE t SET x = 'bb' WHERE id = 1; COMMIT`);
      await fixture.sql('DELETE FROM t WHERE id = 3');
      const [first, second] = await log.transactions(2);
      expect(shown(first?.changes)).toEqual(['insert 1 a', 'insert 3 c', 'update 1 b', 'update 1 bb']);
      expect(shown(second?.changes)).toEqual(['delete 3']);
      expect(log.log.compare(first?.transaction.at as string, second?.transaction.at as string)).toBeLessThan(0);
    });

    test('keys that change, and swap within a transaction, carry the key before', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (x text, a bigint NOT NULL, b varchar(20) NOT NULL, PRIMARY KEY (a, b))');
      const table = await snapshotTable(fixture.dataSource, 't', ['a', 'b', 'x'], 2);
      await using log = await follow(fixture, [table]);
      await fixture.sql("INSERT INTO t VALUES ('one', 1, 'k\t1'), ('two', 2, 'k2')");
      await fixture.sql("UPDATE t SET x = 'uno' WHERE a = 1");
      await fixture.sql(
        'BEGIN; UPDATE t SET a = 9 WHERE a = 1; UPDATE t SET a = 1 WHERE a = 2; UPDATE t SET a = 2 WHERE a = 9; COMMIT',
      );
      const [, touched, swapped] = await log.transactions(3);
      expect(touched?.changes.map(({ oldKey }) => oldKey)).toEqual([undefined]);
      expect(swapped?.changes.map(({ line, oldKey }) => [fields(oldKey), fields(line)])).toEqual([
        [
          ['1', 'k\t1'],
          ['9', 'k\t1', 'uno'],
        ],
        [
          ['2', 'k2'],
          ['1', 'k2', 'two'],
        ],
        [
          ['9', 'k\t1'],
          ['2', 'k\t1', 'uno'],
        ],
      ]);
    });

    test('an emptied table comes as such', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
      const table = await snapshotTable(fixture.dataSource, 't', ['id']);
      await using log = await follow(fixture, [table]);
      await fixture.sql('INSERT INTO t VALUES (1), (2)');
      await fixture.sql('TRUNCATE t');
      const [, second] = await log.transactions(2);
      expect(second?.changes.map(({ kind, table: index }) => [kind, index])).toEqual([['truncate', 0]]);
    });

    test('columns that are added or dropped beside the plan change nothing; a table of other columns comes as reshaped, also from before', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, old text, x varchar(20))');
      const table = await snapshotTable(fixture.dataSource, 't', ['id', 'x']);
      await using log = await follow(fixture, [table]);
      await fixture.sql("INSERT INTO t VALUES (1, 'o', 'a')");
      await fixture.sql('ALTER TABLE t DROP COLUMN old');
      await fixture.sql('ALTER TABLE t ADD COLUMN fresh text');
      await fixture.sql("INSERT INTO t VALUES (2, 'b', 'f')");
      expect((await log.transactions(2)).flatMap(({ changes }) => shown(changes))).toEqual([
        'insert 1 a',
        'insert 2 b',
      ]);
      const { retype = (table, column, type) => `ALTER TABLE ${table} ALTER COLUMN ${column} TYPE ${type}` } =
        fixture.dialect;
      await fixture.sql(retype('t', 'x', 'varchar(30)'));
      await fixture.sql("INSERT INTO t VALUES (3, 'c', 'f')");
      const [reshaped] = await log.transactions(1);
      expect(reshaped?.changes.map(({ kind }) => kind)).toEqual(['reshaped']);
      // Whoever plans with the new columns finds those of the backlog to be others.
      await log.end();
      await using again = await follow(fixture, [table], log.start);
      const kinds: string[] = [];
      while (!kinds.includes('insert')) {
        const [next] = await again.transactions(1);
        kinds.push(...(next?.changes.map(({ kind }) => kind) ?? []));
      }
      // Where statements are in the log, so is the one that gave the column its type.
      expect(kinds.length).toBeGreaterThan(2);
      expect(new Set(kinds.slice(0, -1))).toEqual(new Set(['reshaped']));
    });

    test('names of any text are followed, and a table in the plan twice comes twice', async () => {
      await using fixture = await make();
      const name = '出生"证明 order';
      const column = '姓名 "x"';
      await fixture.sql(`CREATE TABLE ${quoted(name)} (id bigint NOT NULL PRIMARY KEY, ${quoted(column)} text)`);
      const whole = await snapshotTable(fixture.dataSource, name, ['id', column]);
      const key = await snapshotTable(fixture.dataSource, name, ['id']);
      await using log = await follow(fixture, [whole, key]);
      await fixture.sql(`INSERT INTO ${quoted(name)} VALUES (1, '王')`);
      const [first] = await log.transactions(1);
      expect(first?.changes.map(({ table, line }) => [table, line.toString()])).toEqual([
        [0, '1\t王\n'],
        [1, '1\n'],
      ]);
      expect(first?.changes[1]?.number).toBe(first?.changes[0]?.number);
    });

    test('what was not confirmed comes again under the same numbers, what was confirmed does not', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
      const table = await snapshotTable(fixture.dataSource, 't', ['id']);
      await using log = await follow(fixture, [table]);
      for (const id of [1, 2, 3]) await fixture.sql(`INSERT INTO t VALUES (${id}), (${id + 10})`);
      const before = await log.transactions(3);
      await log.end(before[0]?.position);
      const second = await log.log.prepare({ name: NAME, tables: [table] });
      expect(log.log.compare(second.oldest, before[0]?.position as string)).toBeLessThanOrEqual(0);
      expect(second.identity).toBe(log.prepared.identity);
      await using again = await follow(fixture, [table], before[0]?.position);
      const after = await again.transactions(2);
      const numbers = (each: Taken) => [each.transaction.at, ...each.changes.map(({ number }) => number)];
      expect(after.map(numbers)).toEqual(before.slice(1).map(numbers));
    });

    test('a position comes also when nothing of ours happens', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
      await fixture.sql('CREATE TABLE others (id bigint NOT NULL PRIMARY KEY)');
      const table = await snapshotTable(fixture.dataSource, 't', ['id']);
      await using log = await follow(fixture, [table]);
      await fixture.sql('INSERT INTO others VALUES (1), (2), (3)');
      const { newest } = await log.log.prepare({ name: `${NAME}_2`, tables: [table] });
      expect(log.log.compare(await log.idleBeyond(newest), newest)).toBeGreaterThanOrEqual(0);
      await log.log.remove(`${NAME}_2`);
    });

    test('what a snapshot sees of the log is told exactly, whoever commits around it', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
      const table = await snapshotTable(fixture.dataSource, 't', ['id']);
      await using log = await follow(fixture, [table]);
      await fixture.sql('INSERT INTO t VALUES (1)');
      await fixture.sql('BEGIN; SAVEPOINT s; INSERT INTO t VALUES (2)');
      await using other = await fixture.second?.();
      await other?.sql('INSERT INTO t VALUES (3)');
      await using snapshot = await fixture.dataSource.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
      const seen = (await snapshot.seen?.()) as string;
      await other?.sql('INSERT INTO t VALUES (4)');
      await fixture.sql('COMMIT');
      const transactions = await log.transactions(4);
      expect(transactions.map((each) => [each.changes[0]?.line.toString(), each.transaction.isSeen(seen)])).toEqual([
        ['1\n', true],
        ['3\n', true],
        ['4\n', false],
        ['2\n', false],
      ]);
    });

    test('a transaction of 200,000 changes comes in pieces, and who does not take them is not sent more', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x text)');
      const table = await snapshotTable(fixture.dataSource, 't', ['id', 'x']);
      await using log = await follow(fixture, [table, table]);
      await fixture.fill?.('t', 200_000);
      const rows = [0, 0];
      let last = -1;
      let pieces = 0;
      let most = 0;
      for await (const batch of log.reading) {
        let waiting = 0;
        for (const { changes } of batch) {
          pieces += 1;
          const before = last;
          for (const { number, line, table: place } of changes) {
            // Whoever follows one of the tables goes on behind the last number of a piece.
            if (number <= before || number < last) throw new Error(`found change ${number} behind ${before}, ${last}`);
            last = number;
            rows[place] = (rows[place] as number) + 1;
            waiting += line.length;
          }
        }
        most = Math.max(most, waiting);
        if (batch.some(({ position, transaction }) => transaction !== undefined && position !== undefined)) break;
      }
      expect(rows).toEqual([200_000, 200_000]);
      expect(pieces).toBeGreaterThan(10);
      expect(most).toBeLessThan(10 * 1024 * 1024);
    });

    test('a table without a key, a view, and a computed column are left out, and the others followed', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE fit (id bigint NOT NULL PRIMARY KEY)');
      await fixture.sql('CREATE TABLE keyless (id bigint NOT NULL, x text)');
      await fixture.sql('CREATE VIEW seen AS SELECT id FROM fit');
      await fixture.sql(
        'CREATE TABLE made (id bigint NOT NULL PRIMARY KEY, twice bigint GENERATED ALWAYS AS (id * 2) STORED)',
      );
      const tables = [
        await snapshotTable(fixture.dataSource, 'keyless', ['id', 'x']),
        await snapshotTable(fixture.dataSource, 'seen', ['id']),
        await snapshotTable(fixture.dataSource, 'made', ['id', 'twice']),
        await snapshotTable(fixture.dataSource, 'fit', ['id']),
      ];
      await using log = await follow(fixture, tables);
      expect(log.prepared.tables.map((each) => ('unfit' in each ? each.unfit.code : 'fit'))).toEqual([
        'LOG_NO_IDENTITY',
        'LOG_KIND',
        'LOG_COLUMN',
        'fit',
      ]);
      // A published table without identity would refuse its writers.
      await fixture.sql("INSERT INTO keyless VALUES (1, 'a')");
      await fixture.sql("UPDATE keyless SET x = 'b'");
      await fixture.sql('INSERT INTO fit VALUES (1)');
      const [first] = await log.transactions(1);
      expect(first?.changes.map(({ table }) => table)).toEqual([3]);
    });
  });
}

interface Taken {
  readonly transaction: LogTransaction;
  readonly changes: readonly LogChange[];
  readonly position: string;
}

/** A reading of a log that was prepared for these tables. */
class Followed implements AsyncDisposable {
  readonly log: SourceLog;
  readonly prepared: PreparedLog;
  readonly start: string;
  readonly reading: LogReading;
  readonly #pieces: AsyncIterator<readonly LogPiece[]>;
  #waiting: Taken[] = [];
  #open: LogChange[] = [];

  constructor(log: SourceLog, prepared: PreparedLog, start: string, reading: LogReading) {
    this.log = log;
    this.prepared = prepared;
    this.start = start;
    this.reading = reading;
    this.#pieces = reading[Symbol.asyncIterator]();
  }

  /** The next whole transactions that changed a followed table; servers before PostgreSQL 15 hand over others, too. */
  async transactions(count: number): Promise<Taken[]> {
    while (this.#waiting.length < count) await this.#next();
    return this.#waiting.splice(0, count);
  }

  async idleBeyond(position: string): Promise<string> {
    for (let idle = this.start; ; idle = (await this.#next()) ?? idle) {
      if (this.log.compare(idle, position) >= 0) return idle;
    }
  }

  async end(confirmed?: string): Promise<void> {
    if (confirmed !== undefined) this.reading.confirm(confirmed);
    await this.reading[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
    await this.log.remove(NAME);
  }

  async #next(): Promise<string | undefined> {
    let idle: string | undefined;
    const { value } = await this.#pieces.next();
    for (const { transaction, changes, position } of value) {
      if (transaction === undefined) idle = position;
      else {
        this.#open.push(...changes);
        if (position === undefined) continue;
        if (this.#open.length > 0) this.#waiting.push({ transaction, changes: this.#open, position });
        this.#open = [];
      }
    }
    return idle;
  }
}

async function follow(fixture: Fixture, tables: readonly SnapshotTable[], from?: string): Promise<Followed> {
  const log = fixture.dataSource.log as SourceLog;
  const prepared = await log.prepare({ name: NAME, tables });
  const start = from ?? prepared.newest;
  return new Followed(log, prepared, start, await prepared.read(start, new AbortController().signal));
}

function fields(line: Buffer | undefined): (string | null)[] | undefined {
  return line === undefined ? undefined : splitRow(line.toString('utf8').slice(0, -1));
}

function shown(changes: readonly LogChange[] | undefined): string[] {
  return (changes ?? []).map(({ kind, line }) => [kind, ...(fields(line) ?? [])].join(' '));
}

function linesOf(bytes: Buffer): string[] {
  return bytes
    .toString('utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => `${line}\n`);
}
