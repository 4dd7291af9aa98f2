/** Promise S6: rows by their keys. */
import { joinRow } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import { collect, type Fixture, scan, snapshotTable } from './fixture.ts';

const UUIDS = ['0f8fad5b-d9cb-469f-a165-70867728950e', '00000000-0000-0000-0000-000000000000'];

export function keysContract(make: () => Promise<Fixture>): void {
  describe('reading by keys', () => {
    test('a key of any type finds its row, byte for byte as the whole table shows it', async () => {
      await using fixture = await make();
      const { bytes, keyTextType = 'text', keyBytesType = fixture.dialect.bytesType } = fixture.dialect;
      const { timestampType = 'timestamp', uuidType = 'uuid' } = fixture.dialect;
      const kinds: [type: string, keys: string[]][] = [
        ['bigint', ['9007199254740993', '9007199254740992', '-9223372036854775808', '0', '-1']],
        ['decimal(20,2)', ['9007199254740993.00', '-0.05', '0.00', '12.50']],
        ['double precision', ['0.1', '1e20', '-123456789.125', '0']],
        ['boolean', ['TRUE', 'FALSE']],
        [keyTextType, ["''", "'a'", "'\t\n'", "'o''clock'", "'张三'", "'𠮷野家 𪚥'", "'%_'"]],
        [keyBytesType, [bytes(''), bytes('00'), bytes('5c27ff')]],
        ['date', ["'2024-01-31'", "'1900-02-28'"]],
        [timestampType, ["'2024-01-31 08:00:00.5'", "'1999-12-31 23:59:59'"]],
        [uuidType, UUIDS.map((each) => `'${each}'`)],
      ];
      for (const [index, [type, all]] of kinds.entries()) {
        const keys =
          fixture.dialect.emptyIsNull === true ? all.filter((key) => key !== "''" && key !== bytes('')) : all;
        const name = `k${index}`;
        await fixture.sql(`CREATE TABLE ${name} (k ${type} NOT NULL PRIMARY KEY, x ${keyTextType})`);
        await fixture.sql(`INSERT INTO ${name} VALUES ${keys.map((key, i) => `(${key}, 'row ${i}')`).join(', ')}`);
        const table = await snapshotTable(fixture.dataSource, name, ['k', 'x']);
        const whole = await scan(fixture.dataSource, table);
        expect(whole.rows.length, type).toBe(keys.length);
        await using snapshot = await fixture.dataSource.snapshot({
          signal: new AbortController().signal,
          maxMs: 60_000,
        });
        const read = (keys: (string | null)[][]) => collect(snapshot.rows({ ...table, keys: keyLines(keys) }), 2);
        for (const row of whole.rows) expect((await read([row.slice(0, 1)])).rows, type).toEqual([row]);
        const found = await read(whole.rows.map((row) => row.slice(0, 1)));
        expect(lines(found.bytes), type).toEqual(lines(whole.bytes));
      }
    });

    test('keys of several columns find their rows among thousands, each once, however often it is asked for', async () => {
      await using fixture = await make();
      const { keyTextType = 'text' } = fixture.dialect;
      await fixture.sql(
        `CREATE TABLE t (x bigint, area ${keyTextType} NOT NULL, no bigint NOT NULL, PRIMARY KEY (area, no))`,
      );
      const areas = ['济南', 'Qingdao', "o'clock", 'back\\slash', '𠮷'];
      const values = Array.from({ length: 3_000 }, (_, n) => `('${areas[n % 5]?.replaceAll("'", "''")}', ${n}, ${n})`);
      const escaped = fixture.dialect.escapesBackslash ? values.map((each) => each.replaceAll('\\', '\\\\')) : values;
      await fixture.sql(`INSERT INTO t (area, no, x) VALUES ${escaped.join(', ')}`);
      const table = await snapshotTable(fixture.dataSource, 't', ['area', 'no', 'x'], 2);
      const whole = await scan(fixture.dataSource, table);
      const asked = whole.rows.filter((_, index) => index % 2 === 0);
      const keys = asked.map((row) => row.slice(0, 2));
      const strangers = [
        ['济南', '1'],
        ['nowhere', '0'],
        ['', '0'],
      ];
      const found = await scan(fixture.dataSource, { ...table, keys: keyLines([...keys, ...strangers, ...keys]) });
      expect(lines(found.bytes)).toEqual(asked.map((row) => joinRow(row)).toSorted());
    });

    test('a key that only a collation takes for another finds nothing', async () => {
      await using fixture = await make();
      const { keyTextType = 'text' } = fixture.dialect;
      await fixture.sql(`CREATE TABLE t (k ${keyTextType} NOT NULL PRIMARY KEY)`);
      await fixture.sql("INSERT INTO t VALUES ('Abc'), ('xyz')");
      const table = await snapshotTable(fixture.dataSource, 't', ['k']);
      const found = await scan(fixture.dataSource, { ...table, keys: keyLines([['abc'], ['ABC'], ['xyz']]) });
      expect(found.rows).toEqual([['xyz']]);
    });

    test('no keys are no rows, and the snapshot is the same for tables read whole and by keys', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x bigint NOT NULL)');
      await fixture.sql('INSERT INTO t VALUES (1, 1), (2, 1)');
      const table = await snapshotTable(fixture.dataSource, 't', ['id', 'x']);
      await using snapshot = await fixture.dataSource.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
      expect((await collect(snapshot.rows({ ...table, keys: Buffer.alloc(0) }), 2)).rows).toEqual([]);
      await fixture.sql('UPDATE t SET x = 2');
      expect((await collect(snapshot.rows({ ...table, keys: keyLines([['2']]) }), 2)).rows).toEqual([['2', '1']]);
      expect((await collect(snapshot.rows(table), 2)).rows).toEqual([
        ['1', '1'],
        ['2', '1'],
      ]);
    });
  });
}

function keyLines(keys: readonly (readonly (string | null)[])[]): Buffer {
  return Buffer.from(keys.map((key) => `${joinRow(key)}\n`).join(''));
}

function lines(bytes: Buffer): string[] {
  return bytes.toString('utf8').split('\n').slice(0, -1).toSorted();
}
