/**
 * One bridge that follows the log: what is behind its position, and not seen by its last scan, waits here for its next delivery. Rows, digests and
 * position become durable in one transaction.
 */
import type { DataSource, LogPiece, LogTransaction, SourceLog } from '@qiao/adapters';
import { parseId } from '@qiao/exchange';
import type { Desired, DesiredBridge } from '../control/desired.ts';
import type { LogOwes, LogPart, LogState } from '../exchange-database/index.ts';
import type { FollowedTable } from './keyChanges.ts';
import { LogChanges } from './logChanges.ts';
import { ScanOutput } from './output.ts';
import type { CapturePorts } from './ports.ts';
import { rowsOf } from './rowsByKey.ts';
import { wholeSnapshot } from './wholeSnapshot.ts';

const LF = 0x0a;
/** Where each lane has so many deliveries without a receipt, what comes meanwhile leaves together: one more would only stand behind them. */
const BUSY_DELIVERIES = 8;
/** It waits no longer than this for company. */
const MOST_WAIT_MS = 100;
/** Rows that are read by their keys at once though nothing happened to them here. */
const MOST_LOOKS = 10_000;

export class LogBridge {
  readonly bridge: DesiredBridge;
  readonly #ports: CapturePorts;
  readonly #dataSource: DataSource;
  readonly #log: SourceLog;
  readonly #id: Uint8Array;
  readonly #seen: string | undefined;
  /** Index of the log's plan → index of the bridge's tables. */
  readonly #places: ReadonlyMap<number, number>;
  readonly #changes: LogChanges;
  readonly #tables: readonly FollowedTable[];
  #position: string;
  #part: LogPart | undefined;
  /** Of which changes were taken since the last flush. */
  #taken: LogTransaction[] = [];
  #waitsSinceMs: number | undefined;
  #passesOver: { readonly transaction: LogTransaction; readonly isPassed: boolean } | undefined;

  constructor(
    ports: CapturePorts,
    dataSource: DataSource,
    log: SourceLog,
    bridge: DesiredBridge,
    state: LogState,
    tables: readonly FollowedTable[],
    /** Places of the tables in the log's plan, in their order. */
    places: readonly number[],
  ) {
    this.#ports = ports;
    this.#dataSource = dataSource;
    this.#log = log;
    this.bridge = bridge;
    this.#id = parseId(bridge.bridgeId);
    this.#seen = state.seen;
    this.#position = state.position;
    this.#part = state.part;
    this.#places = new Map(places.map((place, index) => [place, index]));
    this.#tables = tables;
    this.#changes = new LogChanges(tables, bridge.definition.deleteGuard, ports.database.arrivals);
  }

  get position(): string {
    return this.#position;
  }

  /** What waits, in bytes. */
  get bytes(): number {
    return this.#changes.bytes;
  }

