/**
 * What the destination of a bridge has of a row, as far as this node knows: what it was sent last, or what it said itself since. A row that
 * arrived from it is noted before it lands (apply/arrivals.ts), and found here as a change like any other: it is no news to the place it came
 * from, nor to any that it passed. To another place it goes on, with the places that it passed.
 */
import { hasPassed, type Kind, type Path, type TableLayout, type TablePlace } from '@qiao/exchange';
import { type DesiredBridge, isOver } from '../control/desired.ts';
import { type DigestRow, type ExchangeDatabase, GONE, type Word } from '../exchange-database/index.ts';
import type { ScanOutput } from './output.ts';
import type { PlannedTable } from './plan.ts';
import { WANTED } from './wantedRows.ts';

/** Where rows of a table go; undefined where they go to several places, or are kept as a journal: for those nothing is noted. */
export function destinationOf(bridge: DesiredBridge, table: string): TablePlace | undefined {
  const lanes = bridge.lanes.filter((lane) => !isOver(bridge, lane));
  const [lane] = lanes;
  const landed = lane?.destination?.tables[table];
  if (lane?.destination === undefined || lanes.length !== 1 || landed === undefined || landed.landing === 'journal') {
    return undefined;
  }
  const { dataSource } = lane.destination;
  return { node: lane.receiverId, dataSource, schema: landed.schema, table: landed.to };
}

/** How rows of a table come home. */
export type Circle = 'pair' | 'ring';

/** In which circle the table lies; undefined where nothing that came from elsewhere needs to be known. */
export function circleOf(bridge: DesiredBridge, table: string): Circle | undefined {
  if (destinationOf(bridge, table) === undefined) return undefined;
  const { circles } = bridge;
  if (circles === undefined || circles.pairs.has(table)) return 'pair';
  return circles.rings.has(table) ? 'ring' : undefined;
}

/** The word came from the destination, or passed it: it has the row that the word speaks of. */
export function isBack(word: Word | undefined, to: TablePlace | undefined): word is Word {
  return word !== undefined && to !== undefined && hasPassed(word.path, to);
}

/** The digest of the row that the destination has; undefined when it has none. Of a row that is known in part only it is no row's. */
export function digestThere(
  stored: DigestRow | undefined,
  word: Word | undefined,
  to: TablePlace | undefined,
): string | undefined {
  if (stored?.[1] !== WANTED && isBack(word, to)) return word.digest === GONE ? undefined : word.digest;
  return stored?.[2] === 1 ? stored[1] : undefined;
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

/** What a scan of one table means to a destination that is heard of, too. */
export class OtherEnd {
  readonly #database: Pick<ExchangeDatabase, 'arrivals' | 'captures' | 'digests' | 'transaction'>;
  readonly #table: PlannedTable;
  readonly #tableId: number;
  readonly #to: TablePlace | undefined;
  readonly #output: ScanOutput;
  readonly #passed = new PassedOn();
  #isHeard = false;

  constructor(
    database: Pick<ExchangeDatabase, 'arrivals' | 'captures' | 'digests' | 'transaction'>,
    table: PlannedTable,
    tableId: number,
    /** Undefined: nothing is asked about what other nodes said. */
    to: TablePlace | undefined,
    output: ScanOutput,
  ) {
    this.#database = database;
    this.#table = table;
    this.#tableId = tableId;
    this.#to = to;
    this.#output = output;
  }

  /** Another node said something of rows of this table that was not found here yet. As of `begin`. */
  get isHeard(): boolean {
    return this.#isHeard;
  }

  begin(): void {
    this.#isHeard = this.#to !== undefined && this.#database.arrivals.hasAny(this.#tableId);
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
    const there = digestThere(found, word, this.#to);
    const kind = there === undefined ? 'insert' : 'update';
    if (there === digest) {
      if (word === undefined) return;
      output.noNews(name, found === undefined ? 'insert' : 'update');
      if (word.digest === digest) output.arrived(this.#tableId, { key, digest });
      return;
    }
    if (word?.digest === digest) this.#passed.add(word.path, kind, line);
    else output.change(layout, kind, line);
    if (word !== undefined) this.#overtake(key, word);
  }

  /** A row that was sent, or that the destination said it has, is gone here. */
  gone(key: string): void {
    const { layout, name, keys } = this.#table;
    const word = this.#wordOf(key);
    const line = keys.decode(key);
    const isWanted = this.#database.digests.get(this.#tableId, key)?.[1] === WANTED;
    if (isWanted) this.#output.change(layout, 'delete', line);
    else if (word?.digest === GONE && isBack(word, this.#to)) this.#output.noNews(name, 'delete');
    else if (word?.digest === GONE) this.#passed.add(word.path, 'delete', line);
    else this.#output.change(layout, 'delete', line);
    if (word !== undefined) this.#output.arrived(this.#tableId, { key, digest: word.digest });
  }

  /** Of a key that nothing was sent for: its destination said that it has a row, which landed here and went before it was read. It counts as sent. */
  takeOver(key: string): DigestRow | undefined {
    const digest = digestThere(undefined, this.#wordOf(key), this.#to);
    if (digest === undefined) return undefined;
    this.#database.transaction(() => {
      this.#database.digests.put(this.#tableId, [{ key, digest, sent: true }]);
      this.#database.captures.countDigests(this.#tableId, 1);
    });
    return [key, digest, 1];
  }

  /** What was said of the row is void with what leaves now. Where the row had stayed against it, the same word again changes nothing. */
  #overtake(key: string, { digest }: Word): void {
    const isKept = this.#database.arrivals.keptOf(this.#tableId, [key]).get(key) === digest;
    if (isKept) this.#output.sentBack(this.#tableId, { key, digest });
    else this.#output.arrived(this.#tableId, { key, digest });
  }

  #wordOf(key: string): Word | undefined {
    return this.#isHeard ? this.#database.arrivals.getMany(this.#tableId, [key]).get(key) : undefined;
  }
}
