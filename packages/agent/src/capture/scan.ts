/**
 * One scan of one bridge: a consistent snapshot of its tables, parents first; then what no row claimed any more, children
 * first; then the end of loads. Only a scan that saw its last row calls anything deleted, and the deleteGuard may hold that.
 */
import type { SourceSnapshot } from '@qiao/adapters';
import { idText, parseId, QiaoError } from '@qiao/exchange';
import type { Wakeup } from '@qiao/runtime';
import type { Desired, DesiredBridge } from '../control/desired.ts';
import type { CaptureTable, LaneOut } from '../exchange-database/index.ts';
import { VALUELESS } from '../exchange-database/refusals.ts';
import { askUnseen } from './askUnseen.ts';
import { BUDGET_LOOK_AGAIN_MS, isOverBudget } from './budget.ts';
import { isNameless, TableCompare } from './compare.ts';
import { CursorScan } from './cursorScan.ts';
import { forgetHeard, scanBegins, scanEnds } from './heardScan.ts';
import type { LogScan } from './logScans.ts';
import { type HeardTable, heardOf, OtherEnd } from './otherEnd.ts';
import { ScanOutput } from './output.ts';
import { createPace } from './pace.ts';
import { alignDigests, type PlannedTable, planTables } from './plan.ts';
import type { CapturePorts } from './ports.ts';
import { Refusals } from './refusals.ts';
import { type ChunkByKey, leavingKey } from './rowsByKey.ts';
import { TriggerScan } from './triggerScan.ts';
import { WANTED } from './wantedRows.ts';
import { wholeSnapshot } from './wholeSnapshot.ts';

/** Keys of deletes taken in one step. */
const DELETE_PAGE = 5_000;
/** Places of refused rows that a log line names. */
const MOST_PLACES = 10;

export interface ScanWork {
  readonly desired: Desired;
  readonly bridge: DesiredBridge;
  /** Run that this scan answers, and the deletes a person allowed for it. */
  readonly runNumber: bigint;
  readonly allowedDeletes: bigint;
  readonly signal: AbortSignal;
  /** Woken when room came free in the outbox. */
  readonly room: Wakeup;
  /** With capture `log`: the bridge stands aside until the scan has ended. */
  readonly log?: LogScan | undefined;
}

export interface ScanResult {
  readonly rows: number;
  /** Set when the deleteGuard held the deletes of a table, for which the capture is stuck now: everything else of the scan is packed. */
  readonly guarded: QiaoError | undefined;
}

interface ScannedTable {
  readonly table: PlannedTable;
  readonly held: CaptureTable;
  /** Where its changes come from as well. */
  readonly heard: HeardTable | undefined;
  /** Rows the adapter could not carry, but for the valueless. */
  refused: number;
  /** Rows without the cursor's value: every reading counts all of them, also that of a part. */
  valueless: number;
  /** Rows without a key that is known, here or at the adapter: with any, no delete may be concluded. */
  nameless: number;
  /** Deletes that were not concluded. */
  heldDeletes: number;
  /** Everything that was refused, by code and column. */
  refusals: Refusals;
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
  const tables = await planTables(dataSource, bridge.definition, ports.hasher);
  const held = await alignDigests(database, bridge, tables);
  const scan = database.captures.beginScan(bridgeId, bridge.version);
  // A destination that a newer version binds meanwhile does not know the version that is captured here: its load is the next scan's.
  const lanes = database.lanesOut.ofBridge(bridgeId).filter((lane) => !waitsForSnapshot(lane, bridge));
  const output = new ScanOutput(ports, work.desired, bridge, scan, lanes, work.allowedDeletes);
  const scanned = tables.map((table): ScannedTable => {
    const found = held.get(table.name) as CaptureTable;
    database.digests.clearUnseen(found.id);
    const heard = heardOf(bridge, table.name);
    const counts = { refused: 0, valueless: 0, nameless: 0, heldDeletes: 0 };
    return { table, held: found, heard, ...counts, refusals: new Refusals(undefined, false) };
  });
  for (const one of scanned) if (one.heard === undefined) await forgetHeard(database, one.held.id);

