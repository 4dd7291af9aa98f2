/**
 * What was sent: rows per table and kind. Counts are whole numbers up to 2^53-1 inside the house and 64-bit on the wire.
 */
import type { KindCounts } from '@qiao/contract/counts';
import type { Section } from './content.ts';
import { QiaoError } from './errors.ts';
import type { Kind } from './kind.ts';

/** Rows of one table by what they were sent as. */
export interface KindCount {
  table: string;
  inserts: number;
  updates: number;
  deletes: number;
}

/** The statement of a parcel: one entry per table, in the order of first appearance. */
export function countSections(sections: readonly Section[]): KindCount[] {
  const byTable = new Map<string, KindCount>();
  for (const { table, kind, rowCount } of sections) {
    const count = entry(byTable, table);
    switch (kind) {
      case 'insert':
        count.inserts += rowCount;
        break;
      case 'update':
        count.updates += rowCount;
        break;
      case 'delete':
        count.deletes += rowCount;
        break;
      default:
        kind satisfies never;
    }
  }
  return [...byTable.values()];
}

/** Adds counts up per table, in the order of first appearance. */
export function sumCounts(counts: Iterable<KindCount>): KindCount[] {
  const byTable = new Map<string, KindCount>();
  for (const { table, inserts, updates, deletes } of counts) {
    const count = entry(byTable, table);
    count.inserts += inserts;
    count.updates += updates;
    count.deletes += deletes;
  }
  return [...byTable.values()];
}

/** All rows of all tables and kinds. */
export function totalRows(counts: Iterable<KindCount>): number {
  let rows = 0;
  for (const { inserts, updates, deletes } of counts) rows += inserts + updates + deletes;
  return rows;
}

/** Rows of one kind. */
export function rowsOf(count: KindCount, kind: Kind): number {
  switch (kind) {
    case 'insert':
      return count.inserts;
    case 'update':
      return count.updates;
    case 'delete':
      return count.deletes;
    default:
      return kind satisfies never;
  }
}

/** Reads counts from the contract, adding up tables named twice. Throws COUNT_TOO_LARGE past 2^53-1. */
export function countsOf(counts: readonly KindCounts[]): KindCount[] {
  return sumCounts(
    counts.map(({ table, inserts, updates, deletes }) => ({
      table,
      inserts: safeCount(inserts),
      updates: safeCount(updates),
      deletes: safeCount(deletes),
    })),
  );
}

/** Writes counts for the contract. */
export function contractCounts(counts: readonly KindCount[]): KindCounts[] {
  return counts.map(({ table, inserts, updates, deletes }) => ({
    table,
    inserts: BigInt(inserts),
    updates: BigInt(updates),
    deletes: BigInt(deletes),
  }));
}

/** A 64-bit count as a number. Throws COUNT_TOO_LARGE past 2^53-1: a rounded count would be a lie in the books. */
export function safeCount(count: bigint): number {
  if (count < 0n || count > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new QiaoError('COUNT_TOO_LARGE', `Found a count of ${count}; expected 0 to ${Number.MAX_SAFE_INTEGER}.`);
  }
  return Number(count);
}

function entry(byTable: Map<string, KindCount>, table: string): KindCount {
  let count = byTable.get(table);
  if (count === undefined) {
    count = { table, inserts: 0, updates: 0, deletes: 0 };
    byTable.set(table, count);
  }
  return count;
}
