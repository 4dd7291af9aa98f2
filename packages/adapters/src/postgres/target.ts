/**
 * The apply side: one session, one delivery at a time, one transaction each. The mark is its first write; then the notes
 * of a load, the sections, the end of a load, and the answer. How rows land belongs to `landing.ts` and `isolate.ts`.
 */

import { QiaoError, type Section } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import type {
  AmendResult,
  AmendWork,
  AppliedPoint,
  ApplyResult,
  ApplyWork,
  ExtraRows,
  QuarantinedRow,
  Target,
  TargetTable,
} from '../adapter.ts';
import { amendedAnswer, decide, firstAnswer, type MarkDecision, notOpen } from '../mark.ts';
import { type LandedSections, Lines, landSections } from './isolate.ts';
import { type JournalValues, type Landed, land, needsOrdinal, type Piece } from './landing.ts';
import { type Layout, readLayouts, schemaError } from './layout.ts';
import { MarkTable } from './markTable.ts';
import { beginNotes, dropNotes, endNotes } from './notes.ts';
import { defaultSchema, openSession, type PostgresConfig, type Session } from './session.ts';
import { identifiers } from './sql.ts';
import { classify, RowError } from './sqlstate.ts';
import { fill, type Stage, Stages } from './stage.ts';

/** The mark is written before anything landed; the true answer takes its place before the commit. */
const NOTHING_LANDED = { cells: [], isolated: [] };
const LIMITS = { statementMs: 10 * 60_000, lockMs: 30_000, idleInTransactionMs: 5 * 60_000 };
/** After a conflict the straight way is not tried for this many sections of the table, doubling to the highest. */
const FIRST_DETOUR = 4;
const LONGEST_DETOUR = 256;

/** Opens lazily: the first call connects, and a lost connection is opened again by the next. */
export function createTarget(config: PostgresConfig): Target {
  return new PostgresTarget(config);
}

