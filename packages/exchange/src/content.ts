/**
 * A parcel's content: sections in commit order, and their bytes on the wire (contract message Content). Decoding is for
 * bytes from another department's machine: it is bounded before anything is allocated, refuses what it does not know
 * and proves every row. Sealing and compression belong to `security` and the sender.
 */
import { Section as ContractSection } from '@qiao/contract/delivery';
import { QiaoError } from './errors.ts';
import { ID_BYTES, idText, parseId } from './ids.ts';
import { contractKind, type Kind } from './kind.ts';
import { PATH_FORMAT, PATH_MAX_PLACES, type Path, type TablePlace } from './place.ts';
import { checkRows } from './rowText.ts';
import { WireReader } from './wireReader.ts';

/** The largest content, in bytes. A receiver reserves no more. */
export const CONTENT_MAX_BYTES = 64 * 1024 * 1024;
/** Where a parcel is cut unless told otherwise, in bytes. */
export const DEFAULT_PARCEL_BYTES = 4 * 1024 * 1024;
/** The most sections of one content. */
export const CONTENT_MAX_SECTIONS = 100_000;
/** The most columns of one section. */
export const SECTION_MAX_COLUMNS = 1_600;
/** The longest table name, in characters. */
export const TABLE_NAME_MAX = 64;
/** The longest column name, in characters. */
export const COLUMN_NAME_MAX = 128;

/** A run of like changes of one table. */
export interface Section {
  /** Source table's name as the bridge writes it. */
  table: string;
  kind: Kind;
  /** Named as at the destination; the key first. A column the source did not send is absent. */
  columns: readonly string[];
  /** How many columns, from the first, are the key; for deletes all of them. */
  keyColumns: number;
  /** Lines in `rows`: 1 or more. */
  rowCount: number;
  /** Row text. */
  rows: Uint8Array;
  /** Every bridged column is carried, so an update may become an insert. */
  wholeRows: boolean;
  /** Tables passed before the sender's; left out for changes that were made there. */
  path?: Path | undefined;
}

// Field numbers and wire types of Content and Section in delivery.proto.
const CONTENT_SECTION_TAG = 10;

/** Writes sections as bytes. Throws CONTENT_INVALID for sections that decodeContent would refuse for their shape or size. */
export function encodeContent(sections: readonly Section[]): Uint8Array {
  if (sections.length > CONTENT_MAX_SECTIONS) throw tooManySections(sections.length);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for (const [index, section] of sections.entries()) {
    checkShape(section, index);
    // The rows are the last and by far the largest part: copying them once, in the concat below, is enough.
    const head = ContractSection.encode({
      table: section.table,
      kind: contractKind(section.kind),
      columns: section.columns as string[],
      keyColumns: section.keyColumns,
      rowCount: section.rowCount,
      rows: new Uint8Array(0),
      wholeRows: section.wholeRows,
      path: (section.path ?? []).map(({ node, schema = '', ...place }) => ({
        ...place,
        nodeId: parseId(node),
        schema,
      })),
      pathFormat: PATH_FORMAT,
    }).finish();
    const rowsHead = [ROWS_TAG, ...varint(section.rows.length)];
    const length = head.length + rowsHead.length + section.rows.length;
    const lead = Uint8Array.from([CONTENT_SECTION_TAG, ...varint(length), ...head, ...rowsHead]);
    chunks.push(lead, section.rows);
    bytes += lead.length + section.rows.length;
    if (bytes > CONTENT_MAX_BYTES) throw tooLarge(bytes);
  }
  return Buffer.concat(chunks, bytes);
}

/**
 * Reads and proves content: limits, names, kinds, UTF-8, field and row counts. The rows of the sections are views into
 * `bytes`. Throws CONTENT_INVALID.
 */
export function decodeContent(bytes: Uint8Array): Section[] {
  if (bytes.length > CONTENT_MAX_BYTES) throw tooLarge(bytes.length);
  const reader = new WireReader(bytes, invalid);
  const sections: Section[] = [];
  while (!reader.isAtEnd) {
    if (reader.tag() !== CONTENT_SECTION_TAG) throw unknownField('content');
    if (sections.length === CONTENT_MAX_SECTIONS) throw tooManySections(sections.length + 1);
    const section = decodeSection(reader.message(), sections.length);
    checkShape(section, sections.length);
    checkSectionRows(section, sections.length);
    sections.push(section);
  }
  return sections;
}

