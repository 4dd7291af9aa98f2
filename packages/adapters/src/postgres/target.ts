/**
 * The apply side of PostgreSQL: what each step of `../serverTarget.ts` is here. How rows land belongs to `landing.ts`, the notes of a
 * load to `notes.ts`, the mark to `markTable.ts`.
 */

import type { Target, TargetTable } from '../adapter.ts';
import type { UniqueValues } from '../circle.ts';
import type { Landed, Piece, Savepoints } from '../sectionPort.ts';
import { ServerTarget } from '../serverTarget.ts';
import { StraightWay } from '../straightWay.ts';
import type { Landing, Noted, StageShape, TargetServer } from '../targetServer.ts';
import { readTable } from './describe.ts';
import { giveUpValues, land, needsOrdinal, takeOutOfNotes } from './landing.ts';
import { type Layout, parentsFirst, readLayouts } from './layout.ts';
import { MarkTable } from './markTable.ts';
import { beginNotes, countNoted, dropNotes, forgetNoted, removeNoted } from './notes.ts';
import { defaultSchema, openSession, type PostgresConfig, type Session } from './session.ts';
import { identifiers } from './sql.ts';
import { fill, type Stage, Stages } from './stage.ts';

const LIMITS = { statementMs: 10 * 60_000, lockMs: 30_000, idleInTransactionMs: 5 * 60_000 };

export function createTarget(config: PostgresConfig): Target {
  return new ServerTarget(new PostgresServer(config));
}

class PostgresServer implements TargetServer<Session, Layout, Stage> {
  readonly mark: MarkTable;
  readonly #config: PostgresConfig;
  readonly schema: string;
  readonly #straightWay = new StraightWay();
  /** Tables whose last rows were for the most part there already, as they are; by oid. */
  readonly #mostlyEqual = new Map<string, boolean>();
  #stages = new Stages();

  constructor(config: PostgresConfig) {
    this.#config = config;
    this.schema = defaultSchema(config);
    this.mark = new MarkTable(this.schema);
  }

  open(): Promise<Session> {
    this.#stages = new Stages();
    return openSession(this.#config, { side: 'TARGET', purpose: 'apply', limits: LIMITS });
  }

  savepoints(session: Session): Savepoints {
    return {
      set: (name) => session.run(`SAVEPOINT ${name}`),
      undo: (name) => session.run(`ROLLBACK TO ${name}`),
      drop: (name) => session.run(`ROLLBACK TO ${name}; RELEASE ${name}`),
      release: (name) => session.run(`RELEASE ${name}`),
      move: (name) => session.run(`RELEASE ${name}; SAVEPOINT ${name}`),
      constraints: (when) => session.run(`SET CONSTRAINTS ALL ${when}`),
    };
  }

  layouts(session: Session, laneId: string, tables: Iterable<TargetTable>): Promise<Map<string, Layout>> {
    return readLayouts(session, this.schema, laneId, tables);
  }

  stages(session: Session, shapes: ReadonlyMap<string, StageShape<Layout>>): Promise<Map<string, Stage>> {
    const numbered = Array.from(shapes, ([name, { layout, columns, section }]) => {
      const isNumbered = section !== undefined && needsOrdinal(layout, section);
      return [name, { layout, columns, isNumbered }] as const;
    });
    return this.#stages.ensure(session, new Map(numbered));
  }

  async land(session: Session, landing: Landing<Layout, Stage>): Promise<Landed> {
    const { layout, stage, piece, journal } = landing;
    if (await this.#landStraight(session, landing)) {
      return { counts: [['inserted', piece.rowCount]], isolated: [] };
    }
    await fill(session, stage, piece.rows, piece.rowCount);
    // What a load brings to a table that is not empty is likely to be there: nothing was lost but the memory of it.
    const isMostlyEqual = this.#mostlyEqual.get(layout.oid) ?? layout.hasNotes;
    const landed = await land(session, layout, stage, piece, journal, isMostlyEqual);
    this.#learn(layout, landed, piece.rowCount);
    return landed;
  }

  /** COPY into the table itself: what a load into an empty table and new rows need. A trigger may swallow rows. */
  async #landStraight(session: Session, { layout, piece, isWhole }: Landing<Layout, Stage>): Promise<boolean> {
    const { target } = layout;
    if (!isWhole || piece.kind !== 'insert' || target.landing !== 'mirror' || target.onDelete === 'mark') return false;
    if (typeof target.ownership === 'object' || layout.hasNotes || layout.hasRowTriggers) return false;
    return this.#straightWay.take(layout.oid, this.savepoints(session), async () => {
      const copied = await session.copyIn(`COPY ${layout.sql} (${identifiers(piece.columns)}) FROM STDIN`, piece.rows);
      return copied === piece.rowCount;
    });
  }

  #learn({ oid }: Layout, { counts }: Landed, rowCount: number): void {
    const equal = counts.reduce((sum, [outcome, rows]) => sum + (outcome === 'unchanged' ? rows : 0), 0);
    if (this.#mostlyEqual.size > 10_000) this.#mostlyEqual.clear();
    this.#mostlyEqual.set(oid, equal * 2 > rowCount);
  }

  async uniqueValues(session: Session, { ref, hasTriggers, isPartitioned }: Layout): Promise<UniqueValues | undefined> {
    // Partitions have triggers of their own.
    if (hasTriggers || isPartitioned) return undefined;
    const table = await readTable(session, ref.schema ?? this.schema, ref.name);
    if (table === undefined) return undefined;
    const nullable = table.columns.flatMap((column) => (column.nullable ? [column.name] : []));
    return { indexes: table.uniqueIndexes, nullable: new Set(nullable), referrers: table.referrers };
  }

  async giveUpValues(
    session: Session,
    layout: Layout,
    stage: Stage,
    piece: Piece,
    columns: readonly string[],
  ): Promise<number> {
    await fill(session, stage, piece.rows, piece.rowCount);
    return giveUpValues(session, layout, stage, columns);
  }

  mayReplace(_session: Session, layout: Layout, columns: readonly string[]): Promise<boolean> {
    const isAll = [...layout.columns.values()].every(({ name, isGenerated }) => isGenerated || columns.includes(name));
    return Promise.resolve(isAll && !layout.isPartitioned && !layout.hasTriggers && layout.referrers.length === 0);
  }

  parentsFirst(session: Session, layouts: readonly Layout[]): Promise<string[]> {
    return parentsFirst(session, layouts);
  }

  beginNotes(session: Session, layouts: Iterable<Layout>): Promise<void> {
    return beginNotes(session, layouts);
  }

  async takeOutOfNotes(session: Session, layout: Layout, stage: Stage, key: Uint8Array): Promise<void> {
    await fill(session, stage, key, 1);
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
    return dropNotes(session, this.schema, laneId);
  }

  ended(): void {
    this.#stages.ended();
  }
}
