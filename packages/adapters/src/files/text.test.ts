/** What is read of text files: CSV, JSON lines, their encodings and values. */
import { describe, expect, test } from 'vitest';
import { read, Share, table } from './directory.testing.ts';

const PERSON = table('state', { id: 'integer(64)', name: 'text' });

describe('CSV', () => {
  test('quotes, doubled quotes, line ends and delimiters within quotes, CRLF, a BOM and null against the empty text', async () => {
    await using share = new Share();
    const source = share.open({ person: PERSON });
    share.write('person/a.csv', '\uFEFFname,id,extra\r\n"a ""b"",\r\nc",1,x\r\n,2,x\n"",3,x\n\n张三,4,"x"');
    expect(await read(source, 'person')).toEqual({
      rows: [
        ['1', 'a "b",\r\nc'],
        ['2', null],
        ['3', ''],
        ['4', '张三'],
      ],
      refused: [],
    });
  });

  test('a declared null, delimiter and no header', async () => {
    await using share = new Share();
    const source = share.open({
      person: { ...PERSON, csv: { delimiter: '|', header: false, null: 'NULL' } },
    });
    share.write('person/a.csv', '1|NULL\n2|"NULL"\n3|\n');
    const { rows } = await read(source, 'person');
    expect(rows).toEqual([
      ['1', null],
      ['2', 'NULL'],
      ['3', ''],
    ]);
  });

  test.each([
    ['1,a\n2\n', 'line 3: found 1 fields, expected 2'],
    ['1,"a\nb"\n2,b,c\n', 'line 4: found 3 fields, expected 2'],
    ['1,"a\n2,b\n', 'line 2: a quote in the row that begins here is not closed'],
    ['1,"a"b\n', 'line 2: text stands behind a closing quote'],
    ['1,"a"\n2,a"b"\n', 'line 3: a quote stands within a field'],
  ])('a broken structure is an error with file and line: %j', async (rows, message) => {
    await using share = new Share();
    const source = share.open({ person: PERSON });
    share.write('person/a.csv', `id,name\n${rows}`);
    const { failure } = await read(source, 'person');
    expect(failure).toEqual({ code: 'FILE_BROKEN', message: `"a.csv", ${message}` });
  });

  test('a header without a declared column, and a file in UTF-16, are errors', async () => {
    await using share = new Share();
    const source = share.open({ person: PERSON });
    share.write('person/a.csv', 'id,nom\n1,a\n');
    expect((await read(source, 'person')).failure?.message).toBe('"a.csv", line 1: the header has no column name');
    share.write('person/b.csv', Buffer.from('\uFEFFid,name\n1,a\n', 'utf16le'));
    expect((await read(source, 'person')).failure?.message).toBe('"b.csv", line 1: the file is UTF-16');
  });

  test('rows are the same wherever the blocks end that they are read by', async () => {
    await using share = new Share();
    const source = share.open({ person: PERSON });
    const values = Array.from({ length: 4_000 }, (_, id) => [String(id), '张"\n,'.repeat(id % 97)]);
    const lines = values.map(([id, name]) => `${id},"${name?.replaceAll('"', '""')}"\n`);
    share.write('person/a.csv', `id,name\n${lines.join('')}`);
    const { rows } = await read(source, 'person');
    expect(rows).toEqual(values);
  });

  test('a row that never ends is an error, not the end of the memory', async () => {
    await using share = new Share();
    const source = share.open({ person: PERSON });
    share.write('person/a.csv', `id,name\n1,"${'x'.repeat(34 * 1024 * 1024)}`);
    expect((await read(source, 'person')).failure?.message).toBe(
      '"a.csv", line 2: the row that begins here does not end',
    );
  });
});