const TABLE_TAG = 10;
const KIND_TAG = 16;
const COLUMN_TAG = 26;
const KEY_COLUMNS_TAG = 32;
const ROW_COUNT_TAG = 40;
const ROWS_TAG = 50;
const WHOLE_ROWS_TAG = 56;
const PATH_TAG = 66;
const PATH_FORMAT_TAG = 72;

// Of PassedTable.
const NODE_TAG = 10;
const DATA_SOURCE_TAG = 18;
const SCHEMA_TAG = 26;
const PASSED_TABLE_TAG = 34;

function decodeSection(reader: WireReader, index: number): Section {
  const columns: string[] = [];
  const passed: WireReader[] = [];
  let pathFormat = PATH_FORMAT;
  const section: Section = {
    table: '',
    kind: '' as Kind,
    columns,
    keyColumns: 0,
    rowCount: 0,
    rows: new Uint8Array(0),
    wholeRows: false,
  };
  let seen = 0;
  while (!reader.isAtEnd) {
    const tag = reader.tag();
    if (tag !== COLUMN_TAG && tag !== PATH_TAG) {
      // A second value of one field would silently replace the first: a reader that checks less would see other rows.
      const bit = 1 << (tag >>> 3);
      if ((seen & bit) !== 0) throw invalid(`field ${tag >>> 3} twice in section ${index}`);
      seen |= bit;
    }
    switch (tag) {
      case TABLE_TAG:
        section.table = reader.text(TABLE_NAME_MAX * 4);
        break;
      case KIND_TAG:
        section.kind = kindOfNumber(reader.number(), index);
        break;
      case COLUMN_TAG:
        if (columns.length === SECTION_MAX_COLUMNS) {
          throw invalid(`more than ${SECTION_MAX_COLUMNS} columns in section ${index}`);
        }
        columns.push(reader.text(COLUMN_NAME_MAX * 4));
        break;
      case KEY_COLUMNS_TAG:
        section.keyColumns = reader.number();
        break;
      case ROW_COUNT_TAG:
        section.rowCount = reader.number();
        break;
      case ROWS_TAG:
        section.rows = reader.bytes();
        break;
      case WHOLE_ROWS_TAG:
        section.wholeRows = reader.number() !== 0;
        break;
      case PATH_TAG:
        if (passed.length === PATH_MAX_PLACES)
          throw invalid(`more than ${PATH_MAX_PLACES} passed tables in section ${index}`);
        passed.push(reader.message());
        break;
      case PATH_FORMAT_TAG:
        pathFormat = reader.number();
        break;
      default:
        throw unknownField(`section ${index}`);
    }
  }
  // Before a place is looked at: in another format it is another thing.
  if (pathFormat !== PATH_FORMAT)
    throw invalid(`passed tables in format ${pathFormat} in section ${index}; expected format ${PATH_FORMAT}`);
  if (passed.length > 0) section.path = passed.map((place) => decodePassed(place, index));
  return section;
}

function decodePassed(reader: WireReader, index: number): TablePlace {
  const found: { node: string; dataSource: string; schema?: string; table: string } = {
    node: '',
    dataSource: '',
    table: '',
  };
  let last = 0;
  while (!reader.isAtEnd) {
    const tag = reader.tag();
    if (tag <= last) throw invalid(`fields of a passed table out of order in section ${index}`);
    last = tag;
    switch (tag) {
      case NODE_TAG: {
        const id = reader.bytes();
        if (id.length !== ID_BYTES) throw invalid(`a node's identity of ${id.length} bytes in section ${index}`);
        found.node = idText(id);
        break;
      }
      case DATA_SOURCE_TAG:
        found.dataSource = reader.text(TABLE_NAME_MAX * 4);
        break;
      case SCHEMA_TAG:
        found.schema = reader.text(TABLE_NAME_MAX * 4);
        break;
      case PASSED_TABLE_TAG:
        found.table = reader.text(TABLE_NAME_MAX * 4);
        break;
      default:
        throw unknownField(`a passed table of section ${index}`);
    }
  }
  return found;
}

