/**
 * How often fields stand in an encoded message, looked at before it is decoded. The generated decoders build every object of a repeated
 * field first, so two bytes from outside could become two hundred in memory, four million times over.
 */

/** What the fields of an encoded message may hold, by number; whatever is not named may stand as often as it likes. */
export type FieldLimits = Readonly<Record<number, FieldLimit>>;

export interface FieldLimit {
  /** How often it may stand; left out: any number of times. */
  readonly most?: number;
  /** For each of its values, which is a message itself. */
  readonly inside?: FieldLimits;
}

/** Whether an encoded message keeps the limits. Reads no further than the first that it does not, or the first byte that is no field. */
export function isWithin(bytes: Uint8Array, limits: FieldLimits): boolean {
  const found = new Map<number, number>();
  for (const [number, value] of messageFields(bytes)) {
    const limit = limits[number];
    if (limit === undefined) continue;
    const times = (found.get(number) ?? 0) + 1;
    if (limit.most !== undefined && times > limit.most) return false;
    if (limit.inside !== undefined && !isWithin(value, limit.inside)) return false;
    found.set(number, times);
  }
  return true;
}

/** Number and value, as a view, of every length-delimited field, up to the first byte that is no field. */
export function* messageFields(bytes: Uint8Array): Generator<[number, Uint8Array]> {
  let at = 0;
  const varint = (): number | undefined => {
    let value = 0;
    for (let shift = 0; shift < 70 && at < bytes.length; shift += 7) {
      const byte = bytes[at++] as number;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    return undefined;
  };
  while (at < bytes.length) {
    const tag = varint();
    if (tag === undefined) return;
    const wire = tag % 8;
    if (wire === 1 || wire === 5) {
      at += wire === 1 ? 8 : 4;
      continue;
    }
    // Groups are in no message of the contract; a decoder skips them, whatever they hold.
    if (wire === 3 || wire === 4) continue;
    const value = varint();
    if (value === undefined || wire > 5) return;
    if (wire === 0) continue;
    if (value > bytes.length - at) return;
    yield [Math.floor(tag / 8), bytes.subarray(at, at + value)];
    at += value;
  }
}
