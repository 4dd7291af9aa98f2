// Files on the road, both ways, through real agents: a GB18030 export and dropped increments into exchange tables, and a SQLite table into
// JSON lines, whose receiver is killed between a delivery's file, its mark and the department's folder. Both ends are compared, and the counts.

import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Platform, sqliteDatabase, until } from '@qiao/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { applyBridges, bridgeYaml, byOutcome, PERSON_TABLE, people, untilAtRest } from './world.ts';

const DOCTOR = { id: 'integer(64)', name: 'text(20)' };
const VISITS = `kind: Bridge
name: visits
title: 就诊记录
source:
  node: health
  dataSource: share
  capture: cursor
  tables:
    - name: visit
      columns: [qiao_file, qiao_row, patient, fee]
      cursor: { column: qiao_file_no }
schedule: realtime
destinations:
  - node: insurance
    dataSource: exchange
    tables:
      visit: { to: ex_visit }
`;

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'qiao-files-story-'));
});
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** As SFTP clients do it: under another name first. */
function put(folder: string, name: string, content: string | Uint8Array): void {
  writeFileSync(join(directory, folder, `${name}.tmp`), content);
  renameSync(join(directory, folder, `${name}.tmp`), join(directory, folder, name));
}

// 张三 and the rare 𠀀 in GB18030.
const NAMES = Buffer.concat([
  Buffer.from('id,name\n1,'),
  Buffer.from([0xd5, 0xc5, 0xc8, 0xfd]),
  Buffer.from('\n2,'),
  Buffer.from([0x95, 0x32, 0x82, 0x36]),
  Buffer.from('\n'),
]);

