/** What lands in files: M1–M6, R1–R5, R8, A1–A5 of adapter.ts, and that each file appears once, whole. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type AmendWork,
  type ApplyWork,
  type DataSource,
  defaultJournalColumns,
  type Target,
  type TargetTable,
} from '../adapter.ts';
import { applied, Lane, section } from '../contract-suite/fixture.ts';
import { openFiles } from './dataSource.ts';
import { read, Share, table } from './directory.testing.ts';
import { openWorkbook } from './workbook.ts';

const COLUMNS = { id: 'integer(64)', name: 'text', amount: 'decimal(10,2)', good: 'boolean', more: 'json' };
const NAMES = Object.keys(COLUMNS);
const ROW = ['9007199254740993', '张"三,\n', '12.50', 't', '{"a": [1.0]}'];
const PLACE = `${'a'.repeat(32)}-000001-`;

function into(name: string, changes: Partial<TargetTable> = {}): TargetTable {
  const columns = NAMES.map((column) => ({ name: column, type: { type: 'text' } as const }));
  const base = { table: name, ref: { name }, key: ['id'], columns, ownership: 'none', onDelete: 'delete' } as const;
  return { ...base, landing: 'journal', journalColumns: defaultJournalColumns, ...changes };
}

async function open(source: DataSource, ...names: string[]): Promise<{ target: Target; lane: Lane }> {
  const target = await source.openTarget();
  await target.prepare();
  const lane = new Lane(names.map((name) => into(name)));
  await applied(target, lane.opening());
  return { target, lane };
}

const filesIn = (share: Share, folder: string) => readdirSync(join(share.directory, folder)).sort();
const textOf = (share: Share, file: string) => readFileSync(join(share.directory, file), 'utf8');

describe('rows in files', () => {
  test('a delivery is a file in the folder of each table, with the journal’s columns', async () => {
    await using share = new Share();
    const source = share.open({ csv: table('target', COLUMNS), json: table('target', COLUMNS, { format: 'jsonl' }) });
    const { target, lane } = await open(source, 'csv', 'json');
    const nothing = ['2', '', null, null, null];
    const { cells } = await applied(
      target,
      lane.next([
        section('csv', 'insert', NAMES, [ROW, nothing]),
        section('json', 'update', NAMES, [ROW, nothing]),
        section('csv', 'delete', NAMES, [['3']]),
        section('json', 'delete', NAMES, [['3']]),
      ]),
    );
    expect(cells).toEqual([
      'csv delete deleted 1',
      'csv insert inserted 2',
      'json delete deleted 1',
      'json update updated 2',
    ]);
    expect(textOf(share, `csv/${PLACE}000000000001.csv`).split('\r\n')).toEqual([
      'qiao_operation,qiao_batch_no,qiao_source_department,qiao_applied_at,id,name,amount,good,more',
      'I,batch-1,卫生健康委员会,2023-11-14 22:13:20+00,9007199254740993,"张""三,\n",12.50,t,"{""a"": [1.0]}"',
      'I,batch-1,卫生健康委员会,2023-11-14 22:13:20+00,2,"",,,',
      'D,batch-1,卫生健康委员会,2023-11-14 22:13:20+00,3,,,,',
      '',
    ]);
    const own = (letter: string) =>
      `"qiao_operation":"${letter}","qiao_batch_no":"batch-1","qiao_source_department":"卫生健康委员会","qiao_applied_at":"2023-11-14 22:13:20+00"`;
    expect(textOf(share, `json/${PLACE}000000000001.jsonl`).split('\n')).toEqual([
      `{${own('U')},"id":9007199254740993,"name":"张\\"三,\\n","amount":12.50,"good":true,"more":{"a": [1.0]}}`,
      `{${own('U')},"id":2,"name":"","amount":null,"good":null,"more":null}`,
      `{${own('D')},"id":3}`,
      '',
    ]);
  });

  test.each(['csv', 'jsonl', 'xlsx'] as const)(
    'what was written as %s is read as it was, in each encoding',
    async (format) => {
      for (const encoding of ['utf-8', 'gb18030'] as const) {
        await using share = new Share();
        const source = share.open({ t: table('target', COLUMNS, { format, encoding }) });
        const { target, lane } = await open(source, 't');
        const rows = [
          ROW,
          ['1', '𠀀€\u{10FFFF}\uE000\u3400ßÿ\\N\t\r', '-0.01', 'f', '"x"'],
          ['2', '', null, null, null],
        ];
        await applied(target, lane.next([section('t', 'insert', NAMES, rows)]));
        const back = share.open({ t: table('state', COLUMNS, { format, encoding }) });
        expect(await read(back, 't')).toEqual({ rows, refused: [] });
      }
    },
  );

  test('a number stands in a sheet as a number where its cell keeps all of it, and everything else as a text', async () => {
    await using share = new Share();
    const columns = {
      id: 'integer(64)',
      price: 'decimal(20,2)',
      free: 'decimal',
      ratio: 'float(64)',
      name: 'text',
      day: 'date',
      good: 'boolean',
    };
    const names = Object.keys(columns);
    const source = share.open({ t: table('target', columns, { format: 'xlsx', sheet: '就诊<1>' }) });
    const target = await source.openTarget();
    await target.prepare();
    const shape = names.map((name) => ({ name, type: { type: 'text' } as const }));
    const lane = new Lane([into('t', { columns: shape })]);
    await applied(target, lane.opening());
    const rows = [
      ['123456789012345', '-0.10', '0.001', '1e+20', '370202199001011234', '2024-01-31', 't'],
      ['1234567890123456', '123456789012345678.90', '12.50', '-0', '_x0041_\u0001\r\n<&">\uFFFF', '0044-03-15 BC', 'f'],
      ['-7', '1234567890123.45', '0', 'NaN', ' ', null, null],
      ['8', null, null, '5e-324', '', '9999-12-31', null],
    ];
    await applied(target, lane.next([section('t', 'insert', names, rows)]));
    const back = share.open({ t: table('state', columns, { format: 'xlsx', sheet: '就诊<1>' }) });
    expect(await read(back, 't')).toEqual({ rows, refused: [] });
    const kinds: string[] = [];
    await using handle = await openFile(join(share.directory, 't', `${PLACE}000000000001.xlsx`));
    const book = await openWorkbook('t.xlsx', handle, undefined, async () => undefined);
    const tags = {
      open: (name: string, attribute: (name: string) => string | undefined) => {
        if (name === 'c') kinds.push({ inlineStr: 'text', b: 'truth' }[attribute('t') ?? ''] ?? 'number');
      },
    };
    for await (const _ of book.sheet(tags));
    const kindsOf = (place: number) => kinds.slice(place * 11 + 4, place * 11 + 11);
    expect(kindsOf(1)).toEqual(['number', 'number', 'number', 'number', 'text', 'text', 'truth']);
    expect(kindsOf(2)).toEqual(['text', 'text', 'text', 'text', 'text', 'text', 'truth']);
    expect(kindsOf(3)).toEqual(['number', 'number', 'number', 'text', 'text', 'number', 'number']);
  });

  test('a text that no cell can keep is isolated, and so is a change that a sheet cannot tell from nulls', async () => {
    await using share = new Share();
    const source = share.open({ t: table('target', COLUMNS, { format: 'xlsx' }) });
    const { target, lane } = await open(source, 't');
    const { quarantined } = await applied(
      target,
      lane.next([
        section('t', 'insert', NAMES, [['1', 'x'.repeat(32_768), null, null, null], ROW]),
        section('t', 'update', ['id', 'name'], [['3', '三']], { wholeRows: false }),
      ]),
    );
    expect(quarantined.map(({ index, code, reason }) => ({ index, code, reason }))).toEqual([
      {
        index: 0,
        code: 'VALUE_INVALID',
        reason: 'column name: more than 32767 characters, which a cell cannot keep',
      },
      { index: 0, code: 'MISSING_BASE', reason: 'columns that were not sent cannot be told from empty ones in xlsx' },
    ]);
  });

  test('any text comes back from each format as it was', async () => {
    const formats = ['csv', 'jsonl', 'xlsx'] as const;
    const columns = { id: 'integer(32)', name: 'text' };
    const shape = Object.keys(columns).map((name) => ({ name, type: { type: 'text' } as const }));
    const declared = (nature: 'target' | 'state') =>
      Object.fromEntries(formats.map((format) => [format, table(nature, columns, { format })]));
    const character = fc.oneof(
      fc.integer({ min: 1, max: 0x7f }).map((code) => String.fromCodePoint(code)),
      fc.constantFrom('_x', '_x0041_', '_', 'x005F_', '\r\n', ']]>', '\\N', '\uFFFE', '\u{10FFFF}', '鿿'),
      fc.string({ unit: 'binary', maxLength: 2 }).filter((text) => !text.includes('\0')),
    );
    const texts = fc.array(fc.string({ unit: character, maxLength: 12 }), { minLength: 1, maxLength: 200 });
    const property = fc.asyncProperty(texts, async (some) => {
      await using share = new Share();
      const rows = some.map((text, id) => [String(id), text]);
      const target = await share.open(declared('target')).openTarget();
      await target.prepare();
      const lane = new Lane(formats.map((format) => into(format, { columns: shape })));
      await applied(target, lane.opening());
      await applied(target, lane.next(formats.map((format) => section(format, 'insert', Object.keys(columns), rows))));
      const back = share.open(declared('state'));
      for (const format of formats) expect(await read(back, format)).toEqual({ rows, refused: [] });
    });
    await fc.assert(property, { numRuns: 20 });
  });

  test('a row that the table or its encoding cannot hold is isolated, and later ones of its key wait', async () => {
    await using share = new Share();
    const source = share.open({ t: table('target', COLUMNS, { encoding: 'gbk' }) });
    const { target, lane } = await open(source, 't');
    const row = (id: string, name: string, amount = '1') => [id, name, amount, 't', null];
    const kept: string[] = [];
    const { quarantined, cells } = await applied(
      target,
      lane.next(
        [
          section('t', 'insert', NAMES, [row('1', '𠀀'), row('2', '张', '1.005'), row('3', '张')]),
          section('t', 'update', ['id', 'name'], [['3', '三']], { wholeRows: false }),
          section('t', 'delete', NAMES, [['1'], ['4']]),
        ],
        { beforeCommit: (rows) => void kept.push(...rows.map(({ code }) => code)) },
      ),
    );
    expect(
      quarantined.map(({ section: at, index, outcome, code, reason }) => ({ at, index, outcome, code, reason })),
    ).toEqual([
      { at: 0, index: 0, outcome: 'quarantined', code: 'VALUE_INVALID', reason: 'a character that gbk does not have' },
      {
        at: 0,
        index: 1,
        outcome: 'quarantined',
        code: 'VALUE_INVALID',
        reason: expect.stringMatching(/^column amount: 3 digits/),
      },
      { at: 1, index: 0, outcome: 'held', code: 'MISSING_BASE', reason: expect.any(String) },
      { at: 2, index: 0, outcome: 'held', code: 'HELD', reason: expect.any(String) },
    ]);
    expect(kept).toEqual(quarantined.map(({ code }) => code));
    expect(cells).toEqual([
      't delete deleted 1',
      't delete held 1',
      't insert inserted 1',
      't insert quarantined 2',
      't update held 1',
    ]);
    expect(filesIn(share, 't')).toEqual([`${PLACE}000000000001.csv`]);
  });

  test('more isolated rows than allowed are the delivery’s failure, and nothing is there', async () => {
    await using share = new Share();
    const source = share.open({ t: table('target', COLUMNS) });
    const { target, lane } = await open(source, 't');
    const rows = Array.from({ length: 4 }, (_, id) => [String(id), 'x', 'no number', 't', null]);
    const work = lane.next([section('t', 'insert', NAMES, rows)], { mostIsolated: 3 });
    await expect(target.apply(work)).rejects.toMatchObject({ code: 'QUARANTINE_LIMIT', fate: 'permanent' });
    expect(filesIn(share, 't')).toEqual([]);
    expect((await target.points(lane.id)).length).toBe(1);
  });
});

describe('the mark', () => {
  test('a delivery lands once; asked again it answers what is stored; gaps, forks and purges are as everywhere', async () => {
    await using share = new Share();
    const source = share.open({ t: table('target', COLUMNS) });
    const { target, lane } = await open(source, 't');
    const { targetId } = await target.prepare();
    const first = lane.next([section('t', 'insert', NAMES, [ROW])]);
    const { answer } = await applied(target, first);
    // The department took it away: it does not come again.
    rmSync(join(share.directory, 't', `${PLACE}000000000001.csv`));
    const again = await share.open({ t: table('target', COLUMNS) }).openTarget();
    expect(await again.prepare()).toEqual({ targetId, created: false });
    expect(await again.apply(first)).toMatchObject({ kind: 'alreadyApplied', answer });
    expect(filesIn(share, 't')).toEqual([]);
    expect(await again.apply({ ...first, contentHash: new Uint8Array(32) })).toMatchObject({ kind: 'fork' });
    const second = lane.next([section('t', 'insert', NAMES, [ROW])]);
    const third = lane.next([section('t', 'insert', NAMES, [ROW])], { settledThrough: 1n });
    expect(await again.apply(third)).toEqual({ kind: 'gap', expected: 2n });
    await applied(again, second);
    await applied(again, third);
    expect((await again.points(lane.id)).map(({ sequence }) => sequence)).toEqual([2n, 3n]);
    expect(filesIn(share, 't')).toEqual([`${PLACE}000000000002.csv`, `${PLACE}000000000003.csv`]);
    await again.forgetLane(lane.id);
    expect(await again.points(lane.id)).toEqual([]);
    expect(await again.prepare()).toEqual({ targetId, created: false });
  });

  test('when keeping the refused rows fails, nothing has changed', async () => {
    await using share = new Share();
    const source = share.open({ t: table('target', COLUMNS) });
    const { target, lane } = await open(source, 't');
    const before = await target.points(lane.id);
    const rows = [ROW, ['x', null, null, null, null]];
    const work = lane.next([section('t', 'insert', NAMES, rows)]);
    const failing = { ...work, beforeCommit: () => Promise.reject(new Error('the disk is full')) };
    await expect(target.apply(failing)).rejects.toThrow('the disk is full');
    expect(await target.points(lane.id)).toEqual(before);
    expect(filesIn(share, 't')).toEqual([]);
    await applied(target, work);
    expect(filesIn(share, 't').length).toBe(1);
  });

  test('rows that wait land in a file of their own, under the revision they bring', async () => {
    await using share = new Share();
    const source = share.open({ t: table('target', COLUMNS) });
    const { target, lane } = await open(source, 't');
    const work = lane.next([
      section('t', 'insert', NAMES, [
        ['x', 'a', null, null, null],
        ['y', 'b', null, null, null],
      ]),
    ]);
    await applied(target, work);
    expect(filesIn(share, 't')).toEqual([]);
    const amend = amendOf(work, {
      sections: [section('t', 'insert', NAMES, [['1', 'a', null, null, null]])],
      givenUp: [{ section: 0, index: 1, outcome: 'abandoned' }],
    });
    const result = await target.amend(amend);
    expect(result).toMatchObject({ kind: 'amended', answer: { revision: 2, open: [] } });
    expect(filesIn(share, 't')).toEqual([`${PLACE}000000000001-r2.csv`]);
    expect(await target.amend(amend)).toMatchObject({ kind: 'unknown' });
    expect(await target.amend(amendOf(work, { revisionAbove: 7 }))).toMatchObject({ answer: { revision: 8 } });
    expect(filesIn(share, 't')).toEqual([`${PLACE}000000000001-r2.csv`]);
  });

  test('a folder that is gone stops the lane with nothing done', async () => {
    await using share = new Share();
    const source = share.open({ t: table('target', COLUMNS) });
    const { target, lane } = await open(source, 't');
    rmSync(join(share.directory, 't'), { recursive: true });
    const work = lane.next([section('t', 'insert', NAMES, [ROW])]);
    await expect(target.apply(work)).rejects.toMatchObject({ code: 'TARGET_UNAVAILABLE', fate: 'transient' });
    mkdirSync(join(share.directory, 't'));
    await applied(target, work);
    expect(filesIn(share, 't').length).toBe(1);
  });
});

describe('an agent that is killed while it lands a delivery', () => {
  /** Dies by SIGKILL at the crash point, in a process of its own. */
  async function dieAt(point: string, share: Share): Promise<void> {
    const script = fileURLToPath(new URL('./dieLanding.testing.ts', import.meta.url));
    const child = spawn(process.execPath, [script, share.root], {
      env: { ...process.env, QIAO_CRASH_AT: point },
      stdio: ['ignore', 'inherit', 'ignore'],
    });
    expect(await once(child, 'exit')).toEqual([null, 'SIGKILL']);
  }

  test.each([
    ['landing.staged', 0],
    ['landing.marked', 1],
  ] as const)('at %s: its file appears once, and never again when it was taken', async (point, marked) => {
    await using share = new Share();
    const source = share.open({ t: table('target', COLUMNS) });
    await dieAt(`${point}:2`, share);
    expect(filesIn(share, 't')).toEqual([]);
    const target = await source.openTarget();
    const lane = new Lane([into('t')]);
    lane.opening();
    expect((await target.points(lane.id)).length).toBe(1 + marked);
    const work = lane.next([section('t', 'insert', NAMES, [ROW])]);
    expect((await target.apply(work)).kind).toBe(marked === 0 ? 'applied' : 'alreadyApplied');
    const landed = `${PLACE}000000000001.csv`;
    expect(filesIn(share, 't')).toEqual([landed]);
    expect(filesIn(share, `.qiao/landing/${lane.id}`)).toEqual([]);
    rmSync(join(share.directory, 't', landed));
    expect((await target.apply(work)).kind).toBe('alreadyApplied');
    expect(filesIn(share, 't')).toEqual([]);
  });
});

