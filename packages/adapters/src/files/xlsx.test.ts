/** Sheets: what is read of cells, and what of a file that is not what it says. */
import { describe, expect, test } from 'vitest';
import { read, Share, table } from './directory.testing.ts';
import { workbook, zip } from './workbook.testing.ts';

const ITEM = {
  id: 'integer(64)',
  name: 'text',
  amount: 'decimal(10,2)',
  good: 'boolean',
  day: 'date',
  at: 'timestamp(3)',
};
const HEADER = `<row r="2">${Object.keys(ITEM)
  .map((name, index) => `<c r="${'ABCDEF'[index]}2" t="inlineStr"><is><t>${name}</t></is></c>`)
  .join('')}</row>`;
const DATE = 1;
const TIME = 2;
const STYLES = ['yyyy"年"m"月"d"日"', 22];

async function sheet(rows: string, changes: { from1904?: boolean; strings?: string[] } = {}) {
  await using share = new Share();
  const source = share.open({ item: table('state', ITEM, { format: 'xlsx' }) });
  share.write('item/a.xlsx', workbook({ rows: HEADER + rows, styles: STYLES, ...changes }));
  return await read(source, 'item');
}

const row = (number: number, cells: string) => `<row r="${number}">${cells}</row>`;

describe('a sheet', () => {
  test('texts, numbers, truth and dates are read as they are stored', async () => {
    const { rows, refused, failure } = await sheet(
      row(3, '') +
        row(
          4,
          `<c r="A4"><v>1</v></c><c r="B4" t="s"><v>0</v></c><c r="C4"><v>1.1000000000000001</v></c><c r="D4" t="b"><v>1</v></c><c r="E4" s="${DATE}"><v>45322</v></c><c r="F4" s="${TIME}"><v>45322.333340278</v></c>`,
        ) +
        row(
          5,
          '<c r="A5"><v>2</v></c><c r="B5" t="inlineStr"><is><r><t>a&amp;</t></r><r><t xml:space="preserve"> b</t></r></is></c>',
        ) +
        row(
          7,
          '<c r="A7"><v>3</v></c><c r="B7"><v>42</v></c><c r="C7" t="str"><f>1+1</f><v>2</v></c><c r="Z7"><v>9</v></c>',
        ),
      { strings: ['<t>张</t><rPh sb="0" eb="1"><t>zhang</t></rPh>'] },
    );
    expect(failure).toBeUndefined();
    expect(refused).toEqual([]);
    expect(rows).toEqual([
      ['1', '张', '1.10', 't', '2024-01-31', '2024-01-31 08:00:00.6'],
      ['2', 'a& b', null, null, null, null],
      ['3', '42', '2.00', null, null, null],
    ]);
  });

  test('what a cell cannot say for certain leaves its row out', async () => {
    const cells: Record<string, string> = {
      'an identity number of which Excel kept 15 digits':
        '<c r="A3"><v>1</v></c><c r="B3"><v>3.70202199001011E+17</v></c>',
      'a date where a text is declared': `<c r="A3"><v>1</v></c><c r="B3" s="${DATE}"><v>45322</v></c>`,
      'a number where a date is declared': '<c r="A3"><v>1</v></c><c r="E3"><v>20240131</v></c>',
      'a day with a time where a date is declared': `<c r="A3"><v>1</v></c><c r="E3" s="${DATE}"><v>45322.5</v></c>`,
      'the day that never was': `<c r="A3"><v>1</v></c><c r="E3" s="${DATE}"><v>60</v></c>`,
      'a sum that is not what is shown': '<c r="A3"><v>1</v></c><c r="C3"><v>0.30000000000000004</v></c>',
      'an error': '<c r="A3"><v>1</v></c><c r="B3" t="e"><v>#N/A</v></c>',
      'a shared text that is not there': '<c r="A3"><v>1</v></c><c r="B3" t="s"><v>7</v></c>',
      'a text that names no shared one': '<c r="A3"><v>1</v></c><c r="B3" t="s"><v></v></c>',
      'a truth that is none': '<c r="A3"><v>1</v></c><c r="D3" t="b"><v>2</v></c>',
      'no key': '<c r="B3" t="str"><v>x</v></c>',
    };
    for (const [what, cell] of Object.entries(cells)) {
      const { rows, refused } = await sheet(row(3, cell));
      expect({ what, rows, codes: refused.map(({ code, first }) => `${code} ${first}`) }).toEqual({
        what,
        rows: [],
        codes: ['VALUE_INVALID "a.xlsx", line 3'],
      });
    }
  });

  test('a truth in words', async () => {
    const { rows } = await sheet(row(3, '<c r="A3"><v>1</v></c><c r="D3" t="b"><v>true</v></c>'));
    expect(rows[0]?.[3]).toBe('t');
  });

  test('a header that names a column twice is an error', async () => {
    await using share = new Share();
    const source = share.open({ t: table('state', { id: 'text' }, { format: 'xlsx' }) });
    const cell = '<c t="inlineStr"><is><t>id</t></is></c>';
    share.write('t/a.xlsx', workbook({ rows: row(1, cell + cell) }));
    expect((await read(source, 't')).failure?.message).toBe('"a.xlsx", line 1: the header names id twice');
  });

  test('days before March 1900, and those that are counted from 1904', async () => {
    const day = (serial: number) => `<c r="A3"><v>1</v></c><c r="E3" s="${DATE}"><v>${serial}</v></c>`;
    const dayOf = async (serial: number, from1904 = false) =>
      (await sheet(row(3, day(serial)), { from1904 })).rows[0]?.[4];
    expect([await dayOf(1), await dayOf(59), await dayOf(61)]).toEqual(['1900-01-01', '1900-02-28', '1900-03-01']);
    expect([await dayOf(0, true), await dayOf(60, true)]).toEqual(['1904-01-01', '1904-03-01']);
    expect(await dayOf(2_958_465)).toBe('9999-12-31');
    expect(await dayOf(2_958_466)).toBeUndefined();
  });

  test('the sheet that is named, or none', async () => {
    await using share = new Share();
    const source = share.open({
      other: table('state', { id: 'text' }, { format: 'xlsx', sheet: 'other', folder: 'item' }),
      gone: table('state', { id: 'text' }, { format: 'xlsx', sheet: 'gone', folder: 'item' }),
    });
    share.write('item/a.xlsx', workbook({ rows: HEADER }));
    expect(await read(source, 'other')).toEqual({ rows: [], refused: [] });
    expect((await read(source, 'gone')).failure?.message).toBe('"a.xlsx", line 1: the workbook has no such sheet');
  });
});

