import type { KindCounts } from '@qiao/contract/counts';
import type { Section } from './content.ts';
/** Rows of one table by what they were sent as. */
export interface KindCount {
  table: string;
  inserts: number;
  updates: number;
  deletes: number;
}
export function countSections(sections: readonly Section[]): KindCount[] {
  throw new Error(String(sections));
}
export function sumCounts(counts: Iterable<KindCount>): KindCount[] {
  throw new Error(String(counts));
}
export function totalRows(counts: Iterable<KindCount>): number {
  throw new Error(String(counts));
}
export function countsOf(counts: readonly KindCounts[]): KindCount[] {
  throw new Error(String(counts));
}
export function contractCounts(counts: readonly KindCount[]): KindCounts[] {
  throw new Error(String(counts));
}
