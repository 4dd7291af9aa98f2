/** What is compared of one table of a lane, and how both ends are asked: the source's rows are read here, the destination's by a question. */
import type { DataSource } from '@qiao/adapters';
import { VerifyQuestion } from '@qiao/contract/verify';
import { idText, QiaoError } from '@qiao/exchange';
import type { PlannedTable } from '../capture/plan.ts';
import type { JobKind, JobOptions, JobRow, LaneOut } from '../exchange-database/index.ts';
import type { Conversation } from './conversation.ts';
import { endOfFields, pickFields } from './fields.ts';
import type { VerifyPorts } from './ports.ts';
import type { References } from './references.ts';
import { lineFilter, readSource, type SourceRow } from './sourceRows.ts';
import type { Turn } from './turns.ts';

export interface Comparing {
  readonly ports: VerifyPorts;
  readonly conversation: Conversation;
  readonly kind: JobKind;
  readonly dataSource: DataSource;
  readonly table: PlannedTable;
  /** The digests' table of the capture. */
  readonly tableId: number;
  readonly tableRows: number;
  readonly laneId: Uint8Array;
  readonly epoch: LaneOut['epoch'];
  readonly references: References;
  readonly options: JobOptions;
  /** Taken before the source's table is read, and given back while the destination is waited for. */
  readonly turn: Turn;
  readonly signal: AbortSignal;
  /** Keeps rows that were found; called in steps. */
  keep(rows: readonly JobRow[]): void;
  step(text: string): void;
  /** "CODE: message" of what the bridge's capture stands still for; empty while it goes on. */
  standing(): string;
}

export interface ComparedRow {
  readonly keyBytes: Buffer;
  /** As the digests name the row. */
  readonly key: string;
  /** With its LF; undefined when it cannot be carried. */
  readonly line: Buffer | undefined;
  /** The compared fields; undefined when it cannot be carried. */
  readonly compared: Buffer | undefined;
  /** The job's filter lets it pass. */
  readonly passes: boolean;
}

/** Each row of the source, with the fields that are compared. */
export async function readCompared(
  comparing: Comparing,
  compared: readonly string[],
  visit: (row: ComparedRow) => void,
) {
  const { ports, dataSource, table, options, signal } = comparing;
  const { layout, transform } = table;
  const wanted = layout.columns.map((name) => compared.includes(name));
  const isWhole = wanted.every(Boolean);
  const passes = lineFilter(options.where, layout.columns, transform.types);
  const limits = { rowsPerSecond: options.rowsPerSecond, signal };
  return readSource(ports, dataSource, table, limits, (row: SourceRow) => {
    const line = row.kind === 'row' ? row.line : row.keyLine;
    const bare = line.subarray(0, line.length - 1);
    const keyBytes = bare.subarray(0, endOfFields(bare, layout.keyColumns));
    visit({
      keyBytes,
      key: table.keys.encode(line, 0, line.length - 1),
      line: row.kind === 'row' ? line : undefined,
      compared: row.kind === 'refused' ? undefined : isWhole ? bare : pickFields(bare, wanted),
      passes: row.kind === 'refused' || passes === undefined || passes(bare),
    });
  });
}

/** What the destination is asked about the table, at the lane's present place. */
export function question(
  comparing: Comparing,
  compared: readonly string[],
  what: NonNullable<VerifyQuestion['what']>,
): VerifyQuestion {
  const { table, options } = comparing;
  const lane = laneNow(comparing);
  return VerifyQuestion.fromPartial({
    table: table.name,
    columns: table.layout.columns.map((name, index) => ({
      name,
      typeJson: JSON.stringify(table.transform.types[index]),
      nullable: index >= table.layout.keyColumns,
    })),
    keyColumns: table.layout.keyColumns,
    compared: [...compared],
    where: options.where,
    rowsPerSecond: options.rowsPerSecond,
    epoch: { ordinal: lane.epoch, nonce: lane.nonce },
    afterSequence: lane.lastSequence,
    what,
  });
}

/** The lane as it is now. Throws EPOCH_MOVED (transient) when it is in another epoch, or loads. */
export function laneNow({ ports, laneId, epoch }: Pick<Comparing, 'ports' | 'laneId' | 'epoch'>): LaneOut {
  const lane = ports.database.lanesOut.get(laneId);
  if (lane === undefined || lane.epoch !== epoch || lane.phase !== 'streaming') {
    throw new QiaoError('EPOCH_MOVED', `lane ${idText(laneId)} began another epoch, or loads`, {
      fate: 'transient',
      hint: 'the job begins anew by itself when the load is finished',
    });
  }
  return lane;
}

/** The key as the digests name it, from its row text without LF. */
export function keyOf(table: PlannedTable, keyText: Uint8Array): string {
  const bytes = Buffer.from(keyText.buffer, keyText.byteOffset, keyText.byteLength);
  return table.keys.encode(bytes, 0, bytes.length);
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