function kindOfNumber(number: number, index: number): Kind {
  if (number === 1) return 'insert';
  if (number === 2) return 'update';
  if (number === 3) return 'delete';
  throw invalid(`change kind ${number} in section ${index}; expected 1, 2 or 3`);
}

function checkShape(section: Section, index: number): void {
  const where = `section ${index}`;
  checkName(section.table, TABLE_NAME_MAX, `table name of ${where}`);
  if (section.kind !== 'insert' && section.kind !== 'update' && section.kind !== 'delete') {
    throw invalid(`no change kind in ${where}`);
  }
  const columns = section.columns.length;
  if (columns < 1 || columns > SECTION_MAX_COLUMNS) {
    throw invalid(`${columns} columns in ${where}; expected 1 to ${SECTION_MAX_COLUMNS}`);
  }
  for (const column of section.columns) checkName(column, COLUMN_NAME_MAX, `column name of ${where}`);
  if (new Set(section.columns).size !== columns) throw invalid(`a column named twice in ${where}`);
  const keyColumns = section.keyColumns;
  // Rows without a key can be added, never found again.
  const fewest = section.kind === 'insert' ? 0 : section.kind === 'update' ? 1 : columns;
  if (!Number.isInteger(keyColumns) || keyColumns < fewest || keyColumns > columns) {
    throw invalid(`${keyColumns} key columns of ${columns} in ${where}; expected ${fewest} to ${columns}`);
  }
  if ((section.path?.length ?? 0) > PATH_MAX_PLACES)
    throw invalid(`more than ${PATH_MAX_PLACES} passed tables in ${where}`);
  for (const { node, dataSource, schema, table } of section.path ?? []) {
    if (node === '') throw invalid(`a passed table without its node in ${where}`);
    checkName(dataSource, TABLE_NAME_MAX, `data source of a passed table of ${where}`);
    if (schema !== undefined) checkName(schema, TABLE_NAME_MAX, `schema of a passed table of ${where}`);
    checkName(table, TABLE_NAME_MAX, `name of a passed table of ${where}`);
  }
  if (!Number.isInteger(section.rowCount) || section.rowCount < 1) {
    throw invalid(`${section.rowCount} rows in ${where}; expected 1 or more`);
  }
}

function checkSectionRows(section: Section, index: number): void {
  let lines: number;
  try {
    lines = checkRows(section.rows, section.columns.length);
  } catch (error) {
    if (!(error instanceof QiaoError)) throw error;
    throw new QiaoError('CONTENT_INVALID', `Section ${index}: ${error.message}`, { hint: error.hint, cause: error });
  }
  if (lines !== section.rowCount) {
    throw invalid(`${lines} lines in section ${index}; expected ${section.rowCount} as it states`);
  }
}

// Control characters in a name would end up in SQL, logs and screens.
const BAD_NAME = /[\p{Cc}\p{Cs}\ufffd]/u;

function checkName(name: string, maxCharacters: number, what: string): void {
  if (name === '') throw invalid(`an empty ${what}`);
  if (name.length > maxCharacters && Array.from(name).length > maxCharacters) {
    throw invalid(`a ${what} over ${maxCharacters} characters`);
  }
  if (BAD_NAME.test(name)) throw invalid(`a ${what} with control characters or broken UTF-8`);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 0x7f) {
    bytes.push((rest & 0x7f) | 0x80);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return bytes;
}

function invalid(found: string): QiaoError {
  return new QiaoError('CONTENT_INVALID', `Found ${found}.`, {
    hint: 'The sender wrote content that this version does not accept: compare versions with `qiao node list`.',
  });
}

function unknownField(where: string): QiaoError {
  return invalid(`an unknown field in ${where}; skipping it could lose data`);
}

function tooLarge(bytes: number): QiaoError {
  return invalid(`content of ${bytes} bytes or more; expected at most ${CONTENT_MAX_BYTES}`);
}

function tooManySections(count: number): QiaoError {
  return invalid(`${count} sections or more; expected at most ${CONTENT_MAX_SECTIONS}`);
}
