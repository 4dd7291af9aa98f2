/** A place in a lane, as the stores name deliveries: lane (16 bytes), epoch ordinal and sequence. */
export interface LanePlace {
  readonly lane: Uint8Array;
  readonly epoch: bigint;
  readonly sequence: bigint;
}

/** Why a lane or a capture waits for a person: stable code, one sentence, next command. */
export interface StuckReason {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

/** Columns in which every table keeps a StuckReason. */
export interface StuckColumns {
  readonly stuck_code: string | null;
  readonly stuck_message: string | null;
  readonly stuck_hint: string | null;
}

export function stuckReason(row: StuckColumns): StuckReason | undefined {
  if (row.stuck_code === null) return undefined;
  return { code: row.stuck_code, message: row.stuck_message ?? '', hint: row.stuck_hint ?? '' };
}
