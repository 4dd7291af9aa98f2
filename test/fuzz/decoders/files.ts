// What departments put into folders: CSV, JSON lines and XLSX, whole, in any encoding, and cut into blocks anywhere.

import { ftruncateSync, writeSync } from 'node:fs';
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ColumnType, QiaoError } from '@qiao/exchange';
import { csvFormat } from '../../../packages/adapters/src/files/csv.ts';
import { table } from '../../../packages/adapters/src/files/directory.testing.ts';
import { jsonLinesFormat } from '../../../packages/adapters/src/files/jsonLines.ts';
import { broken, type FileRecord, type TextFormat, textRecords } from '../../../packages/adapters/src/files/records.ts';
import { canonical } from '../../../packages/adapters/src/files/values.ts';
import { workbook, zip } from '../../../packages/adapters/src/files/workbook.testing.ts';
import { type Tags, XmlReader } from '../../../packages/adapters/src/files/workbook.ts';
import { sheetRecords, xlsxRecords } from '../../../packages/adapters/src/files/xlsx.ts';
import { type Decoder, holds } from '../decoder.ts';

const COLUMNS = { id: 'integer(64)', name: 'text', amount: 'decimal(10,2)', day: 'date', more: 'json' };
const TABLE = table('state', COLUMNS, { encoding: 'gb18030' });
const WANTED = TABLE.columns;
const XLSX = table('state', COLUMNS, { format: 'xlsx' });
const NAMES = WANTED.map(({ name }) => name);
const MOST_BYTES = 16 * 1024;
/** A prime, so that blocks end in the middle of everything. */
const BLOCK = 7;

export function fileDecoders(): Decoder[] {
  let opened: Promise<{ readonly folder: string; readonly file: FileHandle }> | undefined;
  const sheet = async (bytes: Uint8Array): Promise<string> => {
    opened ??= scratchFile();
    const { file } = await opened;
    ftruncateSync(file.fd);
    writeSync(file.fd, bytes, 0, bytes.length, 0);
    return shapeOf(await sheetRows(file));
  };
  const close = async () => {
    if (opened === undefined) return;
    const { folder, file } = await opened;
    opened = undefined;
    await file.close();
    await rm(folder, { recursive: true, force: true });
  };
  return [
    text('csv', () => csvFormat('a', TABLE, NAMES), [
      Buffer.from('id,name,amount,day,more\r\n1,"a ""b"",\r\nc",12.5,2024-01-31,{}\n,"",,,\n'),
      Buffer.from([...Buffer.from('more,day,amount,name,id\n1,,,'), 0x95, 0x32, 0x82, 0x36, 0xd5, 0xc5, 0x2c, 0x31]),
    ]),
    text('json-lines', () => jsonLinesFormat('a', WANTED), [
      Buffer.from(
        '{"id":9007199254740993,"name":"a\\"}","more":{"x":[1.0,"}"]}}\n{"amount":null}\r\n\n[1]\n{"id":1,"id":2}',
      ),
    ]),
    { name: 'xlsx', kind: 'bytes', maxBytes: MOST_BYTES, seeds: [SEED, zip({})], take: sheet, close },
    {
      name: 'xlsx-sheet',
      kind: 'text',
      maxBytes: MOST_BYTES,
      words: [
        '<row r="2">',
        '<c r="A2" t="s" s="1">',
        '<v>',
        '</v></c>',
        '</row>',
        '<is><t>',
        '<!DOCTYPE x>',
        '&#0;',
        '&amp;',
        'e308',
      ],
      seeds: [Buffer.from(SHEET)],
      take: async (input) => shapeOf(await sheetOf(Buffer.from(input).toString())),
    },
  ];
}

const SHEET = `<row r="1">${NAMES.map((name) => `<c t="inlineStr"><is><t>${name}</t></is></c>`).join('')}</row><row r="3"><c r="A3"><v>1</v></c><c r="B3" t="s"><v>0</v></c><c r="C3"><v>12.5</v></c><c r="D3" s="1"><v>45322</v></c></row>`;
const SEED = workbook({ rows: SHEET, strings: ['<t>张</t>'], styles: [14] });

/** However the file is cut into blocks, its records are the same, and so is what is said of a broken one. */
function text(name: string, format: () => TextFormat, seeds: readonly Uint8Array[]): Decoder {
  return {
    name,
    kind: 'text',
    maxBytes: MOST_BYTES,
    words: ['"', '""', ',', '\r\n', '\n', '\\u0000', '\\ud800', '{"id":', '[', '\uFEFF', '1e400', 'null'],
    seeds,
    async take(input) {
      const whole = await outcome(textRecords('a', blocks(input, input.length || 1), 'gb18030', format()));
      const cut = await outcome(textRecords('a', blocks(input, BLOCK), 'gb18030', format()));
      if (whole instanceof QiaoError) {
        holds(String(whole) === String(cut), 'another answer where the blocks end elsewhere');
        throw whole;
      }
      holds(JSON.stringify(whole) === JSON.stringify(cut), 'other records where the blocks end elsewhere');
      return shapeOf(whole);
    },
  };
}

async function* blocks(input: Uint8Array, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < input.length; at += size) yield Buffer.from(input.subarray(at, at + size));
}

async function outcome(batches: AsyncIterable<FileRecord[]>): Promise<FileRecord[] | QiaoError> {
  try {
    return (await Array.fromAsync(batches)).flat();
  } catch (error) {
    if (error instanceof QiaoError) return error;
    throw error;
  }
}

/** One file for all inputs: to open and close one for each costs more than to read it. */
async function scratchFile() {
  const folder = await mkdtemp(join(tmpdir(), 'qiao-fuzz-'));
  return { folder, file: await open(join(folder, 'a.xlsx'), 'w+') };
}

async function sheetRows(handle: FileHandle): Promise<FileRecord[]> {
  return (await Array.fromAsync(xlsxRecords('a', handle, XLSX, WANTED, async () => undefined))).flat();
}

/** The rows of a sheet's XML, without the archive around it. */
async function sheetOf(rows: string): Promise<FileRecord[]> {
  const opened = {
    strings: ['张'],
    isDate: (style: number) => style === 1,
    from1904: false,
    async *sheet(tags: Tags) {
      const reader = new XmlReader(tags);
      try {
        reader.end(`<worksheet><sheetData>${rows}</sheetData></worksheet>`);
      } catch (error) {
        throw error instanceof QiaoError ? error : broken('a', 1, 'the file is no sound XLSX', '');
      }
      yield;
    },
  };
  return (await Array.fromAsync(sheetRecords('a', opened, XLSX, WANTED))).flat();
}

function shapeOf(records: readonly FileRecord[]): string {
  for (const { fields } of records) {
    if (fields === undefined) continue;
    holds(fields.length === WANTED.length, 'a record of another number of fields');
    for (const [index, value] of fields.entries()) {
      const { type } = WANTED[index] as { type: ColumnType };
      const once = value === null ? undefined : canonical(type, value);
      holds(once === undefined || canonical(type, once) === once, 'a canonical text that is not its own');
    }
  }
  const codes = new Set(records.map(({ leftOut }) => leftOut?.code ?? 'row'));
  return `${Math.min(records.length, 3)} ${[...codes].sort().join()}`;
}