class PostgresTarget implements Target {
  readonly #config: PostgresConfig;
  readonly #schema: string;
  readonly #mark: MarkTable;
  readonly #detours = new Map<string, { left: number; next: number }>();
  #session: Session | undefined;
  #stages = new Stages();
  #tail: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(config: PostgresConfig) {
    this.#config = config;
    this.#schema = defaultSchema(config);
    this.#mark = new MarkTable(this.#schema);
  }

  prepare(): Promise<{ targetId: string; created: boolean }> {
    return this.#alone((session) => this.#mark.prepare(session));
  }

  points(laneId: string): Promise<AppliedPoint[]> {
    return this.#alone((session) => this.#mark.points(session, laneId));
  }

  apply(work: ApplyWork): Promise<ApplyResult> {
    return this.#alone((session) => this.#apply(session, work));
  }

  amend(work: AmendWork): Promise<AmendResult> {
    return this.#alone((session) => this.#amend(session, work));
  }

  forgetLane(laneId: string): Promise<void> {
    return this.#alone(async (session) => {
      await session.run('BEGIN');
      try {
        await this.#mark.lock(session, laneId);
        await this.#mark.forget(session, laneId);
        await dropNotes(session, this.#schema, laneId);
        await session.run('COMMIT');
      } catch (error) {
        await session.run('ROLLBACK').catch(() => undefined);
        throw error;
      }
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#tail.catch(() => undefined);
    await this.#session?.close();
    this.#session = undefined;
  }

  /** One call at a time; a failure of one is nothing to the next. */
  #alone<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const run = this.#tail.then(async () => {
      if (this.#isClosed) throw new QiaoError('TARGET_CLOSED', 'the target was closed');
      return work(await this.#open());
    });
    this.#tail = run.catch(() => undefined);
    return run;
  }

  async #open(): Promise<Session> {
    if (this.#session?.isBroken === false) return this.#session;
    this.#session?.abandon();
    this.#stages = new Stages();
    this.#session = await openSession(this.#config, { side: 'TARGET', purpose: 'apply', limits: LIMITS });
    return this.#session;
  }

  async #apply(session: Session, work: ApplyWork): Promise<ApplyResult> {
    const asked = new Map<string, TargetTable>();
    const held = work.held?.sections ?? [];
    const sections = [...work.sections, ...held];
    for (const section of sections) asked.set(section.table, tableOf(work.tables, section.table));
    if (work.load.begins || work.load.ends) for (const [label, table] of work.tables) asked.set(label, table);
    let layouts: Map<string, Layout>;
    let stages: Map<string, Stage>;
    try {
      layouts = await readLayouts(session, this.#schema, work.laneId, asked.values());
      stages = await this.#ensureStages(session, layouts, sections);
    } catch (error) {
      // A delivery applied long ago is answered even when its table has gone since.
      const decision = decide(await this.#mark.deciding(session, work), work);
      if (decision.kind !== 'apply') return decision;
      throw permanent(error);
    }
    return this.#inTransaction<ApplyResult>(session, async () => {
      await this.#mark.lock(session, work.laneId);
      const points = await this.#mark.deciding(session, work);
      const decision: MarkDecision = decide(points, work);
      if (decision.kind !== 'apply') return { commit: false, value: decision };
      if (!(await this.#mark.insert(session, work, firstAnswer({ ...work, held: undefined }, NOTHING_LANDED, [])))) {
        throw new QiaoError('TARGET_BUSY', 'another process applies the same delivery', { fate: 'transient' });
      }
      crashPoint('apply.marked');
      const highest = points.at(-1);
      if (work.opensEpoch || work.load.isBroken === true) {
        await dropNotes(session, this.#schema, work.laneId);
      }
      if (work.opensEpoch) {
        if (highest !== undefined) await this.#mark.purgeOlderEpochs(session, work.laneId, highest.epoch);
      }
      if (work.load.begins) {
        await dropNotes(session, this.#schema, work.laneId);
        await beginNotes(session, layouts.values());
      }
      const landed = await this.#land(session, work.sections, layouts, stages, work, work.mostIsolated);
      await this.#takeOutOfNotes(session, held, everyRow(held), layouts, stages);
      let extras: ExtraRows[] = [];
      if (work.load.ends) {
        const children = (await parentsFirst(session, [...layouts.values()])).toReversed();
        const ordered = children.flatMap((label) => layouts.get(label) ?? []);
        const end = await endNotes(session, ordered, work);
        if (end.kind === 'guard') return { commit: false, value: end };
        extras = end.extras;
      }
      crashPoint('apply.landed');
      const answer = firstAnswer(work, { cells: landed.matrix.cells(), isolated: landed.isolated }, extras);
      if (sections.length > 0 || extras.length > 0) await this.#mark.answer(session, work, answer);
      await this.#mark.purge(session, work);
      if (landed.isolated.length > 0) await work.beforeCommit(landed.isolated);
      crashPoint('apply.written');
      return { commit: true, value: { kind: 'applied', answer, quarantined: landed.isolated } };
    });
  }

  async #amend(session: Session, work: AmendWork): Promise<AmendResult> {
    const asked = new Map(work.sections.map((section) => [section.table, tableOf(work.tables, section.table)]));
    const layouts = await readLayouts(session, this.#schema, work.laneId, asked.values());
    const stages = await this.#ensureStages(session, layouts, work.sections);
    return this.#inTransaction<AmendResult>(session, async () => {
      await this.#mark.lock(session, work.laneId);
      const points = await this.#mark.deciding(session, work);
      const point = points.find((one) => one.epoch === work.epoch && one.sequence === work.sequence);
      if (point === undefined)
        return { commit: false, value: { kind: 'unknown', why: 'the mark has no such delivery' } };
      const stranger = notOpen(point.answer, work);
      if (stranger !== undefined) {
        const why = `row ${stranger.section}/${stranger.index} of the delivery is not open`;
        return { commit: false, value: { kind: 'unknown', why } };
      }
      const landed = await this.#land(session, work.sections, layouts, stages, work, work.mostIsolated);
      const answer = amendedAnswer(point.answer, work, { cells: landed.matrix.cells(), isolated: landed.isolated });
      await this.#mark.answer(session, work, answer);
      await work.beforeCommit(answer, landed.isolated);
      return { commit: true, value: { kind: 'amended', answer, quarantined: landed.isolated } };
    });
  }

  /** Stages for every shape of section, before the transaction begins. */
  async #ensureStages(
    session: Session,
    layouts: ReadonlyMap<string, Layout>,
    sections: readonly Section[],
  ): Promise<Map<string, Stage>> {
    const stages = new Map<string, Stage>();
    for (const section of sections) {
      const layout = layoutOf(layouts, section);
      const key = layout.target.key;
      const sent = section.columns.slice(0, section.keyColumns);
      if (sent.length !== key.length || sent.some((name) => !key.includes(name))) {
        throw schemaError(`the key sent for ${section.table} is (${sent.join(', ')}); expected (${key.join(', ')})`);
      }
      const id = shapeOf(section);
      const isNumbered = needsOrdinal(layout, section);
      if (!stages.has(id)) stages.set(id, await this.#stages.ensure(session, layout, section.columns, isNumbered));
      const keyId = keyShapeOf(section);
      if (layout.target.landing === 'mirror' && !stages.has(keyId)) {
        stages.set(keyId, await this.#stages.ensure(session, layout, sent, false));
      }
    }
    return stages;
  }

  async #land(
    session: Session,
    sections: readonly Section[],
    layouts: ReadonlyMap<string, Layout>,
    stages: ReadonlyMap<string, Stage>,
    journal: JournalValues,
    mostIsolated: number | undefined,
  ): Promise<LandedSections> {
    const landed = await landSections({
      session,
      sections,
      mostIsolated,
      land: async (section, piece, isWhole) => {
        const layout = layoutOf(layouts, section);
        if (isWhole && (await this.#landStraight(session, layout, piece))) {
          return { counts: [['inserted', piece.rowCount]], isolated: [] } satisfies Landed;
        }
        const stage = stageOf(stages, shapeOf(section));
        await fill(session, stage, piece.rows, piece.rowCount);
        return land(session, layout, stage, piece, journal);
      },
      parentsFirst: () => parentsFirst(session, [...layouts.values()]),
    });
    await this.#takeOutOfNotes(session, sections, landed.isolated, layouts, stages);
    return landed;
  }

  /**
   * COPY into the table itself: what a load into an empty table and new rows need. False when a row is there already
   * (or a trigger swallowed one): then the stage decides row by row. Remembers per table how well guessing went.
   */
  async #landStraight(session: Session, layout: Layout, piece: Piece): Promise<boolean> {
    const { target } = layout;
    if (piece.kind !== 'insert' || target.landing !== 'mirror' || target.onDelete === 'mark') return false;
    if (typeof target.ownership === 'object' || layout.hasNotes || layout.hasRowTriggers) return false;
    const detour = this.#detours.get(layout.oid);
    if (detour !== undefined && detour.left > 0) {
      detour.left -= 1;
      return false;
    }
    await session.run('SAVEPOINT qiao_straight');
    try {
      const copied = await session.copyIn(`COPY ${layout.sql} (${identifiers(piece.columns)}) FROM STDIN`, piece.rows);
      if (copied === piece.rowCount) {
        await session.run('RELEASE qiao_straight');
        this.#detours.delete(layout.oid);
        return true;
      }
    } catch (error) {
      if (!(error instanceof RowError)) throw error;
      if (error.sqlState !== '23505') throw error;
    }
    await session.run('ROLLBACK TO qiao_straight; RELEASE qiao_straight');
    const next = detour?.next ?? FIRST_DETOUR;
    if (this.#detours.size > 10_000) this.#detours.clear();
    this.#detours.set(layout.oid, { left: next, next: Math.min(next * 2, LONGEST_DETOUR) });
    return false;
  }

  /** The source has an isolated or held row too: the end of the load must not remove the target's older version of it. */
  async #takeOutOfNotes(
    session: Session,
    sections: readonly Section[],
    rows: Iterable<Pick<QuarantinedRow, 'section' | 'index'>>,
    layouts: ReadonlyMap<string, Layout>,
    stages: ReadonlyMap<string, Stage>,
  ): Promise<void> {
    const lines = new Map<Section, Lines>();
    for (const row of rows) {
      const section = sections[row.section] as Section;
      const layout = layoutOf(layouts, section);
      if (!layout.hasNotes) continue;
      const known = lines.get(section) ?? new Lines(section);
      lines.set(section, known);
      const key = Buffer.from(`${known.key(row.index)}\n`);
      const piece: Piece = {
        kind: 'delete',
        columns: section.columns.slice(0, section.keyColumns),
        keyColumns: section.keyColumns,
        wholeRows: false,
        rows: key,
        rowCount: 1,
      };
      await session.run('SAVEPOINT qiao_key');
      try {
        const stage = stageOf(stages, keyShapeOf(section));
        await fill(session, stage, piece.rows, 1);
        const names = piece.columns.map((name) => `n.${identifiers([name])} = s.${identifiers([name])}`).join(' AND ');
        await session.run(`DELETE FROM ${layout.notes} n USING ${stage.sql} s WHERE ${names}`);
        await session.run('RELEASE qiao_key');
      } catch (error) {
        if (!(error instanceof RowError)) throw error;
        // A key that the target's type refuses cannot be noted either.
        await session.run('ROLLBACK TO qiao_key; RELEASE qiao_key');
      }
    }
  }

  /** Commits or rolls back by what the work says; after any throw nothing has changed. */
  async #inTransaction<T>(session: Session, work: () => Promise<{ commit: boolean; value: T }>): Promise<T> {
    await session.run('BEGIN ISOLATION LEVEL READ COMMITTED');
    let isCommitting = false;
    try {
      const { commit, value } = await work();
      isCommitting = commit;
      await session.run(commit ? 'COMMIT' : 'ROLLBACK');
      return value;
    } catch (error) {
      if (!session.isBroken) await session.run('ROLLBACK').catch(() => session.abandon());
      const classified = permanent(error);
      if (isCommitting && session.isBroken) {
        throw new QiaoError('COMMIT_UNCERTAIN', 'the connection was lost while the database committed', {
          fate: 'ambiguous',
          hint: 'the delivery is asked again: the mark knows whether it was applied',
          cause: classified,
        });
      }
      // What the server knows about the tables may be stale now: the next call starts with fresh stages.
      if (classified instanceof QiaoError && classified.code === 'TARGET_SCHEMA') session.abandon();
      throw classified;
    } finally {
      this.#stages.ended();
    }
  }
}

