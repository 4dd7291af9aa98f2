import { readFileSync } from 'node:fs';
import { Content, type Section as ContractSection, type PassedTable } from '@qiao/contract/delivery';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CONTENT_MAX_SECTIONS, decodeContent, encodeContent, type Section } from './content.ts';
import { countSections, totalRows } from './counts.ts';
import { QiaoError } from './errors.ts';
import { idText, parseId } from './ids.ts';
import { contractKind, KINDS, kindOf } from './kind.ts';
import { ParcelBuilder, type TableLayout } from './parcel.ts';
import type { TablePlace } from './place.ts';
import { joinRow, MAX_ROW_BYTES } from './rowText.ts';

const field = fc.option(
  fc.string({ unit: 'grapheme' }).filter((text) => !text.includes('\0')),
  { nil: null },
);
const name = fc.string({ unit: fc.constantFrom('a', 'b', '_', '桥', ' ', '"', '𠮷'), minLength: 1, maxLength: 12 });

const place = fc.record({
  node: fc.constantFrom('a', 'b').map((digit) => digit.repeat(32)),
  dataSource: name,
  schema: fc.option(name, { nil: undefined }),
  table: name,
});

const layout: fc.Arbitrary<TableLayout> = fc
  .record({
    table: name,
    columns: fc.uniqueArray(name, { minLength: 1, maxLength: 5 }),
    wholeRows: fc.boolean(),
    path: fc.option(fc.array(place, { minLength: 1, maxLength: 3 }), { nil: undefined }),
  })
  .chain((parts) => fc.record({ ...constants(parts), keyColumns: fc.integer({ min: 1, max: parts.columns.length }) }));

const change = layout.chain((table) =>
  fc.constantFrom(...KINDS).chain((kind) => {
    const width = kind === 'delete' ? table.keyColumns : table.columns.length;
    return fc
      .array(field, { minLength: width, maxLength: width })
      .map((fields) => ({ table, kind, line: `${joinRow(fields)}\n` }));
  }),
);
// A few layouts many times over, so that runs of like changes come up.
const changes = fc
  .array(change, { minLength: 1, maxLength: 4 })
  .chain((some) => fc.array(fc.constantFrom(...some), { maxLength: 30 }));

const asBuffers = (sections: readonly Section[]) =>
  sections.map((section) => ({ ...section, rows: Buffer.from(section.rows) }));

function placeOf({ nodeId, schema, ...rest }: PassedTable): TablePlace {
  return { ...rest, node: idText(nodeId), ...(schema !== '' && { schema }) };
}

function contractSection({ kind, columns, path = [], ...rest }: Section): ContractSection {
  const passedTables = path.map(({ node, schema = '', ...of }) => ({ ...of, nodeId: parseId(node), schema }));
  return { ...rest, columns: [...columns], kind: contractKind(kind), path: passedTables, pathFormat: 0 };
}

function build(list: readonly { table: TableLayout; kind: Section['kind']; line: string }[]): Section[] {
  const builder = new ParcelBuilder();
  for (const { table, kind, line } of list) builder.add(table, kind, Buffer.from(line));
  return builder.take();
}

const passed = { node: 'c'.repeat(32), dataSource: 'own', table: 'register' };

const section = (parts: Partial<Section> = {}): Section => ({
  table: 'birth_certificate',
  kind: 'insert',
  columns: ['certificate_no', 'baby_name'],
  keyColumns: 1,
  rowCount: 2,
  rows: Buffer.from('B1\t王小明\nB2\t\\N\n'),
  wholeRows: true,
  ...parts,
});

