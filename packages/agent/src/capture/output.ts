/**
 * What a scan, or the log, has found and not yet made durable: at most one parcel of changes, one parcel of a load, and the digests that
 * stand for them. `flush` makes all of it durable in one transaction: rows in the outbox, digests moved, statements written.
 */
import { type Kind, ParcelBuilder, parseId, type TableLayout } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import type { Desired, DesiredBridge } from '../control/desired.ts';
import type { Arrival, DigestChange, DigestRun, ExchangeDatabase, LaneOut } from '../exchange-database/index.ts';
import { type PackedLane, packParcel, prepareContent, streamingLane } from '../send/pack.ts';
import type { CapturePorts } from './ports.ts';
import { CaptureTally, type Fate } from './tally.ts';
import type { KindCounts } from './trigger.ts';

/** Digests held before a flush even when little is packed: filtered rows fill no parcel. */
const MOST_PENDING = 50_000;

/** A lane as it stood when the scan began: if its epoch or phase has moved since, this scan is not for it any more. */
interface ScanLane {
  readonly lane: Uint8Array;
  readonly epoch: bigint;
  begun: boolean;
}

interface PendingTable {
  readonly put: DigestChange[];
  readonly removed: string[];
  /** Held by the digests: emptied when somebody else writes one. */
  readonly runs: DigestRun[];
  /** Arrivals that were found. */
  readonly arrived: Arrival[];
  /** Arrivals against which the row here was sent back. */
  readonly sentBack: Arrival[];
  /** Arrivals against which nothing needs to be sent back. */
  readonly settledBack: Arrival[];
  /** Arrivals to be looked at once they have landed. */
  readonly lookAt: Arrival[];
  /** Earlier words that were found, later ones standing over them. */
  readonly earlierFound: Arrival[];
  /** Keys that were looked at, and of which nothing follows. */
  readonly looked: string[];
  /** Difference in the number of digests. */
  count: number;
}

export class ScanOutput {
  readonly #ports: CapturePorts;
  readonly #desired: Desired;
  readonly #bridge: DesiredBridge;
  readonly #scan: number;
  readonly #streaming: ScanLane[];
  readonly #loading: ScanLane[];
  readonly #allowedDeletes: bigint;
  readonly #changes: ParcelBuilder;
  readonly #load: ParcelBuilder;
  readonly #changeTally = new CaptureTally();
  readonly #loadTally = new CaptureTally();
  readonly #outcomes = new Map<string, KindCounts>();
  readonly #pending = new Map<number, PendingTable>();
  /** Tables of which this scan could not carry a row: a load that ends must not take such a row's older version away. */
  readonly #incomplete = new Set<string>();
  #pendingRows = 0;

  constructor(
    ports: CapturePorts,
    desired: Desired,
    bridge: DesiredBridge,
    scan: number,
    lanes: readonly LaneOut[],
    allowedDeletes: bigint,
  ) {
    this.#ports = ports;
    this.#desired = desired;
    this.#bridge = bridge;
    this.#scan = scan;
    this.#allowedDeletes = allowedDeletes;
    const ofPhase = (phase: 'streaming' | 'loading'): ScanLane[] =>
      lanes.filter((lane) => lane.phase === phase).map(({ lane, epoch }) => ({ lane, epoch, begun: false }));
    this.#streaming = ofPhase('streaming');
    this.#loading = ofPhase('loading');
    this.#changes = new ParcelBuilder(ports.limits.parcelBytes);
    this.#load = new ParcelBuilder(ports.limits.parcelBytes);
  }

  get isStreaming(): boolean {
    return this.#streaming.length > 0;
  }

  get isLoading(): boolean {
    return this.#loading.length > 0;
  }

  get isFull(): boolean {
    return this.#changes.isFull || this.#load.isFull || this.#pendingRows >= MOST_PENDING;
  }

  /** A row differs from what streaming lanes have: it travels as this kind. */
  change(layout: TableLayout, kind: Kind, line: Uint8Array): void {
    if (!this.isStreaming) return;
    this.#changes.add(layout, kind, line);
    this.#count(layout.table, kind, 'packed', 1);
  }

  /** Rows of the source, as whole lines: loading lanes get every one. */
  loadRows(layout: TableLayout, lines: Uint8Array, rows: number): void {
    this.#load.addRows(layout, 'insert', lines, rows);
    this.#loadTally.add(layout.table, 'insert', 'packed', rows);
  }