  const { isLoading } = output;
  const cursors = await CursorScan.begin(
    ports,
    {
      bridgeName: bridge.name,
      dataSourceName: bridge.definition.source.dataSource,
      platformZone: work.desired.timeZone,
      runNumber: work.runNumber,
      isLoading,
      signal,
    },
    dataSource,
    scanned,
  );
  const triggers = await TriggerScan.begin(
    ports,
    { nodeId: work.desired.nodeId, bridge, runNumber: work.runNumber, isLoading, signal },
    dataSource,
    scanned,
  );
  if (work.log !== undefined && database.logs.get(bridgeId)?.owes?.code === 'LOG_GAP') setPutBack(ports, scanned);
  if (!isLoading) await requireLanded(ports, work, scanned, triggers);
  let rows = 0;
  let seen: string | undefined;
  if (!triggers.isIdle) {
    const taken =
      work.log === undefined
        ? { snapshot: await dataSource.snapshot({ signal, maxMs: ports.limits.snapshotMaxMs }), seen: undefined }
        : await wholeSnapshot(ports, dataSource, work.log, signal);
    await using snapshot = taken.snapshot;
    seen = taken.seen;
    await cursors.look(snapshot);
    await triggers.join(snapshot);
    for (const one of scanned) if (isHeardWhole(one, triggers)) await scanBegins(database, one.held.id);
    const pace = createPace(ports.clock, bridge.definition.limits?.rowsPerSecond, signal);
    for (const one of scanned) rows += await scanTable(ports, work, snapshot, one, output, { pace, cursors, triggers });
  }
  stopIf(signal);

  const heard = scanned.filter((one) => isHeardWhole(one, triggers) && database.arrivals.hasAny(one.held.id));
  if (heard.length > 0) await output.flush();
  const guarded = guardedTables(ports, work, scanned, output);
  for (const {
    table,
    held: { id },
  } of heard)
    if (!guarded.tables.has(table.name)) await scanEnds(database, id, isLoading);
  for (const one of scanned.toReversed()) {
    if (!guarded.tables.has(one.table.name)) await takeDeletes(ports, work, one, output);
  }
  triggers.fold(output, guarded.tables);
  await output.flush({
    finish() {
      for (const { held: table, refusals, ...found } of scanned) {
        if (triggers.isByKeys(found.table)) {
          refusals.keep(database.refusals, table.id);
          continue;
        }
        if (refusals.ofWholeTable) database.captures.setFound(table.id, found);
        else database.captures.setFoundInPart(table.id, found);
        refusals.keep(database.refusals, table.id);
      }
      cursors.finish();
      if (work.runNumber > (database.captures.get(bridgeId)?.runNumber ?? 0n)) database.logs.knowGap(bridgeId);
      if (seen !== undefined) work.log?.finish(seen);
      triggers.finish(guarded.tables);
      for (const one of scanned) {
        if (!triggers.isByKeys(one.table) && !guarded.tables.has(one.table.name))
          database.captures.setPutBack(one.held.id, false);
      }
      database.captures.finishScan(bridgeId, scan, work.runNumber, ports.clock.nowMs());
      if (guarded.error !== undefined) {
        const { code, message, hint } = guarded.error;
        database.captures.stick(bridgeId, bridge.version, work.runNumber, { code, message, hint });
      }
    },
  });
  for (const { held: table } of scanned) database.digests.clearUnseen(table.id);
  await triggers.forgetKeys(guarded.tables);
  return { rows, guarded: guarded.error };
}

/**
 * A row that another node sent is not gone because the database was put back to before it landed. Throws LANDING_BEHIND (transient) until whatever
 * landed in these tables is there again. A load names what there is, and waits for nobody who may wait for it.
 */
async function requireLanded(
  ports: CapturePorts,
  { desired, bridge: { definition } }: ScanWork,
  scanned: readonly ScannedTable[],
  triggers: TriggerScan,
): Promise<void> {
  const { dataSource } = definition.source;
  const places = scanned
    .filter((one) => isHeardWhole(one, triggers))
    .map(({ table: { name, read } }) => ({ node: desired.nodeId, dataSource, schema: read.ref.schema, table: name }));
  const behind = places.length === 0 ? undefined : await ports.landings.behind(places);
  if (behind === undefined) return;
  if (!behind.isLoading) setPutBack(ports, scanned);
  throw new QiaoError(
    'LANDING_BEHIND',
    `rows that came by bridge ${behind.bridge} are not all here: the database was put back, or they are being loaded`,
    {
      fate: 'transient',
      hint: `it goes on by itself once they are; if they never come: qiao bridge unbind ${behind.bridge} NODE`,
    },
  );
}

