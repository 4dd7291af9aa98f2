/**
 * A bridge's definition as the house uses it: one agreed flow, every default resolved, every unit a millisecond or a byte.
 * How operators write it is bridgeSchema.ts, what must hold across its parts bridgeChecks.ts, reading it parseBridge.ts.
 */
import type { Ownership } from './ownership.ts';
import type { Schedule } from './schedule.ts';
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
  capture: 'compare';
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
  transform: Transform[];
  checks: Check[];
}
export type Transform = { rename: Record<string, string> } | { dictionary: Dictionary } | { mask: Mask };
export interface Dictionary {
  column: string;
  map: Record<string, string>;
  otherwise: 'refuse' | 'keep' | 'null';
}
export interface Mask {
  column: string;
  keepFirst: number;
  keepLast: number;
  with: string;
}
export interface Check {
  column: string;
  required: true;
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
