/** The place of a row in the quarantine, which names it in each of the tables that keep something of it. */
import type { LanePlace } from './lanePlace.ts';

/** One row by its place: section of the delivery's content and row in it, both from 0. */
export interface RowAt extends LanePlace {
  readonly section: number;
  readonly index: number;
}

/** Of the one row that is bound by `at`. */
export const ROW =
  'lane = @lane AND epoch = @epoch AND sequence = @sequence AND section = @section AND row_index = @index';

/** The place alone, as ROW has it. */
export function at({ lane, epoch, sequence, section, index }: RowAt): RowAt {
  return { lane, epoch, sequence, section, index };
}

/** The place before every row of an epoch. */
export function beforeEpoch(lane: Uint8Array, epoch: bigint): RowAt {
  return { lane, epoch, sequence: -1n, section: -1, index: -1 };
}
