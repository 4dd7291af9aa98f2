/**
 * One scan of one bridge: a consistent snapshot of its tables, parents first; then what no row claimed any more, children
 * first; then the end of loads. Only a scan that saw its last row calls anything deleted, and the deleteGuard may hold that.
 */
import type { SourceSnapshot } from '@qiao/adapters';
import { idText, parseId, QiaoError } from '@qiao/exchange';
import type { Wakeup } from '@qiao/runtime';
import type { Desired, DesiredBridge } from '../control/desired.ts';
import type { CaptureTable, LaneOut } from '../exchange-database/index.ts';
import { BUDGET_LOOK_AGAIN_MS, isOverBudget } from './budget.ts';
import { isNameless, TableCompare } from './compare.ts';
import { ScanOutput } from './output.ts';
import { createPace } from './pace.ts';
import { alignDigests, type PlannedTable, planTables } from './plan.ts';
import type { CapturePorts } from './ports.ts';

/** Keys of deletes taken in one step. */
const DELETE_PAGE = 5_000;

export interface ScanWork {
  readonly desired: Desired;
  readonly bridge: DesiredBridge;
  /** Run that this scan answers, and the deletes a person allowed for it. */
  readonly runNumber: bigint;
  readonly allowedDeletes: bigint;
  readonly signal: AbortSignal;
  /** Woken when room came free in the outbox. */
  readonly room: Wakeup;
}

export interface ScanResult {
  readonly rows: number;
  /** Set when the deleteGuard held the deletes of a table: everything else of the scan is packed. */
  readonly guarded: QiaoError | undefined;
}

interface ScannedTable {
  readonly table: PlannedTable;
  readonly held: CaptureTable;
  /** Rows the adapter could not carry. */
  refused: number;
  /** Rows without a usable key, here or at the adapter: with any, no delete may be concluded. */
  nameless: number;
  /** Deletes that were not concluded. */
  heldDeletes: number;
}

/**
 * A lane to be loaded that this snapshot does not name. One that streams gets its changes all the same: a snapshot of a hub that was
 * restored may lack it for a while, and what was passed over would be missing at its end.
 */
export function waitsForSnapshot({ phase, lane }: LaneOut, bridge: DesiredBridge): boolean {
  return phase === 'loading' && !bridge.lanes.some(({ laneId }) => laneId === idText(lane));
}

/** Runs one scan. Throws what the source, a transform or the outbox threw; what was packed before stays packed. */
export async function scanBridge(ports: CapturePorts, work: ScanWork): Promise<ScanResult> {
  const { database } = ports;
  const { bridge, signal } = work;
  const bridgeId = parseId(bridge.bridgeId);
  const dataSource = await ports.dataSources.open(bridge.definition.source.dataSource);
  const tables = await planTables(dataSource, bridge.definition);
  const held = await alignDigests(database, bridge, tables);
  const scan = database.captures.beginScan(bridgeId, bridge.version);
  // A destination that a newer version binds meanwhile does not know the version that is captured here: its load is the next scan's.
  const lanes = database.lanesOut.ofBridge(bridgeId).filter((lane) => !waitsForSnapshot(lane, bridge));
  const output = new ScanOutput(ports, work.desired, bridge, scan, lanes, work.allowedDeletes);
  const scanned = tables.map((table): ScannedTable => {
    const found = held.get(table.name) as CaptureTable;
    database.digests.clearUnseen(found.id);
    return { table, held: found, refused: 0, nameless: 0, heldDeletes: 0 };
  });

  let rows = 0;
  {
    await using snapshot = await dataSource.snapshot({ signal, maxMs: ports.limits.snapshotMaxMs });
    const pace = createPace(ports.clock, bridge.definition.limits?.rowsPerSecond, signal);
    for (const one of scanned) rows += await scanTable(ports, work, snapshot, one, output, pace);
  }
  stopIf(signal);

  const guarded = guardedTables(ports, work, scanned, output);
  for (const one of scanned.toReversed()) {
    if (!guarded.tables.has(one.table.name)) await takeDeletes(ports, work, one, output);
  }
  await output.flush({
    finish() {
      for (const { held: table, ...found } of scanned) database.captures.setFound(table.id, found);
      database.captures.finishScan(bridgeId, scan, work.runNumber, ports.clock.nowMs());
    },
  });
  for (const { held: table } of scanned) database.digests.clearUnseen(table.id);
  return { rows, guarded: guarded.error };
}

