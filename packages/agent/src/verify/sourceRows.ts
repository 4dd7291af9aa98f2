/**
 * Reads a table at the source as it would leave: in short steps, no faster than asked, through the bridge's transform. Each row
 * is handed out with its key and line; what the bridge refuses is handed out too, for a destination may hold its older version.
 */
import type { DataSource } from '@qiao/adapters';
import { type ColumnType, compileFilter, parseFilter, QiaoError, splitRow } from '@qiao/exchange';
import { createPace } from '../capture/pace.ts';
import type { PlannedTable } from '../capture/plan.ts';
import { rowsOf } from '../capture/rowsByKey.ts';
import type { VerifyPorts } from './ports.ts';

const LF = 0x0a;
/** Rows of one short transaction at most. */
const STEP_ROWS = 50_000;
/** With a rate, a step lasts about so long. */
const STEP_SECONDS = 5;

export interface ReadingLimits {
  readonly rowsPerSecond: number;
  readonly signal: AbortSignal;
}

export type SourceRow =
  /** `line` with its LF. */
  | { readonly kind: 'row'; readonly line: Buffer }
  /** Cannot be carried; `keyLine` with its LF. */
  | { readonly kind: 'refused'; readonly keyLine: Buffer };

export interface SourceReading {
  /** Rows that cannot be carried and have no key: what is missing may be among them. */
  readonly nameless: number;
  /** Those of them that are not found by asking for a key either: the source names them by their places, or the bridge makes no key of them. */
  readonly unaskable: number;
  readonly refused: number;
}

/** Hands out every row once. Synchronous visits: the event loop runs between chunks. */
export async function readSource(
  ports: ReadingPorts,
  dataSource: DataSource,
  table: PlannedTable,
  limits: ReadingLimits,
  visit: (row: SourceRow) => void,
): Promise<SourceReading> {
  const found = { nameless: 0, unaskable: 0, refused: 0 };
  for await (const chunk of readChunks(ports, dataSource, table, limits, visit)) {
    found.nameless += chunk.nameless;
    found.unaskable += chunk.unaskable;
    found.refused += chunk.refused;
  }
  return found;
}

type ReadingPorts = Pick<VerifyPorts, 'clock' | 'limits'>;

/** The same, chunk by chunk: whoever takes the chunks may wait between them. */
export async function* readChunks(
  ports: ReadingPorts,
  dataSource: DataSource,
  table: PlannedTable,
  { rowsPerSecond, signal }: ReadingLimits,
  visit: (row: SourceRow) => void,
): AsyncGenerator<SourceReading> {
  const pace = createPace(ports.clock, rowsPerSecond > 0 ? rowsPerSecond : undefined, signal);
  await using snapshot = await dataSource.snapshot({
    signal,
    maxMs: ports.limits.snapshotMaxMs,
    stepRows: stepRows(rowsPerSecond),
  });
  for await (const { rows: lines, refused: unreadable } of snapshot.rows(table.read)) {
    let nameless = 0;
    let unaskable = 0;
    let refused = 0;
    for (const { count, first } of unreadable ?? []) {
      nameless += count;
      if (first !== undefined) unaskable += count;
    }
    let rows = 0;
    for (let start = 0; start < lines.length; rows++) {
      const end = lines.indexOf(LF, start);
      if (table.transform.isIdentity) visit({ kind: 'row', line: lines.subarray(start, end + 1) });
      else {
        const result = table.transform.apply(lines, start, end);
        if (result.kind === 'row') visit(result);
        else if (result.kind === 'refused') {
          if (result.keyLine === undefined) {
            nameless += 1;
            unaskable += 1;
          } else {
            refused += 1;
            visit({ kind: 'refused', keyLine: result.keyLine });
          }
        }
      }
      start = end + 1;
    }
    await pace(rows);
    yield { nameless, unaskable, refused: refused + nameless };
  }
  if (signal.aborted) throw new QiaoError('JOB_STOPPED', 'the agent is stopping', { fate: 'transient' });
}

/** Rows that are asked for by their keys, in one reading. */
export const MOST_ASKED = 10_000;

/** Which of these keys (row text without LF) have no row at the source, and which one that cannot be carried. */
export async function askByKeys(
  ports: ReadingPorts,
  dataSource: DataSource,
  table: PlannedTable,
  keys: readonly string[],
  signal: AbortSignal,
): Promise<{ gone: ReadonlySet<string>; refused: ReadonlySet<string> }> {
  await using snapshot = await dataSource.snapshot({ signal, maxMs: ports.limits.snapshotMaxMs });
  const refused = new Set<string>();
  const reading = rowsOf(table.read, keys, snapshot);
  for (;;) {
    const next = await reading.next();
    if (next.done === true) return { gone: new Set(next.value), refused };
    if (next.value.refusedKey !== undefined) refused.add(next.value.refusedKey);
  }
}

export function stepRows(rowsPerSecond: number): number {
  return rowsPerSecond > 0 ? Math.max(100, Math.min(STEP_ROWS, rowsPerSecond * STEP_SECONDS)) : STEP_ROWS;
}

/** Whether a line (without LF) passes `where`, over columns named and typed as they leave. Throws FILTER_INVALID. */
export function lineFilter(
  where: string,
  columns: readonly string[],
  types: readonly ColumnType[],
): ((line: Buffer) => boolean) | undefined {
  if (where === '') return undefined;
  const { filter, problem } = parseFilter(where);
  if (filter === undefined) {
    throw new QiaoError('FILTER_INVALID', problem ?? 'found no filter', { hint: 'mend --where' });
  }
  const positions = new Map(columns.map((name, index) => [name, index]));
  const passes = compileFilter(filter, (column) => types[positions.get(column) ?? -1]);
  return (line) => {
    const fields = splitRow(line.toString('utf8'));
    return passes((column) => fields[positions.get(column) as number] as string | null);
  };
}
