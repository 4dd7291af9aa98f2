/**
 * Row contents as this file keeps them: sealed under the host's key where there is one. What was written before there was is
 * read as it is. Owns the flag beside each record and what happens when the key is not the one it was.
 */
import { QiaoError } from '@qiao/exchange';
import type { RowBox } from '@qiao/security';
import type { MetaStore } from './meta.ts';
import type { RowAt } from './rowPlace.ts';

export class RowsAtRest {
  readonly #box: RowBox | undefined;

  /** Without a box rows are kept as they are. */
  constructor(box: RowBox | undefined) {
    this.#box = box;
  }

  get areSealed(): boolean {
    return this.#box !== undefined;
  }

  seal(plain: Uint8Array, place: string): { bytes: Uint8Array; sealed: 0 | 1 } {
    if (this.#box === undefined) return { bytes: plain, sealed: 0 };
    return { bytes: this.#box.seal(plain, place), sealed: 1 };
  }

  open(kept: Uint8Array, sealed: number, place: string): Uint8Array {
    if (sealed === 0) return kept;
    if (this.#box === undefined) throw keyMissing('this program opened it without the key of this host');
    return this.#box.open(kept, place);
  }

  /** What stands in a column that is compared and not read. */
  nameOf(text: string): string {
    return this.#box?.nameOf(text) ?? text;
  }
}

/** Throws ROW_KEY_MISSING when rows in this file were sealed under another key than the one at hand. */
export function requireRowKey(meta: MetaStore, box: RowBox): void {
  const known = meta.rowKeyName();
  if (known === box.keyName) return;
  if (known !== undefined) throw keyMissing(`its rows were sealed with key ${known}, found ${box.keyName}`);
  meta.setRowKeyName(box.keyName);
}

export function placeOfRow({ lane, epoch, sequence, section, index }: RowAt): string {
  return `row/${Buffer.from(lane).toString('hex')}/${epoch}/${sequence}/${section}/${index}`;
}

export function placeOfKey(row: RowAt): string {
  return `key/${placeOfRow(row)}`;
}

export function placeOfEdit(row: RowAt, number: number): string {
  return `edit/${placeOfRow(row)}/${number}`;
}

function keyMissing(why: string): QiaoError {
  return new QiaoError('ROW_KEY_MISSING', `the rows in this exchange database cannot be read: ${why}`, {
    hint: 'put rows.key back from the agent’s backup; without it, move exchange.db away: its lanes open new epochs and compare both ends',
  });
}