test('a folder on another file system is told: no file could appear there whole', async () => {
  await using share = new Share();
  const source = openFiles({
    name: 'devices',
    adapter: 'files',
    directory: '/dev',
    ledger: join(share.root, 'devices.db'),
    settledAfterMs: 0,
    tables: { t: { ...table('target', COLUMNS), folder: 'shm' } },
  });
  const problems = await source.checkTarget([into('t')], new Map());
  expect(problems.find(({ code }) => code === 'FOLDER_ELSEWHERE')).toMatchObject({
    path: 't',
    hint: expect.stringContaining('data source of its own'),
  });
  await source.close();
});

test('the preflight of a target names every problem at once, each with its fix', async () => {
  await using share = new Share();
  const source = share.open({
    t: table('target', { id: 'integer(16)', name: 'text(5)' }),
    link: table('target', COLUMNS),
    s: table('state', COLUMNS),
  });
  const types = new Map([
    [
      't',
      {
        columns: [
          { name: 'id', type: { type: 'integer', bits: 64 } as const, nullable: false },
          { name: 'name', type: { type: 'text', maxLength: 5 } as const, nullable: true },
        ],
      },
    ],
  ]);
  rmSync(join(share.directory, 'link'), { recursive: true });
  symlinkSync(share.root, join(share.directory, 'link'));
  const problems = await source.checkTarget(
    [into('t', { landing: 'mirror' }), into('s'), into('nothing'), into('link')],
    types,
  );
  expect(problems.map(({ code, path }) => `${code} ${path}`)).toEqual([
    'LANDING_REFUSED t',
    'TYPE_REFUSED t.id',
    'COLUMN_MISSING t.amount',
    'COLUMN_MISSING t.good',
    'COLUMN_MISSING t.more',
    'TABLE_MISSING s',
    'TABLE_MISSING nothing',
    'FOLDER_OUTSIDE link',
  ]);
  for (const { hint } of problems) expect(hint).not.toBe('');
  const good = share.open({ t: table('target', COLUMNS) });
  expect(await good.checkTarget([into('t')], new Map())).toEqual([]);
  expect(existsSync(join(share.directory, '.qiao'))).toBe(false);
  writeFileSync(join(share.directory, '.qiao'), '');
  await expect((await good.openTarget()).prepare()).rejects.toMatchObject({ code: 'TARGET_UNAVAILABLE' });
});

