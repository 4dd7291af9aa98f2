/**
 * Lands the sections of a delivery so that one bad row costs one row: first everything at once; when constraints object,
 * in another order of tables; then by halves under savepoints until the bad rows stand alone, which are tried once more
 * after all others. What landing means belongs to each adapter's `landing.ts`; the transaction to its `target.ts`.
 */

import { type Kind, Matrix, type Outcome, QiaoError, type Section } from '@qiao/exchange';
import type { QuarantinedRow } from './adapter.ts';
import { MOST_ISOLATED } from './mark.ts';

/** Rows that wait for each other resolve in few rounds; more would be a loop. */
const MOST_ROUNDS = 10;

/** A failure that belongs to single rows: a value or a constraint. */
export abstract class RowRefusal extends Error {
  /** As `QuarantinedRow.code`; the message is its reason. */
  abstract readonly code: string;
  /** The 1-based line of the piece that the database stumbled over, when it says so. */
  abstract readonly line: number | undefined;
  /** Another order of the same rows may satisfy the constraint. */
  abstract readonly isIntegrity: boolean;
}

/** A run of lines of one section. */
export interface Piece {
  readonly kind: Kind;
  readonly columns: readonly string[];
  readonly keyColumns: number;
  readonly wholeRows: boolean;
  readonly rows: Uint8Array;
  readonly rowCount: number;
}

/** What became of a piece. `isolated` rows count in the matrix too; `index` is the line in the piece, from 0. */
export interface Landed {
  readonly counts: readonly (readonly [Outcome, number])[];
  readonly isolated: readonly IsolatedLine[];
}

/** Deletes of which the target keeps `kept` rows; the others find none, or one that came a moment ago. */
export function nothingDeleted({ rowCount }: Pick<Piece, 'rowCount'>, kept: number): Landed {
  return {
    counts: [
      ['keptTarget', kept],
      ['deletedNothing', rowCount - kept],
    ],
    isolated: [],
  };
}

export type IsolatedLine = Pick<QuarantinedRow, 'index' | 'outcome' | 'code' | 'reason'>;

/** Savepoints of the transaction, by name. */
export interface Savepoints {
  set(name: string): Promise<unknown>;
  /** Undoes what was done since; the point stays. */
  undo(name: string): Promise<unknown>;
  /** Undoes what was done since, and forgets the point. */
  drop(name: string): Promise<unknown>;
  /** Keeps what was done since, and forgets the point. */
  release(name: string): Promise<unknown>;
  /** Keeps what was done since: the point is here from now on. */
  move(name: string): Promise<unknown>;
  /** When constraints that can wait speak up. Nothing where none can. */
  constraints(when: 'DEFERRED' | 'IMMEDIATE'): Promise<unknown>;
}

export interface SectionPort {
  readonly savepoints: Savepoints;
  readonly sections: readonly Section[];
  /** Rows that may be isolated before the failure counts as the delivery's; default 1,000. */
  readonly mostIsolated?: number | undefined;
  /** Lands the given lines of a section. `isWhole` allows the fast way for a section that was not cut. */
  land(section: Section, piece: Piece, isWhole: boolean): Promise<Landed>;
  /** Labels of tables, parents before children. */
  parentsFirst(): Promise<readonly string[]>;
}

export interface LandedSections {
  readonly matrix: Matrix;
  readonly isolated: readonly QuarantinedRow[];
}

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
  const failed: { section: number; index: number; error: RowRefusal }[] = [];
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
  let open = failed;
  for (let round = 0; round < MOST_ROUNDS && open.length > 0; round++) {
    const still: typeof failed = [];
    for (const row of open) {
      const mayMove = row.error.isIntegrity && !changesAgain(sections, lines, row.section, row.index);
      const error = mayMove ? await tryPiece(row.section, row.index, row.index + 1) : row.error;
      if (error !== undefined) still.push({ ...row, error });
    }
    if (still.length === open.length) {
      open = still;
      break;
    }
    open = still;
  }
  await savepoints.release('qiao_piece');
  for (const { section, index, error } of open) {
    tally.add(section, index, {
      counts: [],
      isolated: [{ index: 0, outcome: 'quarantined', code: error.code, reason: error.message }],
    });
  }
  return tally.result();
}

