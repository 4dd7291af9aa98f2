/**
 * Lands the sections of a delivery so that one bad row costs one row: first everything at once; when constraints object,
 * in another order of tables; then by halves under savepoints until the bad rows stand alone, which are tried once more
 * after all others. What landing means belongs to each adapter's `landing.ts`; the transaction to its `target.ts`.
 */

import { Matrix, type Section } from '@qiao/exchange';
import type { QuarantinedRow } from './adapter.ts';
import { landCircles } from './circle.ts';
import { MOST_ISOLATED } from './mark.ts';
import { changesAgain, Lines } from './sectionLines.ts';
import { type FailedRow, type LandedSections, RowRefusal, type SectionPort } from './sectionPort.ts';
import { Tally, tooMany } from './tally.ts';

/** Rows that wait for each other resolve in few rounds; more would be a loop. */
const MOST_ROUNDS = 10;

/** Lines, by section, that wait behind a quarantined line of the same key. */
type LinesBehind = ReadonlyMap<number, ReadonlySet<number>>;

/**
 * Lands every section. Throws QUARANTINE_LIMIT past the limit and classified errors that are not single rows'. When a row that
 * is quarantined has later changes in the same delivery, all is undone and landed again with those held: they must not overtake it.
 */
export async function landSections(port: SectionPort): Promise<LandedSections> {
  const tables = port.sections.map(({ table }) => table);
  const mayChangeAgain = new Set(tables).size < tables.length;
  if (!mayChangeAgain) return landRound(port, new Map());
  const { savepoints } = port;
  let behind: LinesBehind = new Map();
  for (;;) {
    await savepoints.set('qiao_round');
    const landed = await landRound(port, behind);
    const found = linesBehind(port.sections, landed.isolated);
    if (countLines(found) <= countLines(behind)) {
      await savepoints.release('qiao_round');
      return landed;
    }
    await savepoints.drop('qiao_round');
    behind = merged(behind, found);
  }
}

async function landRound(port: SectionPort, behind: LinesBehind): Promise<LandedSections> {
  const sent = port.sections.map((_, index) => index);
  if (sent.length === 0) return { matrix: new Matrix(), isolated: [] };
  const { savepoints } = port;
  await savepoints.set('qiao_sections');
  const attempt = async (work: () => Promise<LandedSections>): Promise<LandedSections | RowRefusal> => {
    try {
      const landed = await work();
      // Deferrable constraints speak up here, where a failure can still be undone and isolated.
      await savepoints.constraints('IMMEDIATE');
      await savepoints.release('qiao_sections');
      return landed;
    } catch (error) {
      if (!(error instanceof RowRefusal)) throw error;
      await savepoints.undo('qiao_sections');
      return error;
    }
  };

  let order = sent;
  if (behind.size === 0) {
    const first = await attempt(() => landWhole(port, sent));
    if (!(first instanceof RowRefusal)) return first;
    if (first.isIntegrity) {
      order = reordered(port.sections, await port.parentsFirst());
      if (order.some((section, place) => section !== place)) {
        const second = await attempt(() => landWhole(port, order));
        if (!(second instanceof RowRefusal)) return second;
      }
    }
  } else order = reordered(port.sections, await port.parentsFirst());
  const third = await attempt(() => landByHalves(port, order, 'DEFERRED', behind));
  if (!(third instanceof RowRefusal)) return third;
  const last = await attempt(() => landByHalves(port, order, 'IMMEDIATE', behind));
  if (!(last instanceof RowRefusal)) return last;
  throw last;
}

/**
 * Another order with the same meaning: each table's own sections keep theirs, so that a key changed twice ends the same.
 * Deletes that stand at the front of a table go children first, then all else parents first.
 */
function reordered(sections: readonly Section[], parentsFirst: readonly string[]): number[] {
  const queues = new Map<string, number[]>();
  sections.forEach((section, index) => {
    const queue = queues.get(section.table);
    if (queue === undefined) queues.set(section.table, [index]);
    else queue.push(index);
  });
  const tables = [...queues.keys()].sort((a, b) => parentsFirst.indexOf(a) - parentsFirst.indexOf(b));
  const order: number[] = [];
  for (const table of tables.toReversed()) {
    const queue = queues.get(table) ?? [];
    while (queue.length > 0 && sections[queue[0] as number]?.kind === 'delete') order.push(queue.shift() as number);
  }
  // Upserts of every table, parents first; deletes behind them again children first.
  const trailing: number[] = [];
  for (const table of tables) {
    const queue = queues.get(table) ?? [];
    const last = queue.findLastIndex((index) => sections[index]?.kind !== 'delete');
    order.push(...queue.slice(0, last + 1));
    trailing.unshift(...queue.slice(last + 1));
  }
  return [...order, ...trailing];
}

async function landWhole(port: SectionPort, order: readonly number[]): Promise<LandedSections> {
  const tally = new Tally(port);
  await port.savepoints.constraints('DEFERRED');
  for (const index of order) {
    const section = port.sections[index] as Section;
    tally.add(index, 0, await port.land(section, { ...section }, true));
  }
  return tally.result();
}

