/**
 * What a scan has found and not yet made durable: at most one parcel of changes, one parcel of a load, and the digests that
 * stand for them. `flush` makes all of it durable in one transaction: rows in the outbox, digests moved, statements written.
 */
import { type Kind, ParcelBuilder, parseId, type TableLayout } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import type { Desired, DesiredBridge } from '../control/desired.ts';
import type { DigestChange, LaneOut } from '../exchange-database/index.ts';
import { type PackedLane, packParcel, prepareContent } from '../send/pack.ts';
import type { CapturePorts } from './ports.ts';
import { CaptureTally } from './tally.ts';

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
    this.#changeTally.add(layout.table, kind, 'packed');
  }

  /** A row of the source: loading lanes get every one. */
  loadRow(layout: TableLayout, line: Uint8Array): void {
    this.#load.add(layout, 'insert', line);
    this.#loadTally.add(layout.table, 'insert', 'packed');
  }

  /** A change that does not travel. `isNew`: it was not counted in an earlier scan. Loads count every such row. */
  kept(table: string, kind: Kind, fate: 'filtered' | 'refused', isNew: boolean, rows = 1): void {
    if (fate === 'refused') this.#incomplete.add(table);
    if (isNew && this.isStreaming) this.#changeTally.add(table, kind, fate, rows);
    if (this.isLoading && kind !== 'delete') this.#loadTally.add(table, 'insert', fate, rows);
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
        const lanes = this.#stillThere(this.#streaming, 'streaming').map(({ lane }) => plain(lane));
        if (lanes.length > 0) this.#pack(changes, 'change', lanes, this.#changeTally);
        else this.#changeTally.forgetPacked();
      }
      if (load !== undefined) {
        const lanes = this.#stillThere(this.#loading, 'loading');
        if (lanes.length > 0) this.#packLoad(load, lanes, isLast);
        else this.#loadTally.forgetPacked();
      }
      for (const [tableId, pending] of this.#pending) {
        database.digests.put(tableId, pending.put);
        database.digests.remove(tableId, pending.removed);
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

  #of(tableId: number): PendingTable {
    let pending = this.#pending.get(tableId);
    if (pending === undefined) {
      pending = { put: [], removed: [], count: 0 };
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

function plain(lane: Uint8Array): PackedLane {
  return { lane, loadBegins: false, loadEnds: false, allowedDeletes: 0n, incompleteTables: [] };
}
