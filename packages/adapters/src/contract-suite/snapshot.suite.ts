/** Promises S1–S5. */
import { describe, expect, test } from 'vitest';
import { collect, dayText, emptyText, type Fixture, scan, snapshotTable } from './fixture.ts';

export function snapshotContract(make: () => Promise<Fixture>): void {
  describe('reading', () => {
    test('every value travels as its canonical text', async () => {
      await using fixture = await make();
      const { bytesType, bytes, timestampType = 'timestamp', uuidType = 'uuid' } = fixture.dialect;
      const [yes, no] = fixture.dialect.truthTexts ?? ['t', 'f'];
      await fixture.sql(
        `CREATE TABLE v (id bigint NOT NULL PRIMARY KEY, i int, d decimal(10,2), f double precision, b boolean, t text, y ${bytesType},
           day date, at ${timestampType}, u ${uuidType})`,
      );
      await fixture.sql(
        `INSERT INTO v VALUES (9007199254740993, -12, 12.50, 0.1, TRUE, '张三', ${bytes('6869')}, '2024-01-31', '2024-01-31 08:00:00.5', '0f8fad5b-d9cb-469f-a165-70867728950e'),
           (-1, 0, -0.05, 1e20, FALSE, '', ${bytes('')}, '1900-02-28', '1999-12-31 23:59:59', '00000000-0000-0000-0000-000000000000'),
           (0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`,
      );
      const table = await snapshotTable(fixture.dataSource, 'v', [
        'id',
        'i',
        'd',
        'f',
        'b',
        't',
        'y',
        'day',
        'at',
        'u',
      ]);
      const { rows, refused } = await scan(fixture.dataSource, table);
      expect(refused).toEqual([]);
      expect(rows.toSorted((a, b) => Number(a[0]) - Number(b[0]))).toEqual([
        [
          '-1',
          '0',
          '-0.05',
          '1e+20',
          no,
          emptyText(fixture),
          '\\x',
          dayText(fixture, '1900-02-28'),
          '1999-12-31 23:59:59',
          '00000000-0000-0000-0000-000000000000',
        ],
        ['0', null, null, null, null, null, null, null, null, null],
        [
          '9007199254740993',
          '-12',
          '12.50',
          '0.1',
          yes,
          '张三',
          '\\x6869',
          dayText(fixture, '2024-01-31'),
          '2024-01-31 08:00:00.5',
          '0f8fad5b-d9cb-469f-a165-70867728950e',
        ],
      ]);
    });

    test('tabs, line ends, backslashes, control characters and Han beyond the basic plane survive', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x text)');
      const texts = [
        '',
        'a\tb',
        'a\nb\r\nc',
        'back\\slash\\N',
        '\\N',
        '𠮷野家 𪚥',
        'it\'s "so"',
        ' ',
        '\b\f\v\u0001\u007f',
        ...(fixture.dialect.losesReplacement === true ? [] : ['\ufffd']),
        'e\u0301',
      ];
      await fixture.sql(
        `INSERT INTO t VALUES ${texts.map((each, i) => `(${i}, '${each.replaceAll("'", "''")}')`).join(', ')}`,
      );
      const { rows } = await scan(fixture.dataSource, await snapshotTable(fixture.dataSource, 't', ['id', 'x']));
      expect(rows.toSorted((a, b) => Number(a[0]) - Number(b[0])).map(([, x]) => x)).toEqual(
        texts.map((each) => each || emptyText(fixture)),
      );
    });

    test('every row appears exactly once, whatever the key', async () => {
      await using fixture = await make();
      const { keyTextType = 'text' } = fixture.dialect;
      await fixture.sql(
        `CREATE TABLE t (x text, area ${keyTextType} NOT NULL, no bigint NOT NULL, PRIMARY KEY (area, no))`,
      );
      const expected = new Set<string>();
      for (let batch = 0; batch < 5; batch++) {
        const values: string[] = [];
        for (let i = 0; i < 1000; i++) {
          const n = batch * 1000 + i;
          const area = ['济南', 'Qingdao', 'qingdao', "o'clock", '𠮷'][n % 5] as string;
          expected.add(`${area}/${n}`);
          values.push(`('${'x'.repeat(n % 300)}', '${area.replaceAll("'", "''")}', ${n})`);
        }
        await fixture.sql(`INSERT INTO t VALUES ${values.join(', ')}`);
      }
      const { rows } = await scan(
        fixture.dataSource,
        await snapshotTable(fixture.dataSource, 't', ['area', 'no', 'x'], 2),
      );
      expect(rows.length).toBe(5000);
      expect(new Set(rows.map(([area, no]) => `${area}/${no}`))).toEqual(expected);
      expect(rows.every(([, no, x]) => x === 'x'.repeat(Number(no) % 300))).toBe(true);
    });

    test('read in steps, every row appears exactly once, and what was committed meanwhile may be seen', async () => {
      await using fixture = await make();
      const { keyTextType = 'text' } = fixture.dialect;
      await fixture.sql(
        `CREATE TABLE t (x text, area ${keyTextType} NOT NULL, no bigint NOT NULL, PRIMARY KEY (area, no))`,
      );
      const areas = ['济南', 'Qingdao', 'qingdao', "o'clock", 'back\\slash', '𠮷'];
      const values = Array.from({ length: 6_000 }, (_, n) => {
        const area = areas[n % areas.length] as string;
        return `('a', '${area.replaceAll("'", "''")}', ${n})`;
      });
      await fixture.sql(`INSERT INTO t VALUES ${values.join(', ')}`);
      const table = await snapshotTable(fixture.dataSource, 't', ['area', 'no', 'x'], 2);
      const signal = new AbortController().signal;
      await using snapshot = await fixture.dataSource.snapshot({ signal, maxMs: 60_000, stepRows: 700 });
      expect(snapshot.consistency).toBe('chunks');
      const { rows } = await collect(snapshot.rows(table), 3);
      expect(rows.length).toBe(6_000);
      expect(new Set(rows.map(([area, no]) => `${area}/${no}`)).size).toBe(6_000);
      await fixture.sql("UPDATE t SET x = 'b'");
      const again = await collect(snapshot.rows(table), 3);
      expect(again.rows.length).toBe(6_000);
      expect(again.rows.every(([, , x]) => x === 'b')).toBe(true);
    });

    test('large values come whole among small ones', async () => {
      await using fixture = await make();
      const { textType = 'text' } = fixture.dialect;
      await fixture.sql(`CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x ${textType})`);
      const long = '长文\\本\t'.repeat(100_000);
      await fixture.sql(`INSERT INTO t VALUES (1, 'a'), (2, '${long}'), (3, 'b'), (4, '${long}!')`);
      const { rows } = await scan(fixture.dataSource, await snapshotTable(fixture.dataSource, 't', ['id', 'x']));
      expect(Object.fromEntries(rows)).toEqual({ 1: 'a', 2: long, 3: 'b', 4: `${long}!` });
    });

    test('a snapshot of an empty table is empty', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
      const { rows } = await scan(fixture.dataSource, await snapshotTable(fixture.dataSource, 't', ['id']));
      expect(rows).toEqual([]);
    });

    test('what is committed after the snapshot was taken stays unseen, and its writer is not stopped', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE a (id bigint NOT NULL PRIMARY KEY, x bigint NOT NULL)');
      await fixture.sql('CREATE TABLE b (id bigint NOT NULL PRIMARY KEY, x bigint NOT NULL)');
      const values = Array.from({ length: 3000 }, (_, i) => `(${i}, 1)`).join(', ');
      await fixture.sql(`INSERT INTO a VALUES ${values}`);
      await fixture.sql(`INSERT INTO b VALUES ${values}`);
      const tableA = await snapshotTable(fixture.dataSource, 'a', ['id', 'x']);
      const tableB = await snapshotTable(fixture.dataSource, 'b', ['id', 'x']);
      await using snapshot = await fixture.dataSource.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
      const reading = snapshot.rows(tableA)[Symbol.asyncIterator]();
      const first = await reading.next();
      await fixture.sql('UPDATE a SET x = 2');
      await fixture.sql('DELETE FROM b WHERE id < 1000');
      await fixture.sql('INSERT INTO b VALUES (5000, 2)');
      const rest = await collect({ [Symbol.asyncIterator]: () => reading }, 2);
      const firstRows = first.done ? [] : (await collect(only(first.value), 2)).rows;
      const rowsA = [...firstRows, ...rest.rows];
      expect(rowsA.length).toBe(3000);
      expect(rowsA.every(([, x]) => x === '1')).toBe(true);
      const rowsB = (await collect(snapshot.rows(tableB), 2)).rows;
      expect(rowsB.length).toBe(3000);
      expect(rowsB.every(([, x]) => x === '1')).toBe(true);
      expect(snapshot.consistency ?? 'snapshot').toBe('snapshot');
      const later = await scan(fixture.dataSource, tableB);
      expect(later.rows.length).toBe(2001);
    });

    test('two snapshots of the same rows give the same bytes', async () => {
      await using fixture = await make();
      const { timestampType = 'timestamp' } = fixture.dialect;
      await fixture.sql(
        `CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, f double precision, d decimal(12,3), at ${timestampType})`,
      );
      await fixture.sql(
        `INSERT INTO t VALUES (1, 1e-7, 1.5, '2024-02-29 00:00:00'), (2, 123456789.125, 0, '2024-02-29 12:00:00.000001'), (3, 1e300, -1, NULL)`,
      );
      const table = await snapshotTable(fixture.dataSource, 't', ['id', 'f', 'd', 'at']);
      const one = await scan(fixture.dataSource, table);
      const two = await scan(fixture.dataSource, table);
      expect(two.bytes.toString()).toBe(one.bytes.toString());
      expect(one.rows).toEqual([
        ['1', '1e-07', '1.500', '2024-02-29 00:00:00'],
        ['2', '123456789.125', '0.000', '2024-02-29 12:00:00.000001'],
        ['3', '1e+300', '-1.000', null],
      ]);
    });

    test('an aborted snapshot stops reading', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
      await fixture.sql('INSERT INTO t VALUES (1)');
      const table = await snapshotTable(fixture.dataSource, 't', ['id']);
      const controller = new AbortController();
      await using snapshot = await fixture.dataSource.snapshot({ signal: controller.signal, maxMs: 60_000 });
      controller.abort();
      await expect(collect(snapshot.rows(table), 1)).rejects.toBeInstanceOf(Error);
    });

    test('a snapshot that is read too long fails as transient', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
      await fixture.sql('INSERT INTO t VALUES (1)');
      const table = await snapshotTable(fixture.dataSource, 't', ['id']);
      await using snapshot = await fixture.dataSource.snapshot({ signal: new AbortController().signal, maxMs: 0 });
      await expect(collect(snapshot.rows(table), 1)).rejects.toMatchObject({
        code: 'SNAPSHOT_TOO_LONG',
        fate: 'transient',
      });
    });
  });
}

async function* only<T>(value: T): AsyncGenerator<T, void, undefined> {
  yield value;
}