describe('content', () => {
  test('what a parcel collects is decoded again, in commit order', () => {
    fc.assert(
      fc.property(changes, (list) => {
        const sections = build(list);
        const decoded = decodeContent(encodeContent(sections));
        expect(asBuffers(decoded)).toEqual(asBuffers(sections));
        expect(decoded.flatMap((each) => Array(each.rowCount).fill(`${each.kind} ${each.table}`))).toEqual(
          list.map(({ kind, table }) => `${kind} ${table.table}`),
        );
        expect(Buffer.concat(decoded.map(({ rows }) => rows)).toString()).toBe(list.map(({ line }) => line).join(''));
        expect(totalRows(countSections(decoded))).toBe(list.length);
      }),
    );
  });

  test('the bytes are the contract: the generated codec reads and writes the same', () => {
    fc.assert(
      fc.property(changes, (list) => {
        const sections = build(list);
        const bytes = encodeContent(sections);
        const generated = Content.decode(bytes);
        const read = generated.sections.map(({ path, pathFormat: _, ...each }) => ({
          ...each,
          kind: kindOf(each.kind),
          ...(path.length > 0 && { path: path.map(placeOf) }),
        }));
        expect(asBuffers(read)).toEqual(asBuffers(sections));
        const written = Content.encode({ sections: sections.map(contractSection) });
        expect(asBuffers(decodeContent(written.finish()))).toEqual(asBuffers(sections));
      }),
    );
  });

  test('the golden bytes are written and read', () => {
    const golden = readFileSync(new URL('../golden/content.hex', import.meta.url), 'utf8').trim();
    const sections = [
      section(),
      section({
        kind: 'delete',
        columns: ['certificate_no'],
        rowCount: 1,
        rows: Buffer.from('B3\n'),
        wholeRows: false,
      }),
    ];
    expect(Buffer.from(encodeContent(sections)).toString('hex')).toBe(golden);
    expect(asBuffers(decodeContent(Buffer.from(golden, 'hex')))).toEqual(sections);
  });

  test('no bytes are no sections', () => {
    expect(decodeContent(new Uint8Array(0))).toEqual([]);
    expect(encodeContent([]).length).toBe(0);
  });

  test('damaged bytes are refused as CONTENT_INVALID or mean something else, never anything worse', () => {
    fc.assert(
      fc.property(changes, fc.nat(), fc.nat(255), fc.boolean(), (list, where, byte, cut) => {
        const bytes = Buffer.from(encodeContent(build(list)));
        const at = bytes.length === 0 ? 0 : where % bytes.length;
        const damaged = cut
          ? bytes.subarray(0, at)
          : Buffer.concat([bytes.subarray(0, at), Buffer.of(byte), bytes.subarray(at + 1)]);
        expect(['decoded', 'CONTENT_INVALID']).toContain(decodedOrCode(damaged));
      }),
      { numRuns: 1000 },
    );
  });

  test('random bytes are refused as CONTENT_INVALID', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (bytes) => {
        expect(['decoded', 'CONTENT_INVALID']).toContain(decodedOrCode(bytes));
      }),
      { numRuns: 1000 },
    );
  });

  test('every statement that the rows do not keep is refused', () => {
    const wrong: [Partial<Section>, RegExp][] = [
      [{ rowCount: 3 }, /2 lines in section 0; expected 3/],
      [{ columns: ['a'] }, /Section 0: Found 2 fields; expected 1/],
      [{ rows: Buffer.from('a\tb'), rowCount: 1 }, /LF does not end/],
    ];
    for (const [parts, message] of wrong) expect(() => decodeContent(encodeContent([section(parts)]))).toThrow(message);
    const refused: [Partial<Section>, RegExp][] = [
      [{ table: '' }, /empty table name/],
      [{ table: 'x'.repeat(65) }, /over 64 characters/],
      [{ table: 'a\nb' }, /control characters/],
      [{ columns: [] }, /0 columns/],
      [{ columns: ['a', 'a'] }, /named twice/],
      [{ keyColumns: 3 }, /3 key columns of 2/],
      [{ kind: 'update', keyColumns: 0 }, /0 key columns/],
      [{ kind: 'delete', keyColumns: 1 }, /1 key columns of 2/],
      [{ rowCount: 0 }, /0 rows/],
      [{ path: Array.from({ length: 17 }, () => passed) }, /more than 16 passed tables/],
      [{ path: [{ ...passed, table: 'a\nb' }] }, /control characters/],
      [{ path: [{ ...passed, dataSource: '' }] }, /empty data source of a passed table/],
    ];
    for (const [parts, message] of refused) {
      expect(() => encodeContent([section(parts)])).toThrow(message);
      const bytes = Content.encode({ sections: [contractSection(section(parts))] }).finish();
      expect(() => decodeContent(bytes)).toThrow(message);
    }
    expect(decodeContent(encodeContent([section({ table: '𠮷'.repeat(63) })]))[0]?.table).toBe('𠮷'.repeat(63));
  });

  test('passed tables in a format of a later version are refused as that, whatever they hold', () => {
    const later = { ...contractSection(section({ path: [passed] })), pathFormat: 1 };
    const refused = /passed tables in format 1 in section 0; expected format 0/;
    expect(() => decodeContent(Content.encode({ sections: [later] }).finish())).toThrow(refused);
    const unlike = { ...later, path: [{ nodeId: Buffer.alloc(15), dataSource: '', schema: '', table: '' }] };
    expect(() => decodeContent(Content.encode({ sections: [unlike] }).finish())).toThrow(refused);
  });

  test('a bomb of empty sections or columns is refused before it is unpacked', () => {
    const sections = Buffer.alloc(2 * 4_000_000, Buffer.of(10, 0));
    const before = process.threadCpuUsage();
    expect(() => decodeContent(sections)).toThrow(/empty table name/);
    const columns = Buffer.alloc(2 * 1_000_000, Buffer.of(26, 0));
    const head = Buffer.of(
      10,
      0x80 | (columns.length & 0x7f),
      0x80 | ((columns.length >> 7) & 0x7f),
      columns.length >> 14,
    );
    expect(() => decodeContent(Buffer.concat([head, columns]))).toThrow(/more than 1600 columns/);
    expect(process.threadCpuUsage(before).user).toBeLessThan(1_000_000);
    expect(() => encodeContent(Array(CONTENT_MAX_SECTIONS + 1).fill(section()))).toThrow(/100001 sections/);
  });

  test('an unknown field and a repeated one are refused', () => {
    const bytes = encodeContent([section()]);
    expect(() => decodeContent(Buffer.concat([bytes, Buffer.of(16, 1)]))).toThrow(/unknown field in content/);
    const twice = Buffer.concat([Buffer.of(10, 6, 10, 1, 97, 10, 1, 98)]);
    expect(() => decodeContent(twice)).toThrow(/field 1 twice/);
    const nameless = Content.encode({
      sections: [
        {
          ...contractSection(section()),
          path: [{ nodeId: Buffer.alloc(15), dataSource: 'a', schema: '', table: 'b' }],
        },
      ],
    });
    expect(() => decodeContent(nameless.finish())).toThrow(/identity of 15 bytes/);
  });
});

