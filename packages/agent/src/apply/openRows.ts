// Rows of a delivery that wait: how they are named to the target, kept before it commits, and what follows when a delivery is known to be
// applied: rows that lacked their base are superseded by whole rows, and rows of closed epochs are cancelled.

import type { HeldRows, OpenPlace, QuarantinedRow, RowPlace } from '@qiao/adapters';
import { QiaoError, type Section } from '@qiao/exchange';
import type { ExchangeDatabase, LanePlace, QuarantineRow } from '../exchange-database/index.ts';
import { type HeldSplit, keyTextOf, type SupersedingRow } from './held.ts';

type Stores = Pick<ExchangeDatabase, 'quarantine' | 'rowDecisions' | 'transaction'>;

/** Who decides when no person does. */
export const BY_AGENT = 'agent';

const BEHIND = { code: 'HELD', reason: 'an earlier change of the same key is open' } as const;

/** Rows held back as the target's mark counts and names them; undefined when there are none. */
export function heldWork({ held }: HeldSplit, sections: readonly Section[]): HeldRows | undefined {
  if (held.length === 0) return undefined;
  return {
    sections: [...Map.groupBy(held, (row) => row.section)].map(([index, rows]) => ({
      ...(sections[index] as Section),
      rowCount: rows.length,
      rows: Buffer.concat(rows.map(({ line }) => line)),
    })),
    open: held.map(
      ({ section, index, table, kind }): OpenPlace => ({ section, index, table, kind, outcome: 'held', ...BEHIND }),
    ),
  };
}

export function heldRows({ held }: HeldSplit, sections: readonly Section[]): QuarantineRow[] {
  return held.map(({ section, index, table, kind, line, keyText }) => ({
    ...shapeOf(sections[section]),
    section,
    index,
    table,
    kind,
    line,
    keyText,
    outcome: 'held',
    ...BEHIND,
  }));
}

/** An isolated row under the place that its sender knows. */
export function refusedRow(row: QuarantinedRow, place: RowPlace, sections: readonly Section[]): QuarantineRow {
  const shape = shapeOf(sections[place.section]);
  const { table, kind, line, outcome, code, reason } = row;
  return { ...shape, ...place, table, kind, line, keyText: keyTextOf(line, shape.keyColumns), outcome, code, reason };
}

/** Rows that the mark says wait, read again out of the delivery itself: the exchange database that knew them was lost. */
export function rowsOfMark(open: readonly OpenPlace[], sections: readonly Section[]): QuarantineRow[] {
  const rows: QuarantineRow[] = [];
  for (const [section, places] of Map.groupBy(open, (place) => place.section)) {
    const source = sections[section];
    if (source === undefined) continue;
    const lines = linesAt(source, new Set(places.map(({ index }) => index)));
    for (const place of places) {
      const line = lines.get(place.index);
      if (line === undefined) continue;
      rows.push({ ...shapeOf(source), ...place, line, keyText: keyTextOf(line, source.keyColumns) });
    }
  }
  return rows;
}

/**
 * Makes these the open rows of the delivery, or throws QUARANTINE_LIMIT and changes nothing when the lane would gather more than the
 * bridge allows: one bad schema must not fill a disk row by row.
 */
export function keepOpenRows(
  place: LanePlace,
  rows: readonly QuarantineRow[],
  mostOpen: number,
  atMs: number,
  database: Pick<Stores, 'quarantine' | 'transaction'>,
): void {
  database.transaction(() => {
    database.quarantine.replace(place, rows, atMs);
    const open = database.quarantine.countOpen(place.lane);
    if (rows.length === 0 || open <= mostOpen) return;
    throw new QiaoError(
      'QUARANTINE_LIMIT',
      `the lane would have ${open} open rows; the bridge stops after ${mostOpen} (stopAfterQuarantined)`,
      { hint: 'find the common cause and settle rows: qiao quarantine list; the lane goes on by itself' },
    );
  });
}

/** Rows of the key that lacked their base are over once a later whole row or delete landed: trying them would turn time back. */
export function supersede(
  place: LanePlace,
  rows: readonly SupersedingRow[],
  atMs: number,
  { rowDecisions }: Pick<Stores, 'rowDecisions'>,
): void {
  for (const { section, index, table, keyText } of rows) {
    for (const older of rowDecisions.beforeOfKey({ ...place, section, index }, table, keyText)) {
      rowDecisions.decide(older, {
        decision: 'supersede',
        by: BY_AGENT,
        reason: 'a later whole row of the same key took its place',
        atMs,
      });
    }
  }
}

/** Rows of closed epochs are cancelled: the load that begins the new one brings what the source has now. */
export function cancelEarlierEpochs(lane: Uint8Array, epoch: bigint, atMs: number, { rowDecisions }: Stores): void {
  for (const row of rowDecisions.ofEarlierEpochs(lane, epoch)) {
    rowDecisions.decide(row, { decision: 'cancel', by: BY_AGENT, reason: `epoch ${epoch} was opened`, atMs });
  }
}

function shapeOf(section: Section | undefined): Pick<QuarantineRow, 'columns' | 'keyColumns' | 'wholeRows'> {
  return {
    columns: section?.columns ?? [],
    keyColumns: section?.keyColumns ?? 0,
    wholeRows: section?.wholeRows ?? false,
  };
}

/** Lines of a section with their LF, by index. */
function linesAt({ rows }: Section, wanted: ReadonlySet<number>): Map<number, Uint8Array> {
  const lines = new Map<number, Uint8Array>();
  for (let start = 0, index = 0; start < rows.length && lines.size < wanted.size; index++) {
    const end = rows.indexOf(0x0a, start) + 1 || rows.length;
    if (wanted.has(index)) lines.set(index, rows.subarray(start, end));
    start = end;
  }
  return lines;
}
