import { RowAction, SettleRows } from '@qiao/contract/node';
import { parseId } from '@qiao/exchange';
import { createRowBox } from '@qiao/security';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { retryWaiting } from '../apply/settleRows.ts';
import { heldBytes } from '../exchange-database/heldBytes.testing.ts';
import { beforeEpoch, type ExchangeDatabase, openExchangeDatabase, type RowAt } from '../exchange-database/index.ts';
import { listOpenRows, type QuarantinePorts, settleRows } from './quarantine.ts';

const LANE = parseId('a'.repeat(32));
const MIB = 1024 * 1024;
const ROWS = 64;
const rowAt = (index: number): RowAt => ({ lane: LANE, epoch: 1n, sequence: BigInt(index + 1), section: 0, index: 0 });
const clock = { nowMs: () => 1_700_000_000_000, elapsedMs: () => 0, sleep: async () => {} };

let database: ExchangeDatabase;
beforeEach(() => {
  database = openExchangeDatabase(':memory:', { rowBox: createRowBox(new Uint8Array(32).fill(1)) });
});
afterEach(() => database.close());

/** Rows of so many bytes, each in a delivery of its own. */
function keep(rows: number, bytes: number): void {
  const line = Buffer.alloc(bytes, 'x');
  line.write('1\t');
  line.write('\n', bytes - 1);
  for (let index = 0; index < rows; index++) {
    const facts = { table: 'person', kind: 'insert', columns: ['id', 'name'], keyColumns: 1, wholeRows: true } as const;
    const why = { outcome: 'quarantined', code: 'FOREIGN_KEY', reason: 'x' } as const;
    database.quarantine.replace(
      rowAt(index),
      [{ section: 0, index: 0, ...facts, line, keyText: String(index), ...why }],
      1,
    );
  }
}

/** `carryOut` stands for apply. */
function portsOf(carryOut: () => void): QuarantinePorts {
  const unused = (): never => {
    throw new Error('nothing is shown or edited');
  };
  return {
    database,
    desired: () => undefined,
    onDecided: carryOut,
    seal: unused,
    unseal: unused,
    sealingKey: new Uint8Array(32),
    nodeCode: 'civil',
    rights: { mayRead: [], mayEdit: [] },
    trust: { operatorOf: unused },
    clock,
  };
}

const settled = (index: number) => database.quarantine.follow(rowAt(index), [], 2);
const replay = SettleRows.fromPartial({ action: RowAction.REPLAY });
const list = { rows: undefined, includeSettled: false, limit: 1_000 };

/** MiB of buffers that came while it ran, those that nobody holds any more included. */
async function mibOf(work: () => unknown): Promise<number> {
  const before = heldBytes();
  await work();
  return (process.memoryUsage().arrayBuffers - before) / MIB;
}

test('wide rows are listed, tried again and decided in bulk by their places, whatever they and their edits hold', async () => {
  keep(ROWS, MIB);
  for (let edit = 0; edit < 5; edit++) database.rowLines.addEdit(rowAt(0), Buffer.alloc(MIB, 'y'), 'wang', 7);
  const ports = portsOf(() => Array.from({ length: ROWS }, (_, index) => settled(index)));
  const listed = await mibOf(() => {
    const { openRows } = listOpenRows(list, ports);
    expect(openRows[0]).toMatchObject({ edits: 5, editedBy: 'wang', editedAtMs: 7n });
    expect(openRows).toHaveLength(ROWS);
  });
  const tried = await mibOf(() => {
    expect(retryWaiting(beforeEpoch(LANE, 0n), { database, clock })).toEqual({ rows: ROWS, upTo: undefined });
  });
  const decided = await mibOf(async () => {
    const { settledRows } = await settleRows(replay, ports, 'zhang');
    expect(settledRows).toMatchObject({ decided: ROWS, settled: ROWS });
  });
  expect(Math.max(listed, tried, decided)).toBeLessThan(8);
});

test('a decision in bulk says how many rows were settled, refused again and are pending, in whatever order they went', async () => {
  keep(5, 10);
  const ports = portsOf(() => {
    for (const index of [0, 4]) settled(index);
    for (const row of database.quarantine.ofDelivery(rowAt(2))) database.quarantine.undecide(row);
  });
  let elapsedMs = 0;
  const waits = { ...ports, clock: { ...clock, elapsedMs: () => (elapsedMs += 5_000) } };
  const { settledRows } = await settleRows(replay, waits, 'zhang');
  expect(settledRows).toMatchObject({ decided: 5, settled: 2, refused: 1, pending: 2 });
  expect(settledRows?.refusedRows).toMatchObject([{ sequence: 3n, decision: RowAction.UNSPECIFIED }]);
});
