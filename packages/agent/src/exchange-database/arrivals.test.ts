import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseId } from '@qiao/exchange';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openExchangeDatabase } from './database.ts';

let folder: string;
let database: ReturnType<typeof openExchangeDatabase>;
let tableId: number;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-arrivals-'));
  database = openExchangeDatabase(join(folder, 'exchange.db'));
  tableId = database.captures.addTable(parseId('b'.repeat(32)), 'register', {
    layout: '["id"]',
    keyLayout: '["id",""]',
    layoutVersion: 1,
  }).id;
});
afterEach(() => {
  database.close();
  rmSync(folder, { recursive: true });
});

const pathOf = (table: string) => [{ node: 'a'.repeat(32), dataSource: 'own', table }];
const pathsKept = () => database.sqlite.prepare('SELECT count(*) FROM arrival_path').pluck().get();

test('ways that no word came by any more go, and those that are in use stay, however many ways are written', () => {
  database.transaction(() => database.arrivals.put(tableId, [{ key: 'first', digest: 'd' }], pathOf('first')));
  for (let step = 0; step < 10; step++) {
    database.transaction(() => {
      for (let n = 0; n < 500; n++) database.arrivals.put(tableId, [{ key: 'k', digest: 'd' }], pathOf(`${step}-${n}`));
    });
  }
  expect(pathsKept()).toBeLessThanOrEqual(1_000);
  expect(database.arrivals.getMany(tableId, ['first', 'k'])).toEqual(
    new Map([
      ['first', { digest: 'd', path: pathOf('first'), there: undefined, isLanded: false, earlier: [] }],
      ['k', { digest: 'd', path: pathOf('9-499'), there: undefined, isLanded: false, earlier: [] }],
    ]),
  );
});

test('more ways in use than are kept unlooked at are all kept', () => {
  const keys = Array.from({ length: 2_500 }, (_none, n) => `k${n}`);
  database.transaction(() => {
    for (const key of keys) database.arrivals.put(tableId, [{ key, digest: 'd' }], pathOf(key));
  });
  const words = database.arrivals.getMany(tableId, keys);
  expect(keys.filter((key) => words.get(key)?.path[0]?.table !== key)).toEqual([]);
});

test('a path that a later version wrote is refused as that', () => {
  database.transaction(() => database.arrivals.put(tableId, [{ key: 'k', digest: 'd' }], pathOf('register')));
  database.sqlite.exec('UPDATE arrival_path SET format = 1');
  expect(() => database.arrivals.getMany(tableId, ['k'])).toThrow(
    expect.objectContaining({ code: 'EXCHANGE_DATABASE_NEWER' }),
  );
});
