/**
 * Collects lines of row text into sections in commit order, up to a limit. Lines are copied into one growing buffer:
 * a parcel of a hundred thousand rows makes a handful of objects, and no chunk of the source's reader is kept alive. The buffer serves one parcel after another.
 * When a parcel ends (transaction, limit) is the caller's decision.
 */
import { CONTENT_MAX_BYTES, CONTENT_MAX_SECTIONS, DEFAULT_PARCEL_BYTES, type Section } from './content.ts';
import { QiaoError } from './errors.ts';
import type { Kind } from './kind.ts';
import type { Path } from './place.ts';
import { MAX_ROW_BYTES } from './rowText.ts';

/** The shape of a table's lines: key columns first. Lines of deletes carry the key columns only. */
export interface TableLayout {
  table: string;
  columns: readonly string[];
  keyColumns: number;
  wholeRows: boolean;
  /** Tables passed before this one; left out for changes that were made here. */
  path?: Path | undefined;
}

const FIRST_BUFFER_BYTES = 64 * 1024;
// What a section costs beside its rows: tags, lengths and counts; the names are added to it.
const SECTION_BYTES = 32;
// A passed table at its largest: an identity, three names of four bytes a character, and what they cost beside.
const MOST_PLACE_BYTES = 1024;

interface OpenSection {
  layout: TableLayout;
  kind: Kind;
  rowCount: number;
  start: number;
  end: number;
}

/** Builds one parcel after another. `limitBytes` decides isFull; one line may go past it, the content's limit is kept. */
export class ParcelBuilder {
  readonly #limitBytes: number;
  #buffer: Buffer = Buffer.alloc(0);
  #used = 0;
  #overhead = 0;
  #rows = 0;
  #sections: OpenSection[] = [];

  constructor(limitBytes: number = DEFAULT_PARCEL_BYTES) {
    const most = CONTENT_MAX_BYTES - MAX_ROW_BYTES;
    if (!(limitBytes >= 1 && limitBytes <= most)) {
      throw new QiaoError('PARCEL_LIMIT', `Found a parcel limit of ${limitBytes} bytes; expected 1 to ${most}.`);
    }
    this.#limitBytes = limitBytes;
  }

  /** Adds one line with its LF. Throws ROW_TOO_LARGE past 16 MiB: such a row is refused and counted, never cut. */
  add(table: TableLayout, kind: Kind, line: Uint8Array): void {
    if (line.length > MAX_ROW_BYTES) {
      throw new QiaoError('ROW_TOO_LARGE', `Found a row of ${line.length} bytes; expected at most ${MAX_ROW_BYTES}.`, {
        hint: 'Leave the large column out of the bridge (columns:), or exchange it as a file.',
      });
    }
    this.addRows(table, kind, line, 1);
  }

  /** Adds `rowCount` whole lines at once, for rows that are carried untouched. Throws PARCEL_FULL past 64 MiB of content. */
  addRows(table: TableLayout, kind: Kind, rows: Uint8Array, rowCount: number): void {
    if (rowCount === 0) return;
    const section = this.#sectionFor(table, kind, rows.length);
    this.#reserve(rows.length);
    this.#buffer.set(rows, this.#used);
    this.#used += rows.length;
    section.end = this.#used;
    section.rowCount += rowCount;
    this.#rows += rowCount;
  }

  /** Bytes that the content will have, near enough from above. */
  get bytes(): number {
    return this.#used + this.#overhead;
  }

  /** Rows in the parcel so far. */
  get rows(): number {
    return this.#rows;
  }

  /** The limit is reached: take before adding more. */
  get isFull(): boolean {
    return this.bytes >= this.#limitBytes || this.#sections.length >= CONTENT_MAX_SECTIONS;
  }

  /**
   * The sections in the order they were added; the builder is empty afterwards. Their rows lie in memory that the next `add` uses again: large buffers that
   * come and go cost more than what is written into them.
   */
  take(): Section[] {
    const buffer = this.#buffer;
    const sections = this.#sections.map(({ layout, kind, rowCount, start, end }): Section => {
      const columns = kind === 'delete' ? layout.columns.slice(0, layout.keyColumns) : layout.columns;
      const wholeRows = kind !== 'delete' && layout.wholeRows;
      const { table, keyColumns, path } = layout;
      const rows = buffer.subarray(start, end);
      return { table, kind, columns, keyColumns, rowCount, rows, wholeRows, ...(path !== undefined && { path }) };
    });
    // One row may have made it much larger than parcels are.
    if (buffer.length > 2 * (this.#limitBytes + FIRST_BUFFER_BYTES)) this.#buffer = Buffer.alloc(0);
    this.#used = 0;
    this.#overhead = 0;
    this.#rows = 0;
    this.#sections = [];
    return sections;
  }

  #sectionFor(layout: TableLayout, kind: Kind, bytes: number): OpenSection {
    const last = this.#sections.at(-1);
    const continues = last !== undefined && last.kind === kind && sameLayout(last.layout, layout);
    const overhead = continues ? 0 : overheadOf(layout);
    if (
      this.bytes + bytes + overhead > CONTENT_MAX_BYTES ||
      (!continues && this.#sections.length >= CONTENT_MAX_SECTIONS)
    ) {
      throw new QiaoError(
        'PARCEL_FULL',
        `Found a parcel past ${CONTENT_MAX_BYTES} bytes or ${CONTENT_MAX_SECTIONS} sections.`,
        {
          hint: 'This is a fault of the program: it must take the parcel when it is full.',
        },
      );
    }
    if (continues) return last;
    this.#overhead += overhead;
    const section: OpenSection = { layout, kind, rowCount: 0, start: this.#used, end: this.#used };
    this.#sections.push(section);
    return section;
  }

  #reserve(bytes: number): void {
    const needed = this.#used + bytes;
    if (needed <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2, FIRST_BUFFER_BYTES));
    this.#buffer.copy(grown, 0, 0, this.#used);
    this.#buffer = grown;
  }
}

function sameLayout(a: TableLayout, b: TableLayout): boolean {
  if (a === b) return true;
  return (
    a.table === b.table &&
    a.keyColumns === b.keyColumns &&
    a.wholeRows === b.wholeRows &&
    a.columns.length === b.columns.length &&
    a.columns.every((column, index) => column === b.columns[index]) &&
    samePath(a.path, b.path)
  );
}

function samePath(a: Path = [], b: Path = []): boolean {
  return a === b || (a.length === b.length && JSON.stringify(a) === JSON.stringify(b));
}

function overheadOf(layout: TableLayout): number {
  let bytes = SECTION_BYTES + Buffer.byteLength(layout.table);
  for (const column of layout.columns) bytes += 3 + Buffer.byteLength(column);
  bytes += (layout.path?.length ?? 0) * MOST_PLACE_BYTES;
  return bytes;
}
