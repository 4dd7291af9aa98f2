/**
 * How often a field stands in an encoded message, before it is decoded. The generated decoders build every object of a repeated
 * field first, so two bytes from outside could become two hundred in memory, four million times over.
 */

/** The values of the length-delimited field `number` of an encoded message, as views, up to the first byte that is no field. */
export function* repeatedField(bytes: Uint8Array, number: number): Generator<Uint8Array> {
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
    if (Math.floor(tag / 8) === number) yield bytes.subarray(at, at + value);
    at += value;
  }
}

/** Whether the field stands at most `most` times; counts no further than that. */
export function hasAtMost(bytes: Uint8Array, number: number, most: number): boolean {
  let found = 0;
  for (const _ of repeatedField(bytes, number)) {
    found += 1;
    if (found > most) return false;
  }
  return true;
}
