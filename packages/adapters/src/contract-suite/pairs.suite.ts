/**
 * Comparing both ends: what was sent and landed comes back from a snapshot of the target as the text that was sent, for every
 * exact pair of types, whatever the source was: digests of both ends can only agree if this holds.
 */
import { type ColumnType, fit, joinRow, pairText } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import { applied, type Fixture, integer, Lane, mirror, scan, section, snapshotTable, type Waivers } from './fixture.ts';

interface Pair {
  readonly sent: ColumnType;
  /** The target's column as every database writes it; made by `createTable` when left out. */
  readonly column?: string;
  readonly waivedBy?: keyof Waivers;
  readonly texts: readonly string[];
}

const pairs: readonly Pair[] = [
  { sent: { type: 'integer', bits: 16 }, texts: ['0', '-32768', '32767'] },
  { sent: integer, texts: ['-9223372036854775808', '9223372036854775807'] },
  { sent: { type: 'decimal', precision: 10, scale: 2 }, texts: ['0.00', '-12.50', '99999999.99'] },
  {
    sent: { type: 'decimal' },
    texts: ['1.50', '1.5', '-0.0000001', '123456789012345678901234567890'],
    waivedBy: 'unlimitedDecimal',
  },
  { sent: { type: 'float', bits: 64 }, texts: ['0.1', '1e+20', '-1e-07'] },
  { sent: { type: 'float', bits: 64 }, texts: ['Infinity', '-Infinity'], waivedBy: 'infinity' },
  { sent: { type: 'integer', bits: 64, unsigned: true }, texts: ['0', '18446744073709551615'] },
  { sent: { type: 'native', system: 'mysql', name: "enum('a','b c')" }, texts: ['a', 'b c'] },
  { sent: { type: 'native', system: 'mysql', name: "set('a','b')" }, texts: ['', 'a,b'] },
  { sent: { type: 'native', system: 'mysql', name: 'year' }, texts: ['0', '1901', '2155'] },
  { sent: { type: 'native', system: 'postgres', name: 'integer[]' }, texts: ['{}', '{1,NULL,3}'] },
  { sent: { type: 'native', system: 'postgres', name: 'inet' }, texts: ['10.0.0.1/8', '::1'] },
  { sent: { type: 'boolean' }, texts: ['t', 'f'] },
  { sent: { type: 'text' }, texts: ['', ' ', '王', '𠮷\t\\N\n', '12.00'] },
  { sent: { type: 'bytes' }, texts: ['\\x', '\\x00ff'] },
  { sent: { type: 'date' }, texts: ['2024-02-29'] },
  { sent: { type: 'time', digits: 6 }, texts: ['08:00:00', '23:59:59.5'] },
  { sent: { type: 'timestamp', digits: 6 }, texts: ['2024-01-31 08:00:00', '2024-01-31 08:00:00.123456'] },
  { sent: { type: 'timestamptz', digits: 6 }, texts: ['2024-01-31 00:00:00+00', '2024-01-31 00:00:00.5+00'] },
  { sent: { type: 'uuid' }, texts: ['6f1c3f52-6d53-4a53-9c43-2f0c6f3a0a11'] },
  { sent: { type: 'json' }, texts: ['{"b": 1,  "a": [1, 2]}'] },
  { sent: { type: 'integer', bits: 32 }, column: 'DECIMAL(12,2)', texts: ['0', '-12', '2147483647'] },
  { sent: { type: 'integer', bits: 32 }, column: 'VARCHAR(20)', texts: ['-12'] },
  { sent: { type: 'decimal', precision: 5, scale: 2 }, column: 'DECIMAL(9,4)', texts: ['1.50', '-0.05'] },
  { sent: { type: 'date' }, column: 'TIMESTAMP', texts: ['2024-02-29'] },
];

export function pairsContract(make: () => Promise<Fixture>, waivers: Waivers): void {
  describe('comparing both ends', () => {
    test('what was sent comes back as the same text, for every exact pair of types', async () => {
      await using fixture = await make();
      const { timestampType = 'TIMESTAMP' } = fixture.dialect;
      const kept = pairs.filter(({ waivedBy }) => waivedBy === undefined || waivers[waivedBy] === undefined);
      for (const [number, { sent, column, texts }] of kept.entries()) {
        const name = `pair_${number}`;
        const table = mirror(name, [
          { name: 'id', type: integer },
          { name: 'x', type: sent },
        ]);
        if (column === undefined) await fixture.dataSource.createTable(table);
        else
          await fixture.sql(
            `CREATE TABLE ${name} (id BIGINT NOT NULL PRIMARY KEY, x ${column.replace('TIMESTAMP', timestampType)})`,
          );
        const rows = [...texts, null].map((text, index): (string | null)[] => [String(index), text]);
        const target = await fixture.dataSource.openTarget();
        await target.prepare();
        const lane = new Lane([table], number.toString(16).padStart(32, '0'));
        await applied(target, lane.opening());
        const { cells } = await applied(target, lane.next([section(name, 'insert', ['id', 'x'], rows)]));
        expect({ sent, cells }).toEqual({ sent, cells: [`${name} insert inserted ${rows.length}`] });
        await target.close();
        const read = await snapshotTable(fixture.dataSource, name, ['id', 'x']);
        const stored = read.columns[1]?.type as ColumnType;
        expect({ sent, stored, fit: fit(sent, stored).kind }).toEqual({ sent, stored, fit: 'exact' });
        const pair = pairText(sent, stored);
        const found = await scan(fixture.dataSource, read);
        const back = found.rows.map(([id, x]) => [id, x === null || pair.kind !== 'back' ? x : pair.back(x as string)]);
        expect({ sent, stored, rows: back.map((row) => joinRow(row as (string | null)[])).toSorted() }).toEqual({
          sent,
          stored,
          rows: rows.map((row) => joinRow(row)).toSorted(),
        });
      }
    });
  });
}