  /** A change that does not travel. `isNew`: it was not counted in an earlier scan. Loads count every such row. */
  kept(table: string, kind: Kind, fate: 'filtered' | 'refused', isNew: boolean, rows = 1): void {
    if (fate === 'refused') this.#incomplete.add(table);
    if (isNew && this.isStreaming) this.#count(table, kind, fate, rows);
    if (this.isLoading && kind !== 'delete') this.#loadTally.add(table, 'insert', fate, rows);
  }

  /** A change that the destination said itself. It is no change of a load, which brings every row. */
  noNews(table: string, kind: Kind): void {
    if (this.isStreaming) this.#count(table, kind, 'filtered', 1);
  }

  /** Changes that led to no outcome of their own: a later one of the same key stands for them, or the row is as it was sent. */
  folded(table: string, kind: Kind, changes: number): void {
    if (this.isStreaming && changes > 0) this.#changeTally.add(table, kind, 'folded', changes);
  }

  /** Changes of this scan that were counted for streaming lanes, by kind. */
  outcomes(table: string): Readonly<KindCounts> {
    return this.#outcomes.get(table) ?? { insert: 0, update: 0, delete: 0 };
  }

  /** Rows of the table could not be carried, whether they are new in the books or not. */
  incomplete(table: string): void {
    this.#incomplete.add(table);
  }

  put(tableId: number, change: DigestChange, isNew: boolean): void {
    const pending = this.#of(tableId);
    pending.put.push(change);
    if (isNew) pending.count += 1;
    this.#pendingRows += 1;
  }

  remove(tableId: number, key: string): void {
    const pending = this.#of(tableId);
    pending.removed.push(key);
    pending.count -= 1;
    this.#pendingRows += 1;
  }

  /** What the other end said last of a row was found here, or is no longer its last word. */
  arrived(tableId: number, arrival: Arrival): void {
    this.#of(tableId).arrived.push(arrival);
  }

  /** The row that stayed here against this word of the other end goes with this. */
  sentBack(tableId: number, arrival: Arrival): void {
    this.#of(tableId).sentBack.push(arrival);
  }

  /** The other end needs not be told what stayed here against this word of it. */
  settledBack(tableId: number, arrival: Arrival): void {
    this.#of(tableId).settledBack.push(arrival);
  }

  /** The row may be about to become what the other end said: it is looked at when it has. */
  lookAt(tableId: number, arrival: Arrival): void {
    this.#of(tableId).lookAt.push(arrival);
  }

  /** What another node said before its last word was found here. */
  earlierFound(tableId: number, arrival: Arrival): void {
    this.#of(tableId).earlierFound.push(arrival);
  }

  /** The row could not be read: what was said of it stays for its next change. */
  looked(tableId: number, key: string): void {
    this.#of(tableId).looked.push(key);
  }

  /** A run whose digests are on disk when the next flush is. */
  run(tableId: number, run: DigestRun): void {
    this.#of(tableId).runs.push(run);
    this.#pendingRows += 1;
  }

  /** A row turned up inside runs that were made before it was met. */
  forgetRuns(tableId: number): void {
    this.#pending.get(tableId)?.runs.splice(0);
  }

  /** Keys with a digest that is not on disk yet. */
  pendingKeys(tableId: number): readonly DigestChange[] {
    return this.#pending.get(tableId)?.put ?? [];
  }

