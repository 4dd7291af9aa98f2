/**
 * What the destination of a bridge has of a row, as far as this node knows: what it was sent last, or what it said itself since. A row that
 * arrived from it is noted before it lands (apply/arrivals.ts), and found here as a change like any other: it is no news to the place it came
 * from, nor to any that it passed. To another place it goes on, with the places that it passed.
 */
import { hasPassed, isSamePath, type Kind, type Path, type TableLayout, type TablePlace } from '@qiao/exchange';
import { type DesiredBridge, isOver } from '../control/desired.ts';
import { type Arrival, type DigestRow, type ExchangeDatabase, GONE, type Word } from '../exchange-database/index.ts';
import type { ScanOutput } from './output.ts';
import type { PlannedTable } from './plan.ts';
import { WANTED } from './wantedRows.ts';

/** How rows of a table come home. */
export type Circle = 'pair' | 'ring';

/** A table that changes come from as well as go to. */
export interface HeardTable {
  readonly place: TablePlace;
  readonly circle: Circle;
}

/** Where rows of a table go, where that is one place, they may come home, and each change is noticed; undefined where nothing is noted. */
export function heardOf(bridge: DesiredBridge, table: string): HeardTable | undefined {
  const { capture } = bridge.definition.source;
  if (capture !== 'log' && capture !== 'trigger') return undefined;
  const lanes = bridge.lanes.filter((lane) => !isOver(bridge, lane));
  const [lane] = lanes;
  const landed = lane?.destination?.tables[table];
  if (lane?.destination === undefined || lanes.length !== 1 || landed === undefined || landed.landing === 'journal') {
    return undefined;
  }
  const circle = circleOf(bridge, table);
  if (circle === undefined) return undefined;
  const { dataSource } = lane.destination;
  return { place: { node: lane.receiverId, dataSource, schema: landed.schema, table: landed.to }, circle };
}

/** Whether every destination keeps rows over which a part of one can be laid: not a journal, nor one that judges whole rows. */
export function takesParts(bridge: DesiredBridge, table: string): boolean {
  return bridge.lanes.every((lane) => {
    const landed = lane.destination?.tables[table];
    return isOver(bridge, lane) || (landed?.landing !== 'journal' && typeof landed?.conflict !== 'object');
  });
}

/** A hub that does not say leaves any table in a circle. */
function circleOf({ circles }: DesiredBridge, table: string): Circle | undefined {
  if (circles === undefined || circles.pairs.has(table)) return 'pair';
  return circles.rings.has(table) ? 'ring' : undefined;
}

/** Words of one row that may be found late; of more the oldest are forgotten, and worth a change that goes back. */
const MOST_EARLIER = 100;

/** What another node says of rows, over what was said before. In the caller's transaction. */
export function hear(
  { arrivals, digests, sendBacks }: Pick<ExchangeDatabase, 'arrivals' | 'digests' | 'sendBacks'>,
  tableId: number,
  said: readonly Arrival[],
  path: Path,
  { place, circle }: HeardTable,
): void {
  const keys = said.map(({ key }) => key).sort();
  const [words, known] = [arrivals.getMany(tableId, keys), digests.getMany(tableId, keys)];
  const kept = words.size > 0 ? sendBacks.keptOf(tableId, [...words.keys()].sort()) : new Map<string, string>();
  const news = said.flatMap(({ key, digest }): Arrival[] => {
    const word = words.get(key);
    if (word === undefined && isAsSaid(known.get(key), digest, circle)) return [];
    const there = hasPassed(path, place) ? undefined : saidThere(word, place);
    return [{ key, digest, there, earlier: earlierOf(word, digest, path, kept.get(key)) }];
  });
  arrivals.put(tableId, news, path);
}

/** What was said by the same way and may be found yet, now that another word comes. `kept`: the word against which a row may have stayed here. */
function earlierOf(word: Word | undefined, digest: string, path: Path, kept: string | undefined): readonly string[] {
  if (word === undefined || !isSamePath(word.path, path)) return [];
  const mayBeFound = word.digest !== digest && (word.isLanded || word.digest === kept);
  return mayBeFound ? [...word.earlier, word.digest].slice(-MOST_EARLIER) : word.earlier;
}

/** Found late: what was said before the last word, which the log, or the rows as they were a moment ago, show first. */
export function isEarlier(word: Word, digest: string): boolean {
  return word.digest !== digest && word.earlier.includes(digest);
}

