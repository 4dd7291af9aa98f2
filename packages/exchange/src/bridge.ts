/**
 * A bridge's definition as the house uses it: one agreed flow, every default resolved, every unit a millisecond or a byte.
 * How operators write it is bridgeSchema.ts, what must hold across its parts bridgeChecks.ts, reading it parseBridge.ts.
 */

import type { Check } from './checks/check.ts';
import type { ConflictPolicy } from './conflict.ts';
import type { Ownership } from './ownership.ts';
import type { Schedule } from './schedule.ts';
import type { Transform } from './transform/transform.ts';
export interface BridgeDefinition {
  kind: 'Bridge';
  name: string;
  title: string;
  source: BridgeSource;
  schedule: Schedule;
  destinations: Destination[];
  /** A receipt missing past this is late. Default 5 minutes. */
  lateAfterMs: number;
  limits?: BridgeLimits;
  /** Share of explained rows (0 to 1) past which an alert opens; 1 never does. */
  explainedAlertShare: number;
  /** Unreceipted bytes per lane on the bus. Default 16 MiB. */
  windowBytes: number;
  deleteGuard: { rows: number; share: number };
  /** Open rows that one lane may gather before it stops and waits for a person. Default 1,000. */
  stopAfterQuarantined: number;
  resource?: string;
  purpose?: string;
}
export interface BridgeSource {
  node: string;
  dataSource: string;
  capture: 'compare' | 'cursor' | 'trigger' | 'log';
  /** With capture: trigger. How long after the last reading of a whole table it is read whole again, for what no trigger sees. */
  wholeScanEveryMs?: number;
  tables: BridgeTable[];
}
export interface BridgeLimits {
  rowsPerSecond?: number;
  window?: string;
  timeZone?: string;
  /** What a lane may hold for a silent destination before it alone is suspended. Default: the source node's own. */
  retention?: { bytes?: number; days?: number };
}
export interface BridgeTable {
  name: string;
  schema?: string;
  /** Default: the primary key. */
  key?: string[];
  /** Default: every column. */
  columns?: string[];
  /** Filter language, over the columns as the source names them. */
  where?: string;
  /** With capture: cursor. */
  cursor?: BridgeCursor;
  transform: Transform[];
  checks: Check[];
}
/** The column that rises with every change of a row, named as the source names it, and how far behind a late row may come. */
export interface BridgeCursor {
  column: string;
  /** For a column of dates or times. Without any lag: that of the column's type (cursorValue.ts). */
  lagMs?: number;
  /** For a column of numbers. */
  lagSteps?: number;
  /** Zone of the wall clock that a column without a zone is written by. */
  timeZone?: string;
}
export interface Destination {
  node: string;
  dataSource: string;
  tables: Record<string, DestinationTable>;
}
export interface DestinationTable {
  to: string;
  schema?: string;
  ownership: Ownership;
  landing: 'mirror' | 'journal';
  onDelete: 'delete' | 'mark';
  /** Not with landing: journal, and only with ownership: none. Absent: sourceWins. */
  conflict?: Exclude<ConflictPolicy, 'sourceWins'>;
  /** With onDelete: mark. */
  markColumn?: string;
  /** With landing: journal. */
  journalColumns?: JournalColumns;
  mark: 'target';
}
/** Names of the columns that a journal adds: 操作标识, 批次号, 来源部门, 入库时间, 处理标志. */
export interface JournalColumns {
  operation: string;
  batchNo: string;
  sourceDepartment: string;
  appliedAt: string;
  processed: string;
}
