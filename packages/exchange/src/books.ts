/**
 * Lines of the books: deliveries added up per lane, bridge, day or pair of departments, each leg with its own counts and
 * verdict, so that a difference names the leg and the responsible side. Storing and showing them belongs to the monitor.
 */

import type { CaptureCounts } from '@qiao/contract/counts';
import { type KindCount, safeCount, totalRows } from './counts.ts';
import { type Kind, kindOf } from './kind.ts';
import { Matrix } from './matrix.ts';
import type { OutcomeCell } from './outcome.ts';
import { type DeliveryVerdict, hasLanded, type Leg, type Verdict, worst } from './reconcile.ts';

/** What capture counted of one table and kind: captured = packed + folded + filtered + refused. */
export interface CaptureCount {
  table: string;
  kind: Kind;
  captured: number;
  packed: number;
  folded: number;
  filtered: number;
  refused: number;
}

/** One delivery as the books hold it. */
export interface BookedDelivery {
  parcelId: string;
  counts: readonly KindCount[];
  /** Lanes of one parcel repeat it; `parcelId` tells them apart. */
  capture: readonly CaptureCount[];
  outcomes?: readonly OutcomeCell[] | undefined;
  verdict: DeliveryVerdict;
}

/** Rows of one side by kind. */
export interface SideCount {
  total: number;
  inserts: number;
  updates: number;
  deletes: number;
}

/** Deliveries added up. */
export interface BooksSum {
  /** 抽取. */
  captured: CaptureCount[];
  /** 传输. */
  sent: SideCount;
  /** 入库: rows, by what they were sent as, that did what they were sent to do or found it done. */
  received: SideCount;
  outcomes: OutcomeCell[];
  deliveries: number;
  receipted: number;
  inFlightDeliveries: number;
  inFlightRows: number;
  openRows: number;
  verdict: Verdict;
  legs: Record<Leg, Verdict>;
  /** One sentence per kind of difference, naming its leg; at most 20. */
  remarks: string[];
}

const LEG_TITLE: Readonly<Record<Leg, string>> = { capture: '抽取', transport: '传输', apply: '入库' };
const MOST_REMARKS = 20;

/** Reads capture counts from the contract. Throws KIND_UNKNOWN, COUNT_TOO_LARGE. */
export function captureCountsOf(counts: readonly CaptureCounts[]): CaptureCount[] {
  return counts.map((count) => ({
    table: count.table,
    kind: kindOf(count.kind),
    captured: safeCount(count.captured),
    packed: safeCount(count.packed),
    folded: safeCount(count.folded),
    filtered: safeCount(count.filtered),
    refused: safeCount(count.refused),
  }));
}

/**
 * Judges the 抽取 leg of one delivery: capture's own sums, and what it packed against what was stated as sent. Refused
 * rows are explained; sums that fail are a deviation at the source.
 */
export function verdictOfCapture(capture: readonly CaptureCount[], counts: readonly KindCount[]): DeliveryVerdict {
  for (const { table, kind, captured, packed, folded, filtered, refused } of capture) {
    if (captured !== packed + folded + filtered + refused) {
      const reason = `${table}: captured ${captured} ${kind} changes, accounted for ${packed + folded + filtered + refused}.`;
      return { verdict: 'deviation', reason, leg: 'capture' };
    }
  }
  if (capture.length > 0) {
    // By table only: folding may turn a captured delete and insert into one update.
    for (const table of new Set([...capture.map((count) => count.table), ...counts.map((count) => count.table)])) {
      const packed = sum(capture, (count) => (count.table === table ? count.packed : 0));
      const stated = totalRows(counts.filter((count) => count.table === table));
      if (packed !== stated) {
        const reason = `${table}: packed ${packed} changes, stated ${stated} as sent.`;
        return { verdict: 'deviation', reason, leg: 'capture' };
      }
    }
  }
  const refused = sum(capture, (count) => count.refused);
  if (refused > 0) return { verdict: 'explained', reason: `${refused} changes refused at the source.`, leg: 'capture' };
  return { verdict: 'balanced', reason: '' };
}

