import { parseId } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { type ExchangeDatabase, openExchangeDatabase, type QuarantineRow } from './index.ts';

const LANE = parseId('a'.repeat(32));
const PLACE = { lane: LANE, epoch: 1n, sequence: 5n };

const row = (index: number, line = `${index}\tAnna\n`): QuarantineRow => ({
  section: 0,
  index,
  table: 'person',
  kind: 'insert',
  columns: ['id', 'name'],
  keyColumns: 1,
  wholeRows: true,
  line: Buffer.from(line),
  keyText: String(index),
  outcome: 'quarantined',
  code: 'NOT_NULL',
  reason: 'name must not be null',
});
const at = (index: number) => ({ ...PLACE, section: 0, index });
const text = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString();

function withDatabase(work: (database: ExchangeDatabase, kept: () => unknown) => void): void {
  const database = openExchangeDatabase(':memory:');
  const count = (table: string) => database.sqlite.prepare(`SELECT count(*) FROM ${table}`).pluck().get();
  work(database, () => [count('quarantine'), count('quarantine_line'), count('quarantine_edit')]);
  database.close();
}

test('a row is read as received and as edited last, and told how often it was edited', () =>
  withDatabase(({ quarantine, rowLines }) => {
    quarantine.replace(PLACE, [row(0)], 1);
    expect([rowLines.edits(at(0)), text(rowLines.edited(at(0))), text(rowLines.newest(at(0)))]).toEqual([
      { count: 0, editedBy: '', atMs: 0 },
      undefined,
      '0\tAnna\n',
    ]);
    rowLines.addEdit(at(0), Buffer.from('0\tBea\n'), 'wang', 7);
    rowLines.addEdit(at(0), Buffer.from('0\tCy\n'), 'li', 8);
    expect(rowLines.edits(at(0))).toEqual({ count: 2, editedBy: 'li', atMs: 8 });
    expect([text(rowLines.received(at(0))), text(rowLines.newest(at(0)))]).toEqual(['0\tAnna\n', '0\tCy\n']);
    expect(rowLines.newestBytes(at(0))).toBe('0\tCy\n'.length);
    expect(() => rowLines.received(at(9))).toThrow(expect.objectContaining({ code: 'ROW_UNKNOWN' }));
  }));

test('rows that are replaced, forgotten or of a lane that is over take their text and their edits along', () =>
  withDatabase(({ quarantine, rowLines }, kept) => {
    quarantine.replace(PLACE, [row(0), row(1), row(2)], 1);
    for (const index of [0, 1]) rowLines.addEdit(at(index), Buffer.from(`${index}\tBea\n`), 'wang', 7);
    expect(kept()).toEqual([3, 3, 2]);
    // Applied again: a person's edit is not lost with the row that it is of.
    quarantine.replace(PLACE, [row(0), row(1)], 2);
    expect(kept()).toEqual([2, 2, 2]);
    const { section, index, outcome, code, reason } = row(1);
    quarantine.follow(PLACE, [{ section, index, outcome, code, reason }], 3);
    expect(quarantine.forgetSettled(4, 10)).toBe(1);
    expect(kept()).toEqual([1, 1, 1]);
    quarantine.removeLane(LANE);
    expect(kept()).toEqual([0, 0, 0]);
  }));

test('a row that was settled and waits again has its text', () =>
  withDatabase(({ quarantine, rowLines }, kept) => {
    quarantine.replace(PLACE, [row(0)], 1);
    quarantine.follow(PLACE, [], 2);
    quarantine.replace(PLACE, [row(0)], 3);
    expect([quarantine.countOpen(LANE), text(rowLines.received(at(0)))]).toEqual([1, '0\tAnna\n']);
    expect(kept()).toEqual([1, 1, 0]);
  }));

test('no table with texts is its own index: a search among its records would read them whole', () =>
  withDatabase(({ sqlite }) => {
    const tables = sqlite.prepare(
      "SELECT name, wr FROM pragma_table_list WHERE name IN ('quarantine_line', 'quarantine_edit') ORDER BY name",
    );
    expect(tables.raw().all()).toEqual([
      ['quarantine_edit', 0],
      ['quarantine_line', 0],
    ]);
  }));