  /** Something waits, and there is no reason to let it wait for more. Asked at the end of a transaction. */
  get isDue(): boolean {
    if (this.bytes === 0) return false;
    const { clock, database } = this.#ports;
    this.#waitsSinceMs ??= clock.elapsedMs();
    if (clock.elapsedMs() - this.#waitsSinceMs >= MOST_WAIT_MS) return true;
    const lanes = database.lanesOut.ofBridge(this.#id).filter(({ phase }) => phase === 'streaming');
    return lanes.length === 0 || lanes.some((lane) => lane.waitingCount < BUSY_DELIVERIES);
  }

  /** Returns what is owed when the bridge can follow no further: then nothing since the last flush may be kept. */
  take({ transaction, changes, position }: LogPiece): LogOwes | undefined {
    if (transaction !== undefined && !this.#isPassed(transaction)) {
      const done = this.#part?.of === transaction.at ? this.#part.changes : 0;
      let taken = done;
      for (const change of changes) {
        if (change.number < done) continue;
        taken = change.number + 1;
        const index = this.#places.get(change.table);
        if (index === undefined) continue;
        if (this.#taken.at(-1) !== transaction) this.#taken.push(transaction);
        const owes = this.#changes.take(index, change, transaction.at);
        if (owes !== undefined) return owes;
      }
      if (position === undefined) this.#part = { of: transaction.at, changes: taken };
    }
    if (position !== undefined && this.#log.compare(position, this.#position) > 0) {
      this.#position = position;
      this.#part = undefined;
    }
    return undefined;
  }

  /** Makes everything so far durable, and the position with the last of it. */
  async flush(desired: Desired, signal: AbortSignal): Promise<void> {
    const { database } = this.#ports;
    const [position, part] = [this.#position, this.#part];
    const lanes = database.lanesOut.ofBridge(this.#id).filter(({ phase }) => phase === 'streaming');
    const output = new ScanOutput(this.#ports, desired, this.bridge, 0, lanes, 0n);
    this.#changes.settleParts(database);
    await this.#readRows(output, signal);
    this.#changes.give(database, output);
    await output.flush({
      finish: () => {
        this.#changes.keepRefusals(database.refusals);
        database.logs.advance(this.#id, position, part);
      },
    });
    this.#taken = [];
    this.#waitsSinceMs = undefined;
  }

  /** Rows that stayed here against what another node said, or that landed and were not found, are looked at with the next flush. */
  lookAtHeard(): void {
    const { arrivals, sendBacks } = this.#ports.database;
    for (const [index, { held }] of this.#tables.entries()) {
      for (const { key, digest } of sendBacks.due(held.id, MOST_LOOKS))
        this.#changes.lookAt(index, key, { against: digest });
      for (const { key } of arrivals.due(held.id, MOST_LOOKS)) this.#changes.lookAt(index, key, { against: undefined });
    }
  }

  /** Writes the position down, where nothing waits that belongs before it. */
  advance(): void {
    if (this.bytes === 0) this.#ports.database.logs.advance(this.#id, this.#position, this.#part);
  }

  /** Rows of which the log carries too little. What fills a delivery leaves before more is read. */
  async #readRows(output: ScanOutput, signal: AbortSignal): Promise<void> {
    const { unread, looks } = this.#changes;
    if (unread.length + looks.length === 0) return;
    const taken = this.#taken;
    const whole = { isWhole: (seen: string) => taken.every((transaction) => transaction.isSeen(seen)) };
    const { snapshot } = await wholeSnapshot(this.#ports, this.#dataSource, whole, signal);
    await using _ = snapshot;
    for (const { index, table, keys } of unread) {
      for await (const { rows } of snapshot.rows({ ...table.read, keys })) await this.#fill(index, rows, output);
    }
    for (const { index, table, keys } of looks) {
      const reading = rowsOf(table.read, keys, snapshot);
      for (let next = await reading.next(); ; next = await reading.next()) {
        if (next.done === true) {
          this.#changes.missing(index, next.value);
          break;
        }
        await this.#fill(index, next.value.rows, output);
      }
    }
  }

  async #fill(index: number, rows: Buffer, output: ScanOutput): Promise<void> {
    for (let start = 0; start < rows.length; ) {
      const end = rows.indexOf(LF, start) + 1;
      this.#changes.fill(index, Buffer.from(rows.subarray(start, end)));
      start = end;
    }
    if (this.#changes.bytes < this.#ports.limits.parcelBytes) return;
    this.#changes.giveKnown(this.#ports.database, output);
    await output.flush();
  }

  /** Behind the bridge already, or seen by its last scan. */
  #isPassed(transaction: LogTransaction): boolean {
    if (this.#passesOver?.transaction !== transaction) {
      const isBehind = this.#log.compare(transaction.at, this.#position) < 0;
      const isPassed = isBehind || (this.#seen !== undefined && transaction.isSeen(this.#seen));
      this.#passesOver = { transaction, isPassed };
    }
    return this.#passesOver.isPassed;
  }
}
