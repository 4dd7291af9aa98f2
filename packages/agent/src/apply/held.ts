// A later change of a key that has an open row waits behind it: applying it would overtake the row a person still has to
// decide. This file owns the split of sections into what is applied now and what is held; storing held rows is quarantine's.

import type { Kind, OutcomeCell, Section } from '@qiao/exchange';

const TAB = 0x09;
const LF = 0x0a;

/** Keys with an open row on one lane, by table: the key is the raw row text of the key fields, which is canonical. */
export type OpenKeys = ReadonlyMap<string, ReadonlySet<string>>;

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
   * For a section that lost rows: the index as sent of each row that stayed, so that a row quarantined out of it is stored
   * under the index that the sender knows.
   */
  readonly sentIndexes: ReadonlyMap<number, readonly number[]>;
}

/** Splits off every row whose key has an open row. Without open keys for its tables a section is passed on untouched. */
export function splitHeld(sections: readonly Section[], openKeys: OpenKeys): HeldSplit {
  const held: HeldRow[] = [];
  const sentIndexes = new Map<number, readonly number[]>();
  const kept = sections.map((section, sectionIndex) => {
    const keys = openKeys.get(section.table);
    if (keys === undefined || keys.size === 0) return section;
    const before = held.length;
    const stays: Uint8Array[] = [];
    const indexes: number[] = [];
    let index = 0;
    for (const line of linesOf(section.rows)) {
      const keyText = keyTextOf(line, section.keyColumns);
      if (keys.has(keyText)) {
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
  return { sections: kept, held, sentIndexes };
}

/** Held rows as cells of the receipt matrix. */
export function heldCells(held: readonly Pick<HeldRow, 'table' | 'kind'>[]): OutcomeCell[] {
  const cells = new Map<string, OutcomeCell>();
  for (const { table, kind } of held) {
    const key = `${kind} ${table}`;
    const rows = (cells.get(key)?.rows ?? 0) + 1;
    cells.set(key, { table, sent: kind, outcome: 'held', rows });
  }
  return [...cells.values()];
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
