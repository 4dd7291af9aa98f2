// A wrong bridge file: every problem in one answer, and nothing starts.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Platform, sqliteDatabase } from '@qiao/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PERSON_TABLE, TARGET_TABLE } from './world.ts';

let folder: string;
let platform: Platform;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-bridge-file-'));
  await using source = sqliteDatabase(join(folder, 'source.db'));
  await using target = sqliteDatabase(join(folder, 'target.db'));
  await source.run(
    PERSON_TABLE,
    'CREATE TABLE keyless (name TEXT)',
    'CREATE TABLE strange (id INTEGER PRIMARY KEY, shape GEOMETRY)',
    'CREATE TABLE secret (id INTEGER PRIMARY KEY, name TEXT)',
  );
  await target.run(
    TARGET_TABLE('ex_person'),
    'CREATE TABLE narrow (id INTEGER PRIMARY KEY, name VARCHAR(64) NOT NULL, city SMALLINT NOT NULL, note TEXT)',
  );
  platform = await Platform.start({
    nodes: [
      {
        code: 'health',
        dataSources: {
          his: source.config,
          gone: { adapter: 'postgres', host: '127.0.0.1', port: 1, database: 'x', user: 'x' },
        },
        exposes: [
          { dataSource: 'his', table: 'person' },
          { dataSource: 'his', table: 'keyless' },
          { dataSource: 'his', table: 'strange' },
          { dataSource: 'gone', table: '*' },
        ],
      },
      { code: 'civil-affairs', dataSources: { own: target.config } },
    ],
  });
});
afterAll(async () => {
  await platform[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

interface Checked {
  readonly problems: { code: string; path: string; message: string; hint: string; warning: boolean }[];
}

async function check(yaml: string): Promise<{ code: number; codes: string[]; answer: Checked }> {
  const answer = await platform.qiaoWith(yaml, 'bridge', 'check', '-f', '-', '--json');
  const text = answer.stdout === '' ? answer.stderr : answer.stdout;
  const checked = JSON.parse(text) as Checked;
  return {
    code: answer.code,
    codes: checked.problems.filter(({ warning }) => !warning).map(({ code }) => code),
    answer: checked,
  };
}

const destination = (table: string, to = 'ex_person') => `
destinations:
  - node: civil-affairs
    dataSource: own
    tables:
      ${table}: { to: ${to}, ownership: whole }
`;

test('a file with unknown keys and wrong values names all of them, each with the way out', async () => {
  const { code, codes, answer } = await check(`
kind: Bridge
name: Births!
titel: 出生
source:
  node: health
  dataSource: his
  capture: compare
  tables:
    - { name: person, colums: [id] }
shedule: realtime
${destination('person')}`);
  expect(code).not.toBe(0);
  expect(codes.length).toBeGreaterThanOrEqual(4);
  expect(codes.filter((one) => one === 'UNKNOWN_KEY')).toHaveLength(3);
  expect(answer.problems.every(({ message, hint }) => message !== '' && hint !== '')).toBe(true);
  expect(answer.problems.some(({ message, hint }) => `${message} ${hint}`.includes('columns'))).toBe(true);
});

test('unknown columns, keyless tables, refused types, tables that are not exposed: one answer names them all', async () => {
  const { code, codes } = await check(`
kind: Bridge
name: everything-wrong
title: 错
source:
  node: health
  dataSource: his
  capture: compare
  tables:
    - { name: person, columns: [id, nmae] }
    - { name: keyless }
    - { name: strange }
    - { name: secret }
    - { name: absent }
schedule: realtime
destinations:
  - node: civil-affairs
    dataSource: own
    tables:
      person: { to: narrow, ownership: whole }
      keyless: { to: ex_keyless, ownership: whole }
      strange: { to: nowhere, ownership: whole }
      secret: { to: ex_secret, ownership: whole }
      absent: { to: ex_absent, ownership: whole }
`);
  expect(code).toBe(6);
  expect(codes).toEqual(
    expect.arrayContaining(['COLUMN_MISSING', 'KEYLESS_TABLE', 'TYPE_UNSUPPORTED', 'EXPOSE_DENIED']),
  );
});

test('a type that the target cannot hold exactly is refused, never altered', async () => {
  const { codes } = await check(`
kind: Bridge
name: narrow
title: 窄
source: { node: health, dataSource: his, capture: compare, tables: [{ name: person }] }
schedule: realtime
${destination('person', 'narrow')}`);
  expect(codes).toContain('TYPE_REFUSED');
});

test('a source that cannot be reached, and nodes that do not exist, are named', async () => {
  const { codes } = await check(`
kind: Bridge
name: unreachable
title: 不通
source: { node: health, dataSource: gone, capture: compare, tables: [{ name: person }] }
schedule: realtime
destinations:
  - { node: civil-affairs, dataSource: own, tables: { person: { to: ex_person, ownership: whole } } }
  - { node: nobody, dataSource: own, tables: { person: { to: ex_person, ownership: whole } } }
`);
  expect(codes.some((code) => /UNREACHABLE|UNAVAILABLE/.test(code))).toBe(true);
  expect(codes.some((code) => /NODE_UNKNOWN/.test(code))).toBe(true);
});

test('after every refusal nothing is stored and nothing runs', async () => {
  const { stdout } = await platform.qiao('bridge', 'list', '--all', '--json');
  expect(JSON.parse(stdout)).toEqual([]);
});