/** The row is here as it was said, and was found: nothing will be found of it. In a ring a delete goes on all the same. */
function isAsSaid(stored: DigestRow | undefined, digest: string, circle: Circle): boolean {
  return digest === GONE ? stored === undefined && circle !== 'ring' : stored?.[1] === digest && stored[2] === 1;
}

/** What the destination said last of the row, as a digest or GONE: the word came from it, or passed it, or stands over one that did. */
export function saidThere(word: Word | undefined, place: TablePlace | undefined): string | undefined {
  if (word === undefined || place === undefined) return undefined;
  return hasPassed(word.path, place) ? word.digest : word.there;
}

/** The digest of the row that the destination has; undefined when it has none. Of a row that is known in part only it is no row's. */
export function digestThere(
  stored: DigestRow | undefined,
  word: Word | undefined,
  heard: HeardTable | undefined,
): string | undefined {
  const said = stored?.[1] === WANTED ? undefined : saidThere(word, heard?.place);
  if (said !== undefined) return said === GONE ? undefined : said;
  return stored?.[2] === 1 ? stored[1] : undefined;
}

/**
 * The delete of a row is news to the destination. In a ring also where it never had the row: another node sent it, which hears of this
 * by the destination alone.
 */
export function isDeleteNews(
  stored: DigestRow | undefined,
  word: Word | undefined,
  heard: HeardTable | undefined,
): boolean {
  if (digestThere(stored, word, heard) !== undefined) return true;
  return heard?.circle === 'ring' && word !== undefined && !hasPassed(word.path, heard.place);
}

/** Nothing changed here since the row was sent, and what was said of it has not landed, as far as is known: it may yet. */
export function isAhead(stored: DigestRow | undefined, digest: string, word: Word | undefined): boolean {
  return word !== undefined && !word.isLanded && word.digest !== digest && stored?.[1] === digest && stored[2] === 1;
}

/** It came from the destination, or passed it. */
export function isFromThere(word: Word, heard: HeardTable | undefined): boolean {
  return heard !== undefined && hasPassed(word.path, heard.place);
}

/** There is no row here, and none was sent; that of the word has not landed, as far as is known: it may yet. */
export function isComing(stored: DigestRow | undefined, word: Word): boolean {
  return !word.isLanded && word.digest !== GONE && stored?.[2] !== 1 && stored?.[1] !== WANTED;
}

/** As it is forgotten when something left that was decided by it. */
export function overOf(key: string, word: Word, heard: HeardTable | undefined): Arrival {
  return { key, digest: word.digest, there: saidThere(word, heard?.place) };
}

/** Changes that passed other tables, until those of one path leave together: each is a section of its own at the least. */
export class PassedOn {
  readonly #byPath = new Map<Path, { readonly kind: Kind; readonly line: Buffer }[]>();

  add(path: Path, kind: Kind, line: Buffer): void {
    const changes = this.#byPath.get(path) ?? [];
    changes.push({ kind, line });
    this.#byPath.set(path, changes);
  }

  leaveBy(output: Pick<ScanOutput, 'change'>, layout: TableLayout): void {
    for (const [path, changes] of this.#byPath) {
      const passed = { ...layout, path };
      for (const { kind, line } of changes) output.change(passed, kind, line);
    }
    this.#byPath.clear();
  }
}

type OtherEndStores = Pick<ExchangeDatabase, 'arrivals' | 'captures' | 'digests' | 'sendBacks' | 'transaction'>;

/** What a scan of one table means to a destination that is heard of, too. */
export class OtherEnd {
  readonly #database: OtherEndStores;
  readonly #table: PlannedTable;
  readonly #tableId: number;
  readonly #heard: HeardTable | undefined;
  readonly #output: ScanOutput;
  readonly #passed = new PassedOn();
  #isHeard = false;

  constructor(
    database: OtherEndStores,
    table: PlannedTable,
    tableId: number,
    /** Undefined: nothing is asked about what other nodes said. */
    heard: HeardTable | undefined,
    output: ScanOutput,
  ) {
    this.#database = database;
    this.#table = table;
    this.#tableId = tableId;
    this.#heard = heard;
    this.#output = output;
  }

  /** Another node said something of rows of this table that was not found here yet. As of `begin`. */
  get isHeard(): boolean {
    return this.#isHeard;
  }

  begin(): void {
    this.#isHeard = this.#heard !== undefined && this.#database.arrivals.hasAny(this.#tableId);
  }

