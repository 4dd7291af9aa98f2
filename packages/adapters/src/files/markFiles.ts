/**
 * The mark of a directory: a file for each delivery, in `.qiao/mark/LANE/EPOCH-SEQUENCE.json`, and the target id in `.qiao/target.json`. A point names
 * the files that its delivery brought; writing the point is what commits them.
 *
 * A crash before leaves files in `.qiao/landing` that no point names: they are removed. One after it leaves files there that a point names: they get
 * their names then, and one that is not there any more has it already, whatever the department did with it since.
 *
 * The department may write in the directory, and so put anything in place of these folders: a link there is refused, and only what has a
 * name that Qiao gives is removed. Who owns a folder is not asked: a mounted share names owners of its own.
 */
import { randomBytes } from 'node:crypto';
import { lstat, readdir, readFile, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import type { AppliedPoint, ApplyWork } from '../adapter.ts';
import { answerText, parseAnswer } from '../mark.ts';
import { makeFolder, writeDurably } from './durable.ts';

/** A name that no source of files reads, and no table can have as its folder. */
export const OWN_FOLDER = '.qiao';

/** A file of a delivery: its name, and the folder of its table. */
export interface LandedFile {
  readonly folder: string;
  readonly name: string;
}

export interface StoredPoint extends AppliedPoint {
  /** What the point's last writing brought. */
  readonly files: readonly LandedFile[];
}

const POINT = /^(\d+)-(\d+)\.json$/;
const STAGED = /^[0-9a-f]{32}~[^/]+-\d{6,}-\d{12,}(-r\d+)?\.(csv|jsonl)$/;

type Place = Pick<AppliedPoint, 'epoch' | 'sequence'>;

export class MarkFiles {
  readonly #own: string;

  constructor(directory: string) {
    this.#own = join(directory, OWN_FOLDER);
  }

  /** Where files of a lane lie until they are committed. */
  landing(laneId: string): string {
    return join(this.#own, 'landing', laneId);
  }

  async target(): Promise<{ targetId: string; created: boolean }> {
    await makeFolder(this.#own);
    const file = join(this.#own, 'target.json');
    const text = await textOf(file);
    if (text !== undefined) return { targetId: idOf(text), created: false };
    const targetId = randomBytes(16).toString('hex');
    await writeDurably(file, Buffer.from(`${JSON.stringify({ targetId })}\n`));
    return { targetId, created: true };
  }

  /** Throws MARK_UNREADABLE when a folder of the lane's is a link, or no folder. */
  async guard(laneId: string): Promise<void> {
    const [landing, mark] = [this.landing(laneId), this.#folder(laneId)];
    for (const path of [this.#own, dirname(landing), landing, dirname(mark), mark]) {
      if (await isFolder(path)) continue;
      throw new QiaoError('MARK_UNREADABLE', `${path} is not the folder that Qiao made`, {
        hint: 'Find out who put it there: nothing is followed out of the directory, and nothing is removed there.',
      });
    }
  }

  /** Removes what lies in the lane's landing that was never committed. */
  async removeStaged(laneId: string, names: Iterable<string>): Promise<void> {
    for (const name of names) {
      if (STAGED.test(name)) await rm(join(this.landing(laneId), name), { force: true });
    }
  }

  /** Every place of the lane that has a point, in order. */
  async places(laneId: string): Promise<Place[]> {
    const names = await namesIn(this.#folder(laneId));
    return names.flatMap((name) => placeOf(name) ?? []).sort(byPlace);
  }

  async read(laneId: string, place: Place): Promise<StoredPoint | undefined> {
    const text = await textOf(this.#file(laneId, place));
    return text === undefined ? undefined : pointOf(text);
  }

  async write(laneId: string, point: StoredPoint): Promise<void> {
    await makeFolder(this.#folder(laneId));
    const { epoch, sequence, nonce, chain, contentHash, answer, appliedAtMs, files } = point;
    const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
    const stored = {
      epoch: String(epoch),
      sequence: String(sequence),
      nonce: hex(nonce),
      chain: hex(chain),
      contentHash: hex(contentHash),
      answer: answerText(answer),
      appliedAtMs,
      files,
    };
    await writeDurably(this.#file(laneId, point), Buffer.from(`${JSON.stringify(stored)}\n`));
  }

  /** What the sender has settled goes (M5); should a crash leave some, the next delivery takes them. */
  async purge(laneId: string, work: ApplyWork): Promise<void> {
    const { epoch, sequence, settledThrough, settled = [], opensEpoch } = work;
    const oldest = settledThrough > 0n ? epoch : opensEpoch ? epoch - 1n : 0n;
    for (const place of await this.places(laneId)) {
      const isSettled =
        place.sequence <= settledThrough ||
        settled.some(({ first, last }) => place.sequence >= first && place.sequence <= last);
      const isOld = place.epoch < oldest || (place.epoch === epoch && place.sequence < sequence && isSettled);
      if (isOld) await rm(this.#file(laneId, place), { force: true });
    }
  }

  async forget(laneId: string): Promise<void> {
    const folder = this.#folder(laneId);
    for (const name of await namesIn(folder)) {
      if (POINT.test(name.replace(/\.tmp$/, ''))) await rm(join(folder, name), { force: true });
    }
    await this.removeStaged(laneId, await namesIn(this.landing(laneId)));
    for (const path of [folder, this.landing(laneId)]) await removeEmpty(path);
  }

  #folder(laneId: string): string {
    return join(this.#own, 'mark', laneId);
  }

  #file(laneId: string, { epoch, sequence }: Place): string {
    return join(this.#folder(laneId), `${epoch}-${sequence}.json`);
  }
}

/** Names in a folder; none when it is not there. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Nothing at all is as good: it is made when it is needed. */
async function isFolder(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isDirectory();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
    throw error;
  }
}

/** A folder in which somebody else put something stays. */
async function removeEmpty(path: string): Promise<void> {
  try {
    await rmdir(path);
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

async function textOf(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function placeOf(name: string): Place | undefined {
  const [, epoch, sequence] = POINT.exec(name) ?? [];
  return epoch === undefined || sequence === undefined
    ? undefined
    : { epoch: BigInt(epoch), sequence: BigInt(sequence) };
}

function byPlace(a: Place, b: Place): number {
  if (a.epoch !== b.epoch) return a.epoch < b.epoch ? -1 : 1;
  return a.sequence < b.sequence ? -1 : a.sequence > b.sequence ? 1 : 0;
}

function idOf(text: string): string {
  const { targetId } = parsed(text);
  if (typeof targetId === 'string' && /^[0-9a-f]{32}$/.test(targetId)) return targetId;
  throw unreadable();
}

function pointOf(text: string): StoredPoint {
  const { epoch, sequence, nonce, chain, contentHash, answer, appliedAtMs, files } = parsed(text);
  const texts = [epoch, sequence, nonce, chain, contentHash, answer];
  if (!texts.every((one) => typeof one === 'string') || !Array.isArray(files)) throw unreadable();
  return {
    epoch: BigInt(epoch as string),
    sequence: BigInt(sequence as string),
    nonce: Buffer.from(nonce as string, 'hex'),
    chain: Buffer.from(chain as string, 'hex'),
    contentHash: Buffer.from(contentHash as string, 'hex'),
    answer: parseAnswer(answer as string),
    appliedAtMs: Number(appliedAtMs),
    files: files as LandedFile[],
  };
}

function parsed(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Falls through to the one error below.
  }
  throw unreadable();
}

function unreadable(): QiaoError {
  return new QiaoError('MARK_UNREADABLE', `a file in ${OWN_FOLDER} is not what Qiao writes`, {
    hint: 'Find out who changed it, restore it from a backup, or open a new epoch: qiao bridge resync NAME',
  });
}