  /** Makes everything so far durable. `last`: the scan saw its last row; loads end and the scan is finished with it. */
  async flush(last?: { finish: () => void }): Promise<void> {
    const isLast = last !== undefined;
    const { compression } = this.#ports.limits;
    // An empty parcel travels only where a load must be ended by one.
    const changes = this.#changes.rows > 0 ? await prepareContent(this.#changes.take(), compression) : undefined;
    const load =
      this.#load.rows > 0 || (isLast && this.isLoading)
        ? await prepareContent(this.#load.take(), compression)
        : undefined;
    const { database } = this.#ports;
    crashPoint('capture.read');
    database.transaction(() => {
      if (changes !== undefined) {
        const lanes = this.#stillThere(this.#streaming, 'streaming').map(({ lane }) => streamingLane(lane));
        if (lanes.length > 0) this.#pack(changes, 'change', lanes, this.#changeTally);
        else this.#changeTally.forgetPacked();
      }
      if (load !== undefined) {
        const lanes = this.#stillThere(this.#loading, 'loading');
        if (lanes.length > 0) this.#packLoad(load, lanes, isLast);
        else this.#loadTally.forgetPacked();
      }
      for (const [tableId, pending] of this.#pending) {
        database.digests.settle(tableId, pending);
        keepHeard(database, tableId, pending);
        database.captures.countDigests(tableId, pending.count);
      }
      if (last !== undefined) {
        this.#bookUnpacked();
        last.finish();
      }
    });
    this.#pending.clear();
    this.#pendingRows = 0;
    crashPoint('capture.packed');
    if (changes !== undefined || load !== undefined || isLast) this.#ports.onPacked();
  }

  #count(table: string, kind: Kind, fate: Fate, rows: number): void {
    this.#changeTally.add(table, kind, fate, rows);
    const counts = this.#outcomes.get(table) ?? { insert: 0, update: 0, delete: 0 };
    counts[kind] += rows;
    this.#outcomes.set(table, counts);
  }

  #of(tableId: number): PendingTable {
    let pending = this.#pending.get(tableId);
    if (pending === undefined) {
      const runs = this.#ports.database.digests.runs.hold(tableId);
      const heard = { arrived: [], sentBack: [], settledBack: [], lookAt: [], earlierFound: [], looked: [] };
      pending = { put: [], removed: [], ...heard, runs, count: 0 };
      this.#pending.set(tableId, pending);
    }
    return pending;
  }

  #stillThere(lanes: ScanLane[], phase: 'streaming' | 'loading'): ScanLane[] {
    return lanes.filter(({ lane, epoch }) => {
      const now = this.#ports.database.lanesOut.get(lane);
      return now !== undefined && now.epoch === epoch && now.phase === phase;
    });
  }

  #packLoad(content: Awaited<ReturnType<typeof prepareContent>>, lanes: ScanLane[], isLast: boolean): void {
    const { database } = this.#ports;
    const packed = lanes.map(
      (scanLane): PackedLane => ({
        lane: scanLane.lane,
        loadBegins: !scanLane.begun,
        loadEnds: isLast,
        allowedDeletes: isLast ? this.#allowedDeletes : 0n,
        incompleteTables: isLast ? [...this.#incomplete].sort() : [],
      }),
    );
    this.#pack(content, 'load', packed, this.#loadTally);
    for (const scanLane of lanes) {
      if (!scanLane.begun) database.lanesOut.beginLoad(scanLane.lane, this.#scan);
      scanLane.begun = true;
      if (isLast) database.lanesOut.setPhase(scanLane.lane, 'streaming');
    }
  }

  #pack(
    content: Awaited<ReturnType<typeof prepareContent>>,
    origin: 'change' | 'load',
    lanes: readonly PackedLane[],
    tally: CaptureTally,
  ): void {
    packParcel(this.#ports, this.#desired, this.#bridge, content, origin, lanes, tally.take());
  }

  /** What was captured and led to no parcel stands in the books by itself. */
  #bookUnpacked(): void {
    const { database, clock } = this.#ports;
    const capture = [...this.#changeTally.take(), ...this.#loadTally.take()];
    if (capture.length === 0) return;
    const atMs = clock.nowMs();
    const bridgeId = parseId(this.#bridge.bridgeId);
    database.books.append({ $case: 'unpacked', value: { bridgeId, capture, atMs: BigInt(atMs) } }, atMs);
  }
}

/** What becomes of words of other nodes, in the transaction of what was decided by them. */
function keepHeard(
  { arrivals, sendBacks }: Pick<ExchangeDatabase, 'arrivals' | 'sendBacks'>,
  tableId: number,
  { arrived, sentBack, settledBack, lookAt, earlierFound, looked }: PendingTable,
): void {
  arrivals.forget(tableId, arrived);
  sendBacks.forget(tableId, arrived);
  arrivals.forget(tableId, sentBack);
  sendBacks.sent(tableId, sentBack);
  sendBacks.settle(tableId, settledBack);
  arrivals.lookAt(tableId, lookAt);
  arrivals.earlierFound(tableId, earlierFound);
  arrivals.looked(tableId, looked);
}
