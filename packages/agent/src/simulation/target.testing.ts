// A target database with one table and its mark, in memory: rows and mark change together or not at all, and which delivery is
// next is decided by the adapters' own `decide`. What this model keeps besides is the diary of commits, which no real target
// has, so that an invariant can say that nothing was applied twice.

import {
  type AmendResult,
  type AmendWork,
  type AppliedPoint,
  type ApplyResult,
  type ApplyWork,
  amendedAnswer,
  decideMark,
  firstAnswer,
  notOpen,
  type QuarantinedRow,
  type Target,
} from '@qiao/adapters';
import { idText, Matrix, type Outcome, type Section } from '@qiao/exchange';

/** A row that the database refuses: its value breaks a constraint. */
export const REFUSED = 'refused';

interface State {
  rows: Map<string, string>;
  points: Map<string, AppliedPoint[]>;
  /** Keys that a load found, per lane. */
  noted: Map<string, Set<string>>;
  diary: string[];
}

export class SimulatedTarget {
  #state: State = { rows: new Map(), points: new Map(), noted: new Map(), diary: [] };
  readonly id: string;

  constructor(id: string) {
    this.id = id;
  }

  get rows(): ReadonlyMap<string, string> {
    return this.#state.rows;
  }

  /** `epoch/nonce/sequence` of each commit since the last restore, in order. */
  get diary(): readonly string[] {
    return this.#state.diary;
  }

  /** Rows of the mark. */
  get marks(): number {
    return [...this.#state.points.values()].reduce((sum, points) => sum + points.length, 0);
  }

  backup(): () => void {
    const kept = copyOf(this.#state);
    return () => {
      this.#state = copyOf(kept);
    };
  }

  open(crash: (name: string) => void): Target {
    return {
      prepare: async () => ({ targetId: this.id, created: false }),
      points: async (lane) => this.#state.points.get(lane) ?? [],
      apply: (work) => this.#apply(work, crash),
      forgetLane: async (lane) => void this.#state.points.delete(lane),
      amend: (work) => this.#amend(work, crash),
      close: async () => {},
    };
  }

  async #apply(work: ApplyWork, crash: (name: string) => void): Promise<ApplyResult> {
    const state = copyOf(this.#state);
    const points = state.points.get(work.laneId) ?? [];
    const decision = decideMark(points, work);
    if (decision.kind !== 'apply') return decision;
    if (work.opensEpoch || work.load.isBroken === true) state.noted.delete(work.laneId);
    if (work.load.begins) state.noted.set(work.laneId, new Set(state.rows.keys()));
    const { matrix, quarantined } = land(state, work);
    for (const section of work.held?.sections ?? []) {
      for (const line of linesOf(section)) state.noted.get(work.laneId)?.delete(keyOf(line));
    }
    let deleted = 0;
    if (work.load.ends) {
      for (const key of state.noted.get(work.laneId) ?? []) if (state.rows.delete(key)) deleted += 1;
      state.noted.delete(work.laneId);
    }
    const extras = deleted === 0 ? [] : [{ table: 'person', deleted, kept: 0 }];
    const answer = firstAnswer(work, { cells: matrix.cells(), isolated: quarantined }, extras);
    const { epoch, nonce, sequence, chain, contentHash, appliedAtMs } = work;
    const settled = work.settled ?? [];
    const kept = points.filter(
      (point) =>
        point.epoch === epoch &&
        point.sequence > work.settledThrough &&
        !settled.some(({ first, last }) => first <= point.sequence && point.sequence <= last),
    );
    state.points.set(work.laneId, [...kept, { epoch, nonce, sequence, chain, contentHash, answer, appliedAtMs }]);
    state.diary.push(`${work.laneId}/${epoch}/${idText(nonce)}/${sequence}`);
    crash('target.beforeCommit');
    if (quarantined.length > 0) await work.beforeCommit(quarantined);
    this.#state = state;
    return { kind: 'applied', answer, quarantined };
  }

  async #amend(work: AmendWork, crash: (name: string) => void): Promise<AmendResult> {
    const state = copyOf(this.#state);
    const points = state.points.get(work.laneId) ?? [];
    const point = points.find(({ epoch, sequence }) => epoch === work.epoch && sequence === work.sequence);
    if (point === undefined || notOpen(point.answer, work) !== undefined) return { kind: 'unknown', why: 'not open' };
    const { matrix, quarantined } = land(state, work);
    const answer = amendedAnswer(point.answer, work, { cells: matrix.cells(), isolated: quarantined });
    const amended = points.map((one) => (one === point ? { ...one, answer } : one));
    state.points.set(work.laneId, amended);
    crash('target.beforeCommit');
    await work.beforeCommit(answer, quarantined);
    this.#state = state;
    return { kind: 'amended', answer, quarantined };
  }
}

function land(
  state: State,
  { laneId, sections }: Pick<ApplyWork, 'laneId' | 'sections'>,
): { matrix: Matrix; quarantined: QuarantinedRow[] } {
  const matrix = new Matrix();
  const quarantined: QuarantinedRow[] = [];
  for (const [index, section] of sections.entries()) {
    for (const [row, line] of linesOf(section).entries()) {
      const outcome = change(state, laneId, section, line);
      matrix.add(section.table, section.kind, outcome, 1);
      if (outcome !== 'quarantined') continue;
      quarantined.push({
        table: section.table,
        kind: section.kind,
        section: index,
        index: row,
        line: Buffer.from(`${line}\n`),
        outcome,
        code: 'CHECK',
        reason: 'a constraint refused the row',
      });
    }
  }
  return { matrix, quarantined };
}

function change(state: State, lane: string, section: Section, line: string): Outcome {
  const [key = '', value = ''] = line.split('\t');
  state.noted.get(lane)?.delete(key);
  const before = state.rows.get(key);
  if (section.kind === 'delete') return state.rows.delete(key) ? 'deleted' : 'deletedNothing';
  if (value.startsWith(REFUSED)) return 'quarantined';
  state.rows.set(key, value);
  if (before === value) return 'unchanged';
  if (section.kind === 'insert') return before === undefined ? 'inserted' : 'updatedInsteadOfInsert';
  return before === undefined ? 'insertedInsteadOfUpdate' : 'updated';
}

function linesOf({ rows }: Section): string[] {
  return Buffer.from(rows).toString().split('\n').slice(0, -1);
}

function keyOf(line: string): string {
  return line.split('\t')[0] ?? '';
}

function copyOf({ rows, points, noted, diary }: State): State {
  return {
    rows: new Map(rows),
    points: new Map(points),
    noted: new Map([...noted].map(([lane, keys]) => [lane, new Set(keys)])),
    diary: [...diary],
  };
}