/** Labels of tables ordered so that a referenced table comes before those that reference it; cycles in any order. */
async function parentsFirst(session: Session, layouts: readonly Layout[]): Promise<string[]> {
  const rows = await session.rows(
    `SELECT conrelid, confrelid FROM pg_catalog.pg_constraint
      WHERE contype = 'f' AND conrelid <> confrelid AND conrelid = ANY ($1::oid[]) AND confrelid = ANY ($1::oid[])`,
    [layouts.map((layout) => layout.oid)],
  );
  const parents = new Map<string, string[]>();
  for (const [child, parent] of rows) parents.set(child ?? '', [...(parents.get(child ?? '') ?? []), parent ?? '']);
  const order: string[] = [];
  const seen = new Set<string>();
  const visit = (oid: string): void => {
    if (seen.has(oid)) return;
    seen.add(oid);
    for (const parent of parents.get(oid) ?? []) visit(parent);
    order.push(...layouts.filter((layout) => layout.oid === oid).map((layout) => layout.target.table));
  };
  for (const layout of layouts) visit(layout.oid);
  return order;
}

function tableOf(tables: ReadonlyMap<string, TargetTable>, label: string): TargetTable {
  const table = tables.get(label);
  if (table !== undefined) return table;
  throw schemaError(`the bridge has no target for table ${label}`);
}