describe('a parcel', () => {
  const births: TableLayout = { table: 'births', columns: ['id', 'name'], keyColumns: 1, wholeRows: true };

  test('is full at its limit and empty after it was taken', () => {
    const builder = new ParcelBuilder(1000);
    let lines = 0;
    while (!builder.isFull) {
      builder.add(births, 'insert', Buffer.from('1\tx\n'));
      lines++;
    }
    expect(builder.rows).toBe(lines);
    expect(builder.bytes).toBeGreaterThanOrEqual(1000);
    const taken = builder.take();
    expect(taken.length).toBe(1);
    expect(encodeContent(taken).length).toBeLessThanOrEqual(builder.bytes + 1100);
    expect([builder.rows, builder.bytes, builder.isFull, builder.take()]).toEqual([0, 0, false, []]);
  });

  test('says no fewer bytes than the content has', () => {
    fc.assert(
      fc.property(changes, (list) => {
        const builder = new ParcelBuilder();
        for (const { table, kind, line } of list) builder.add(table, kind, Buffer.from(line));
        const said = builder.bytes;
        expect(encodeContent(builder.take()).length).toBeLessThanOrEqual(said);
      }),
    );
  });

  test('keeps what it was given, not what the giver does with the buffer afterwards', () => {
    const builder = new ParcelBuilder();
    const line = Buffer.from('1\tx\n');
    builder.add(births, 'insert', line);
    line.fill(0);
    const content = encodeContent(builder.take());
    builder.add(births, 'insert', Buffer.from('2\ty\n'));
    expect(Buffer.from(decodeContent(content)[0]?.rows ?? []).toString()).toBe('1\tx\n');
  });

  test('lies where the one before lay, unless a row made that much larger than parcels are', () => {
    const builder = new ParcelBuilder(1_000);
    const memory = (bytes: number) => {
      builder.add(births, 'insert', Buffer.from(`1\t${'x'.repeat(bytes)}\n`));
      return builder.take()[0]?.rows.buffer;
    };
    const first = memory(2_000);
    expect(memory(3_000)).toBe(first);
    const large = memory(1_000_000);
    expect(memory(10)).not.toBe(large);
  });

  test('carries whole chunks at once and refuses a row past 16 MiB', () => {
    const builder = new ParcelBuilder();
    builder.addRows(births, 'insert', Buffer.from('1\tx\n2\ty\n'), 2);
    builder.add(births, 'insert', Buffer.from('3\tz\n'));
    expect(builder.take().map(({ rowCount }) => rowCount)).toEqual([3]);
    expect(() => builder.add(births, 'insert', new Uint8Array(MAX_ROW_BYTES + 1))).toThrow(/at most 16777216/);
  });

  test('collects 100,000 rows in well under a second', () => {
    const builder = new ParcelBuilder(32 * 1024 * 1024);
    const line = Buffer.from(`${'x'.repeat(60)}\t${'y'.repeat(60)}\n`);
    const before = process.threadCpuUsage();
    for (let row = 0; row < 100_000; row++) builder.add(births, 'insert', line);
    expect(decodeContent(encodeContent(builder.take()))[0]?.rowCount).toBe(100_000);
    expect(process.threadCpuUsage(before).user).toBeLessThan(1_000_000);
  });
});

function decodedOrCode(bytes: Uint8Array): string {
  try {
    decodeContent(bytes);
    return 'decoded';
  } catch (error) {
    return error instanceof QiaoError ? error.code : String(error);
  }
}

function constants<T extends object>(parts: T): { [K in keyof T]: fc.Arbitrary<T[K]> } {
  return Object.fromEntries(Object.entries(parts).map(([key, value]) => [key, fc.constant(value)])) as {
    [K in keyof T]: fc.Arbitrary<T[K]>;
  };
}
