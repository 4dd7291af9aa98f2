/**
 * How the exchange database stands, for people: read-only, beside a running agent, without a migration and without a lock
 * that the agent could feel. Row contents never show.
 */
import { existsSync } from 'node:fs';
import { QiaoError } from '@qiao/exchange';
import { fileRefused } from '@qiao/runtime';
import { open, type Sqlite } from './connection.ts';

export interface LaneStatus {
  readonly lane: string;
  readonly bridge: string;
  readonly direction: 'out' | 'in';
  readonly epoch: number;
  /** Out: highest sequence given out. In: highest sequence applied. -1 for none. */
  readonly sequence: number;
  /** Out: deliveries without a receipt. In: deliveries not applied. */
  readonly waitingDeliveries: number;
  readonly waitingBytes: number;
  readonly openRows: number;
  readonly phase: string;
  readonly stuck?: { readonly code: string; readonly message: string; readonly hint: string };
}

export interface ExchangeDatabaseStatus {
  readonly databaseId: string;
  readonly lanes: readonly LaneStatus[];
  readonly captures: readonly {
    readonly bridge: string;
    readonly lastRunAtMs: number;
    readonly stuck?: { readonly code: string; readonly message: string; readonly hint: string };
  }[];
  readonly books: { readonly last: number; readonly published: number; readonly through: number };
  readonly controlWaiting: number;
  readonly quarantinedRows: number;
}

const LANES_OUT = `SELECT hex(lane) AS lane, hex(bridge) AS bridge, epoch, last_sequence AS sequence, phase,
 waiting_count AS waitingDeliveries, waiting_bytes AS waitingBytes, stuck_code, stuck_message, stuck_hint FROM lane_out`;
const LANES_IN = `SELECT hex(lane_in.lane) AS lane, hex(bridge) AS bridge, lane_in.epoch AS epoch, applied_sequence AS sequence,
 CASE WHEN ended = 1 THEN 'ended' ELSE 'receiving' END AS phase,
 (SELECT count(*) FROM inbox WHERE inbox.lane = lane_in.lane) AS waitingDeliveries,
 (SELECT coalesce(sum(bytes), 0) FROM inbox WHERE inbox.lane = lane_in.lane) AS waitingBytes,
 (SELECT count(*) FROM quarantine WHERE quarantine.lane = lane_in.lane AND state = 'open') AS openRows,
 stuck_code, stuck_message, stuck_hint FROM lane_in`;
const CAPTURES =
  'SELECT hex(bridge) AS bridge, last_run_at_ms AS lastRunAtMs, stuck_code, stuck_message, stuck_hint FROM capture';
const BOOKS = 'SELECT last, published, through FROM book_cursor WHERE id = 1';
const COUNTS = `SELECT (SELECT count(*) FROM control_out) AS controlWaiting, (SELECT count(*) FROM quarantine WHERE state = 'open') AS quarantinedRows,
 (SELECT lower(hex(value)) FROM meta WHERE name = 'databaseId') AS databaseId`;

interface StuckRow {
  stuck_code: string | null;
  stuck_message: string | null;
  stuck_hint: string | null;
}
type LaneRow = Omit<LaneStatus, 'direction' | 'stuck'> & StuckRow;

/** Throws EXCHANGE_DATABASE_MISSING when no agent ever ran here. */
export function readExchangeDatabaseStatus(file: string): ExchangeDatabaseStatus {
  if (!existsSync(file)) {
    throw new QiaoError('EXCHANGE_DATABASE_MISSING', `there is no exchange database at ${file}`, {
      hint: 'qiao agent start --config FILE',
    });
  }
  return reading(file, (sqlite) =>
    // One read transaction: the numbers belong together.
    sqlite.transaction(() => {
      const counts = sqlite
        .prepare<[], { controlWaiting: number; quarantinedRows: number; databaseId: string }>(COUNTS)
        .get();
      const books = sqlite.prepare<[], { last: number; published: number; through: number }>(BOOKS).get();
      const lanesOut = sqlite.prepare<[], LaneRow>(LANES_OUT).all();
      const lanesIn = sqlite.prepare<[], LaneRow>(LANES_IN).all();
      const captures = sqlite.prepare<[], { bridge: string; lastRunAtMs: number } & StuckRow>(CAPTURES).all();
      return {
        databaseId: counts?.databaseId ?? '',
        lanes: [...lanesOut.map((row) => lane(row, 'out')), ...lanesIn.map((row) => lane(row, 'in'))],
        captures: captures.map((row) => ({
          bridge: row.bridge.toLowerCase(),
          lastRunAtMs: row.lastRunAtMs,
          ...stuck(row),
        })),
        books: books ?? { last: 0, published: 0, through: 0 },
        controlWaiting: counts?.controlWaiting ?? 0,
        quarantinedRows: counts?.quarantinedRows ?? 0,
      };
    })(),
  );
}

/** The snapshot that the agent cached (encoded Signed), undefined before the first. */
export function readCachedSnapshot(file: string): Uint8Array | undefined {
  return reading(file, (sqlite) => {
    const held = sqlite.prepare("SELECT value FROM meta WHERE name = 'snapshot'").pluck().get();
    return held instanceof Uint8Array ? held : undefined;
  });
}

/** Beside a running agent. Throws FILE_REFUSED: one that does not run left a log that only its own user may take in. */
function reading<T>(file: string, read: (sqlite: Sqlite) => T): T {
  const sqlite = open(file, { readonly: true, fileMustExist: true, timeout: 5_000 });
  try {
    return read(sqlite);
  } catch (error) {
    throw fileRefused(error, file) ?? error;
  } finally {
    sqlite.close();
  }
}

function lane(row: LaneRow, direction: 'out' | 'in'): LaneStatus {
  return {
    lane: row.lane.toLowerCase(),
    bridge: row.bridge.toLowerCase(),
    direction,
    epoch: row.epoch,
    sequence: row.sequence,
    waitingDeliveries: row.waitingDeliveries,
    waitingBytes: row.waitingBytes,
    openRows: row.openRows ?? 0,
    phase: row.phase,
    ...stuck(row),
  };
}

function stuck(row: StuckRow): { stuck?: { code: string; message: string; hint: string } } {
  if (row.stuck_code === null) return {};
  return { stuck: { code: row.stuck_code, message: row.stuck_message ?? '', hint: row.stuck_hint ?? '' } };
}