describe('encodings', () => {
  // 𠀀 (U+20000), a rare Han character of four bytes in GB18030, and € as GBK of Windows has it.
  const RARE = Buffer.from([0x95, 0x32, 0x82, 0x36]);

  test('GBK and GB18030, the characters of four bytes too', async () => {
    await using share = new Share();
    const source = share.open({
      gbk: { ...PERSON, encoding: 'gbk' },
      rare: { ...PERSON, encoding: 'gb18030', csv: { delimiter: '|', header: true, null: '' } },
    });
    share.write('gbk/a.csv', Buffer.concat([Buffer.from('id,name\n1,'), Buffer.from([0xd5, 0xc5, 0xc8, 0xfd])]));
    expect((await read(source, 'gbk')).rows).toEqual([['1', '张三']]);
    // 0x7C, the delimiter, is the second byte of 倈 (82 7C).
    share.write('rare/a.csv', Buffer.concat([Buffer.from('id|name\n1|'), RARE, Buffer.from([0x82, 0x7c, 0x0a])]));
    expect((await read(source, 'rare')).rows).toEqual([['1', '𠀀倈']]);
  });

  test('bytes that are no character leave their row out, with file, line and column, and no other', async () => {
    await using share = new Share();
    const source = share.open({
      person: PERSON,
      drop: table('drop', { id: 'integer(64)', name: 'text' }, { format: 'jsonl' }),
    });
    const bytes = Buffer.concat([Buffer.from('id,name\n1,"a\nb"\n2,x'), Buffer.from([0xff]), Buffer.from('y\n3,c\n')]);
    share.write('person/a.csv', bytes);
    expect(await read(source, 'person')).toEqual({
      rows: [
        ['1', 'a\nb'],
        ['3', 'c'],
      ],
      refused: [{ code: 'TEXT_UNDECODABLE', column: 'name', count: 1, first: '"a.csv", line 4' }],
    });
    share.write(
      'drop/a.jsonl',
      Buffer.concat([Buffer.from('{"id":1,"name":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}\n{"id":2}')]),
    );
    const { rows, refused } = await read(source, 'drop', { columns: ['id'] });
    expect(rows.map(([, row, id]) => [row, id])).toEqual([['2', '2']]);
    expect(refused).toEqual([{ code: 'TEXT_UNDECODABLE', column: '', count: 1, first: '"a.jsonl", line 1' }]);
  });

  test('U+FFFD that the file itself has is a character like others', async () => {
    await using share = new Share();
    const source = share.open({ person: PERSON });
    share.write('person/a.csv', 'id,name\n1,\uFFFD\n');
    expect(await read(source, 'person')).toEqual({ rows: [['1', '\uFFFD']], refused: [] });
  });
});

describe('values', () => {
  test('each type has one text, and what is no value of it leaves its row out', async () => {
    await using share = new Share();
    const source = share.open({
      t: table('state', {
        id: 'integer(64)',
        amount: 'decimal(10,2)',
        ratio: 'float(64)',
        good: 'boolean',
        day: 'date',
        at: 'timestamp(3)',
        instant: 'timestamptz(6)',
      }),
    });
    share.write(
      't/a.csv',
      [
        'id,amount,ratio,good,day,at,instant',
        '9007199254740993,12.5,1E2,true,2024-02-29,2024-01-31T08:00,2024-03-01T07:59:59.5+08:00',
        '9223372036854775808,1,1,t,2024-01-01,2024-01-01 00:00:00,2024-01-01T00:00:00Z',
        '2,1.234,1,t,2024-01-01,2024-01-01 00:00:00,2024-01-01T00:00:00Z',
        '3,1,1,yes,2024-01-01,2024-01-01 00:00:00,2024-01-01T00:00:00Z',
        '4,1,1,t,2023-02-29,2024-01-01 00:00:00,2024-01-01T00:00:00Z',
        '5,1,1,t,2024-01-01,2024-01-01 00:00:00.0001,2024-01-01T00:00:00Z',
        '6,1,1,t,2024-01-01,2024-01-01 00:00:00,2024-01-01 00:00:00',
        ',1,1,t,2024-01-01,2024-01-01 00:00:00,2024-01-01T00:00:00Z',
        '7,,,,,,\0',
      ].join('\n'),
    );
    const { rows, refused } = await read(source, 't');
    expect(rows).toEqual([
      ['9007199254740993', '12.50', '100', 't', '2024-02-29', '2024-01-31 08:00:00', '2024-02-29 23:59:59.5+00'],
    ]);
    expect(refused.map(({ code, column, count }) => `${code} ${column} ${count}`)).toEqual([
      'VALUE_INVALID id 2',
      'VALUE_INVALID amount 1',
      'VALUE_INVALID good 1',
      'VALUE_INVALID day 1',
      'VALUE_INVALID at 1',
      'VALUE_INVALID instant 1',
      'TEXT_HAS_NUL instant 1',
    ]);
  });

  test('JSON lines: numbers keep their text, nested values theirs, missing members are null', async () => {
    await using share = new Share();
    const source = share.open({
      t: table('state', { id: 'integer(64)', name: 'text', more: 'json' }, { format: 'jsonl' }),
    });
    share.write(
      't/a.jsonl',
      [
        '{ "id" : 9007199254740993 , "name":"a\\"}\\u5f20", "more": { "x": [1.0, "}"] } }',
        '{"id":"2","more":"text"}',
        '{"id":3,"name":12.50,"more":null,"else":[{}]}',
        '{"id":4,"id":5}',
        '[6]',
        '{"id":7',
        '',
        '{"id":8,"name":"\\ud800"}',
      ].join('\r\n'),
    );
    const { rows, refused } = await read(source, 't');
    expect(rows).toEqual([
      ['9007199254740993', 'a"}张', '{ "x": [1.0, "}"] }'],
      ['2', null, '"text"'],
      ['3', '12.50', null],
    ]);
    expect(refused.map(({ code, column, count, first }) => `${code} ${column} ${count} ${first}`)).toEqual([
      'VALUE_INVALID id 1 "a.jsonl", line 4',
      'VALUE_INVALID  2 "a.jsonl", line 5',
      'TEXT_UNDECODABLE name 1 "a.jsonl", line 8',
    ]);
  });
});
