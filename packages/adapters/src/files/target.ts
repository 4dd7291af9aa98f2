/**
 * The apply side of a directory: each delivery becomes a file in the folder of each table that it has rows of, named by lane, epoch and sequence.
 *
 * First the files, in a place where nobody looks; then the mark, whose writing commits them; then their names. Whoever begins in a lane
 * finishes what a crash left: see markFiles.ts. So a file appears whole, once, and not again when the department has taken it away.
 */
import { hash } from 'node:crypto';
import { join } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import type {
  AmendResult,
  AmendWork,
  AppliedPoint,
  ApplyResult,
  ApplyWork,
  FilesTable,
  Target,
  TargetTable,
} from '../adapter.ts';
import { amendedAnswer, decide, firstAnswer, notOpen } from '../mark.ts';
import { forceFolder, makeFolder, renameDurably, writeFailure, writeForced } from './durable.ts';
import { folderOf } from './folder.ts';
import { declaredTarget, type Landed, landRows } from './landing.ts';
import { type LandedFile, MarkFiles, namesIn, type StoredPoint } from './markFiles.ts';
import { workbookOf } from './sheet.ts';

/** One at a time, for all targets of a data source: their awaits must not meet in one folder. */
export class Turn {
  #last: Promise<unknown> = Promise.resolve();

  take<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#last.catch(() => undefined).then(action);
    this.#last = result;
    return result;
  }
}

export class FilesTarget implements Target {
  readonly #directory: string;
  readonly #tables: Readonly<Record<string, FilesTable>>;
  readonly #turn: Turn;
  readonly #mark: MarkFiles;

  constructor(directory: string, tables: Readonly<Record<string, FilesTable>>, turn: Turn) {
    this.#directory = directory;
    this.#tables = tables;
    this.#turn = turn;
    this.#mark = new MarkFiles(directory);
  }

  async prepare(): Promise<{ targetId: string; created: boolean }> {
    try {
      return await this.#inTurn(() => this.#mark.target());
    } catch (error) {
      if (!(error instanceof QiaoError) || error.code !== 'TARGET_RIGHTS') throw error;
      throw new QiaoError('MARK_REFUSED', error.message, {
        hint: `Give the user of the agent the right to make the folder .qiao in ${this.#directory}.`,
        cause: error,
      });
    }
  }

  points(laneId: string): Promise<AppliedPoint[]> {
    return this.#inLane(laneId, async () => {
      const places = await this.#mark.places(laneId);
      const points = await Promise.all(places.map((place) => this.#mark.read(laneId, place)));
      return points.filter((point) => point !== undefined).map(({ files: _, ...point }) => point);
    });
  }

  apply(work: ApplyWork): Promise<ApplyResult> {
    return this.#inLane(work.laneId, () => this.#apply(work));
  }

  amend(work: AmendWork): Promise<AmendResult> {
    return this.#inLane(work.laneId, () => this.#amend(work));
  }