function amendOf(work: ApplyWork, changes: Partial<AmendWork>): AmendWork {
  const { laneId, epoch, sequence, tables, batchNo, sourceDepartment, appliedAtMs } = work;
  const rest = { batchNo, sourceDepartment, appliedAtMs, givenUp: [], revisionAbove: 0, sections: [] };
  const placeOf = (at: number, index: number) => ({ section: at, index });
  return { laneId, epoch, sequence, tables, ...rest, placeOf, beforeCommit: () => undefined, ...changes };
}

describe('what lies in the directory', () => {
  test('a link in place of a folder of its own is not followed: nothing behind it is removed', async () => {
    for (const place of ['landing', 'mark']) {
      await using share = new Share();
      const source = share.open({ t: table('target', COLUMNS) });
      const { target, lane } = await open(source, 't');
      const victim = join(share.root, 'victim');
      mkdirSync(victim);
      writeFileSync(join(victim, 'exchange.db'), 'x');
      const own = join(share.directory, '.qiao', place, lane.id);
      rmSync(own, { recursive: true, force: true });
      mkdirSync(join(share.directory, '.qiao', place), { recursive: true });
      symlinkSync(victim, own);
      const work = lane.next([section('t', 'insert', NAMES, [ROW])]);
      await expect(target.apply(work)).rejects.toMatchObject({ code: 'MARK_UNREADABLE' });
      await expect(target.forgetLane(lane.id)).rejects.toMatchObject({ code: 'MARK_UNREADABLE' });
      expect(readdirSync(victim)).toEqual(['exchange.db']);
    }
  });

  test('what somebody else put among files that are not committed stays', async () => {
    await using share = new Share();
    const source = share.open({ t: table('target', COLUMNS) });
    const { target, lane } = await open(source, 't');
    share.write(`.qiao/landing/${lane.id}/notes.txt`, 'x');
    await applied(target, lane.next([section('t', 'insert', NAMES, [ROW])]));
    await target.forgetLane(lane.id);
    expect(filesIn(share, `.qiao/landing/${lane.id}`)).toEqual(['notes.txt']);
  });

  test('a table may have as long a name as a folder', async () => {
    await using share = new Share();
    const name = '全市医疗机构门诊就诊记录明细信息共享交换接收表'.repeat(3).slice(0, 80);
    const source = share.open({ [name]: table('target', COLUMNS) });
    const { target, lane } = await open(source, name);
    await applied(target, lane.next([section(name, 'insert', NAMES, [ROW])]));
    expect(filesIn(share, name)).toEqual([`${PLACE}000000000001.csv`]);
  });

  test('the preflight tells of a declared column that the journal has, and of a header that cannot be written', async () => {
    await using share = new Share();
    const columns = { ...COLUMNS, qiao_operation: 'text', 𠀀: 'text' };
    const source = share.open({ t: table('target', columns, { encoding: 'gbk' }) });
    const problems = await source.checkTarget([into('t')], new Map());
    expect(problems.map(({ code, path }) => `${code} ${path}`)).toEqual([
      'JOURNAL_COLUMN_TWICE t.qiao_operation',
      'NAME_UNENCODABLE t.𠀀',
    ]);
    const { target, lane } = await open(source, 't');
    const work = lane.next([section('t', 'insert', NAMES, [ROW])]);
    await expect(target.apply(work)).rejects.toMatchObject({ code: 'TARGET_SCHEMA' });
  });
});