/** Whether a later section of the same table carries the key of this row: moving the row behind it would turn time back. */
function changesAgain(sections: readonly Section[], lines: readonly Lines[], at: number, index: number): boolean {
  const table = sections[at]?.table;
  const isLater = (other: number) => other > at && sections[other]?.table === table;
  if (!sections.some((_, other) => isLater(other))) return false;
  const key = lines[at]?.key(index) ?? '';
  return lines.some((other, place) => isLater(place) && other.keys().has(key));
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

/** Counts what landed, and collects isolated rows with their place in the delivery. */
class Tally {
  readonly #sections: readonly Section[];
  readonly #mostIsolated: number;
  readonly #matrix = new Matrix();
  readonly #rows: QuarantinedRow[] = [];
  readonly #lines = new Map<number, Lines>();

  constructor({ sections, mostIsolated = MOST_ISOLATED }: SectionPort) {
    this.#sections = sections;
    this.#mostIsolated = mostIsolated;
  }

  get isolated(): number {
    return this.#rows.length;
  }

  add(index: number, from: number, landed: Landed): void {
    const section = this.#sections[index] as Section;
    const add = (outcome: Outcome, rows: number) => {
      if (rows !== 0) this.#matrix.add(section.table, section.kind, outcome, rows);
    };
    for (const [outcome, rows] of landed.counts) {
      if (rows < 0) {
        throw new QiaoError('TARGET_BUSY', 'another session changed the same rows while they were counted', {
          fate: 'transient',
          hint: 'it is tried again; find out who else writes into the table if it stays',
        });
      }
      add(outcome, rows);
    }
    for (const line of landed.isolated) {
      if (this.#rows.length >= this.#mostIsolated) throw tooMany(this.#mostIsolated);
      let lines = this.#lines.get(index);
      if (lines === undefined) this.#lines.set(index, (lines = new Lines(section)));
      add(line.outcome, 1);
      this.#rows.push({
        table: section.table,
        kind: section.kind,
        section: index,
        ...line,
        index: from + line.index,
        line: lines.piece(from + line.index, from + line.index + 1).rows,
      });
    }
  }

  result(): LandedSections {
    return { matrix: this.#matrix, isolated: this.#rows.sort((a, b) => a.section - b.section || a.index - b.index) };
  }
}

/** Where the lines of a section begin; found only when a section has to be cut. */
export class Lines {
  readonly #section: Section;
  #starts: number[] | undefined;
  #keys: Set<string> | undefined;

  constructor(section: Section) {
    this.#section = section;
  }

  piece(from: number, to: number): Piece {
    const starts = this.#find();
    const rows = this.#section.rows.subarray(starts[from], starts[to]);
    return { ...this.#section, rows, rowCount: to - from };
  }

  /** The key fields of a line as they stand in the row text. */
  key(index: number): string {
    const starts = this.#find();
    const bytes = this.#section.rows.subarray(starts[index], (starts[index + 1] ?? 0) - 1);
    return Buffer.from(bytes).toString('utf8').split('\t', this.#section.keyColumns).join('\t');
  }

  keys(): ReadonlySet<string> {
    this.#keys ??= new Set(Array.from({ length: this.#section.rowCount }, (_, index) => this.key(index)));
    return this.#keys;
  }

  #find(): number[] {
    if (this.#starts !== undefined) return this.#starts;
    const starts = [0];
    const { rows } = this.#section;
    for (let end = rows.indexOf(0x0a); end !== -1; end = rows.indexOf(0x0a, end + 1)) starts.push(end + 1);
    this.#starts = starts;
    return starts;
  }
}

function tooMany(most: number): QiaoError {
  return new QiaoError('QUARANTINE_LIMIT', `more than ${most} rows of one delivery are refused`, {
    hint: 'this is rather a difference of the tables than of rows: qiao bridge check, then start the bridge again',
  });
}
