/** Rows that are asked for by their keys, as the source has them: those that there are, and which keys have none. */
import type { SnapshotTable, SourceChunk, SourceSnapshot } from '@qiao/adapters';
import type { PlannedTable } from './plan.ts';

/** Rows of the keys asked for; of one that cannot be carried, its key. */
export interface ChunkByKey extends SourceChunk {
  readonly refusedKey?: string | undefined;
}

/** Yields the rows of these keys and gives back the keys that have none. A key whose row cannot be carried is neither. */
export async function* rowsOf(
  read: SnapshotTable,
  keys: readonly string[],
  snapshot: SourceSnapshot,
): AsyncGenerator<ChunkByKey, readonly string[]> {
  const left = new Set(keys);
  let refused: SourceChunk['refused'] = [];
  for await (const chunk of snapshot.rows({ ...read, keys: Buffer.from(keys.map((key) => `${key}\n`).join('')) })) {
    for (const line of chunk.rows.toString('utf8').split('\n'))
      left.delete(line.split('\t', read.keyColumns).join('\t'));
    refused = [...refused, ...(chunk.refused ?? [])];
    yield { rows: chunk.rows };
  }
  const absent = [...left];
  if (refused.length === 0) return absent;
  if (absent.length <= 1) {
    yield { rows: Buffer.alloc(0), refused, refusedKey: absent[0] };
    return [];
  }
  // Which of them it is only a smaller question tells.
  const middle = absent.length >> 1;
  const first = yield* rowsOf(read, absent.slice(0, middle), snapshot);
  const second = yield* rowsOf(read, absent.slice(middle), snapshot);
  return [...first, ...second];
}

/** The key in the digests; none when it cannot be made: then nothing was ever sent under it. */
export function leavingKey({ transform, keys }: PlannedTable, key: string): string[] {
  const line = transform.keyLine(Buffer.from(`${key}\n`));
  return line === undefined ? [] : [keys.encode(line, 0, line.length - 1)];
}
