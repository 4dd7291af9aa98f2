/**
 * The apply side of MySQL and MariaDB: what each step of `../serverTarget.ts` is here. How rows land belongs to `landing.ts`, the notes
 * of a load to `notes.ts`, the mark to `markTable.ts`.
 */

import type { Target, TargetTable } from '../adapter.ts';
import type { UniqueValues } from '../circle.ts';
import type { Landed, Piece, Savepoints } from '../sectionPort.ts';
import { ServerTarget } from '../serverTarget.ts';
import { StraightWay } from '../straightWay.ts';
import type { Landing, Noted, StageShape, TargetServer } from '../targetServer.ts';
import { mayHaveTriggers } from './describe.ts';
import { giveUpValues, land, landStraight, takeOutOfNotes } from './landing.ts';
import { type Layout, Layouts, parentsFirst, selfReferences } from './layout.ts';
import { MarkTable } from './markTable.ts';
import { beginNotes, countNoted, dropNotes, forgetNoted, removeNoted } from './notes.ts';
import { readReferrers } from './referrers.ts';
import { type MysqlConfig, openSession, type Session } from './session.ts';
import { fillRaw, fillTyped, type Stage, Stages } from './stage.ts';

const LIMITS = { statementMs: 10 * 60_000, lockMs: 30_000, idleMs: 5 * 60_000 };

export function createTarget(config: MysqlConfig): Target {
  return new ServerTarget(new MysqlServer(config));
}

class MysqlServer implements TargetServer<Session, Layout, Stage> {
  readonly mark: MarkTable;
  readonly schema: string;
  readonly #config: MysqlConfig;
  readonly #straightWay = new StraightWay();
  #stages = new Stages();
  #layouts = new Layouts();

  constructor(config: MysqlConfig) {
    this.#config = config;
    this.schema = config.database;
    this.mark = new MarkTable(config.database);
  }

  async open(): Promise<Session> {
    this.#stages = new Stages();
    this.#layouts = new Layouts();
    const session = await openSession(this.#config, { side: 'TARGET', purpose: 'apply', limits: LIMITS });
    // What another session committed while this one waited for its lock is seen, and rows that are not met are not locked.
    await session.run('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
    return session;
  }

  savepoints(session: Session): Savepoints {
    return {
      set: (name) => session.run(`SAVEPOINT ${name}`),
      undo: (name) => session.run(`ROLLBACK TO SAVEPOINT ${name}`),
      async drop(name) {
        await session.run(`ROLLBACK TO SAVEPOINT ${name}`);
        await session.run(`RELEASE SAVEPOINT ${name}`);
      },
      release: (name) => session.run(`RELEASE SAVEPOINT ${name}`),
      // A savepoint of the same name takes the place of the first.
      move: (name) => session.run(`SAVEPOINT ${name}`),
      // Constraints of MySQL never wait.
      constraints: () => Promise.resolve(),
    };
  }

  layouts(session: Session, laneId: string, tables: Iterable<TargetTable>): Promise<Map<string, Layout>> {
    return this.#layouts.read(session, laneId, tables);
  }

  stages(session: Session, shapes: ReadonlyMap<string, StageShape<Layout>>): Promise<Map<string, Stage>> {
    return this.#stages.ensure(session, shapes);
  }

  async land(session: Session, landing: Landing<Layout, Stage>): Promise<Landed> {
    const { layout, stage, piece, journal } = landing;
    await fillRaw(session, stage, piece);
    if (await this.#landStraight(session, landing)) {
      return { counts: [['inserted', piece.rowCount]], isolated: [] };
    }
    return land(session, layout, stage, piece, journal);
  }

  /** From the raw stage into the table itself: what a load into an empty table and new rows need. */
  async #landStraight(session: Session, { layout, stage, piece, isWhole }: Landing<Layout, Stage>): Promise<boolean> {
    const { target } = layout;
    if (!isWhole || piece.kind !== 'insert' || target.landing !== 'mirror' || target.onDelete === 'mark') return false;
    if (typeof target.ownership === 'object' || layout.hasNotes || selfReferences(layout).length > 0) return false;
    return this.#straightWay.take(layout.sql, this.savepoints(session), async () => {
      await landStraight(session, layout, stage);
      return true;
    });
  }

  /** Keys and triggers are looked for anew: they may have come since the table was read. */
  async uniqueValues(session: Session, { table, ref }: Layout): Promise<UniqueValues | undefined> {
    const { referrers, areAll } = await readReferrers(session, table.database, ref.name);
    if (!areAll || (await mayHaveTriggers(session, table))) return undefined;
    const nullable = table.columns.flatMap((column) => (column.nullable ? [column.name] : []));
    return { indexes: table.uniqueIndexes, nullable: new Set(nullable), referrers };
  }

  async giveUpValues(
    session: Session,
    layout: Layout,
    stage: Stage,
    piece: Piece,
    columns: readonly string[],
  ): Promise<number> {
    await fillRaw(session, stage, piece);
    await fillTyped(session, stage);
    return giveUpValues(session, layout, stage, columns);
  }

  /** As for `uniqueValues`. */
  async mayReplace(session: Session, { table, ref }: Layout, columns: readonly string[]): Promise<boolean> {
    const isAll = table.columns.every(({ name, generated }) => generated || columns.includes(name));
    if (!isAll || table.hasHiddenColumns) return false;
    const { referrers, areAll } = await readReferrers(session, table.database, ref.name);
    return areAll && referrers.length === 0 && !(await mayHaveTriggers(session, table));
  }

  parentsFirst(_session: Session, layouts: readonly Layout[]): Promise<string[]> {
    return Promise.resolve(parentsFirst(layouts));
  }

  beginNotes(session: Session, layouts: Iterable<Layout>): Promise<void> {
    return beginNotes(session, layouts);
  }

  async takeOutOfNotes(session: Session, layout: Layout, stage: Stage, key: Uint8Array): Promise<void> {
    await fillRaw(session, stage, { rows: key, rowCount: 1 });
    await fillTyped(session, stage);
    await takeOutOfNotes(session, layout, stage);
  }

  countNoted(session: Session, layout: Layout): Promise<Noted> {
    return countNoted(session, layout);
  }

  removeNoted(session: Session, layout: Layout): Promise<number> {
    return removeNoted(session, layout);
  }

  forgetNoted(session: Session, layout: Layout): Promise<void> {
    return forgetNoted(session, layout);
  }

  dropNotes(session: Session, laneId: string): Promise<void> {
    return dropNotes(session, laneId);
  }

  ended(): void {}
}