  /** What passed other tables leaves now. */
  end(): void {
    this.#passed.leaveBy(this.#output, this.#table.layout);
  }

  /** A row that may be news to the destination. */
  row(key: string, digest: string, line: Buffer, found: DigestRow | undefined): void {
    const output = this.#output;
    const { layout, name } = this.#table;
    const word = this.#wordOf(key);
    const there = digestThere(found, word, this.#heard);
    const kind = there === undefined ? 'insert' : 'update';
    if (word !== undefined && isEarlier(word, digest)) {
      this.#output.earlierFound(this.#tableId, { key, digest });
      if (isFromThere(word, this.#heard)) output.noNews(name, kind);
      else this.#passed.add(word.path, kind, line);
      return;
    }
    if (there === digest) {
      if (word === undefined) return;
      output.noNews(name, found === undefined ? 'insert' : 'update');
      if (word.digest === digest || word.isLanded) output.arrived(this.#tableId, overOf(key, word, this.#heard));
      return;
    }
    const isKept = word !== undefined && this.#keptAgainst(key) === word.digest;
    if (word !== undefined && !isKept && isAhead(found, digest, word)) {
      output.noNews(name, 'update');
      output.lookAt(this.#tableId, { key, digest: word.digest });
      return;
    }
    if (word?.digest === digest) this.#passed.add(word.path, kind, line);
    else output.change(layout, kind, line);
    if (word === undefined) return;
    // What was said of the row is void with what leaves now. Where the row had stayed against it, the same word again changes nothing.
    if (isKept) output.sentBack(this.#tableId, overOf(key, word, this.#heard));
    else output.arrived(this.#tableId, overOf(key, word, this.#heard));
  }

  /** A row that was sent, or that another node said is somewhere, is gone here. */
  gone(key: string): void {
    const { layout, name, keys } = this.#table;
    const word = this.#wordOf(key);
    const line = keys.decode(key);
    const stored = this.#database.digests.get(this.#tableId, key);
    if (word !== undefined && stored?.[1] !== WANTED && isEarlier(word, GONE)) {
      this.#output.earlierFound(this.#tableId, { key, digest: GONE });
      if (isFromThere(word, this.#heard)) this.#output.noNews(name, 'delete');
      else this.#passed.add(word.path, 'delete', line);
      return;
    }
    if (stored?.[1] !== WANTED && !isDeleteNews(stored, word, this.#heard)) this.#output.noNews(name, 'delete');
    else if (stored?.[1] !== WANTED && word?.digest === GONE) this.#passed.add(word.path, 'delete', line);
    else this.#output.change(layout, 'delete', line);
    if (word !== undefined) this.#output.arrived(this.#tableId, overOf(key, word, this.#heard));
  }

  /**
   * Of a key that nothing was sent for, and that has no row: where another node said that it has one, which landed here and went before it was
   * read, it counts as sent. Returns what is known of the key then.
   */
  takeOver(key: string, stored: DigestRow | undefined): DigestRow | undefined {
    const word = this.#wordOf(key);
    if (word === undefined) return stored;
    if (isEarlier(word, GONE) && isFromThere(word, this.#heard)) {
      this.#output.earlierFound(this.#tableId, { key, digest: GONE });
      return stored;
    }
    if (isComing(stored, word)) {
      const said = { key, digest: word.digest };
      // Answered, and the delete here left before it was said.
      if (this.#keptAgainst(key) === word.digest) this.#output.settledBack(this.#tableId, said);
      else this.#output.lookAt(this.#tableId, said);
      return stored;
    }
    if (!isDeleteNews(stored, word, this.#heard)) {
      // What may land yet is found when it has.
      if (word.isLanded || word.digest === GONE) this.#output.arrived(this.#tableId, overOf(key, word, this.#heard));
      return stored;
    }
    const digest = digestThere(stored, word, this.#heard) ?? word.digest;
    this.#database.transaction(() => {
      this.#database.digests.put(this.#tableId, [{ key, digest, sent: true }]);
      if (stored === undefined) this.#database.captures.countDigests(this.#tableId, 1);
    });
    return [key, digest, 1];
  }

  #wordOf(key: string): Word | undefined {
    return this.#isHeard ? this.#database.arrivals.getMany(this.#tableId, [key]).get(key) : undefined;
  }

  #keptAgainst(key: string): string | undefined {
    return this.#database.sendBacks.keptOf(this.#tableId, [key]).get(key);
  }
}