/** Adds deliveries up to one line. */
export function sumBooks(deliveries: Iterable<BookedDelivery>): BooksSum {
  const captured = new Map<string, CaptureCount>();
  const seenParcels = new Set<string>();
  const sent: SideCount = { total: 0, inserts: 0, updates: 0, deletes: 0 };
  const received: SideCount = { total: 0, inserts: 0, updates: 0, deletes: 0 };
  const matrix = new Matrix();
  const legs: Record<Leg, Verdict> = { capture: 'balanced', transport: 'balanced', apply: 'balanced' };
  const remarks = new Map<string, number>();
  let count = 0;
  let receipted = 0;
  let inFlightDeliveries = 0;
  let inFlightRows = 0;

  for (const delivery of deliveries) {
    count++;
    if (!seenParcels.has(delivery.parcelId)) {
      seenParcels.add(delivery.parcelId);
      for (const capture of delivery.capture) addCapture(captured, capture);
    }
    for (const { inserts, updates, deletes } of delivery.counts) {
      addSide(sent, 'insert', inserts);
      addSide(sent, 'update', updates);
      addSide(sent, 'delete', deletes);
    }
    if (delivery.outcomes !== undefined) {
      receipted++;
      for (const cell of delivery.outcomes) {
        matrix.add(cell.table, cell.sent, cell.outcome, cell.rows);
        if (hasLanded(cell)) addSide(received, cell.sent, cell.rows);
      }
    }
    if (delivery.verdict.verdict === 'inFlight') {
      inFlightDeliveries++;
      inFlightRows += totalRows(delivery.counts);
    }
    for (const { verdict, reason, leg } of [verdictOfCapture(delivery.capture, delivery.counts), delivery.verdict]) {
      if (leg === undefined) continue;
      legs[leg] = worst([legs[leg], verdict]);
      if (verdict === 'deviation' || verdict === 'open') {
        const remark = `${LEG_TITLE[leg]}: ${reason}`;
        remarks.set(remark, (remarks.get(remark) ?? 0) + 1);
      }
    }
  }
  return {
    captured: [...captured.values()],
    sent,
    received,
    outcomes: matrix.cells(),
    deliveries: count,
    receipted,
    inFlightDeliveries,
    inFlightRows,
    openRows: matrix.openRows(),
    verdict: worst(Object.values(legs)),
    legs,
    remarks: remarkLines(remarks),
  };
}

/** Groups deliveries (by bridge, day, pair, lane: whatever `keyOf` says) and adds each group up, in order of appearance. */
export function sumBooksBy<D extends BookedDelivery>(
  deliveries: Iterable<D>,
  keyOf: (delivery: D) => string,
): Map<string, BooksSum> {
  const groups = Map.groupBy(deliveries, keyOf);
  return new Map([...groups].map(([key, group]) => [key, sumBooks(group)]));
}

function addCapture(captured: Map<string, CaptureCount>, capture: CaptureCount): void {
  const key = `${capture.kind} ${capture.table}`;
  const before = captured.get(key);
  if (before === undefined) {
    captured.set(key, { ...capture });
    return;
  }
  before.captured += capture.captured;
  before.packed += capture.packed;
  before.folded += capture.folded;
  before.filtered += capture.filtered;
  before.refused += capture.refused;
}

function addSide(side: SideCount, kind: Kind, rows: number): void {
  side.total += rows;
  switch (kind) {
    case 'insert':
      side.inserts += rows;
      break;
    case 'update':
      side.updates += rows;
      break;
    case 'delete':
      side.deletes += rows;
      break;
    default:
      kind satisfies never;
  }
}

function remarkLines(remarks: ReadonlyMap<string, number>): string[] {
  const lines = [...remarks].map(([remark, times]) => (times === 1 ? remark : `${remark} (${times} deliveries)`));
  return lines.length > MOST_REMARKS
    ? [...lines.slice(0, MOST_REMARKS - 1), `and ${lines.length - MOST_REMARKS + 1} more remarks`]
    : lines;
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
