/**
 * Sends rows of a job again, on its lane alone, as ordinary deliveries of their own origin: each in its present state, each only
 * if that is what the destinations were last sent. Otherwise a newer state is on its way already, and sending the older one
 * behind it would turn the row back. Packing and the job's note of it are one transaction, so that nothing goes twice.
 */
import type { DataSource } from '@qiao/adapters';
import { type Kind, ParcelBuilder, QiaoError } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import { digestOf } from '../capture/compare.ts';
import type { PlannedTable } from '../capture/plan.ts';
import type { Desired, DesiredBridge } from '../control/desired.ts';
import type { Job, JobRow, TableCounts } from '../exchange-database/index.ts';
import { packParcel, prepareContent, streamingLane } from '../send/pack.ts';
import { laneNow } from './comparing.ts';
import type { VerifyPorts } from './ports.ts';
import { readChunks } from './sourceRows.ts';

export interface Sending {
  readonly ports: VerifyPorts;
  readonly job: Job;
  readonly desired: Desired;
  readonly bridge: DesiredBridge;
  readonly dataSource: DataSource;
  readonly epoch: bigint;
  /** Of every table of the job: kept together with what is packed. */
  readonly findings: readonly TableCounts[];
  readonly signal: AbortSignal;
}

interface WaitingRow {
  readonly key: string;
  readonly kind: Kind;
  /** With LF; of a delete the key's fields. */
  readonly line: Buffer;
}

/** Keys looked up in memory; more of them are looked up on disk, row by row. */
const MOST_IN_MEMORY = 100_000;
const PAGE = 2_000;
const LOOK_AGAIN_MS = 500;

/** Sends the rows of one table that wait. `counts` follow; call it again after a crash and it goes on. */
export async function sendRows(
  sending: Sending,
  table: PlannedTable,
  tableId: number,
  counts: TableCounts,
): Promise<void> {
  const { ports, job, dataSource, signal } = sending;
  const { database } = ports;
  const known = keysInMemory(sending, table.name);
  let batch: WaitingRow[] = [];
  let bytes = 0;
  const full: WaitingRow[][] = [];
  const add = (row: WaitingRow): void => {
    batch.push(row);
    bytes += row.line.length;
    if (bytes < ports.limits.parcelBytes) return;
    full.push(batch);
    batch = [];
    bytes = 0;
  };
  const limits = { rowsPerSecond: job.options.rowsPerSecond, signal };
  const reading = readChunks(ports, dataSource, table, limits, (source) => {
    const line = source.kind === 'row' ? source.line : source.keyLine;
    const key = table.keys.encode(line, 0, line.length - 1);
    if (known !== undefined && !known.has(key)) return;
    const row = database.jobs.waitingRow(job.job, table.name, key);
    // The destination keeps a row that the lane does not own, whatever is sent.
    if (row === undefined || !row.owned) return;
    // It is at the source: no delete, and what the destination has stays until a scan brings another state of it.
    if (row.finding === 'extra' || source.kind === 'refused') leave(sending, table, row, counts);
    else add({ key, kind: row.finding === 'missing' ? 'insert' : 'update', line: Buffer.from(line) });
  });
  let nameless = 0;
  for await (const chunk of reading) {
    nameless += chunk.nameless;
    for (const each of full.splice(0)) await pack(sending, table, tableId, each, counts);
  }
  const rest = [...full.splice(0), batch];
  batch = [];
  bytes = 0;
  for (const each of rest) await pack(sending, table, tableId, each, counts);
  // Rows that were met are sent or left by now. What still waits is gone at the source, and travels as a delete, unless it may be among
  // the rows that no key names.
  for (let after = ''; ; ) {
    const page = database.jobs.waitingRows(job.job, table.name, after, PAGE);
    const last = page.at(-1);
    if (last === undefined) break;
    after = last.key;
    for (const row of page) {
      if (nameless === 0 && row.owned && (row.finding === 'extra' || row.finding === 'resend')) {
        add({ key: row.key, kind: 'delete', line: table.keys.decode(row.key) });
      } else leave(sending, table, row, counts);
    }
    for (const each of full.splice(0)) await pack(sending, table, tableId, each, counts);
  }
  for (const each of [...full.splice(0), batch]) await pack(sending, table, tableId, each, counts);
}