function layoutOf(layouts: ReadonlyMap<string, Layout>, section: Section): Layout {
  const layout = layouts.get(section.table);
  if (layout === undefined) throw schemaError(`the bridge has no target for table ${section.table}`);
  return layout;
}

function stageOf(stages: ReadonlyMap<string, Stage>, id: string): Stage {
  const stage = stages.get(id);
  if (stage === undefined) throw new Error('every shape of section has a stage');
  return stage;
}

function* everyRow(sections: readonly Section[]): Generator<{ section: number; index: number }> {
  for (const [section, { rowCount }] of sections.entries()) {
    for (let index = 0; index < rowCount; index++) yield { section, index };
  }
}

function shapeOf(section: Section): string {
  return JSON.stringify([section.table, section.kind, section.wholeRows, section.columns]);
}

function keyShapeOf(section: Section): string {
  return JSON.stringify([section.table, 'key', section.columns.slice(0, section.keyColumns)]);
}

/** A RowError that reaches the end belongs to no row of the delivery. */
function permanent(error: unknown): unknown {
  if (error instanceof RowError)
    return schemaError(`the target refuses rows for a reason of its own (${error.message})`);
  return error instanceof QiaoError ? error : classifyUnlessOwn(error);
}

/** Errors of the caller's own beforeCommit pass as they are; only the server's are classified. */
function classifyUnlessOwn(error: unknown): unknown {
  const isServers = typeof error === 'object' && error !== null && 'severity' in error;
  return isServers ? classify(error, 'TARGET') : error;
}
