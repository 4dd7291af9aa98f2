/**
 * The cursors of one scan: asks the source before and in its snapshot, tells each table what to read, and keeps the positions in the
 * transaction that makes the scan's last parcel durable. What follows from what was found is decided in cursor.ts.
 */
import { hash } from 'node:crypto';
import type { DataSource, SnapshotCursor, SnapshotTable, SourceSnapshot } from '@qiao/adapters';
import { latestValue, QiaoError } from '@qiao/exchange';
import type { CaptureTable, CursorState } from '../exchange-database/index.ts';
import { type Found, type PlannedCursor, type Reading, readingOf, stateAfter, stateOf, wentBack } from './cursor.ts';
import type { PlannedTable } from './plan.ts';
import type { CapturePorts } from './ports.ts';

/** Before a table is read whole for the first time, open transactions are waited for so long: then one reading proves its position. */
const FIRST_WAIT_MS = 5_000;
const FIRST_LOOK_AGAIN_MS = 100;

export interface CursorScanWork {
  readonly bridgeName: string;
  readonly dataSourceName: string;
  /** The platform's zone, for columns without one. */
  readonly platformZone: string;
  readonly runNumber: bigint;
  /** Every table is read whole, because a destination loads. */
  readonly isLoading: boolean;
  readonly signal: AbortSignal;
}

interface CursorTable {
  readonly table: PlannedTable;
  readonly cursor: PlannedCursor;
  readonly tableId: number;
  readonly plan: string;
  /** No scan has finished under this plan: the table is read whole. */
  readonly isFresh: boolean;
  /** The plan on disk when the scan began. */
  readonly keptPlan: string | undefined;
  state: CursorState | undefined;
  isPast: boolean;
  reading: Reading;
  found: Found | undefined;
  wentBackRun: bigint | undefined;
}

export class CursorScan {
  readonly #ports: CapturePorts;
  readonly #work: CursorScanWork;
  readonly #tables: readonly CursorTable[];

  private constructor(ports: CapturePorts, work: CursorScanWork, tables: readonly CursorTable[]) {
    this.#ports = ports;
    this.#work = work;
    this.#tables = tables;
  }

  /** Asked before the scan's snapshot is taken: what has ended by now is visible in it. */
  static async begin(
    ports: CapturePorts,
    work: CursorScanWork,
    dataSource: DataSource,
    scanned: readonly { readonly table: PlannedTable; readonly held: CaptureTable }[],
  ): Promise<CursorScan> {
    const tables = scanned.flatMap(({ table, held }): CursorTable[] => {
      const { cursor } = table;
      if (cursor === undefined) return [];
      const plan = planOf(work.dataSourceName, table);
      const kept = ports.database.cursors.get(held.id);
      const state = kept?.plan === plan ? kept : undefined;
      const wentBackRun = kept?.wentBackRun === work.runNumber ? work.runNumber : undefined;
      const base = { table, cursor, tableId: held.id, plan, keptPlan: kept?.plan, state, wentBackRun };
      return [{ ...base, isFresh: state === undefined, isPast: true, reading: { kind: 'whole' }, found: undefined }];
    });
    const scan = new CursorScan(ports, work, tables);
    if (tables.length > 0) await scan.#settle(dataSource);
    return scan;
  }

