/**
 * The context every sealed part of a comparison is bound to: lane, job, number and part. One taken out of its place, or
 * played again in another, does not open. Also the labels under which the comparison key itself is sealed.
 */

/** `number` 0 is the comparison key's own. */
export function comparisonContext(
  place: { readonly laneId: Uint8Array; readonly jobId: Uint8Array },
  number: number,
  part = 0,
  parts = 1,
): Uint8Array {
  const numbers = Buffer.alloc(12);
  numbers.writeUInt32BE(number, 0);
  numbers.writeUInt32BE(part, 4);
  numbers.writeUInt32BE(parts, 8);
  return Buffer.concat([Buffer.from('qiao.compare.v1\0'), place.laneId, place.jobId, numbers]);
}

/** Bytes of a reading in one message: several of them fit a node's share of the control stream. */
export const PART_BYTES = 256 * 1024;
/** The most parts of one reading. */
export const PARTS_MAX = 64;
