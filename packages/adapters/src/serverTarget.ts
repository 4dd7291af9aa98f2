/**
 * The apply side at a database server: one session, one delivery at a time, one transaction each. The mark is its first write; then the
 * notes of a load, the sections, the end of a load, and the answer. The order of all this is written here once; what each step is in
 * the words of a server is its adapter's `target.ts`, behind the port of `targetServer.ts`. How a bad row costs one row belongs to
 * `isolate.ts`.
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
} from './adapter.ts';
import { proveOwn } from './cascades.ts';
import { freeColumns } from './circle.ts';
import { landSections } from './isolate.ts';
import { amendedAnswer, decide, firstAnswer, guardStops, notOpen } from './mark.ts';
import { Lines } from './sectionLines.ts';
import { type LandedSections, RowRefusal } from './sectionPort.ts';
import {
  type JournalValues,
  type ServerLayout,
  type ServerSession,
  type StageShape,
  schemaError,
  type TargetServer,
} from './targetServer.ts';

/** The mark is written before anything landed; the true answer takes its place before the commit. */
const NOTHING_LANDED = { cells: [], isolated: [] };

/** Opens lazily: the first call connects, and a lost connection is opened again by the next. */
export class ServerTarget<Session extends ServerSession, Layout extends ServerLayout, Stage> implements Target {
  readonly #server: TargetServer<Session, Layout, Stage>;
  #session: Session | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(server: TargetServer<Session, Layout, Stage>) {
    this.#server = server;
  }

  prepare(): Promise<{ targetId: string; created: boolean }> {
    return this.#alone((session) => this.#server.mark.prepare(session));
  }

  points(laneId: string): Promise<AppliedPoint[]> {
    return this.#alone((session) => this.#server.mark.points(session, laneId));
  }

  apply(work: ApplyWork): Promise<ApplyResult> {
    return this.#alone((session) => this.#apply(session, work));
  }

  amend(work: AmendWork): Promise<AmendResult> {
    return this.#alone((session) => this.#amend(session, work));
  }

  forgetLane(laneId: string): Promise<void> {
    return this.#alone((session) =>
      this.#inTransaction(session, laneId, async () => {
        await this.#server.mark.forget(session, laneId);
        await this.#server.dropNotes(session, laneId);
        return { commit: true, value: undefined };
      }),
    );
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
    this.#session = undefined;
    this.#session = await this.#server.open();
    return this.#session;
  }

  async #apply(session: Session, work: ApplyWork): Promise<ApplyResult> {
    const server = this.#server;
    const { mark } = server;
    const asked = new Map<string, TargetTable>();
    const held = work.held?.sections ?? [];
    const sections = [...work.sections, ...held];
    for (const section of sections) asked.set(section.table, tableOf(work.tables, section.table));
    if (work.load.begins || work.load.ends) for (const [label, table] of work.tables) asked.set(label, table);
    let layouts: Map<string, Layout>;
    let stages: Map<string, Stage>;
    try {
      layouts = await this.#layouts(session, work, asked);
      stages = await this.#stages(session, layouts, sections);
    } catch (error) {
      // A delivery applied long ago is answered even when its table has gone since.
      const decision = decide(await mark.deciding(session, work), work);
      if (decision.kind !== 'apply') return decision;
      throw this.#permanent(error);
    }
    return this.#inTransaction<ApplyResult>(session, work.laneId, async () => {
      const points = await mark.deciding(session, work);
      const decision = decide(points, work);
      if (decision.kind !== 'apply') return { commit: false, value: decision };
      if (!(await mark.insert(session, work, firstAnswer({ ...work, held: undefined }, NOTHING_LANDED, [])))) {
        throw new QiaoError('TARGET_BUSY', 'another process applies the same delivery', { fate: 'transient' });
      }
      crashPoint('apply.marked');
      const highest = points.at(-1);
      if (work.opensEpoch || work.load.begins || work.load.isBroken === true) {
        await server.dropNotes(session, work.laneId);
      }
      if (work.opensEpoch && highest !== undefined) {
        await mark.purgeOlderEpochs(session, work.laneId, highest.epoch);
      }
      if (work.load.begins) await server.beginNotes(session, layouts.values());
      const landed = await this.#land(session, work, layouts, stages);
      await this.#takeOutOfNotes(session, held, everyRow(held), layouts, stages);
      let extras: ExtraRows[] = [];
      if (work.load.ends) {
        const end = await this.#endLoad(session, work, layouts);
        if (end.kind === 'guard') return { commit: false, value: end };
        extras = end.extras;
      }
      crashPoint('apply.landed');
      const answer = firstAnswer(work, { cells: landed.matrix.cells(), isolated: landed.isolated }, extras);
      if (sections.length > 0 || extras.length > 0) await mark.answer(session, work, answer);
      await mark.purge(session, work);
      if (landed.isolated.length > 0) await work.beforeCommit(landed.isolated);
      crashPoint('apply.written');
      return { commit: true, value: { kind: 'applied', answer, quarantined: landed.isolated } };
    });
  }

  async #amend(session: Session, work: AmendWork): Promise<AmendResult> {
    const { mark } = this.#server;
    const asked = new Map(work.sections.map((section) => [section.table, tableOf(work.tables, section.table)]));
    const layouts = await this.#layouts(session, work, asked);
    const stages = await this.#stages(session, layouts, work.sections);
    return this.#inTransaction<AmendResult>(session, work.laneId, async () => {
      const points = await mark.deciding(session, work);
      const point = points.find((one) => one.epoch === work.epoch && one.sequence === work.sequence);
      if (point === undefined)
        return { commit: false, value: { kind: 'unknown', why: 'the mark has no such delivery' } };
      const stranger = notOpen(point.answer, work);
      if (stranger !== undefined) {
        const why = `row ${stranger.section}/${stranger.index} of the delivery is not open`;
        return { commit: false, value: { kind: 'unknown', why } };
      }
      const landed = await this.#land(session, work, layouts, stages);
      const answer = amendedAnswer(point.answer, work, { cells: landed.matrix.cells(), isolated: landed.isolated });
      await mark.answer(session, work, answer);
      await work.beforeCommit(answer, landed.isolated);
      return { commit: true, value: { kind: 'amended', answer, quarantined: landed.isolated } };
    });
  }

  /** The asked tables as they are now; rows land in none of them where rows of others would go by it. */
  async #layouts(
    session: Session,
    { laneId, tables }: Pick<ApplyWork, 'laneId' | 'tables'>,
    asked: ReadonlyMap<string, TargetTable>,
  ): Promise<Map<string, Layout>> {
    const layouts = await this.#server.layouts(session, laneId, asked.values());
    const { schema } = this.#server;
    proveOwn(
      layouts.values(),
      [...tables.values()].map((target) => ({
        target,
        ref: { schema: target.ref.schema ?? schema, name: target.ref.name },
      })),
    );
    return layouts;
  }

  /** Removes or keeps what is still noted, children first, and drops the notes. */
  async #endLoad(
    session: Session,
    work: ApplyWork,
    layouts: ReadonlyMap<string, Layout>,
  ): Promise<{ kind: 'done'; extras: ExtraRows[] } | Extract<ApplyResult, { kind: 'guard' }>> {
    const server = this.#server;
    const children = (await server.parentsFirst(session, [...layouts.values()])).toReversed();
    const noted = children.flatMap((label) => layouts.get(label) ?? []).filter(({ hasNotes }) => hasNotes);
    // Every guard first: it stops the whole end.
    const left = new Map<Layout, number>();
    for (const layout of noted) {
      const { rows, of } = await server.countNoted(session, layout);
      left.set(layout, rows);
      if (removes(layout, work) && guardStops(rows, of, work)) {
        return { kind: 'guard', table: layout.target.table, rows, of };
      }
    }
    const extras: ExtraRows[] = [];
    for (const layout of noted) {
      const rows = left.get(layout) ?? 0;
      const deleted = rows === 0 || !removes(layout, work) ? 0 : await server.removeNoted(session, layout);
      if (rows > 0) extras.push({ table: layout.target.table, deleted, kept: rows - deleted });
      await server.forgetNoted(session, layout);
    }
    return { kind: 'done', extras };
  }

  /** Stages for every shape of section, before the transaction begins. */
  #stages(
    session: Session,
    layouts: ReadonlyMap<string, Layout>,
    sections: readonly Section[],
  ): Promise<Map<string, Stage>> {
    const shapes = new Map<string, StageShape<Layout>>();
    for (const section of sections) {
      const layout = layoutOf(layouts, section);
      const { key, landing } = layout.target;
      const sent = section.columns.slice(0, section.keyColumns);
      if (sent.length !== key.length || sent.some((name) => !key.includes(name))) {
        throw schemaError(`the key sent for ${section.table} is (${sent.join(', ')}); expected (${key.join(', ')})`);
      }
      shapes.set(shapeOf(section), { layout, columns: section.columns, section });
      if (landing === 'mirror') shapes.set(keyShapeOf(section), { layout, columns: sent, section: undefined });
    }
    return this.#server.stages(session, shapes);
  }

  async #land(
    session: Session,
    work: JournalValues & Pick<ApplyWork, 'sections' | 'mostIsolated'>,
    layouts: ReadonlyMap<string, Layout>,
    stages: ReadonlyMap<string, Stage>,
  ): Promise<LandedSections> {
    const { sections, mostIsolated } = work;
    const landed = await landSections({
      savepoints: this.#server.savepoints(session),
      sections,
      mostIsolated,
      land: (section, piece, isWhole) => {
        const stage = stageOf(stages, shapeOf(section));
        return this.#server.land(session, {
          layout: layoutOf(layouts, section),
          stage,
          piece,
          isWhole,
          journal: work,
        });
      },
      giveUpValues: async (section, piece) => {
        const layout = layoutOf(layouts, section);
        const found = isPlain(layout) ? await this.#server.uniqueValues(session, layout) : undefined;
        const columns = found === undefined ? [] : freeColumns(found, layout.target.key, section.columns);
        if (columns.length === 0) return 0;
        return await this.#server.giveUpValues(session, layout, stageOf(stages, shapeOf(section)), piece, columns);
      },
      mayReplace: async (section) => {
        const layout = layoutOf(layouts, section);
        return isPlain(layout) && (await this.#server.mayReplace(session, layout, section.columns));
      },
      parentsFirst: () => this.#server.parentsFirst(session, [...layouts.values()]),
    });
    await this.#takeOutOfNotes(session, sections, landed.isolated, layouts, stages);
    return landed;
  }

  /** The source has an isolated or held row too: the end of the load must not remove the target's older version of it. */
  async #takeOutOfNotes(
    session: Session,
    sections: readonly Section[],
    rows: Iterable<Pick<QuarantinedRow, 'section' | 'index'>>,
    layouts: ReadonlyMap<string, Layout>,
    stages: ReadonlyMap<string, Stage>,
  ): Promise<void> {
    const savepoints = this.#server.savepoints(session);
    const lines = new Map<Section, Lines>();
    for (const row of rows) {
      const section = sections[row.section] as Section;
      const layout = layoutOf(layouts, section);
      if (!layout.hasNotes) continue;
      const known = lines.get(section) ?? new Lines(section);
      lines.set(section, known);
      const key = Buffer.from(`${known.key(row.index)}\n`);
      await savepoints.set('qiao_key');
      try {
        await this.#server.takeOutOfNotes(session, layout, stageOf(stages, keyShapeOf(section)), key);
        await savepoints.release('qiao_key');
      } catch (error) {
        // A key that the target's type refuses cannot be noted either.
        if (!(error instanceof RowRefusal)) throw error;
        await savepoints.drop('qiao_key');
      }
    }
  }

  /** Commits or rolls back by what the work says; after any throw nothing has changed. */
  async #inTransaction<T>(
    session: Session,
    laneId: string,
    work: () => Promise<{ commit: boolean; value: T }>,
  ): Promise<T> {
    let isCommitting = false;
    try {
      await this.#server.mark.begin(session, laneId);
      const { commit, value } = await work();
      isCommitting = commit;
      await session.run(commit ? 'COMMIT' : 'ROLLBACK');
      return value;
    } catch (error) {
      if (!session.isBroken) await session.run('ROLLBACK').catch(() => session.abandon());
      const permanent = this.#permanent(error);
      if (isCommitting && session.isBroken) {
        throw new QiaoError('COMMIT_UNCERTAIN', 'the connection was lost while the database committed', {
          fate: 'ambiguous',
          hint: 'the delivery is asked again: the mark knows whether it was applied',
          cause: permanent,
        });
      }
      // What the server knows about the tables may be stale now: the next call starts with fresh stages.
      if (permanent instanceof QiaoError && permanent.code === 'TARGET_SCHEMA') session.abandon();
      throw permanent;
    } finally {
      this.#server.ended();
    }
  }

  /** A refusal that reaches the end belongs to no row of the delivery; errors of the caller's own beforeCommit pass as they are. */
  #permanent(error: unknown): unknown {
    if (error instanceof RowRefusal) {
      return schemaError(`the target refuses rows for a reason of its own (${error.message})`);
    }
    return error;
  }
}

/** Whether the end of the load takes away what is still noted: not what it does not own, nor what it may not have named. */
function removes({ target }: ServerLayout, { load }: Pick<ApplyWork, 'load'>): boolean {
  return target.ownership !== 'none' && load.incomplete?.includes(target.table) !== true;
}

/** What the lane writes is what stands there afterwards. */
function isPlain({ target: { landing, onDelete, conflict = 'sourceWins' } }: ServerLayout): boolean {
  return landing === 'mirror' && onDelete === 'delete' && conflict === 'sourceWins';
}

function tableOf(tables: ReadonlyMap<string, TargetTable>, label: string): TargetTable {
  const table = tables.get(label);
  if (table !== undefined) return table;
  throw schemaError(`the bridge has no target for table ${label}`);
}

function layoutOf<Layout>(layouts: ReadonlyMap<string, Layout>, section: Section): Layout {
  const layout = layouts.get(section.table);
  if (layout === undefined) throw schemaError(`the bridge has no target for table ${section.table}`);
  return layout;
}

function stageOf<Stage>(stages: ReadonlyMap<string, Stage>, id: string): Stage {
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
