import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseId, QiaoError } from '@qiao/exchange';
import { createRowBox, type RowBox } from '@qiao/security';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { heldBytes } from './heldBytes.testing.ts';
import { type ExchangeDatabase, openExchangeDatabase } from './index.ts';
import { MIGRATIONS } from './migrations.ts';

const LANE = parseId('a'.repeat(32));
const PLACE = { lane: LANE, epoch: 1n, sequence: 5n };
const SECRET = '诸葛明镜台';
const MIB = 1024 * 1024;
const box = createRowBox(new Uint8Array(32).fill(1));

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-before-'));
  file = join(folder, 'exchange.db');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (index: number) => ({ ...PLACE, section: 0, index });
const lineOf = (index: number) => `${index}\t${SECRET}${index}\n`;

interface Before {
  readonly plain?: number;
  readonly sealed?: number;
  readonly bytes?: number;
}

/** An exchange database as the last program left it that kept a row in one record: the plain rows first, then the sealed ones. */
function fileOfBefore({ plain = 0, sealed = 0, bytes = 0 }: Before): void {
  const sqlite = new Database(file);
  sqlite.pragma('page_size = 16384');
  sqlite.pragma('auto_vacuum = INCREMENTAL');
  sqlite.pragma('journal_mode = WAL');
  sqlite.exec('CREATE TABLE migration (id TEXT PRIMARY KEY, breaking INTEGER, applied_at_ms INTEGER) STRICT');
  for (const { id, sql } of MIGRATIONS.filter((migration) => migration.id < '0022')) {
    sqlite.exec(sql);
    sqlite.prepare('INSERT INTO migration VALUES (?, 0, 0)').run(id);
  }
  if (sealed > 0) sqlite.prepare("INSERT INTO meta VALUES ('rowKeyName', ?)").run(box.keyName);
  const add =
    sqlite.prepare(`INSERT INTO quarantine (lane, epoch, sequence, section, row_index, table_name, kind, columns, key_columns,
    whole_rows, line, key_text, sealed, code, reason, at_ms, ref, decision, decided_by) VALUES (@lane, 1, 5, 0, @index, 'person', 'insert',
    '["id","name"]', 1, 1, @line, @key, @sealed, 'NOT_NULL', 'why', 1, @ref, 'replay', 'zhang')`);
  const edit = sqlite.prepare(
    "INSERT INTO quarantine_edit VALUES (@lane, 1, 5, 0, @index, @number, @line, 'wang', 7, @sealed)",
  );
  const place = (index: number) => `row/${'a'.repeat(32)}/1/5/0/${index}`;
  sqlite.transaction(() => {
    for (let index = 0; index < plain + sealed; index++) {
      const isSealed = index >= plain;
      const key = String(index);
      const line = bytes === 0 ? Buffer.from(lineOf(index)) : Buffer.alloc(bytes, `${index}\tx`);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(key.length);
      const packed = isSealed ? box.seal(Buffer.concat([length, Buffer.from(key), line]), place(index)) : line;
      const facts = { lane: LANE, index, sealed: isSealed ? 1 : 0 };
      add.run({ ...facts, line: packed, key: isSealed ? box.nameOf(key) : key, ref: `ref${index}` });
      if (bytes > 0) continue;
      const edited = Buffer.from(`${index}\tBea\n`);
      edit.run({ ...facts, number: 1, line: isSealed ? box.seal(edited, `edit/${place(index)}/1`) : edited });
    }
  })();
  sqlite.close();
}

/** Key, text, edit and decision of each row. */
function rowsOf({ quarantine, rowLines, rowDecisions }: ExchangeDatabase): unknown[] {
  return quarantine.ofDelivery(PLACE).map((row) => {
    const first = rowDecisions.firstOfKey(LANE, 'person', row.keyText);
    const edits = rowLines.edits(row);
    return [row.keyText, first?.ref, text(rowLines.received(row)), text(rowLines.edited(row)), edits, row.decidedBy];
  });
}

const expected = (count: number) =>
  Array.from({ length: count }, (_, index) => [
    String(index),
    `ref${index}`,
    lineOf(index),
    `${index}\tBea\n`,
    { count: 1, editedBy: 'wang', atMs: 7 },
    'zhang',
  ]);

const text = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString();
const columnsOf = ({ sqlite }: ExchangeDatabase) =>
  sqlite.prepare("SELECT name FROM pragma_table_info('quarantine')").pluck().all();