  /** Asked in the snapshot, before a row is read. */
  async look(snapshot: SourceSnapshot): Promise<void> {
    if (this.#tables.length === 0) return;
    for (const [one, found] of await this.#find(snapshot, this.#tables)) {
      one.found = found;
      const { state } = one;
      if (state !== undefined && wentBack(one.cursor, state, found)) {
        one.wentBackRun = this.#work.runNumber;
        one.state = undefined;
        this.#ports.log.warn(
          { bridge: this.#work.bridgeName, table: one.table.name },
          'the source is behind the position or another table: it is read whole',
        );
      }
      const isWhole = this.#work.isLoading || one.isFresh;
      one.reading = isWhole ? { kind: 'whole' } : readingOf(one.cursor, one.state, one.isPast);
    }
  }

  /** What is read of a table, and whether that is all of it. */
  read({ name, read, cursor }: PlannedTable): { readonly isWhole: boolean; readonly read: SnapshotTable } {
    const one = this.#tables.find(({ table }) => table.name === name);
    if (one === undefined || cursor === undefined) return { isWhole: true, read };
    const { reading } = one;
    if (reading.kind === 'whole') return { isWhole: true, read };
    return {
      isWhole: false,
      read: { ...read, cursor: { column: cursor.column, type: cursor.type, since: reading.since } },
    };
  }

  /** In the transaction that finishes the scan: a position moves with the rows that it stands for. */
  finish(): void {
    const { cursors } = this.#ports.database;
    for (const { tableId, plan, keptPlan, state, isPast, found, wentBackRun } of this.#tables) {
      // Somebody has asked for the whole table meanwhile: what was read before does not count.
      if (found === undefined || cursors.get(tableId)?.plan !== keptPlan) continue;
      const next = state === undefined ? stateOf(plan, found) : stateAfter(state, isPast, found);
      cursors.set(tableId, { ...next, wentBackRun });
    }
  }

  /** Which of the horizons are past. Tables of which nothing is known get a candidate now, so that their first reading may prove it. */
  async #settle(dataSource: DataSource): Promise<void> {
    const { clock } = this.#ports;
    const { signal } = this.#work;
    const fresh = this.#tables.filter(({ state }) => state === undefined);
    if (fresh.length > 0) {
      await using snapshot = await dataSource.snapshot({ signal, maxMs: this.#ports.limits.snapshotMaxMs });
      for (const [one, found] of await this.#find(snapshot, fresh)) one.state = stateOf(one.plan, found);
    }
    await this.#ask(dataSource);
    for (
      let waitedMs = 0;
      waitedMs < FIRST_WAIT_MS && fresh.some(({ isPast }) => !isPast);
      waitedMs += FIRST_LOOK_AGAIN_MS
    ) {
      await clock.sleep(FIRST_LOOK_AGAIN_MS, signal);
      if (signal.aborted) return;
      await this.#ask(dataSource);
    }
  }

  async #ask(dataSource: DataSource): Promise<void> {
    const remains = new Map<string, string | undefined>();
    for (const one of this.#tables) {
      const horizon = one.state?.horizon;
      if (one.state === undefined || horizon === undefined) continue;
      if (!remains.has(horizon)) remains.set(horizon, await dataSource.remainsOpen?.(horizon));
      const left = remains.get(horizon);
      one.state = { ...one.state, horizon: left };
      one.isPast = left === undefined;
    }
  }

  async #find(snapshot: SourceSnapshot, tables: readonly CursorTable[]): Promise<Map<CursorTable, Found>> {
    const source = cursorOf(snapshot);
    const nowMs = await source.nowMs();
    const horizon = await source.horizon();
    const found = new Map<CursorTable, Found>();
    for (const one of tables) {
      const { column, type, timeZone } = one.cursor;
      const zones = timeZone === undefined ? ['UTC', this.#work.platformZone] : [timeZone];
      const { ref } = one.table.read;
      // A clock that was wrong must not lift the position over everything that comes after: rows above now are read each time.
      const highest = await source.highest({ ref, column, type }, latestValue(type, nowMs, zones));
      found.set(one, { identity: await source.identity(ref), highest, horizon, nowMs: this.#ports.clock.nowMs() });
    }
    return found;
  }
}

/** Whatever says which rows travel, and how: another one lets the table be read whole. The lag is no part of it. */
function planOf(dataSource: string, { definition, layout, keys, cursor }: PlannedTable): string {
  const { column, type, timeZone } = cursor ?? {};
  const parts = [dataSource, { ...definition, cursor: undefined }, column, type, timeZone, layout, keys.encoding];
  return hash('sha256', JSON.stringify(parts), 'hex');
}

function cursorOf({ cursor }: SourceSnapshot): SnapshotCursor {
  if (cursor !== undefined) return cursor;
  throw new QiaoError('CAPTURE_NOT_AVAILABLE', 'the data source is not read by a cursor', {
    hint: 'write capture: compare in the bridge',
  });
}