describe('a file that is no sound XLSX', () => {
  const part = 'xl/worksheets/sheet1.xml';
  const bomb = (size: number) => `<sst>${`<si><t>${'x'.repeat(1_000_000)}</t></si>`.repeat(size)}</sst>`;
  test.each([
    ['an old .xls or one with a password', Buffer.from('d0cf11e0a1b11ae1', 'hex'), 'the file is no sound XLSX'],
    ['half of one', workbook({ rows: HEADER }).subarray(0, 900), 'the file is no sound XLSX'],
    [
      'texts that unpack to more than may be held',
      withPart('xl/sharedStrings.xml', bomb(70)),
      'the texts of the file are too many to be held',
    ],
    [
      'a cell without an end',
      withPart(part, `<worksheet><row><c t="str"><v>${'x'.repeat(3_000_000)}`),
      'the file is no sound XLSX',
    ],
    [
      'entities that grow',
      withPart(part, '<!DOCTYPE x [<!ENTITY a "aaaa">]><worksheet>&a;</worksheet>'),
      'the file is no sound XLSX',
    ],
    [
      'more styles than any workbook has',
      withPart('xl/styles.xml', `<s><cellXfs>${'<xf/>'.repeat(100_001)}</cellXfs></s>`),
      'the file is no sound XLSX',
    ],
    ['no sheet in its place', withPart('x', ''), 'the file is no sound XLSX'],
    ['a sheet without a row', withPart(part, '<worksheet/>'), 'the file has no header'],
    ['XML that is none', withPart(part, '<worksheet><row></worksheet>'), 'the file is no sound XLSX'],
  ])('%s', async (_what, bytes, message) => {
    await using share = new Share();
    const source = share.open({ item: table('state', ITEM, { format: 'xlsx' }) });
    share.write('item/a.xlsx', bytes);
    const { rows, failure } = await read(source, 'item');
    expect(rows).toEqual([]);
    expect(failure).toEqual({ code: 'FILE_BROKEN', message: `"a.xlsx", line 1: ${message}` });
  });

  function withPart(name: string, content: string): Buffer {
    const rels = '<R><Relationship Id="r" Target="worksheets/sheet1.xml"/></R>';
    const parts = {
      'xl/workbook.xml': '<w><sheets><sheet name="a" id="r"/></sheets></w>',
      'xl/_rels/workbook.xml.rels': rels,
    };
    return zip({ ...parts, [name]: content });
  }
});

