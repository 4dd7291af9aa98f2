// A later change of a key that has an open row waits behind it: applying it would overtake the row a person still has to
// decide. This file owns the split of sections into what is applied now and what is held; storing held rows is quarantine's.

import type { Kind, Section } from '@qiao/exchange';
import type { OpenKeys } from '../exchange-database/index.ts';

const TAB = 0x09;
const LF = 0x0a;

export interface HeldRow {
  readonly table: string;
  readonly kind: Kind;
  /** Index of the section in the content and of the line in the section, as sent. */
  readonly section: number;
  readonly index: number;
  readonly line: Uint8Array;
  readonly keyText: string;
}

export interface HeldSplit {
  /** Sections to apply, in the order sent. A section that lost every row stays, empty, so that indexes keep their meaning. */
  readonly sections: readonly Section[];
  readonly held: readonly HeldRow[];
  /**
   * Rows that need nothing before them and come after rows that lack their base: when they land, those are superseded.
   */
  readonly superseding: readonly SupersedingRow[];
  /**
   * For a section that lost rows: the index as sent of each row that stayed, so that a row quarantined out of it is stored
   * under the index that the sender knows.
   */
  readonly sentIndexes: ReadonlyMap<number, readonly number[]>;
}

export interface SupersedingRow {
  readonly table: string;
  readonly keyText: string;
  readonly section: number;
  readonly index: number;
}

/** A row that lands whatever the target has: it carries everything, or takes it away. */
export function needsNoBase({ kind, wholeRows }: Pick<Section, 'kind' | 'wholeRows'>): boolean {
  return kind === 'delete' || wholeRows;
}

/** Splits off every row whose key has an open row. Without open keys for its tables a section is passed on untouched. */
export function splitHeld(sections: readonly Section[], openKeys: OpenKeys): HeldSplit {
  const held: HeldRow[] = [];
  const superseding: SupersedingRow[] = [];
  const freed = new Set<string>();
  const sentIndexes = new Map<number, readonly number[]>();
  const kept = sections.map((section, sectionIndex) => {
    const keys = openKeys.get(section.table);
    if (keys === undefined) return section;
    const before = held.length;
    const stays: Uint8Array[] = [];
    const indexes: number[] = [];
    let index = 0;
    for (const line of linesOf(section.rows)) {
      const keyText = keyTextOf(line, section.keyColumns);
      const waits = keys.get(keyText);
      const isFreed = waits === 'missingBase' && (needsNoBase(section) || freed.has(`${section.table}\n${keyText}`));
      if (isFreed && needsNoBase(section)) {
        freed.add(`${section.table}\n${keyText}`);
        superseding.push({ table: section.table, keyText, section: sectionIndex, index });
      }
      if (waits !== undefined && !isFreed) {
        held.push({ table: section.table, kind: section.kind, section: sectionIndex, index, line, keyText });
      } else {
        stays.push(line);
        indexes.push(index);
      }
      index += 1;
    }
    if (held.length === before) return section;
    sentIndexes.set(sectionIndex, indexes);
    return { ...section, rowCount: stays.length, rows: Buffer.concat(stays) };
  });
  return { sections: kept, held, superseding, sentIndexes };
}

/** The raw text of a line's first `keyColumns` fields, without the LF. */
export function keyTextOf(line: Uint8Array, keyColumns: number): string {
  let tabs = 0;
  let end = 0;
  while (end < line.length && line[end] !== LF) {
    if (line[end] === TAB) {
      tabs += 1;
      if (tabs === keyColumns) break;
    }
    end += 1;
  }
  return Buffer.from(line.buffer, line.byteOffset, end).toString('utf8');
}

/** Views, not copies, of each line with its LF. */
function* linesOf(rows: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < rows.length; ) {
    const end = rows.indexOf(LF, start);
    const next = end === -1 ? rows.length : end + 1;
    yield rows.subarray(start, next);
    start = next;
  }
}