async function scanTable(
  ports: CapturePorts,
  work: ScanWork,
  snapshot: SourceSnapshot,
  one: ScannedTable,
  output: ScanOutput,
  pace: (rows: number) => Promise<void>,
): Promise<number> {
  const compare = new TableCompare(ports.database, one.table, one.held.id, output);
  let rows = 0;
  for await (const chunk of snapshot.rows(one.table.read)) {
    stopIf(work.signal);
    for (const { count } of chunk.refused ?? []) one.refused += count;
    if (chunk.rows.length === 0) continue;
    const taken = compare.take(chunk.rows);
    rows += taken;
    if (output.isFull) {
      await output.flush();
      compare.flushed();
      await room(ports, work);
    }
    await pace(taken);
    stopIf(work.signal);
  }
  await compare.finish();
  stopIf(work.signal);
  if (one.refused > 0) output.incomplete(one.table.name);
  one.nameless = one.refused + compare.nameless;
  // Rows the adapter refuses come again in each scan: only more of them than last time are new in the books.
  const more = one.refused - one.held.refused;
  if (more > 0) output.kept(one.table.name, 'insert', 'refused', true, more);
  if (one.refused > 0 && more !== 0) {
    ports.log.warn(
      { bridge: work.bridge.name, table: one.table.name, refusedRows: one.refused },
      'some rows could not be carried exactly and were left out',
    );
  }
  return rows;
}

/** Waits while the outbox is full; the snapshot stays open meanwhile, bounded by snapshotMaxMs. */
async function room(ports: CapturePorts, work: ScanWork): Promise<void> {
  const bridgeId = parseId(work.bridge.bridgeId);
  while (isOverBudget(ports, bridgeId, work.bridge.definition.limits?.retention?.bytes)) {
    await work.room.wait(BUDGET_LOOK_AGAIN_MS, work.signal);
    stopIf(work.signal);
  }
}

/** Tables whose deletes the guard holds, with the error that says so. Loads have a guard of their own, at the target. */
function guardedTables(
  ports: CapturePorts,
  work: ScanWork,
  scanned: readonly ScannedTable[],
  output: ScanOutput,
): { tables: ReadonlySet<string>; error: QiaoError | undefined } {
  const guard = work.bridge.definition.deleteGuard;
  const over: { name: string; rows: number; of: number }[] = [];
  for (const { table, held, nameless } of scanned) {
    if (nameless > 0 || !output.isStreaming) continue;
    const rows = ports.database.digests.countUnseenSent(held.id);
    const of = held.digestCount;
    if (rows > guard.rows && rows > guard.share * of) over.push({ name: table.name, rows, of });
  }
  const rows = over.reduce((sum, table) => sum + table.rows, 0);
  if (over.length === 0 || BigInt(rows) <= work.allowedDeletes) return { tables: new Set(), error: undefined };
  const sentence = over.map((table) => `${table.rows} of ${table.of} rows of ${table.name}`).join(', ');
  return {
    tables: new Set(over.map((table) => table.name)),
    error: new QiaoError(
      'DELETE_GUARD',
      `${sentence} are gone at the source; the guard allows ${guard.rows} rows or ${guard.share * 100} %`,
      {
        hint: `look at the source; if they shall go: qiao bridge run ${work.bridge.name} --allow-deletes ${rows}`,
      },
    ),
  };
}

async function takeDeletes(ports: CapturePorts, work: ScanWork, one: ScannedTable, output: ScanOutput): Promise<void> {
  const { database } = ports;
  const { table, held } = one;
  if (one.nameless > 0) {
    one.heldDeletes = database.digests.countUnseenSent(held.id);
    if (one.heldDeletes > 0 && one.heldDeletes !== held.heldDeletes) {
      ports.log.warn(
        { bridge: work.bridge.name, table: table.name, unseenRows: one.heldDeletes },
        'deletes held: rows without a usable value may be among the missing',
      );
    }
  }
  for (let after = ''; ; ) {
    const page = database.digests.unseenAfter(held.id, after, DELETE_PAGE);
    for (const [key, sent] of page) {
      const isNamed = !isNameless(key);
      if (isNamed && one.nameless > 0) continue;
      if (sent === 1) output.change(table.layout, 'delete', table.keys.decode(key));
      // Nobody knows whether a nameless one was mended, changed or deleted: what it is now was counted where it was met.
      else if (isNamed) output.kept(table.name, 'delete', 'filtered', true);
      output.remove(held.id, key);
      if (output.isFull) {
        await output.flush();
        await room(ports, work);
      }
    }
    const last = page.at(-1);
    if (last === undefined) return;
    after = last[0];
    stopIf(work.signal);
  }
}

function stopIf(signal: AbortSignal): void {
  if (signal.aborted)
    throw new QiaoError('CAPTURE_STOPPED', 'the scan was stopped before its last row', { fate: 'transient' });
}
