/**
 * Rows as a sheet of an XLSX file (ECMA-376). A number is a number where a cell keeps all of its digits, everything else is a text: nothing is
 * rounded, no identity number loses its end, and a day is what the source wrote, not what a program makes of it.
 */
import { buffer } from 'node:stream/consumers';
import type { ColumnType } from '@qiao/exchange';
import { ZipFile } from 'yazl';
import type { Columns, RowWriter, Value } from './rowWriters.ts';

/** Of a number. Excel shows no more, and what has more was an identity number that lost its end. */
export const CELL_DIGITS = 15;
/** Of UTF-16, as Excel counts them. */
const MOST_CHARACTERS = 32_767;
export const MOST_COLUMNS = 16_384;
export const MOST_ROWS = 1_048_576;

const MAIN = 'http://schemas.openxmlformats.org/spreadsheetml/2006/main';
const OFFICE = 'http://schemas.openxmlformats.org/officeDocument/2006/relationships';
const PACKAGE = 'http://schemas.openxmlformats.org/package/2006';
const TYPE = 'application/vnd.openxmlformats-officedocument.spreadsheetml';
const XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n';
const SHEET = 'xl/worksheets/sheet1.xml';
/** The same rows are the same bytes, whenever they are written. */
const NO_TIME = new Date(Date.UTC(1980, 0, 1));

export function sheetWriter(hasHeader: boolean, { own, declared }: Columns): RowWriter {
  const header = hasHeader ? rowOf([...own, ...declared.map(({ name }) => name)].map(textCell)) : '';
  return {
    head: `${XML}<worksheet xmlns="${MAIN}"><sheetData>${header}`,
    tail: '</sheetData></worksheet>',
    tellsUnsent: false,
    row: (texts, values) =>
      rowOf([...texts.map(textCell), ...declared.map(({ type }, index) => cell(type, values[index]))]),
    refusal: (_, value) =>
      value.length > MOST_CHARACTERS ? `more than ${MOST_CHARACTERS} characters, which a cell cannot keep` : undefined,
  };
}

/** The workbook around a sheet's XML. `name` is shown on its tab. */
export async function workbookOf(sheet: Buffer, name = 'Sheet1'): Promise<Buffer> {
  const zip = new ZipFile();
  const parts = {
    '[Content_Types].xml': `${XML}<Types xmlns="${PACKAGE}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" ContentType="${TYPE}.sheet.main+xml"/><Override PartName="/${SHEET}" ContentType="${TYPE}.worksheet+xml"/></Types>`,
    '_rels/.rels': relationship('officeDocument', 'xl/workbook.xml'),
    'xl/workbook.xml': `${XML}<workbook xmlns="${MAIN}" xmlns:r="${OFFICE}"><sheets><sheet name="${escaped(name)}" sheetId="1" r:id="rId1"/></sheets></workbook>`,
    'xl/_rels/workbook.xml.rels': relationship('worksheet', 'worksheets/sheet1.xml'),
    [SHEET]: sheet,
  };
  for (const [path, part] of Object.entries(parts)) {
    zip.addBuffer(typeof part === 'string' ? Buffer.from(part) : part, path, { mtime: NO_TIME, mode: 0o100644 });
  }
  zip.end();
  return await buffer(zip.outputStream);
}

/** What a cell's text stands for: `_x000D_` is one character, as Excel writes those that XML cannot have. */
export function unescapedText(text: string): string {
  if (!text.includes('_x')) return text;
  return text.replace(/_x([\dA-Fa-f]{4})_/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
}

function relationship(type: string, target: string): string {
  return `${XML}<Relationships xmlns="${PACKAGE}/relationships"><Relationship Id="rId1" Type="${OFFICE}/${type}" Target="${target}"/></Relationships>`;
}

function rowOf(cells: readonly string[]): string {
  return `<row>${cells.join('')}</row>`;
}

function cell(type: ColumnType, value: Value): string {
  if (typeof value !== 'string') return '<c/>';
  if (type.type === 'boolean') return `<c t="b"><v>${value === 't' ? 1 : 0}</v></c>`;
  return isKept(type, value) ? `<c><v>${value}</v></c>` : textCell(value);
}

/** Whether a cell gives this value back as a number: a float is a double, and of others it keeps so many digits and no zeros at the end. */
function isKept(type: ColumnType, text: string): boolean {
  if (!/^-?\d/.test(text) || Object.is(Number(text), -0)) return false;
  switch (type.type) {
    case 'float':
      return true;
    case 'decimal':
      return (type.scale !== undefined || !/\.\d*0$/.test(text)) && digitsOf(text) <= CELL_DIGITS;
    case 'integer':
      return digitsOf(text) <= CELL_DIGITS;
    default:
      return false;
  }
}

function digitsOf(text: string): number {
  return text.replace(/[-.]/g, '').replace(/^0+/, '').length;
}

function textCell(text: string): string {
  const kept = text.replace(/_(?=x[\dA-Fa-f]{4}_)/g, '_x005F_').replace(UNWRITABLE, xmlLess);
  return `<c t="inlineStr"><is><t xml:space="preserve">${escaped(kept)}</t></is></c>`;
}

/** What XML cannot have, the carriage return, which it does not keep, and other control characters, which programs drop. */
const UNWRITABLE = /(?![\t\n])[\p{Cc}\uFFFE\uFFFF]/gu;

function xmlLess(character: string): string {
  return `_x${character.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}_`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