async function landByHalves(
  port: SectionPort,
  order: readonly number[],
  constraints: 'DEFERRED' | 'IMMEDIATE',
  behind: LinesBehind,
): Promise<LandedSections> {
  const { savepoints, sections, mostIsolated = MOST_ISOLATED } = port;
  const tally = new Tally(port);
  const lines = sections.map((section) => new Lines(section));
  const failed: FailedRow[] = [];
  await savepoints.constraints(constraints);
  // Open from here to the end, moved on after each piece: a hundred pieces are a hundred words less to the server.
  await savepoints.set('qiao_piece');

  const tryPiece = async (index: number, from: number, to: number): Promise<RowRefusal | undefined> => {
    const section = sections[index] as Section;
    try {
      const landed = await port.land(section, (lines[index] as Lines).piece(from, to), false);
      await savepoints.move('qiao_piece');
      tally.add(index, from, landed);
      return undefined;
    } catch (error) {
      if (!(error instanceof RowRefusal)) throw error;
      await savepoints.undo('qiao_piece');
      return error;
    }
  };
  const halve = async (index: number, from: number, to: number): Promise<void> => {
    if (from >= to) return;
    const held = firstBetween(behind.get(index), from, to);
    if (held !== undefined) {
      await halve(index, from, held);
      tally.add(index, held, { counts: [], isolated: [{ index: 0, ...BEHIND }] });
      return halve(index, held + 1, to);
    }
    const error = await tryPiece(index, from, to);
    if (error === undefined) return;
    // Some statements name the line that they stumbled over.
    const named = error.line !== undefined && error.line <= to - from ? from + error.line - 1 : undefined;
    const bad = to - from === 1 ? from : named;
    if (bad === undefined) {
      const middle = Math.floor((from + to) / 2);
      await halve(index, from, middle);
      return halve(index, middle, to);
    }
    await halve(index, from, bad);
    failed.push({ section: index, index: bad, error });
    if (failed.length + tally.isolated > mostIsolated) throw tooMany(mostIsolated);
    await halve(index, bad + 1, to);
  };
  for (const index of order) await halve(index, 0, (sections[index] as Section).rowCount);

  // Failing rows last: a parent may have come meanwhile, or the row that held a unique value may be gone.
  const again = async (rows: FailedRow[]): Promise<FailedRow[]> => {
    let open = rows;
    for (let round = 0; round < MOST_ROUNDS && open.length > 0; round++) {
      const still: FailedRow[] = [];
      for (const row of open) {
        const mayMove = row.error.isIntegrity && !changesAgain(sections, lines, row.section, row.index);
        const error = mayMove ? await tryPiece(row.section, row.index, row.index + 1) : row.error;
        if (error !== undefined) still.push({ ...row, error });
      }
      if (still.length === open.length) return still;
      open = still;
    }
    return open;
  };
  let open = await again(failed);
  await savepoints.release('qiao_piece');
  const landed = await landCircles(port, lines, open);
  for (const { section, index } of landed) {
    const outcome = sections[section]?.kind === 'insert' ? 'updatedInsteadOfInsert' : 'updated';
    tally.add(section, index, { counts: [[outcome, 1]], isolated: [] });
  }
  if (landed.size > 0) {
    await savepoints.set('qiao_piece');
    open = await again(open.filter((row) => !landed.has(row)));
    await savepoints.release('qiao_piece');
  }
  for (const { section, index, error } of open) {
    tally.add(section, index, {
      counts: [],
      isolated: [{ index: 0, outcome: 'quarantined', code: error.code, reason: error.message }],
    });
  }
  return tally.result();
}

/** Lines of later sections of the same table whose key was quarantined before. */
function linesBehind(sections: readonly Section[], isolated: readonly QuarantinedRow[]): LinesBehind {
  const found = new Map<number, Set<number>>();
  const lines = sections.map((section) => new Lines(section));
  for (const [at, section] of sections.entries()) {
    if (section.keyColumns === 0) continue;
    const open = isolated.filter(
      (row) => row.outcome === 'quarantined' && row.section < at && row.table === section.table,
    );
    if (open.length === 0) continue;
    const keys = new Set(open.map((row) => lines[row.section]?.key(row.index)));
    for (let index = 0; index < section.rowCount; index++) {
      if (!keys.has(lines[at]?.key(index))) continue;
      found.set(at, (found.get(at) ?? new Set()).add(index));
    }
  }
  return found;
}

function merged(a: LinesBehind, b: LinesBehind): LinesBehind {
  const all = new Map(a);
  for (const [section, lines] of b) all.set(section, new Set([...(all.get(section) ?? []), ...lines]));
  return all;
}

function countLines(behind: LinesBehind): number {
  return [...behind.values()].reduce((sum, lines) => sum + lines.size, 0);
}

function firstBetween(lines: ReadonlySet<number> | undefined, from: number, to: number): number | undefined {
  if (lines === undefined) return undefined;
  let first: number | undefined;
  for (const line of lines) if (line >= from && line < to && (first === undefined || line < first)) first = line;
  return first;
}

const BEHIND = { outcome: 'held', code: 'HELD', reason: 'an earlier change of the same key is open' } as const;
