/** Lines of a section that has to be cut: found once, handed out as pieces. */
import type { Section } from '@qiao/exchange';
import type { Piece } from './sectionPort.ts';

/** Where the lines of a section begin; found only when a section has to be cut. */
export class Lines {
  readonly #section: Section;
  #starts: number[] | undefined;
  #keys: Set<string> | undefined;

  constructor(section: Section) {
    this.#section = section;
  }

  piece(from: number, to: number): Piece {
    const starts = this.#find();
    const rows = this.#section.rows.subarray(starts[from], starts[to]);
    return { ...this.#section, rows, rowCount: to - from };
  }

  /** Lines that need not stand together, in the order given. */
  pick(indexes: readonly number[]): Piece {
    const starts = this.#find();
    const rows = Buffer.concat(indexes.map((index) => this.#section.rows.subarray(starts[index], starts[index + 1])));
    return { ...this.#section, rows, rowCount: indexes.length };
  }

  /** The key fields of a line as they stand in the row text. */
  key(index: number): string {
    const starts = this.#find();
    const bytes = this.#section.rows.subarray(starts[index], (starts[index + 1] ?? 0) - 1);
    return Buffer.from(bytes).toString('utf8').split('\t', this.#section.keyColumns).join('\t');
  }

  keys(): ReadonlySet<string> {
    this.#keys ??= new Set(Array.from({ length: this.#section.rowCount }, (_, index) => this.key(index)));
    return this.#keys;
  }

  #find(): number[] {
    if (this.#starts !== undefined) return this.#starts;
    const starts = [0];
    const { rows } = this.#section;
    for (let end = rows.indexOf(0x0a); end !== -1; end = rows.indexOf(0x0a, end + 1)) starts.push(end + 1);
    this.#starts = starts;
    return starts;
  }
}

/** Whether a later section of the same table carries the key of this row: moving the row behind it would turn time back. */
export function changesAgain(
  sections: readonly Section[],
  lines: readonly Lines[],
  at: number,
  index: number,
): boolean {
  const table = sections[at]?.table;
  const isLater = (other: number) => other > at && sections[other]?.table === table;
  if (!sections.some((_, other) => isLater(other))) return false;
  const key = lines[at]?.key(index) ?? '';
  return lines.some((other, place) => isLater(place) && other.keys().has(key));
}