  forgetLane(laneId: string): Promise<void> {
    return this.#inLane(laneId, async () => {
      await this.#finish(laneId);
      await this.#mark.forget(laneId);
    });
  }

  async close(): Promise<void> {
    await this.#turn.take(async () => undefined);
  }

  async #apply(work: ApplyWork): Promise<ApplyResult> {
    const { laneId, epoch, nonce, sequence, chain, contentHash, appliedAtMs } = work;
    await this.#finish(laneId);
    const decision = decide(await this.#decidingPoints(work), work);
    if (decision.kind !== 'apply') return decision;
    const landed = landRows(this.#tables, work.tables, work.sections, work);
    const answer = firstAnswer(work, { cells: landed.matrix.cells(), isolated: landed.isolated }, []);
    const files = await this.#stage(work, landed, '');
    crashPoint('landing.staged');
    if (landed.isolated.length > 0) await work.beforeCommit(landed.isolated);
    await this.#mark.write(laneId, { epoch, nonce, sequence, chain, contentHash, appliedAtMs, answer, files });
    crashPoint('landing.marked');
    await this.#giveNames(laneId, files);
    await this.#mark.purge(laneId, work);
    return { kind: 'applied', answer, quarantined: landed.isolated };
  }

  async #amend(work: AmendWork): Promise<AmendResult> {
    const { laneId, epoch, sequence } = work;
    await this.#finish(laneId);
    const point = await this.#mark.read(laneId, { epoch, sequence });
    if (point === undefined) {
      return { kind: 'unknown', why: `sequence ${sequence} of epoch ${epoch} is not in the mark` };
    }
    const stranger = notOpen(point.answer, work);
    if (stranger !== undefined) {
      return { kind: 'unknown', why: `row ${stranger.section}/${stranger.index} of the delivery is not open` };
    }
    const landed = landRows(this.#tables, work.tables, work.sections, work);
    const answer = amendedAnswer(point.answer, work, { cells: landed.matrix.cells(), isolated: landed.isolated });
    const files = await this.#stage(work, landed, `-r${answer.revision}`);
    await work.beforeCommit(answer, landed.isolated);
    await this.#mark.write(laneId, { ...point, answer, files });
    await this.#giveNames(laneId, files);
    return { kind: 'amended', answer, quarantined: landed.isolated };
  }

  /** The point of the place itself, and the lane's highest as the last. */
  async #decidingPoints({ laneId, epoch, sequence }: ApplyWork): Promise<StoredPoint[]> {
    const places = await this.#mark.places(laneId);
    const own = places.find((place) => place.epoch === epoch && place.sequence === sequence);
    const wanted = [...new Set([own, places.at(-1)])].filter((place) => place !== undefined);
    const points = await Promise.all(wanted.map((place) => this.#mark.read(laneId, place)));
    return points.filter((point) => point !== undefined);
  }

  /** Writes the files where nobody looks, forced to the disk. */
  async #stage(
    { laneId, epoch, sequence, tables }: Pick<ApplyWork, 'laneId' | 'epoch' | 'sequence' | 'tables'>,
    { contents }: Landed,
    suffix: string,
  ): Promise<LandedFile[]> {
    const files: LandedFile[] = [];
    if (contents.size === 0) return files;
    const place = `${laneId}-${String(epoch).padStart(6, '0')}-${String(sequence).padStart(12, '0')}${suffix}`;
    const landing = this.#mark.landing(laneId);
    await makeFolder(landing);
    for (const [table, content] of contents) {
      const definition = declaredTarget(this.#tables, refOf(tables, table));
      // Found before anything is committed: a folder that is gone stops the lane with nothing done.
      const file = { folder: definition.folder ?? table, name: `${place}.${definition.format}` };
      await this.#folder(file);
      const bytes = definition.format === 'xlsx' ? await workbookOf(content, definition.sheet) : content;
      await writeForced(join(landing, stagedName(file)), bytes);
      files.push(file);
    }
    await forceFolder(landing);
    return files;
  }

  async #giveNames(laneId: string, files: readonly LandedFile[]): Promise<void> {
    const landing = this.#mark.landing(laneId);
    for (const file of files) {
      await renameDurably(join(landing, stagedName(file)), join(await this.#folder(file), file.name));
    }
  }

  /** Finishes what a crash left in the lane: named files get their names, others were never committed. */
  async #finish(laneId: string): Promise<void> {
    const landing = this.#mark.landing(laneId);
    const left = new Set(await namesIn(landing));
    if (left.size === 0) return;
    const places = await this.#mark.places(laneId);
    for (const place of places) {
      const point = await this.#mark.read(laneId, place);
      const files = point?.files.filter((file) => left.delete(stagedName(file))) ?? [];
      await this.#giveNames(laneId, files);
    }
    await this.#mark.removeStaged(laneId, left);
  }

  async #folder({ folder }: LandedFile): Promise<string> {
    try {
      return await folderOf(this.#directory, folder, { folder });
    } catch (error) {
      throw (error as Error).cause ?? error;
    }
  }

  #inLane<T>(laneId: string, action: () => Promise<T>): Promise<T> {
    return this.#inTurn(async () => {
      await this.#mark.guard(laneId);
      return await action();
    });
  }

  async #inTurn<T>(action: () => Promise<T>): Promise<T> {
    return await this.#turn.take(async () => {
      try {
        return await action();
      } catch (error) {
        throw writeFailure(error, this.#directory);
      }
    });
  }
}

/** One name for what may be files of several folders; a digest, for a folder's name may be as long as a file system takes. */
function stagedName({ folder, name }: LandedFile): string {
  return `${hash('sha256', folder).slice(0, 32)}~${name}`;
}

function refOf(tables: ReadonlyMap<string, TargetTable>, name: string): TargetTable['ref'] {
  const found = [...tables.values()].find(({ ref }) => ref.name === name);
  return found?.ref ?? { name };
}
