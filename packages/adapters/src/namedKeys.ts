/**
 * Rows asked for by their keys (S6 of adapter.ts): the keys in batches of a statement's size, and what comes back without the rows that only
 * the database's own comparison takes for one of them (`a` for `A`). How a key is compared belongs to each adapter's `keys.ts`.
 */
import { splitRow } from '@qiao/exchange';
import type { SnapshotTable, SourceChunk } from './adapter.ts';
import { linesOf } from './lines.ts';

const TAB = 0x09;
/** Keys of one statement: found by an index each, planned in a few milliseconds. */
const MOST_KEYS = 500;
const MOST_BYTES = 256 * 1024;

/** Keys of one statement. */
export class KeyBatch {
  readonly #lines = new Set<string>();
  readonly #keyColumns: number;
  readonly keys: readonly (readonly string[])[];

  constructor(lines: ReadonlySet<string>, keyColumns: number) {
    this.#lines = new Set(lines);
    this.#keyColumns = keyColumns;
    // No key of a row has a null.
    this.keys = [...lines]
      .map((line) => splitRow(Buffer.from(line, 'latin1').toString('utf8')))
      .filter((fields): fields is string[] => !fields.includes(null));
  }

  /** The chunk with the rows of these very keys. */
  only(chunk: SourceChunk): SourceChunk {
    const kept = [...linesOf(chunk.rows)].filter((line) => this.#lines.has(this.#keyOf(line)));
    return { rows: Buffer.concat(kept), rowCount: kept.length, ...(chunk.refused && { refused: chunk.refused }) };
  }

  #keyOf(line: Buffer): string {
    let end = -1;
    for (let column = 0; column < this.#keyColumns; column++) {
      end = line.indexOf(TAB, end + 1);
      if (end === -1) return line.toString('latin1', 0, line.length - 1);
    }
    return line.toString('latin1', 0, end);
  }
}

/** The keys that the table is read by, each once. */
export function* keyBatches({ keys, keyColumns }: SnapshotTable): Generator<KeyBatch> {
  if (keys === undefined) return;
  const known = new Set<string>();
  let batch = new Set<string>();
  let bytes = 0;
  for (const line of linesOf(keys)) {
    const key = line.toString('latin1', 0, line.length - 1);
    if (known.has(key)) continue;
    known.add(key);
    batch.add(key);
    bytes += line.length;
    if (batch.size < MOST_KEYS && bytes < MOST_BYTES) continue;
    yield new KeyBatch(batch, keyColumns);
    batch = new Set();
    bytes = 0;
  }
  if (batch.size > 0) yield new KeyBatch(batch, keyColumns);
}
