/**
 * The last changes of keys, decided: what leaves for the destinations, under which kind and with which path, and what is no news to them. Each
 * is judged by what the destination has, which is not always what it was sent: what it said itself waits here as a word.
 */
import type { TableLayout } from '@qiao/exchange';
import type { CaptureTable, DigestRow, Word } from '../exchange-database/index.ts';
import { GONE } from '../exchange-database/index.ts';
import { digestOf } from './compare.ts';
import type { KeyChanges, Look, TableChanges } from './keyChanges.ts';
import {
  digestThere,
  type HeardTable,
  isAhead,
  isComing,
  isDeleteNews,
  isEarlier,
  isFromThere,
  overOf,
  PassedOn,
} from './otherEnd.ts';
import type { ScanOutput } from './output.ts';

/** In place of the digest of a row that is known in part: the next scan finds it different, and it travels whole. */
const UNKNOWN = '';

/** By key, what the destinations were sent last, and what another node said last. */
export interface Found {
  readonly digests: ReadonlyMap<string, DigestRow>;
  readonly words: ReadonlyMap<string, Word>;
  /** The word against which a row stayed here. */
  readonly kept: ReadonlyMap<string, string>;
}

export function giveDeletes(
  { table, held, keys: changes, heard }: TableChanges,
  keys: readonly string[],
  found: Found,
  output: ScanOutput,
): void {
  const passed = new PassedOn();
  for (const key of keys) {
    const { kind, after, look } = changes.get(key) as KeyChanges;
    if (after.standing !== 'deleted' && after.standing !== 'filtered') continue;
    const stored = found.digests.get(key);
    const word = found.words.get(key);
    const isFiltered = after.standing === 'filtered';
    if (word !== undefined && !isFiltered && look === undefined && isEarlier(word, GONE)) {
      output.earlierFound(held.id, { key, digest: GONE });
      if (isFromThere(word, heard)) output.kept(table.name, 'delete', 'filtered', true);
      else passed.add(word.path, 'delete', after.line);
      if (stored !== undefined) output.remove(held.id, key);
      continue;
    }
    if (word !== undefined && !isFiltered && isComing(stored, word)) {
      output.lookAt(held.id, { key, digest: word.digest });
      if (look === undefined) output.kept(table.name, 'delete', 'filtered', true);
      if (stored !== undefined) output.remove(held.id, key);
      continue;
    }
    overtaken(held, key, heard, found, output);
    if (!isDeleteNews(stored, word, heard)) {
      // A row that was only looked at is no change of the books.
      if (look === undefined) output.kept(table.name, after.standing === 'deleted' ? 'delete' : kind, 'filtered', true);
    } else if (after.standing === 'deleted' && word?.digest === GONE) passed.add(word.path, 'delete', after.line);
    else output.change(table.layout, 'delete', after.line);
    if (isFiltered) output.put(held.id, { key, digest: after.digest, sent: false }, stored === undefined);
    else if (stored !== undefined) output.remove(held.id, key);
  }
  passed.leaveBy(output, table.layout);
}

/** Those that leave as `sentKind`: an update is of a row that the destination has. */
export function giveRows(
  { table, held, keys: changes, heard }: TableChanges,
  keys: readonly string[],
  found: Found,
  output: ScanOutput,
  sentKind: 'insert' | 'update',
): void {
  const passed = new PassedOn();
  for (const key of keys) {
    const stored = found.digests.get(key);
    const word = found.words.get(key);
    const there = digestThere(stored, word, heard);
    if ((sentKind === 'update') !== (there !== undefined)) continue;
    const { kind, after, look } = changes.get(key) as KeyChanges;
    const against = look?.against;
    const isNew = stored === undefined;
    switch (after.standing) {
      case 'row': {
        const digest = digestOf(after.line);
        const isNoNews = digest === there || (against !== undefined && word?.digest !== against);
        if (against !== undefined) {
          // Sent back where the destination has another row, and has been sent none since.
          if (isNoNews) output.settledBack(held.id, { key, digest: against });
          else {
            output.change(table.layout, sentKind, after.line);
            output.put(held.id, { key, digest, sent: true }, isNew);
            output.sentBack(held.id, { key, digest: against });
          }
          break;
        }
        if (word !== undefined && look === undefined && isEarlier(word, digest)) {
          output.earlierFound(held.id, { key, digest });
          if (isFromThere(word, heard)) output.kept(table.name, kind, 'filtered', true);
          else passed.add(word.path, sentKind, after.line);
          output.put(held.id, { key, digest, sent: true }, isNew);
          break;
        }
        // The log tells of what was said before first: the last word waits for its turn.
        if (look !== undefined && word?.digest === digest && word.earlier.length > 0) {
          output.looked(held.id, key);
          break;
        }
        const isKept = word !== undefined && found.kept.get(key) === word.digest;
        if (word !== undefined && !isNoNews && !isKept && isAhead(stored, digest, word)) {
          output.lookAt(held.id, { key, digest: word.digest });
          if (look === undefined) output.kept(table.name, kind, 'filtered', true);
          break;
        }
        if (!isNoNews || word?.digest === digest || word?.isLanded) overtaken(held, key, heard, found, output);
        if (isNoNews) {
          if (look === undefined) output.kept(table.name, kind, 'filtered', true);
        } else if (word?.digest === digest) passed.add(word.path, sentKind, after.line);
        else output.change(table.layout, sentKind, after.line);
        if (stored?.[1] !== digest || stored[2] !== 1) output.put(held.id, { key, digest, sent: true }, isNew);
        break;
      }
      case 'part':
        overtaken(held, key, heard, found, output);
        output.change(partLayout(table.layout, after.columns), 'update', after.line);
        output.put(held.id, { key, digest: UNKNOWN, sent: true }, isNew);
        break;
      case 'refused': {
        if (look !== undefined) {
          lookedInVain(held, key, look, output);
          break;
        }
        // What the destinations have stays there until the row can be carried again, and a delete of it is news to them.
        const isSent = there !== undefined || isDeleteNews(stored, word, heard);
        overtaken(held, key, heard, found, output);
        output.kept(table.name, kind, 'refused', true);
        output.put(held.id, { key, digest: after.digest, sent: isSent }, isNew);
        break;
      }
      case 'unread':
        // It is gone meanwhile: the log will say so.
        if (look !== undefined) lookedInVain(held, key, look, output);
        else output.kept(table.name, kind, 'filtered', true);
        break;
      case 'deleted':
      case 'filtered':
        break;
      default:
        after satisfies never;
    }
  }
  passed.leaveBy(output, table.layout);
}

function lookedInVain({ id }: CaptureTable, key: string, { against }: Look, output: ScanOutput): void {
  if (against === undefined) output.looked(id, key);
  else output.settledBack(id, { key, digest: against });
}

/** What another node said last is found here, or is not its last word any more when this has left. */
function overtaken(
  held: CaptureTable,
  key: string,
  heard: HeardTable | undefined,
  { words, kept }: Found,
  output: ScanOutput,
): void {
  const word = words.get(key);
  const against = kept.get(key);
  if (word !== undefined) output.arrived(held.id, overOf(key, word, heard));
  else if (against !== undefined) output.arrived(held.id, { key, digest: against });
}

function partLayout({ table, columns, keyColumns }: TableLayout, sent: readonly number[]): TableLayout {
  return { table, keyColumns, columns: sent.map((place) => columns[place] as string), wholeRows: false };
}
