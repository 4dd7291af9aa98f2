/** What is read of files: S1–S6 and C1–C6 of adapter.ts where they apply, and what only files have. */
import { appendFileSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { QiaoError } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import type { DataSource } from '../adapter.ts';
import { read, Share, table, wantedOf } from './directory.testing.ts';
import { Ledger } from './ledger.ts';

const PERSON = table('state', { id: 'integer(64)', name: 'text' });

describe('a state', () => {
  test('is its last file by name; without one it is not empty but unread', async () => {
    await using share = new Share();
    const source = share.open({ person: PERSON });
    expect((await read(source, 'person')).failure?.code).toBe('FILE_MISSING');
    share.write('person/20240102.csv', 'id,name\n2,b\n');
    share.write('person/20240101.csv', 'id,name\n1,a\n');
    share.write('person/20240103.csv.tmp', 'id,name\n3,c\n');
    share.write('person/.20240104.csv', 'id,name\n4,d\n');
    share.write('person/readme.txt', 'x');
    expect((await read(source, 'person')).rows).toEqual([['2', 'b']]);
    share.write('person/20240105.csv', 'id,name\n');
    expect((await read(source, 'person')).rows).toEqual([]);
  });

  test('its older file does not take back what the last one brought while that is written anew', async () => {
    await using share = new Share();
    const tables = { person: PERSON, marked: { ...PERSON, marker: '.ok' } };
    const source = share.open(tables, 50);
    for (const name of ['person', 'marked']) {
      share.write(`${name}/30.csv`, 'id,name\n1,old\n');
      share.write(`${name}/31.csv`, 'id,name\n1,new\n');
    }
    for (const name of ['30', '31']) share.write(`marked/${name}.csv.ok`, '');
    for (const name of ['person', 'marked']) expect((await read(source, name)).rows).toEqual([['1', 'new']]);
    share.write('person/31.csv', 'id,name\n1,newer\n');
    rmSync(join(share.directory, 'marked/31.csv.ok'));
    for (const name of ['person', 'marked']) {
      const { rows, failure } = await read(source, name);
      expect([rows, failure?.code]).toEqual([[], 'FILE_CHANGING']);
    }
    // Nor after a restart; but when somebody takes the last one away, the one before is the table.
    expect((await read(share.open(tables, 50), 'marked')).failure?.code).toBe('FILE_CHANGING');
    rmSync(join(share.directory, 'marked/31.csv'));
    expect((await read(source, 'marked')).rows).toEqual([['1', 'old']]);
  });

  test('a file without a header is no empty table', async () => {
    await using share = new Share();
    const source = share.open({
      person: PERSON,
      bare: { ...PERSON, csv: { delimiter: ',', header: false, null: '' } },
    });
    const message = '"a.csv", line 1: the file has no header';
    for (const content of ['', '\uFEFF']) {
      share.write('person/a.csv', content);
      expect((await read(source, 'person')).failure).toEqual({ code: 'FILE_BROKEN', message });
    }
    share.write('bare/a.csv', '');
    expect(await read(source, 'bare')).toEqual({ rows: [], refused: [] });
  });

  test('only rows of the keys that are asked for', async () => {
    await using share = new Share();
    const source = share.open({ person: PERSON });
    share.write('person/a.csv', 'id,name\n1,a\n2,b\n3,c\n');
    expect((await read(source, 'person', { keys: Buffer.from('3\n1\n9\n') })).rows).toEqual([
      ['1', 'a'],
      ['3', 'c'],
    ]);
  });

  test('a file that is written while it is read ends the reading', async () => {
    await using share = new Share();
    const source = share.open({ person: PERSON });
    const rows = Array.from({ length: 50_000 }, (_, id) => `${id},abcdefgh\n`).join('');
    share.write('person/a.csv', `id,name\n${rows}`);
    await using snapshot = await source.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
    const chunks = snapshot.rows(await wantedOf(source, 'person'))[Symbol.asyncIterator]();
    await chunks.next();
    appendFileSync(join(share.directory, 'person/a.csv'), '50000,new\n');
    await expect(chunks.next()).rejects.toMatchObject({ code: 'FILE_CHANGING', fate: 'transient' });
  });

  test('links are passed over, and a folder that leads out is refused', async () => {
    await using share = new Share();
    const source = share.open({ person: PERSON, out: { ...PERSON, folder: 'link' } });
    writeFileSync(join(share.root, 'secret.csv'), 'id,name\n1,secret\n');
    symlinkSync(join(share.root, 'secret.csv'), join(share.directory, 'person/z.csv'));
    share.write('person/a\n.csv', 'id,name\n2,b\n3\n');
    const { failure } = await read(source, 'person');
    expect(failure?.message).toBe('"a\\n.csv", line 3: found 1 fields, expected 2');
    rmSync(join(share.directory, 'link'), { recursive: true });
    symlinkSync(share.root, join(share.directory, 'link'));
    expect((await read(source, 'out')).failure?.code).toBe('FOLDER_OUTSIDE');
  });
});

describe('a file is whole', () => {
  test('once it did not change for a while; a growing one is passed over', async () => {
    await using share = new Share();
    const source = share.open({ person: PERSON }, 150);
    share.write('person/a.csv', 'id,name\n1,a\n');
    expect((await read(source, 'person')).rows).toEqual([['1', 'a']]);
    // Known, and changed since: whoever asks right away is told of the older file.
    share.write('person/b.csv', 'id,na');
    const growing = setInterval(() => appendFileSync(join(share.directory, 'person/b.csv'), 'x'), 20);
    expect((await read(source, 'person')).rows).toEqual([['1', 'a']]);
    expect((await read(source, 'person')).rows).toEqual([['1', 'a']]);
    clearInterval(growing);
  });

  test('for each table of a folder by itself', async () => {
    await using share = new Share();
    const tables = { a: { ...PERSON, folder: 'in', files: 'a*.csv' }, b: { ...PERSON, folder: 'in', files: 'b*.csv' } };
    const source = share.open(tables, 50);
    for (const name of ['a', 'b']) share.write(`in/${name}.csv`, `id,name\n1,${name}\n`);
    const both = await Promise.all([read(source, 'a'), read(source, 'b')]);
    expect(both.map(({ rows }) => rows)).toEqual([[['1', 'a']], [['1', 'b']]]);
    for (const name of ['a', 'b']) expect((await read(source, name)).rows).toEqual([['1', name]]);
  });

  test('when its marker says so, whatever the clock says', async () => {
    await using share = new Share();
    const source = share.open({ person: { ...PERSON, marker: '.ok' } }, 3_600_000);
    share.write('person/a.csv', 'id,name\n1,a\n');
    expect((await read(source, 'person')).failure?.code).toBe('FILE_MISSING');
    share.write('person/a.csv.ok', '');
    expect((await read(source, 'person')).rows).toEqual([['1', 'a']]);
  });
});

describe('a drop', () => {
  const VISIT = table('drop', { visit: 'text' });
  const NUMBER = { ref: { name: 'visit' }, column: 'qiao_file_no', type: { type: 'integer', bits: 64 } as const };
  const highest = async (source: DataSource) => {
    await using snapshot = await source.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
    return await snapshot.cursor?.highest(NUMBER, undefined);
  };
  const places = (rows: (string | null)[][]) => rows.map(([, row, no, visit]) => `${no}/${row} ${visit}`);

  test('each content is met once: dropped twice, renamed, touched, and after a restart', async () => {
    await using share = new Share();
    const source = share.open({ visit: VISIT });
    share.write('visit/a.csv', 'visit\none\ntwo\n');
    share.write('visit/copy.csv', 'visit\none\ntwo\n');
    share.write('visit/b.csv', 'visit\nthree\n');
    const first = await read(source, 'visit');
    expect(places(first.rows)).toEqual(['1/1 one', '1/2 two', '2/1 three']);
    renameSync(join(share.directory, 'visit/a.csv'), join(share.directory, 'visit/renamed.csv'));
    rmSync(join(share.directory, 'visit/copy.csv'));
    utimesSync(join(share.directory, 'visit/b.csv'), 1, 1);
    expect(await read(share.open({ visit: VISIT }), 'visit')).toEqual(first);
    expect((await read(source, 'visit', { since: '3' })).rows).toEqual([]);
    share.write('visit/0.csv', 'visit\nfour\n');
    expect(places((await read(source, 'visit', { since: '3' })).rows)).toEqual(['3/1 four']);
  });

  test('its cursor names the next number, and its identity the ledger', async () => {
    await using share = new Share();
    const source = share.open({ visit: VISIT });
    share.write('visit/a.csv', 'visit\none\n');
    await using snapshot = await source.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
    expect(await highest(source)).toBe('2');
    const identity = await snapshot.cursor?.identity({ name: 'visit' });
    await source.close();
    rmSync(join(share.root, 'agent'), { recursive: true });
    await using again = await share
      .open({ visit: VISIT })
      .snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
    expect(await again.cursor?.identity({ name: 'visit' })).not.toBe(identity);
  });

  test('a file that changed after it was read is an error, and nothing of it is read; the others are', async () => {
    await using share = new Share();
    const source = share.open({ visit: VISIT });
    share.write('visit/a.csv', 'visit\none\n');
    await read(source, 'visit');
    appendFileSync(join(share.directory, 'visit/a.csv'), 'two\n');
    share.write('visit/b.csv', 'visit\nthree\n');
    const { rows, failure } = await read(source, 'visit');
    expect(places(rows)).toEqual(['2/1 three']);
    expect(failure).toEqual({ code: 'FILE_CHANGED', message: '1 file(s) changed after they were read: "a.csv"' });
    // Taken away, seen to be gone, and dropped again: a file like any other.
    rmSync(join(share.directory, 'visit/a.csv'));
    await read(source, 'visit');
    share.write('visit/a.csv', 'visit\none\ntwo\n');
    expect(places((await read(source, 'visit')).rows)).toEqual(['2/1 three', '3/1 one', '3/2 two']);
  });

  test('a file that changed is told however long it takes to be whole again, with a marker too', async () => {
    await using share = new Share();
    const source = share.open({ visit: VISIT, marked: { ...VISIT, marker: '.ok' } }, 50);
    for (const name of ['visit/a.csv', 'marked/a.csv']) share.write(name, 'visit\none\n');
    share.write('marked/a.csv.ok', '');
    expect(places((await read(source, 'visit')).rows)).toEqual(['1/1 one']);
    expect(places((await read(source, 'marked')).rows)).toEqual(['2/1 one']);
    for (const name of ['visit/a.csv', 'marked/a.csv']) appendFileSync(join(share.directory, name), 'two\n');
    rmSync(join(share.directory, 'marked/a.csv.ok'));
    for (const name of ['visit', 'marked']) expect(await read(source, name)).toEqual({ rows: [], refused: [] });
    await pause(60);
    share.write('marked/a.csv.ok', '');
    for (const name of ['visit', 'marked']) {
      const { rows, failure } = await read(source, name);
      expect([rows, failure?.code]).toEqual([[], 'FILE_CHANGED']);
    }
  });

  test('what nobody could read for a while gets a new number: no position has passed it', async () => {
    await using share = new Share();
    const source = share.open({ visit: VISIT }, 50);
    share.write('visit/a.csv', 'visit\none\n');
    expect(await highest(source)).toBe('2');
    utimesSync(join(share.directory, 'visit/a.csv'), 1, 1);
    expect([(await read(source, 'visit', { since: '1' })).rows, await highest(source)]).toEqual([[], '2']);
    await pause(60);
    expect(places((await read(source, 'visit', { since: '2' })).rows)).toEqual(['2/1 one']);
    rmSync(join(share.directory, 'visit/a.csv'));
    expect(await highest(source)).toBe('3');
    share.write('visit/a.csv', 'visit\none\n');
    expect(places((await read(source, 'visit', { since: '3' })).rows)).toEqual(['3/1 one']);
  });

  test('of a broken file nothing travels, and mended under the same name it is read', async () => {
    await using share = new Share();
    const source = share.open({ visit: VISIT });
    const good = `visit\n${'row\n'.repeat(100_000)}`;
    share.write('visit/a.csv', `${good}one,two\n`);
    const { rows, failure } = await read(source, 'visit');
    expect([rows.length, failure?.code]).toEqual([0, 'FILE_BROKEN']);
    share.write('visit/a.csv', `${good}one\n`);
    const mended = await read(source, 'visit');
    expect([mended.rows.length, mended.failure]).toEqual([100_001, undefined]);
  });

  test('a file that may not be read holds up none of the others', async () => {
    await using share = new Share();
    const ledger = new Ledger(join(share.root, 'ledger.db'));
    const files = ['a.csv', 'b.csv'].map((name) => ({ name, path: Buffer.from(name), size: 1, stamp: name }));
    // The file system refuses nothing to whoever runs tests as root.
    const met = await ledger.meet('visit', { files, names: ['a.csv', 'b.csv'] }, async ({ name }) => {
      if (name === 'a.csv') throw new QiaoError('FILE_UNREADABLE', 'EACCES', { fate: 'transient', hint: '' });
      return 'digest';
    });
    ledger.close();
    expect(met.drops.map(({ number, file }) => `${number} ${file.name}`)).toEqual(['1 b.csv']);
    expect(met.failures.map(({ code }) => code)).toEqual(['FILE_UNREADABLE']);
  });

  test('a broken file holds up none of the others', async () => {
    await using share = new Share();
    const source = share.open({ visit: VISIT });
    share.write('visit/a.csv', 'visit\none,two\n');
    share.write('visit/b.csv', 'visit\nthree\n');
    const { rows, failure } = await read(source, 'visit');
    expect(places(rows)).toEqual(['1/1 three']);
    expect(failure?.message).toBe('"a.csv", line 2: found 2 fields, expected 1');
  });
});

test('the preflight names every problem at once, each with its fix', async () => {
  await using share = new Share();
  const source = share.open({ person: PERSON, visit: table('drop', { visit: 'text' }), gone: PERSON });
  rmSync(join(share.directory, 'gone'), { recursive: true });
  const wanted = (name: string, changes = {}) => ({ table: name, ref: { name }, ...changes });
  expect(await source.checkSource([wanted('person'), wanted('visit', { cursor: 'qiao_file_no' })])).toEqual([]);
  const problems = await source.checkSource([
    wanted('nothing'),
    wanted('gone'),
    wanted('visit'),
    wanted('person', { cursor: 'id', key: ['name'], columns: ['name', 'nom'] }),
  ]);
  expect(problems.map(({ code, path }) => `${code} ${path}`)).toEqual([
    'TABLE_MISSING nothing',
    'SOURCE_UNAVAILABLE gone',
    'CAPTURE_NOT_AVAILABLE visit',
    'CAPTURE_NOT_AVAILABLE person',
    'COLUMN_MISSING person.nom',
    'KEY_NOT_UNIQUE person',
  ]);
  for (const { hint } of problems) expect(hint).not.toBe('');
});

test('the preflight warns of names and markers that no file has', async () => {
  await using share = new Share();
  const tables = { person: PERSON, marked: { ...PERSON, marker: '.ok' } };
  const source = share.open(tables);
  const wanted = Object.keys(tables).map((name) => ({ table: name, ref: { name } }));
  expect(await source.checkSource(wanted)).toEqual([]);
  const written = share.open({ out: { ...PERSON, nature: 'target' } });
  expect(await written.checkSource([{ table: 'out', ref: { name: 'out' } }])).toMatchObject([{ code: 'TABLE_KIND' }]);
  share.write('person/a.CSV', 'id,name\n');
  share.write('marked/a.csv', 'id,name\n');
  const problems = await source.checkSource(wanted);
  expect(problems.map(({ code, path, warning }) => [code, path, warning])).toEqual([
    ['FILES_UNMATCHED', 'person', true],
    ['FILES_UNMATCHED', 'marked', true],
  ]);
  share.write('person/a.csv', 'id,name\n');
  share.write('marked/a.csv.ok', '');
  expect(await source.checkSource(wanted)).toEqual([]);
});
