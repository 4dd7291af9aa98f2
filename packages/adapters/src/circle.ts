/**
 * Rows that each hold a unique value which another of them is to get: no order of updates lands them. As a last try all of them give up
 * their values together and are written again; who is refused even so (its value belongs to a row outside) is left as it was, and the
 * others try without. A value is given up by null, where its column takes one; else the rows are taken out, but only where a row that goes
 * takes nothing with it, and every column of it comes again: each adapter says so.
 */
import type { Outcome, Section } from '@qiao/exchange';
import type { Referrer } from './cascades.ts';
import { changesAgain, type Lines } from './sectionLines.ts';
import { type FailedRow, type Piece, RowRefusal, type SectionPort } from './sectionPort.ts';

/** Rounds in which the circle may shrink. */
const MOST_ROUNDS = 20;

/** One savepoint, and what is done under it; both give back the rows that are refused. */
export interface CirclePort<Row> {
  begin(): Promise<unknown>;
  undo(): Promise<unknown>;
  keep(): Promise<unknown>;
  /** A row that is not there is refused: it holds nothing. */
  giveUp(rows: readonly Row[]): Promise<readonly Row[]>;
  write(rows: readonly Row[]): Promise<readonly Row[]>;
}

/** What a table says of its unique values. */
export interface UniqueValues {
  /** Columns of each unique index. */
  readonly indexes: readonly (readonly string[])[];
  readonly nullable: ReadonlySet<string>;
  /** Foreign keys that act by themselves: a null would go on to the rows behind them. */
  readonly referrers: readonly Pick<Referrer, 'toColumns'>[];
}

/** One column of each unique index beside the key that may be null for a moment, among those whose values come. */
export function freeColumns(
  { indexes, nullable, referrers }: UniqueValues,
  key: readonly string[],
  columns: readonly string[],
): string[] {
  const isFree = (name: string) =>
    nullable.has(name) && !key.includes(name) && !referrers.some(({ toColumns }) => toColumns.includes(name));
  return [...new Set(indexes.flatMap((index) => columns.find((name) => index.includes(name) && isFree(name)) ?? []))];
}

/** Gives back the rows that landed, each in the place of its former self; all others are as they were. */
export async function landCircle<Row>(rows: readonly Row[], port: CirclePort<Row>): Promise<readonly Row[]> {
  let circle = rows;
  for (let round = 0; round < MOST_ROUNDS && circle.length > 1; round++) {
    await port.begin();
    const unmoved = new Set(await port.giveUp(circle));
    const moved = circle.filter((row) => !unmoved.has(row));
    const refused = new Set(moved.length > 1 ? await port.write(moved) : moved);
    if (moved.length > 1 && refused.size === 0) {
      await port.keep();
      return moved;
    }
    await port.undo();
    circle = moved.filter((row) => !refused.has(row));
  }
  return [];
}

/** Rows that only their unique values keep apart, table by table; gives back those that landed. */
export async function landCircles(
  port: SectionPort,
  lines: readonly Lines[],
  open: readonly FailedRow[],
): Promise<ReadonlySet<FailedRow>> {
  const { savepoints, sections } = port;
  const sectionOf = ({ section }: FailedRow) => sections[section] as Section;
  const isWhole = (row: FailedRow) => sectionOf(row).kind === 'insert' || sectionOf(row).wholeRows;
  const stuck = open.filter(
    (row) =>
      row.error.code === 'UNIQUE' &&
      sectionOf(row).kind !== 'delete' &&
      !changesAgain(sections, lines, row.section, row.index),
  );
  const landed = new Set<FailedRow>();

  /** Takes the step with all rows of a section together, then with halves; gives back those with whom it cannot be taken. */
  const refusedBy = async (
    step: Step,
    section: Section,
    of: Lines,
    some: readonly FailedRow[],
  ): Promise<readonly FailedRow[]> => {
    const piece = of.pick(some.map(({ index }) => index));
    await savepoints.set('qiao_piece');
    let done: number | undefined;
    try {
      done = await step(section, piece);
    } catch (error) {
      if (!(error instanceof RowRefusal)) throw error;
    }
    if (done === some.length) {
      await savepoints.release('qiao_piece');
      return [];
    }
    await savepoints.drop('qiao_piece');
    // None of them is there, or there is nothing left to cut.
    if (done === 0 || some.length === 1) return some;
    const middle = Math.floor(some.length / 2);
    const first = await refusedBy(step, section, of, some.slice(0, middle));
    return [...first, ...(await refusedBy(step, section, of, some.slice(middle)))];
  };
  const inEachSection = (step: Step) => async (all: readonly FailedRow[]) => {
    const refused: FailedRow[] = [];
    for (const [section, some] of Map.groupBy(all, (row) => row.section)) {
      refused.push(...(await refusedBy(step, sections[section] as Section, lines[section] as Lines, some)));
    }
    return refused;
  };
  const circle = async (rows: readonly FailedRow[], giveUp: Step, write: Step) => {
    if (rows.length < 2) return;
    const moved = await landCircle(rows, {
      begin: () => savepoints.set('qiao_circle'),
      undo: () => savepoints.drop('qiao_circle'),
      keep: () => savepoints.release('qiao_circle'),
      giveUp: inEachSection(giveUp),
      write: inEachSection(write),
    });
    for (const row of moved) landed.add(row);
  };

  const landing =
    (outcomes: ReadonlySet<Outcome>, change?: Partial<Piece>): Step =>
    async (section, piece) => {
      const { counts } = await port.land(section, { ...piece, ...change }, false);
      return counts.reduce((sum, [outcome, count]) => sum + (outcomes.has(outcome) ? count : 0), 0);
    };
  for (const rows of Map.groupBy(stuck, (row) => sectionOf(row).table).values()) {
    await circle(rows, (section, piece) => port.giveUpValues(section, piece), landing(OVERWRITTEN));
    const rest = rows.filter((row) => !landed.has(row) && isWhole(row));
    const may = await Promise.all([...new Set(rest.map(sectionOf))].map((section) => port.mayReplace(section)));
    if (may.includes(false)) continue;
    await circle(rest, landing(new Set(['deleted']), { kind: 'delete' }), landing(REPLACED));
  }
  return landed;
}

/** Gives back of how many rows it is true. */
type Step = (section: Section, piece: Piece) => Promise<number>;

/** What a row that gave up its values is counted as on the way, and one that was taken out. */
const OVERWRITTEN: ReadonlySet<Outcome> = new Set(['updated', 'updatedInsteadOfInsert']);
const REPLACED: ReadonlySet<Outcome> = new Set(['inserted', 'insertedInsteadOfUpdate']);