function codeOf(work: () => unknown): string {
  try {
    work();
    return 'nothing thrown';
  } catch (error) {
    return error instanceof QiaoError ? error.code : String(error);
  }
}

test('rows that held their text in their own record are taken apart when the file is opened, plain and sealed ones', () => {
  fileOfBefore({ plain: 3, sealed: 3 });
  const database = openExchangeDatabase(file, { rowBox: box });
  expect(rowsOf(database)).toEqual(expected(6));
  expect(columnsOf(database)).not.toContain('line');
  expect(database.sqlite.prepare('SELECT DISTINCT sealed FROM quarantine').pluck().all()).toEqual([1]);
  database.close();
  const again = openExchangeDatabase(file, { rowBox: box });
  expect(rowsOf(again)).toEqual(expected(6));
  again.close();
});

test('what was sealed in one record is never readable in the file while it is taken apart', () => {
  fileOfBefore({ sealed: 3 });
  const database = openExchangeDatabase(file, { rowBox: box });
  expect(rowsOf(database)).toEqual(expected(3));
  const holds = readdirSync(folder).some((name) => readFileSync(join(folder, name)).includes(Buffer.from(SECRET)));
  expect(holds).toBe(false);
  database.close();
});

test('without a key plain rows are read on, and sealed ones wait for their key', () => {
  fileOfBefore({ plain: 3 });
  const plain = openExchangeDatabase(file);
  expect(rowsOf(plain)).toEqual(expected(3));
  plain.close();
  rmSync(file);
  fileOfBefore({ plain: 1, sealed: 2 });
  const foreign = createRowBox(new Uint8Array(32).fill(2));
  expect(codeOf(() => openExchangeDatabase(file, { rowBox: foreign }))).toBe('ROW_KEY_MISSING');
  const without = openExchangeDatabase(file);
  expect(codeOf(() => rowsOf(without))).toBe('ROW_KEY_MISSING');
  without.close();
  const database = openExchangeDatabase(file, { rowBox: box });
  expect(rowsOf(database)).toEqual(expected(3));
  database.close();
});

/** Opens as often as it takes, with a key that fails after so many seals. Says how many rows were left in one record each time. */
function leftWhole(seals: readonly number[]): number[] {
  return seals.map((most) => {
    let left = most;
    const dying: RowBox = {
      ...box,
      seal(plain, place) {
        if (left-- === 0) throw new Error('killed');
        return box.seal(plain, place);
      },
    };
    expect(() => openExchangeDatabase(file, { rowBox: dying })).toThrow('killed');
    const sqlite = new Database(file);
    const whole = sqlite.prepare('SELECT count(*) FROM quarantine WHERE length(line) > 0').pluck().get();
    sqlite.close();
    return Number(whole);
  });
}

test('taking rows apart goes on where it was interrupted, two hundred rows at a time', () => {
  fileOfBefore({ sealed: 500 });
  // Of each row its key and its line.
  expect(leftWhole([2 * 350, 2 * 250])).toEqual([300, 100]);
  const database = openExchangeDatabase(file, { rowBox: box });
  expect(rowsOf(database)).toEqual(expected(500));
  database.close();
});

test('large rows are taken apart a few at a time, one of them in memory', () => {
  fileOfBefore({ sealed: 6, bytes: 8 * MIB });
  expect(leftWhole([2 * 5])).toEqual([2]);
  const held = heldBytes();
  let peak = 0;
  const measuring: RowBox = {
    ...box,
    seal(plain, place) {
      peak = Math.max(peak, heldBytes() - held);
      return box.seal(plain, place);
    },
  };
  const database = openExchangeDatabase(file, { rowBox: measuring });
  expect(database.quarantine.ofDelivery(PLACE).map((row) => database.rowLines.received(row).length)).toEqual(
    Array.from({ length: 6 }, () => 8 * MIB),
  );
  database.close();
  expect(peak).toBeLessThan(32 * MIB);
});

test('a row is read at its own place only', () => {
  fileOfBefore({ sealed: 1 });
  const database = openExchangeDatabase(file, { rowBox: box });
  database.sqlite.pragma('foreign_keys = OFF');
  database.sqlite.exec('UPDATE quarantine_line SET row_index = 4');
  expect(codeOf(() => database.rowLines.received(at(0)))).toBe('ROW_UNKNOWN');
  database.close();
});