/** Kept by ownership, at the source after all, or gone there since it was found: what becomes of it travels by itself. */
function leave({ ports, job }: Sending, table: PlannedTable, row: JobRow, counts: TableCounts): void {
  ports.database.jobs.setRow(job.job, table.name, row.key, 'left');
  counts.left += 1;
}

function keysInMemory({ ports, job }: Sending, table: string): ReadonlySet<string> | undefined {
  const keys = new Set<string>();
  for (let after = ''; ; ) {
    const page = ports.database.jobs.waitingRows(job.job, table, after, PAGE);
    for (const { key } of page) keys.add(key);
    const last = page.at(-1);
    if (last === undefined) return keys;
    if (keys.size > MOST_IN_MEMORY) return undefined;
    after = last.key;
  }
}

/** One parcel on the lane; rows whose newest state was sent otherwise meanwhile are left. */
async function pack(
  sending: Sending,
  table: PlannedTable,
  tableId: number,
  rows: readonly WaitingRow[],
  counts: TableCounts,
): Promise<void> {
  const { ports, job, desired, bridge, signal } = sending;
  const { database, clock, limits } = ports;
  const origin = job.kind === 'resend' ? 'resend' : 'resync';
  for (let left = rows; left.length > 0; ) {
    while (laneNow({ ports, laneId: job.lane, epoch: sending.epoch }).waitingBytes > limits.outboxBudgetBytes) {
      await clock.sleep(LOOK_AGAIN_MS, signal);
      if (signal.aborted) throw new QiaoError('JOB_STOPPED', 'the agent is stopping', { fate: 'transient' });
    }
    const builder = new ParcelBuilder(limits.parcelBytes);
    // Deletes, inserts and updates in runs: each kind is one section.
    for (const { kind, line } of left.toSorted((a, b) => (a.kind < b.kind ? -1 : a.kind > b.kind ? 1 : 0))) {
      builder.add(table.layout, kind, line);
    }
    const content = await prepareContent(builder.take(), limits.compression);
    const stale = database.transaction(() => {
      laneNow({ ports, laneId: job.lane, epoch: sending.epoch });
      const behind = left.filter((row) => !isNewest(sending, table, tableId, row));
      for (const { key } of behind) database.jobs.setRow(job.job, table.name, key, 'left');
      if (behind.length > 0) return new Set(behind);
      packParcel(ports, desired, bridge, content, origin, [streamingLane(job.lane)], []);
      for (const { key } of left) database.jobs.setRow(job.job, table.name, key, 'sent');
      // The destination has now what it is sent, whatever it said before.
      database.arrivals.forgetKeys(
        tableId,
        left.map(({ key }) => key),
      );
      const deletes = left.filter(({ kind }) => kind === 'delete').length;
      if (deletes > 0 && table.cursor !== undefined) forgetDeleted(sending, tableId, left);
      counts.sentRows += left.length - deletes;
      counts.sentDeletes += deletes;
      const { lastSequence } = laneNow({ ports, laneId: job.lane, epoch: sending.epoch });
      database.jobs.set(job.job, clock.nowMs(), { lastSequence, findings: sending.findings });
      return undefined;
    });
    crashPoint('job.packed');
    if (stale === undefined) {
      ports.onPacked();
      return;
    }
    counts.left += stale.size;
    left = left.filter((row) => !stale.has(row));
  }
}

/**
 * By a cursor no scan learns of a delete, so that it is said here. Should the row have come back since it was found missing, the whole
 * table, read once more without its digest, brings it again.
 */
function forgetDeleted({ ports }: Sending, tableId: number, rows: readonly WaitingRow[]): void {
  const { captures, cursors, digests } = ports.database;
  const known = rows.filter(({ kind, key }) => kind === 'delete' && digests.get(tableId, key) !== undefined);
  digests.remove(
    tableId,
    known.map(({ key }) => key),
  );
  captures.countDigests(tableId, -known.length);
  cursors.forget(tableId);
}

function isNewest({ ports }: Sending, table: PlannedTable, tableId: number, row: WaitingRow): boolean {
  const stored = ports.database.digests.get(tableId, row.key);
  const isSent = stored !== undefined && stored[2] === 1;
  // Nothing is on its way that a cursor could have learned of: the whole table was read just now, each of its rows has a name, and this
  // one was not met.
  if (row.kind === 'delete' && table.cursor !== undefined) return true;
  return row.kind === 'delete' ? !isSent : isSent && stored[1] === digestOf(row.line);
}
