/**
 * How far a table that is read by a cursor is read this time, and where its position then stands. Pure; cursorScan.ts asks the
 * source and keeps what comes out.
 *
 * A position says: every row below it was read, and none will come any more. The highest value that a snapshot sees says neither, for
 * transactions that are open behind the snapshot may still commit rows below it. It is a candidate, kept with the horizon of those
 * transactions. A scan whose snapshot was taken when they had all ended sees whatever they wrote; when it has read
 * from the position before on (or the whole table), the candidate is the position. So a position lies two scans back as a rule, and
 * what lies above it is read again and dropped by its digest, as is what lies within the bridge's lag below it.
 */
import type { DataSource, TableDescription } from '@qiao/adapters';
import {
  type BridgeCursor,
  type BridgeDefinition,
  type BridgeTable,
  type ColumnType,
  comparable,
  compareValues,
  cursorKind,
  lagBehind,
  QiaoError,
} from '@qiao/exchange';
import type { CursorState } from '../exchange-database/index.ts';

/** A table's cursor as a scan uses it. */
export interface PlannedCursor {
  readonly column: string;
  readonly type: ColumnType;
  readonly lag: Pick<BridgeCursor, 'lagMs' | 'lagSteps'>;
  /** Zone of the wall clock that writes the column; undefined where the bridge does not say. */
  readonly timeZone: string | undefined;
}

/** The cursor of a table, or undefined with another capture. Throws COLUMN_MISSING, CURSOR_TYPE, CURSOR_LAG, CAPTURE_NOT_AVAILABLE. */
export function planCursor(
  dataSource: DataSource,
  definition: BridgeDefinition,
  { name, cursor }: BridgeTable,
  description: TableDescription,
): PlannedCursor | undefined {
  if (definition.source.capture !== 'cursor' || cursor === undefined) return undefined;
  const fix = { hint: `qiao bridge check -f FILE` };
  if (dataSource.remainsOpen === undefined) {
    throw new QiaoError('CAPTURE_NOT_AVAILABLE', `${dataSource.adapter} is not read by a cursor`, {
      hint: 'write capture: compare in the bridge',
    });
  }
  const column = description.columns.find((each) => each.name === cursor.column);
  if (column === undefined) throw new QiaoError('COLUMN_MISSING', `table ${name} has no column ${cursor.column}`, fix);
  const kind = 'unsupported' in column.type ? undefined : cursorKind(column.type);
  if ('unsupported' in column.type || kind === undefined) {
    throw new QiaoError(
      'CURSOR_TYPE',
      `column ${cursor.column} of ${name} (${column.nativeType}) cannot be a cursor`,
      fix,
    );
  }
  const problem = lagProblem(cursor, kind);
  if (problem !== undefined) throw new QiaoError('CURSOR_LAG', `table ${name}: ${problem}`, fix);
  const { lagMs, lagSteps, timeZone } = cursor;
  const lag = { ...(lagMs === undefined ? {} : { lagMs }), ...(lagSteps === undefined ? {} : { lagSteps }) };
  return { column: cursor.column, type: column.type, lag, timeZone };
}

/** Why a lag does not fit its column; undefined when it does. */
export function lagProblem({ column, lagMs, lagSteps }: BridgeCursor, kind: 'time' | 'number'): string | undefined {
  if (kind === 'time' && lagSteps !== undefined)
    return `lag: ${lagSteps} for ${column}, a column of times; expected 10m, for example`;
  if (kind === 'number' && lagMs !== undefined)
    return `a duration as lag: for ${column}, a column of numbers; expected a whole number`;
  return undefined;
}

/** What is read of the table this time. */
export type Reading = { readonly kind: 'whole' } | { readonly kind: 'from'; readonly since: string };

/** What a snapshot says of a table. */
export interface Found {
  readonly identity: string;
  readonly highest: string | undefined;
  readonly horizon: string | undefined;
  readonly nowMs: number;
}

/** `isPast`: nobody of the state's horizon was open when the snapshot was taken. */
export function readingOf(cursor: PlannedCursor, state: CursorState | undefined, isPast: boolean): Reading {
  const whole: Reading = { kind: 'whole' };
  if (state === undefined) return whole;
  // Nothing is proven yet: new rows are looked for above the candidate, and when it can be proven, the table is read whole once more.
  const from = state.position ?? (isPast ? undefined : state.candidate);
  if (from === undefined) return whole;
  const since = lagBehind(cursor.type, from, cursor.lag);
  return since === undefined ? whole : { kind: 'from', since };
}

/** The state once the scan's last row is durable. */
export function stateAfter(state: CursorState, isPast: boolean, found: Found): CursorState {
  if (!isPast) return { ...state, heldSinceMs: state.heldSinceMs ?? state.candidateAtMs };
  return { ...stateOf(state.plan, found), position: state.candidate };
}

/** The state of a table of which nothing is proven: the candidate waits. */
export function stateOf(plan: string, { identity, highest, horizon, nowMs }: Found): CursorState {
  return {
    plan,
    identity,
    position: undefined,
    candidate: highest,
    horizon,
    candidateAtMs: nowMs,
    heldSinceMs: undefined,
    wentBackRun: undefined,
  };
}

/**
 * Whether the source is not the one whose position is kept: another table, or values that have fallen below the position. It was put
 * back from a backup, its newest rows were deleted, or its clock was set back.
 */
export function wentBack({ type }: PlannedCursor, state: CursorState, { identity, highest }: Found): boolean {
  if (identity !== state.identity) return true;
  if (state.position === undefined) return false;
  if (highest === undefined) return true;
  return compareValues(comparable(type, highest), comparable(type, state.position)) < 0;
}