function setPutBack({ database }: CapturePorts, scanned: readonly ScannedTable[]): void {
  for (const { held } of scanned) database.captures.setPutBack(held.id, true);
}

/** The table is read whole, and other nodes are heard of it. */
function isHeardWhole({ heard, table }: ScannedTable, triggers: TriggerScan): boolean {
  return heard !== undefined && !triggers.isIdle && !triggers.isByKeys(table);
}

/** What of a scan concerns every table of it. */
interface ScanParts {
  pace(rows: number): Promise<void>;
  readonly cursors: CursorScan;
  readonly triggers: TriggerScan;
}

async function scanTable(
  ports: CapturePorts,
  work: ScanWork,
  snapshot: SourceSnapshot,
  one: ScannedTable,
  output: ScanOutput,
  { pace, cursors, triggers }: ScanParts,
): Promise<number> {
  const isByKeys = triggers.isByKeys(one.table);
  const { isWhole: isAll, read } = cursors.read(one.table);
  const isWhole = isAll && !isByKeys;
  const compare = new TableCompare(ports.database, one.table, one.held.id, output, {
    isPart: !isWhole,
    isTouched: isByKeys,
    heard: one.heard,
  });
  let rows = 0;
  let isByPlace = false;
  const firstRefused: string[] = [];
  const chunks: AsyncIterable<ChunkByKey> = isByKeys
    ? triggers.rows(one.table, snapshot, compare)
    : snapshot.rows(read);
  for await (const chunk of chunks) {
    stopIf(work.signal);
    const { refusedKey } = chunk;
    for (const { code, column, count, first } of chunk.refused ?? []) {
      isByPlace ||= first !== undefined;
      if (first !== undefined && firstRefused.length < MOST_PLACES) firstRefused.push(`${code} ${first}`);
      if (code === VALUELESS) one.valueless += count;
      else one.refused += count;
      const [key] = refusedKey === undefined ? [] : leavingKey(one.table, refusedKey);
      compare.refusals.add(code, column, key, count);
    }
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
  rows += await compare.finish();
  one.refusals = compare.refusals;
  one.refusals.ofWholeTable = isWhole;
  stopIf(work.signal);
  const refusedRows = one.refused + one.valueless;
  if (refusedRows > 0) output.incomplete(one.table.name);
  one.nameless = compare.nameless;
  // A key that was asked for and has no row is gone, whatever other rows are like.
  if (isByKeys) one.nameless = 0;
  else if (refusedRows > 0) {
    const unseen = { table: one.table, tableId: one.held.id, refused: refusedRows, isByPlace, refusals: one.refusals };
    const isTold = await askUnseen(ports.database, snapshot, unseen, () => stopIf(work.signal));
    if (!isTold) one.nameless += refusedRows;
  }
  // Rows the adapter refuses come again in each scan: only more of them than in the last reading of the kind are new in the books.
  const before = isByKeys ? 0 : isWhole ? one.held.refused : one.held.refusedOfPart;
  const moreRefused = one.refused - before;
  const moreValueless = one.valueless - one.held.valueless;
  const more = Math.max(0, moreRefused) + Math.max(0, moreValueless);
  if (more > 0) output.kept(one.table.name, 'insert', 'refused', true, more);
  if (!isWhole && !isByKeys) one.refusals.ofPart(Math.max(0, moreRefused));
  if (refusedRows > 0 && (moreRefused !== 0 || moreValueless !== 0)) {
    ports.log.warn(
      {
        bridge: work.bridge.name,
        table: one.table.name,
        refusedRows,
        ...(firstRefused.length > 0 && { places: firstRefused }),
      },
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
  const { arrivals, captures, digests } = ports.database;
  const over: { name: string; rows: number; of: number }[] = [];
  let isPutBack = false;
  for (const { table, held, heard, nameless } of scanned) {
    // By a cursor nothing is concluded from a row that was not met.
    if (nameless > 0 || !output.isStreaming || table.cursor !== undefined) continue;
    // What another node deleted its own guard let through; what it sent, and is gone before it was found, was deleted here.
    const rows = digests.countUnseenOwn(held.id) + arrivals.countSeenUnknown(held.id);
    const of = held.digestCount;
    // Other ends still have what such a database lost of its own. A hub that says nothing of circles knows of none.
    const isInCircle = heard !== undefined && work.bridge.circles !== undefined;
    const mayBeLost = isInCircle && captures.isPutBack(held.id) && rows > 0;
    if (!mayBeLost && (rows <= guard.rows || rows <= guard.share * of)) continue;
    over.push({ name: table.name, rows, of });
    isPutBack ||= mayBeLost;
  }
  const rows = over.reduce((sum, table) => sum + table.rows, 0);
  if (over.length === 0 || BigInt(rows) <= work.allowedDeletes) return { tables: new Set(), error: undefined };
  const run = `qiao bridge run ${work.bridge.name}`;
  const again = work.log === undefined ? 'the next scan finds them' : run;
  const back = isPutBack
    ? 'its other ends still have what a database that was put back has lost: qiao bridge resync of the bridge that comes from there'
    : 'look at the source';
  const sentence = over.map((table) => `${table.rows} of ${table.of} rows of ${table.name}`).join(', ');
  return {
    tables: new Set(over.map((table) => table.name)),
    error: new QiaoError(
      'DELETE_GUARD',
      `${sentence} are gone at the source, or have other keys now; the guard allows ${isPutBack ? 'none after history was lost' : `${guard.rows} rows or ${guard.share * 100} %`}`,
      {
        hint: `${back}; once the rows are back, ${again}; if they shall go: ${run} --allow-deletes ${rows}`,
      },
    ),
  };
}

async function takeDeletes(ports: CapturePorts, work: ScanWork, one: ScannedTable, output: ScanOutput): Promise<void> {
  const { database } = ports;
  const { table, held } = one;
  if (table.cursor !== undefined) {
    await answerWanted(ports, work, one, output);
    return;
  }
  if (one.nameless > 0) {
    one.heldDeletes = database.digests.countUnseenSent(held.id);
    if (one.heldDeletes > 0 && one.heldDeletes !== held.heldDeletes) {
      ports.log.warn(
        { bridge: work.bridge.name, table: table.name, unseenRows: one.heldDeletes },
        'deletes held: rows without a usable value may be among the missing',
      );
    }
  }
  const otherEnd = new OtherEnd(database, table, held.id, one.heard, output);
  for (let after = ''; ; ) {
    const page = database.digests.unseenAfter(held.id, after, DELETE_PAGE);
    otherEnd.begin();
    for (const [key, sent] of page) {
      const isNamed = !isNameless(key);
      if (isNamed && one.nameless > 0) continue;
      if (sent === 1) otherEnd.gone(key);
      // Nobody knows whether a nameless one was mended, changed or deleted: what it is now was counted where it was met.
      else if (isNamed) output.kept(table.name, 'delete', 'filtered', true);
      output.remove(held.id, key);
      if (output.isFull) {
        otherEnd.end();
        await output.flush();
        await room(ports, work);
      }
    }
    otherEnd.end();
    const last = page.at(-1);
    if (last === undefined) return;
    after = last[0];
    stopIf(work.signal);
  }
}

/**
 * By a cursor a row that is gone is not noticed, and stays. But when a destination has asked for a row by its key, and the whole table
 * was read without meeting it, the answer is that there is none.
 */
async function answerWanted(ports: CapturePorts, work: ScanWork, one: ScannedTable, output: ScanOutput): Promise<void> {
  const { database } = ports;
  const { table, held } = one;
  if (one.nameless > 0) return;
  for (let after = ''; ; ) {
    const page = database.digests.unseenAfter(held.id, after, DELETE_PAGE);
    for (const [key] of page) {
      if (isNameless(key) || database.digests.get(held.id, key)?.[1] !== WANTED) continue;
      output.change(table.layout, 'delete', table.keys.decode(key));
      output.remove(held.id, key);
    }
    const last = page.at(-1);
    if (last === undefined) return;
    after = last[0];
    if (output.isFull) {
      await output.flush();
      await room(ports, work);
    }
    stopIf(work.signal);
  }
}

function stopIf(signal: AbortSignal): void {
  if (signal.aborted)
    throw new QiaoError('CAPTURE_STOPPED', 'the scan was stopped before its last row', { fate: 'transient' });
}
