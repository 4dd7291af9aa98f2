import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import { createRowBox, type RowBox } from '@qiao/security';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ExchangeDatabase, openExchangeDatabase, type QuarantineRow } from './index.ts';

const SECRET = '诸葛明镜台';
const LANE = new Uint8Array(16).fill(7);
const PLACE = { lane: LANE, epoch: 1n, sequence: 5n };
const AT = { ...PLACE, section: 0, index: 3 };
const LINE = Buffer.from(`370202\t${SECRET}\n`);
const EDIT = Buffer.from(`370202\t${SECRET}二\n`);
const box = createRowBox(new Uint8Array(32).fill(1));

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-rest-'));
  file = join(folder, 'exchange.db');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const row: QuarantineRow = {
  section: 0,
  index: 3,
  table: 'person',
  kind: 'insert',
  columns: ['id', 'name'],
  keyColumns: 1,
  wholeRows: true,
  line: LINE,
  keyText: '370202',
  outcome: 'quarantined',
  code: 'NOT_NULL',
  reason: 'name must not be null',
};

function keep(database: ExchangeDatabase): number {
  database.quarantine.replace(PLACE, [row], 1);
  database.rowLines.addEdit(AT, EDIT, 'wang', 2);
  return database.parcels.add({
    parcel: new Uint8Array(16).fill(9),
    bridge: new Uint8Array(16).fill(8),
    bridgeVersion: 1,
    origin: 'change',
    contentHash: new Uint8Array(32),
    contentBytes: LINE.length,
    counts: [],
    madeAtMs: 1,
    deliveries: 1,
    compression: 'none',
    content: LINE,
  });
}

function read(database: ExchangeDatabase, parcel: number) {
  const [kept] = database.quarantine.ofDelivery(PLACE);
  const later = { lane: LANE, epoch: 1n, sequence: 6n };
  return {
    parcel: text(database.parcels.content(parcel)),
    storedBytes: database.parcels.get(parcel)?.storedBytes,
    line: text(database.rowLines.received(AT)),
    keyText: kept?.keyText,
    edit: text(database.rowLines.edited(AT)),
    waits: database.quarantine.openKeys(later).get('person')?.get('370202'),
    other: database.quarantine.openKeys(later).get('person')?.get('370203'),
    first: database.rowDecisions.firstOfKey(LANE, 'person', '370202')?.keyText,
    before: database.rowDecisions.beforeOfKey({ ...later, section: 0, index: 0 }, 'person', '370202').length,
  };
}

const EXPECTED = {
  parcel: LINE.toString(),
  storedBytes: LINE.length,
  line: LINE.toString(),
  keyText: '370202',
  edit: EDIT.toString(),
  waits: 'behind',
  other: undefined,
  first: '370202',
  before: 1,
};

const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();
/** Whether any file of the database, its log included, holds this text. */
const holds = (sought: string): boolean =>
  readdirSync(folder).some((name) => readFileSync(join(folder, name)).includes(Buffer.from(sought)));

function codeOf(work: () => unknown): string {
  try {
    work();
    return 'nothing thrown';
  } catch (error) {
    return error instanceof QiaoError ? error.code : String(error);
  }
}

test('parcels, quarantined rows, their keys and their edits are read as they were, and are not in the file', () => {
  const database = openExchangeDatabase(file, { rowBox: box });
  const parcel = keep(database);
  expect(read(database, parcel)).toEqual(EXPECTED);
  expect([holds(SECRET), holds('370202')]).toEqual([false, false]);
  database.close();
  const again = openExchangeDatabase(file, { rowBox: box });
  expect(read(again, parcel)).toEqual(EXPECTED);
  again.close();
});

test('a database of before is read on, and its quarantine is sealed when it is opened', () => {
  const before = openExchangeDatabase(file);
  const parcel = keep(before);
  expect([holds(SECRET), read(before, parcel)]).toEqual([true, EXPECTED]);
  before.close();
  const after = openExchangeDatabase(file, { rowBox: box });
  expect(read(after, parcel)).toEqual(EXPECTED);
  expect(
    after.sqlite
      .prepare('SELECT line, key_text, key_sealed FROM quarantine NATURAL JOIN quarantine_line')
      .raw()
      .all()
      .flat()
      .map(String)
      .join(),
  ).not.toMatch(/370202/);
  after.close();
});

test('sealing the quarantine of before goes on where it was interrupted', () => {
  const before = openExchangeDatabase(file);
  const rows = Array.from({ length: 500 }, (_, index) => ({ ...row, index }));
  before.quarantine.replace(PLACE, rows, 1);
  before.close();
  // Of each row its key and its line.
  let left = 2 * 350;
  const dying: RowBox = {
    ...box,
    seal(plain, place) {
      if (left-- === 0) throw new Error('killed');
      return box.seal(plain, place);
    },
  };
  expect(() => openExchangeDatabase(file, { rowBox: dying })).toThrow('killed');
  const sqlite = new Database(file);
  const sealed = sqlite.prepare('SELECT count(*) FROM quarantine WHERE sealed = 1').pluck().get();
  sqlite.close();
  // What was sealed by then stays so, but for the last transaction.
  expect(sealed).toBe(200);
  const after = openExchangeDatabase(file, { rowBox: box });
  const kept = after.quarantine.ofDelivery(PLACE);
  expect(kept.map((each) => [each.keyText, text(after.rowLines.received(each))])).toEqual(
    rows.map(() => ['370202', LINE.toString()]),
  );
  expect(after.sqlite.prepare('SELECT DISTINCT sealed FROM quarantine').pluck().all()).toEqual([1]);
  after.close();
});

test('another key, or none, opens nothing, and a record moved to another place does not open', () => {
  const database = openExchangeDatabase(file, { rowBox: box });
  const parcel = keep(database);
  database.sqlite.pragma('foreign_keys = OFF');
  database.sqlite.exec('UPDATE quarantine SET row_index = 4; UPDATE quarantine_line SET row_index = 4');
  expect(codeOf(() => database.quarantine.ofDelivery(PLACE)[0]?.keyText)).toBe('ROW_UNREADABLE');
  expect(codeOf(() => database.rowLines.received({ ...AT, index: 4 }))).toBe('ROW_UNREADABLE');
  database.close();
  const foreign = createRowBox(new Uint8Array(32).fill(2));
  expect(codeOf(() => openExchangeDatabase(file, { rowBox: foreign }))).toBe('ROW_KEY_MISSING');
  const without = openExchangeDatabase(file);
  expect(codeOf(() => without.parcels.content(parcel))).toBe('ROW_KEY_MISSING');
  without.close();
});