test('a hundred thousand rows are read in bounded memory', async () => {
  await using share = new Share();
  const source = share.open({ t: table('drop', { id: 'integer(64)', name: 'text' }, { format: 'xlsx' }) });
  const rows = Array.from(
    { length: 100_000 },
    (_, id) => `<row><c><v>${id}</v></c><c t="inlineStr"><is><t>${'名'.repeat(50)}</t></is></c></row>`,
  );
  const header = '<row><c t="inlineStr"><is><t>id</t></is></c><c t="inlineStr"><is><t>name</t></is></c></row>';
  share.write('t/a.xlsx', workbook({ rows: header + rows.join('') }));
  await using snapshot = await source.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
  const columns = [
    { name: 'qiao_file', type: { type: 'text', maxLength: 64 } as const },
    { name: 'qiao_row', type: { type: 'integer', bits: 64 } as const },
    { name: 'id', type: { type: 'integer', bits: 64 } as const },
  ];
  let count = 0;
  let largest = 0;
  for await (const chunk of snapshot.rows({ ref: { name: 't' }, keyColumns: 2, columns })) {
    count += chunk.rowCount ?? 0;
    largest = Math.max(largest, chunk.rows.length);
  }
  expect(count).toBe(100_000);
  expect(largest).toBeLessThan(1024 * 1024);
});

test('a long text that every row shares is read in bounded memory', async () => {
  await using share = new Share();
  const source = share.open({ t: table('state', { id: 'text', s: 'text', more: 'text' }, { format: 'xlsx' }) });
  const text = (value: string) => `<c t="inlineStr"><is><t>${value}</t></is></c>`;
  const shared = '<c t="s"><v>0</v></c>';
  const rows = Array.from({ length: 300 }, (_, id) => row(id + 2, `<c><v>${id}</v></c>${shared}`));
  share.write(
    't/a.xlsx',
    workbook({
      strings: [`<r><t>${'x'.repeat(600_000)}</t></r><r><t>${'x'.repeat(600_000)}</t></r>`],
      rows: row(1, text('id') + text('s') + text('more')) + rows.join(''),
    }),
  );
  await using snapshot = await source.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
  const columns = ['id', 's', 'more'].map((name) => ({ name, type: { type: 'text' } as const }));
  let count = 0;
  let largest = 0;
  for await (const chunk of snapshot.rows({ ref: { name: 't' }, keyColumns: 1, columns })) {
    count += chunk.rowCount ?? 0;
    largest = Math.max(largest, chunk.rows.length);
  }
  expect(count).toBe(300);
  expect(largest).toBeLessThan(4 * 1024 * 1024);
});
