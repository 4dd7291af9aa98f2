/**
 * An XLSX file opened: a ZIP archive of XML (ECMA-376). Finds the sheet, its shared strings and which cells are dates; rows are sheetRows.ts's. Nothing of it is
 * held whole but the shared strings, and those are bounded, whatever an archive says that it unpacks to.
 */
import type { FileHandle } from 'node:fs/promises';
import { posix } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { QiaoError } from '@qiao/exchange';
import { SaxesParser, type SaxesTagPlain } from 'saxes';
import { type Entry, fromFdPromise, type ZipFile } from 'yauzl';
import { broken } from './records.ts';

const MOST_ENTRIES = 10_000;
/** Characters of all shared strings. */
const MOST_SHARED = 64 * 1024 * 1024;
/** What each of them costs beside its characters. */
const SHARED_COSTS = 16;
/** Sheets, parts, number formats and styles: Excel has 65,490 styles at most. */
const MOST_NAMED = 100_000;
/** Between two tags: a cell of Excel has 32,767 characters. */
const MOST_BETWEEN_TAGS = 1024 * 1024;

export interface Workbook {
  /** Text of the cells that name it by number. */
  readonly strings: readonly string[];
  /** Whether a cell of this style shows its number as a date or time. */
  isDate(style: number): boolean;
  /** Days are counted from 1904, as old programs of Apple do. */
  readonly from1904: boolean;
  /** The sheet's XML, read once. */
  sheet(tags: Tags): AsyncGenerator<void, void, undefined>;
}

/** What is told of XML while it is read; names without their prefix. */
export interface Tags {
  open?(name: string, attribute: (name: string) => string | undefined): void;
  text?(text: string): void;
  close?(name: string): void;
}

/** Throws FILE_BROKEN. `sheet` names it; default is the first. `still` throws when the file changed or the time is over. */
export async function openWorkbook(
  file: string,
  handle: FileHandle,
  sheet: string | undefined,
  still: () => Promise<void>,
): Promise<Workbook> {
  const archive = new Archive(file, still);
  await archive.open(handle);
  const sheets: { name: string; id: string }[] = [];
  let from1904 = false;
  await archive.readAll('xl/workbook.xml', {
    open(name, attribute) {
      if (name === 'workbookPr') from1904 = ['1', 'true'].includes(attribute('date1904') ?? '');
      if (name !== 'sheet') return;
      sheets.push({ name: attribute('name') ?? '', id: attribute('id') ?? '' });
      bounded(sheets.length);
    },
  });
  const found = sheet === undefined ? sheets[0] : sheets.find(({ name }) => name === sheet);
  if (found === undefined) {
    throw broken(file, 1, 'the workbook has no such sheet', 'name a sheet of the file in agent.yaml (sheet:), or none');
  }
  const parts = new Map<string, string>();
  await archive.readAll('xl/_rels/workbook.xml.rels', {
    open(name, attribute) {
      if (name === 'Relationship') parts.set(attribute('Id') ?? '', attribute('Target') ?? '');
      bounded(parts.size);
    },
  });
  const target = parts.get(found.id) ?? '';
  const path = target.startsWith('/') ? target.slice(1) : posix.join('xl', target);
  const dates = await readStyles(archive);
  return {
    strings: await readStrings(archive, file),
    isDate: (style) => dates[style] === true,
    from1904,
    sheet: (tags) => archive.readSheet(path, tags),
  };
}

/** What throws here is told as a file that is no sound XLSX. */
function bounded(count: number): void {
  if (count > MOST_NAMED) throw new Error('more than any workbook has');
}

/** By the place of a style: whether its number format shows a date. */
async function readStyles(archive: Archive): Promise<boolean[]> {
  const codes = new Map<string, string>();
  const dates: boolean[] = [];
  let isInCells = false;
  await archive.readAll('xl/styles.xml', {
    open(name, attribute) {
      if (name === 'numFmt') codes.set(attribute('numFmtId') ?? '', attribute('formatCode') ?? '');
      bounded(codes.size);
      if (name === 'cellXfs') isInCells = true;
      if (name !== 'xf' || !isInCells) return;
      const id = attribute('numFmtId') ?? '0';
      dates.push(isDateFormat(Number(id), codes.get(id)));
      bounded(dates.length);
    },
    close(name) {
      if (name === 'cellXfs') isInCells = false;
    },
  });
  return dates;
}

/** Formats without a code of their own are those of ECMA-376 part 1, 18.8.30; 27–36 and 50–58 are dates in Chinese. */
function isDateFormat(id: number, code: string | undefined): boolean {
  if (code === undefined)
    return (id >= 14 && id <= 22) || (id >= 27 && id <= 36) || (id >= 45 && id <= 47) || (id >= 50 && id <= 58);
  const bare = code.replace(/"[^"]*"|\\.|\[(?!h+\]|m+\]|s+\])[^\]]*\]/gi, '');
  return /[ymdhs年月日时分秒]/i.test(bare.replace(/general/i, ''));
}

