/** What follows from the bridges of a data source and from what its database says of its log. Nothing here reads or keeps anything. */
import type { DataSource, PreparedLog, SourceLog } from '@qiao/adapters';
import { QiaoError } from '@qiao/exchange';
import type { Desired, DesiredBridge } from '../control/desired.ts';
import type { LogOwes, LogState } from '../exchange-database/index.ts';
import { isByLog, isCaptured } from './captured.ts';

/** Captured here by the log of this data source. */
export function bridgesOf(desired: Desired, source: string): DesiredBridge[] {
  return [...desired.bridges.values()].filter(
    (bridge) => isByLog(bridge) && bridge.definition.source.dataSource === source && isCaptured(desired, bridge),
  );
}

/** Of this node and data source, in characters that a replication slot may have. */
export function nameOf({ nodeId }: Desired, source: string): string {
  return `qiao_${nodeId.slice(0, 12)}_${source.replaceAll('-', '_')}`;
}

export function logOf(dataSource: DataSource): SourceLog {
  if (dataSource.log !== undefined) return dataSource.log;
  throw new QiaoError('CAPTURE_NOT_AVAILABLE', `the log of ${dataSource.adapter} is not read in this version`, {
    hint: 'write capture: compare in the bridge',
  });
}

/** Why a bridge has to be scanned before it can follow; undefined when it can go on from its position. */
export function owedAtStart(
  log: SourceLog,
  { identity, oldest, newest }: PreparedLog,
  held: LogState | undefined,
  source: string,
  tables: string,
): LogOwes | undefined {
  if (held === undefined) return { code: 'LOG_NEW', message: 'the bridge was not scanned yet' };
  const gap = (message: string): LogOwes => ({ code: 'LOG_GAP', message });
  // Found earlier, and not scanned since.
  if (held.owes?.code === 'LOG_GAP' && log.compare(held.position, oldest) < 0) return held.owes;
  if (held.source !== source) return gap(`the data source was ${held.source}`);
  if (held.identity !== identity)
    return gap('the database is another server, or another timeline of it: failed over, or restored');
  if (log.compare(held.position, newest) > 0)
    return gap('the database stands before what was taken from it: restored from a backup');
  if (log.compare(held.position, oldest) < 0)
    return gap('the database has not kept its log: it was purged, or the slot was dropped or invalidated');
  return held.tables === tables
    ? undefined
    : {
        code: 'LOG_TABLES',
        message: 'a table is another one, has other columns, or was left out of the log for a while',
      };
}

export function oldestOf(log: SourceLog, positions: readonly string[]): string {
  return positions.reduce((a, b) => (log.compare(a, b) <= 0 ? a : b));
}
