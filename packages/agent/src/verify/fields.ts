/** Fields of row text as they are written, without reading their escapes: what keys and digests are made of. */

const TAB = 0x09;

/** Where the first `count` fields of a line end; the line is given without its LF. */
export function endOfFields(line: Uint8Array, count: number): number {
  let at = 0;
  for (let field = 0; ; ) {
    const tab = line.indexOf(TAB, at);
    field += 1;
    if (tab === -1) return line.length;
    if (field === count) return tab;
    at = tab + 1;
  }
}

/** Only some fields of a line, in their order, as one line. */
export function pickFields(line: Buffer, wanted: readonly boolean[]): Buffer {
  const fields = line.toString('latin1').split('\t');
  return Buffer.from(fields.filter((_, index) => wanted[index]).join('\t'), 'latin1');
}