async function readStrings(archive: Archive, file: string): Promise<string[]> {
  const strings: string[] = [];
  let size = 0;
  let text: string | undefined;
  let isText = false;
  let isPhonetic = false;
  await archive.readAll('xl/sharedStrings.xml', {
    open(name) {
      if (name === 'si') text = '';
      if (name === 'rPh') isPhonetic = true;
      if (name === 't') isText = !isPhonetic;
    },
    text(part) {
      if (isText && text !== undefined) text += part;
    },
    close(name) {
      if (name === 't') isText = false;
      if (name === 'rPh') isPhonetic = false;
      if (name !== 'si' || text === undefined) return;
      size += text.length + SHARED_COSTS;
      if (size > MOST_SHARED) throw broken(file, 1, 'the texts of the file are too many to be held', 'save it as CSV');
      strings.push(text);
      text = undefined;
    },
  });
  return strings;
}

/** A ZIP archive whose parts are XML. */
class Archive {
  readonly #file: string;
  readonly #still: () => Promise<void>;
  readonly #entries = new Map<string, Entry>();
  #zip: ZipFile | undefined;

  constructor(file: string, still: () => Promise<void>) {
    this.#file = file;
    this.#still = still;
  }

  async open(handle: FileHandle): Promise<void> {
    try {
      this.#zip = await fromFdPromise(handle.fd, { autoClose: false, lazyEntries: true });
      if (this.#zip.entryCount > MOST_ENTRIES) throw new Error('too many parts');
      for await (const entry of this.#zip.eachEntry()) this.#entries.set(entry.fileName.toLowerCase(), entry);
    } catch (error) {
      throw this.#notXlsx(error);
    }
  }

  async readAll(name: string, tags: Tags): Promise<void> {
    for await (const _ of this.read(name, tags));
  }

  /** A workbook without the sheet that it names is no empty table. */
  readSheet(name: string, tags: Tags): AsyncGenerator<void, void, undefined> {
    if (!this.#entries.has(name.toLowerCase())) throw this.#notXlsx(undefined);
    return this.read(name, tags);
  }

  /** Gives way after each piece. A part that is missing is empty: not every workbook has strings or styles. */
  async *read(name: string, tags: Tags): AsyncGenerator<void, void, undefined> {
    const entry = this.#entries.get(name.toLowerCase());
    if (entry === undefined || this.#zip === undefined) return;
    const reader = new XmlReader(tags);
    const decoder = new StringDecoder('utf8');
    try {
      const stream = await this.#zip.openReadStreamPromise(entry);
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        await this.#still();
        reader.write(decoder.write(chunk));
        yield;
      }
      reader.end(decoder.end());
    } catch (error) {
      throw this.#notXlsx(error);
    }
  }

  #notXlsx(error: unknown): QiaoError {
    if (error instanceof QiaoError) return error;
    // What the parts' readers say quotes the file.
    return broken(this.#file, 1, 'the file is no sound XLSX', 'save it as .xlsx without a password, or as CSV');
  }
}

/** Tells what stands in XML as it comes. Throws for a document type, for a text without an end and for what is no XML. */
export class XmlReader {
  readonly #parser = new SaxesParser();
  #sinceTag = 0;

  constructor(tags: Tags) {
    this.#parser.on('opentag', (tag: SaxesTagPlain) => {
      this.#sinceTag = 0;
      tags.open?.(local(tag.name), (name) => attributeOf(tag, name));
    });
    this.#parser.on('closetag', (tag) => {
      this.#sinceTag = 0;
      tags.close?.(local(tag.name));
    });
    this.#parser.on('text', (text) => tags.text?.(text));
    this.#parser.on('cdata', (text) => tags.text?.(text));
    this.#parser.on('doctype', () => {
      throw new Error('a document type');
    });
    this.#parser.on('error', (error) => {
      throw error;
    });
  }

  write(text: string): void {
    this.#sinceTag += text.length;
    this.#parser.write(text);
    if (this.#sinceTag > MOST_BETWEEN_TAGS) throw new Error('a text without an end');
  }

  end(text: string): void {
    this.write(text);
    this.#parser.close();
  }
}

function local(name: string): string {
  return name.slice(name.indexOf(':') + 1);
}

function attributeOf({ attributes }: SaxesTagPlain, name: string): string | undefined {
  if (Object.hasOwn(attributes, name)) return attributes[name];
  const found = Object.entries(attributes).find(([key]) => key.endsWith(`:${name}`));
  return found?.[1];
}
