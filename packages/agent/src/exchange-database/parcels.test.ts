import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type ExchangeDatabase, openExchangeDatabase } from './database.ts';

class Kept implements Disposable {
  readonly #directory = mkdtempSync(join(tmpdir(), 'qiao-parcels-'));
  readonly file = join(this.#directory, 'exchange.db');
  readonly database: ExchangeDatabase = openExchangeDatabase(this.file);

  add(content: Uint8Array): number {
    const { parcels } = this.database;
    return this.database.transaction(() =>
      parcels.add({
        parcel: new Uint8Array(16).fill(7),
        bridge: new Uint8Array(16).fill(8),
        bridgeVersion: 1,
        origin: 'load',
        contentHash: new Uint8Array(32).fill(9),
        contentBytes: content.length,
        counts: [],
        madeAtMs: 1_000,
        deliveries: 1,
        compression: 'none',
        content,
      }),
    );
  }

  [Symbol.dispose](): void {
    this.database.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

test('a delivery that is settled costs the disk as much for a large body as for a small one', () => {
  using kept = new Kept();
  const { database, file } = kept;
  const content = Buffer.alloc(4 * 1024 * 1024, 'x');
  const number = kept.add(content);
  database.checkpoint();
  database.transaction(() => database.parcels.countOpen(number, -1, 1_795_525_002_000));
  expect(statSync(`${file}-wal`).size).toBeLessThan(256 * 1024);
  expect(database.parcels.get(number)).toMatchObject({ openDeliveries: 0, settledAtMs: 1_795_525_002_000 });
  expect(Buffer.from(database.parcels.content(number) ?? []).equals(content)).toBe(true);
});

test('a body goes with its parcel, and one that an earlier program kept in the record itself is still there', () => {
  using kept = new Kept();
  const { parcels, sqlite } = kept.database;
  const number = kept.add(Buffer.from('new'));
  const bodies = sqlite.prepare('SELECT count(*) FROM parcel_body').pluck();
  expect(bodies.get()).toBe(1);
  sqlite.exec(`DELETE FROM parcel_body; UPDATE parcel SET content = CAST('old' AS BLOB), sealed = 0`);
  expect(Buffer.from(parcels.content(number) ?? []).toString()).toBe('old');
  parcels.remove(number);
  expect([parcels.get(number), parcels.content(number)]).toEqual([undefined, undefined]);
  kept.add(Buffer.from('new'));
  parcels.remove(kept.database.sqlite.prepare<[], number>('SELECT number FROM parcel').pluck().get() as number);
  expect(bodies.get()).toBe(0);
});
