// Sums of the books. A tally is moved, never recomputed: what a delivery contributed before is taken away and what it
// contributes now is added, in the transaction that changes the delivery's line.
//
// Measures per lane and day: `sent` (table, kind), `outcome` (table, kind, outcome), `extra` (table, -, deleted|kept),
// `deliveries` (-, -, state), `rows` (-, -, state), `origin` (-, -, origin), `amended` (-, -, revisions|rows).
// Per bridge and day: `capture` (table, kind, captured|packed|folded|filtered|refused).

import type { CaptureCounts } from '@qiao/contract/counts';
import { type KindCount, kindOf, type OutcomeCell, safeCount } from '@qiao/exchange';
import { sql, type Transaction } from 'kysely';
import type { DeliveryRow, MonitorSchema } from '../monitorDatabase.ts';

/** Rows of one statement: a delivery of many tables has more cells than SQLite binds values. */
const ADDED_AT_ONCE = 1_000;

interface Contribution {
  readonly measure: string;
  readonly table: string;
  readonly kind: string;
  readonly detail: string;
  readonly amount: number;
}

/** Moves the tallies from what `before` contributed to what `after` does. Lines without a statement contribute nothing. */
export async function moveTallies(
  transaction: Transaction<MonitorSchema>,
  before: DeliveryRow | undefined,
  after: DeliveryRow,
): Promise<void> {
  if (before !== undefined) await addAll(transaction, before.lane_id, before.day, contributions(before), -1);
  await addAll(transaction, after.lane_id, after.day, contributions(after), 1);
}

function contributions(row: DeliveryRow): Contribution[] {
  if (row.day === '') return [];
  const sent = (JSON.parse(row.counts) as KindCount[]).flatMap(({ table, inserts, updates, deletes }) => [
    { measure: 'sent', table, kind: 'insert', detail: '', amount: inserts },
    { measure: 'sent', table, kind: 'update', detail: '', amount: updates },
    { measure: 'sent', table, kind: 'delete', detail: '', amount: deletes },
  ]);
  const outcomes = (JSON.parse(row.outcomes) as OutcomeCell[]).map((cell) => ({
    measure: 'outcome',
    table: cell.table,
    kind: cell.sent,
    detail: cell.outcome,
    amount: cell.rows,
  }));
  const extras = (JSON.parse(row.extras) as { table: string; deleted: number; kept: number }[]).flatMap(
    ({ table, deleted, kept }) => [
      { measure: 'extra', table, kind: '', detail: 'deleted', amount: deleted },
      { measure: 'extra', table, kind: '', detail: 'kept', amount: kept },
    ],
  );
  return [
    ...sent,
    ...outcomes,
    ...extras,
    { measure: 'deliveries', table: '', kind: '', detail: row.state, amount: 1 },
    { measure: 'rows', table: '', kind: '', detail: row.state, amount: row.rows },
    // Lines from before origins were kept have none.
    ...(row.origin === '' ? [] : [{ measure: 'origin', table: '', kind: '', detail: row.origin, amount: row.rows }]),
  ].filter(({ amount }) => amount !== 0);
}

/** Adds a receipt's revision and the rows that it moved to the day of its delivery. */
export async function addAmendment(
  transaction: Transaction<MonitorSchema>,
  before: DeliveryRow,
  after: DeliveryRow,
): Promise<void> {
  const now = new Map((JSON.parse(after.outcomes) as OutcomeCell[]).map((cell) => [cellKey(cell), cell.rows]));
  const moved = (JSON.parse(before.outcomes) as OutcomeCell[])
    .map((cell) => Math.max(0, cell.rows - (now.get(cellKey(cell)) ?? 0)))
    .reduce((sum, rows) => sum + rows, 0);
  const addition = { measure: 'amended', table: '', kind: '' };
  const additions = [
    { ...addition, detail: 'revisions', amount: 1 },
    { ...addition, detail: 'rows', amount: moved },
  ];
  await addAll(transaction, after.lane_id, after.day, additions, 1);
}

function cellKey({ table, sent, outcome }: OutcomeCell): string {
  return JSON.stringify([table, sent, outcome]);
}

/** Adds what capture counted for one parcel or one empty round. The caller makes sure that a parcel is added once. */
export async function addCapture(
  transaction: Transaction<MonitorSchema>,
  bridgeId: string,
  day: string,
  counts: readonly CaptureCounts[],
): Promise<void> {
  const additions = counts.flatMap(({ table, kind, captured, packed, folded, filtered, refused }) =>
    Object.entries({ captured, packed, folded, filtered, refused }).map(([detail, amount]) => ({
      measure: 'capture',
      table,
      kind: kindOf(kind),
      detail,
      amount: safeCount(amount),
    })),
  );
  await addAll(
    transaction,
    bridgeId,
    day,
    additions.filter(({ amount }) => amount !== 0),
    1,
  );
}

async function addAll(
  transaction: Transaction<MonitorSchema>,
  ownerId: string,
  day: string,
  additions: readonly Contribution[],
  sign: 1 | -1,
): Promise<void> {
  for (let first = 0; first < additions.length; first += ADDED_AT_ONCE) {
    await addSome(transaction, ownerId, day, additions.slice(first, first + ADDED_AT_ONCE), sign);
  }
}

async function addSome(
  transaction: Transaction<MonitorSchema>,
  ownerId: string,
  day: string,
  additions: readonly Contribution[],
  sign: 1 | -1,
): Promise<void> {
  await transaction
    .insertInto('tally')
    .values(
      additions.map(({ measure, table, kind, detail, amount }) => ({
        owner_id: ownerId,
        day,
        measure,
        table_name: table,
        kind,
        detail,
        amount: sign * amount,
      })),
    )
    .onConflict((conflict) =>
      conflict
        .columns(['owner_id', 'day', 'measure', 'table_name', 'kind', 'detail'])
        .doUpdateSet({ amount: sql`tally.amount + excluded.amount` }),
    )
    .execute();
}