test('files become tables and tables become files, each row once, whoever is killed', async () => {
  for (const folder of ['in/doctor', 'in/visit', 'out/person']) mkdirSync(join(directory, folder), { recursive: true });
  await using his = sqliteDatabase(join(directory, 'his.db'));
  await his.run(PERSON_TABLE, `INSERT INTO person VALUES ${people(1, 200, '3702')}`);
  const person = { id: 'integer(64)', name: 'text(64)', city: 'text(4)', note: 'text' };
  const impatient = { limits: { compareEveryMs: 300 } };
  const doctor = { nature: 'state', encoding: 'gb18030', columns: DOCTOR, key: ['id'] };
  const visit = { nature: 'drop', format: 'jsonl', columns: { patient: 'text', fee: 'decimal(10,2)' } };
  const files = (folder: string, tables: object) => ({
    adapter: 'files',
    directory: join(directory, folder),
    settledAfterMs: 200,
    tables,
  });
  await using platform = await Platform.start({
    nodes: [
      { code: 'health', dataSources: { share: files('in', { doctor, visit }), his: his.config }, more: impatient },
      {
        code: 'insurance',
        dataSources: { share: files('out', { person: { nature: 'target', format: 'jsonl', columns: person } }) },
        more: impatient,
      },
    ],
  });
  await using exchange = sqliteDatabase(join(platform.agentDirectory('insurance'), 'exchange-tables.db'));
  const insurance = platform.agent('insurance');

  const doctors = { name: 'doctors', from: 'health', source: 'share', table: 'doctor' };
  put('in/doctor', '20240101.csv', NAMES);
  put('in/visit', 'a.jsonl', '{"patient":"甲","fee":12.5}\n{"patient":"乙"}\n');
  copyFileSync(join(directory, 'in/visit/a.jsonl'), join(directory, 'in/visit/a-again.jsonl'));
  // A drop is read by its number, and the check says so.
  const refused = await platform.qiaoWith(
    VISITS.replace('cursor: { column: qiao_file_no }', 'cursor: { column: fee }'),
    'bridge',
    'check',
    '-f',
    '-',
  );
  expect(refused.code).not.toBe(0);
  expect(refused.stdout + refused.stderr).toContain('qiao_file_no');
  await applyBridges(
    platform,
    bridgeYaml({ ...doctors, to: [{ node: 'insurance', dataSource: 'exchange', table: 'ex_doctor' }] }),
    VISITS,
  );
  expect(byOutcome(await untilAtRest(platform, 'doctors', 2))).toEqual({ inserted: 2 });
  expect(byOutcome(await untilAtRest(platform, 'visits', 2))).toEqual({ inserted: 2 });
  expect(await exchange.rows('SELECT id, name FROM ex_doctor ORDER BY id')).toEqual([
    ['1', '张三'],
    ['2', '𠀀'],
  ]);

  // The next export, the next increment, and the old one under a third name while its copies are cleaned away.
  renameSync(join(directory, 'in/visit/a.jsonl'), join(directory, 'in/visit/b.jsonl'));
  rmSync(join(directory, 'in/visit/a-again.jsonl'));
  put('in/visit', 'c.jsonl', '{"patient":"丙","fee":0.10}\n');
  put('in/doctor', '20240102.csv', 'id,name\n2,changed\n3,new\n');
  expect(byOutcome(await untilAtRest(platform, 'doctors', 5))).toEqual({ inserted: 3, updated: 1, deleted: 1 });
  expect(byOutcome(await untilAtRest(platform, 'visits', 3))).toEqual({ inserted: 3 });
  expect(await exchange.rows('SELECT qiao_row, patient, fee FROM ex_visit ORDER BY patient')).toEqual([
    ['1', '丙', '0.10'],
    ['2', '乙', null],
    ['1', '甲', '12.50'],
  ]);
  const verified = await platform.tryQiao('bridge', 'verify', 'doctors');
  expect(verified.code, verified.stdout + verified.stderr).toBe(0);

  // The receiver dies when the delivery's file is written where nobody looks, and once more when its mark has the delivery and the
  // department has not: after its start, the file is there.
  await insurance.stop();
  const staged = await insurance.startToDieAt(['landing.staged:2']);
  const to = { node: 'insurance', dataSource: 'share', table: 'person', more: 'landing: journal' };
  await applyBridges(platform, bridgeYaml({ name: 'people', from: 'health', source: 'his', to: [to] }));
  expect(await staged.died).toBe('landing.staged');
  expect(readdirSync(join(directory, 'out/person'))).toEqual([]);
  const marked = await insurance.startToDieAt(['landing.marked']);
  expect(await marked.died).toBe('landing.marked');
  expect(readdirSync(join(directory, 'out/person'))).toEqual([]);
  await insurance.start();
  expect(byOutcome(await untilAtRest(platform, 'people', 200))).toEqual({ inserted: 200 });
  const taken = readdirSync(join(directory, 'out/person')).map((name) =>
    readFileSync(join(directory, 'out/person', name), 'utf8'),
  );
  for (const name of readdirSync(join(directory, 'out/person'))) rmSync(join(directory, 'out/person', name));
  await his.run('UPDATE person SET note = NULL WHERE id = 7', 'DELETE FROM person WHERE id > 198');
  expect(byOutcome(await untilAtRest(platform, 'people', 203))).toEqual({ inserted: 200, updated: 1, deleted: 2 });
  await until(platform, 'the second file', async () => readdirSync(join(directory, 'out/person')).length > 0);
  const later = readdirSync(join(directory, 'out/person')).map((name) =>
    readFileSync(join(directory, 'out/person', name), 'utf8'),
  );
  const rows = (texts: readonly string[]) =>
    texts.flatMap((text) => text.split('\n').slice(0, -1)).map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(
    rows(taken)
      .map(({ qiao_operation: operation, id }) => `${operation as string} ${id as number}`)
      .sort(),
  ).toEqual(Array.from({ length: 200 }, (_none, index) => `I ${index + 1}`).sort());
  expect(rows(later).map(({ qiao_operation: operation, id, name, note }) => [operation, id, name, note])).toEqual([
    ['U', 7, '王7', null],
    ['D', 199, undefined, undefined],
    ['D', 200, undefined, undefined],
  ]);
  const check = await platform.tryQiao('reconcile', '--check');
  expect(check.code, check.stdout).toBe(0);
});
