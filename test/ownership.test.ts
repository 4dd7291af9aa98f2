// Who may delete what: several departments into one table, overlapping claims, and an emptied source.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Platform, readBoard, sqliteDatabase, until } from '@qiao/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  applyBridges,
  booksLine,
  bridgeYaml,
  PERSON_TABLE,
  people,
  TARGET_ROWS,
  TARGET_TABLE,
  untilAtRest,
} from './world.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-ownership-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const CITIES = { jinan: '3701', qingdao: '3702', zibo: '3703' } as const;
const limits = { compareEveryMs: 300 };

test('three departments share one table: a delete of one never touches the rows of another, and overlapping claims are refused', async () => {
  await using target = sqliteDatabase(join(folder, 'province.db'));
  await target.run(TARGET_TABLE('all_people'));
  const sources = Object.entries(CITIES).map(([code, city], index) => ({
    code,
    city,
    first: index * 1000 + 1,
    database: sqliteDatabase(join(folder, `${code}.db`)),
  }));
  for (const { database, first, city } of sources)
    await database.run(PERSON_TABLE, `INSERT INTO person VALUES ${people(first, 400, city)}`);
  await using platform = await Platform.start({
    nodes: [
      ...sources.map(({ code, database }) => ({ code, dataSources: { his: database.config }, more: { limits } })),
      { code: 'province', dataSources: { register: target.config } },
    ],
  });
  const bridge = (code: string, city: string, name = `people-${code}`) =>
    bridgeYaml({
      name,
      from: code,
      source: 'his',
      to: [
        {
          node: 'province',
          dataSource: 'register',
          table: 'all_people',
          more: `ownership: { where: "city = '${city}'" }`,
        },
      ],
    });
  for (const { code, city } of sources) await applyBridges(platform, bridge(code, city));
  for (const { code } of sources) await untilAtRest(platform, `people-${code}`, 400);
  expect(await target.rows('SELECT city, count(*) FROM all_people GROUP BY city ORDER BY city')).toEqual([
    ['3701', '400'],
    ['3702', '400'],
    ['3703', '400'],
  ]);

  await sources[1]?.database.run('DELETE FROM person WHERE id % 2 = 0');
  await untilAtRest(platform, 'people-qingdao', 600);
  expect(await target.rows('SELECT city, count(*) FROM all_people GROUP BY city ORDER BY city')).toEqual([
    ['3701', '400'],
    ['3702', '200'],
    ['3703', '400'],
  ]);

  const overlapping = await platform.qiaoWith(bridge('jinan', '3702', 'people-again'), 'bridge', 'check', '-f', '-');
  expect(overlapping.code).toBe(6);
  expect(overlapping.stdout).toMatch(/OVERLAP/);
  for (const { database } of sources) await database[Symbol.asyncDispose]();
});

test('an emptied source does not empty its destination until a person allows it', async () => {
  await using source = sqliteDatabase(join(folder, 'source.db'));
  await using target = sqliteDatabase(join(folder, 'target.db'));
  await source.run(PERSON_TABLE, `INSERT INTO person VALUES ${people(1, 2_000, '3702')}`);
  await target.run(TARGET_TABLE('ex_person'));
  await using platform = await Platform.start({
    nodes: [
      { code: 'health', dataSources: { his: source.config }, more: { limits } },
      { code: 'civil-affairs', dataSources: { benefits: target.config } },
    ],
  });
  await applyBridges(
    platform,
    bridgeYaml({
      name: 'births',
      from: 'health',
      source: 'his',
      to: [{ node: 'civil-affairs', dataSource: 'benefits', table: 'ex_person' }],
    }),
  );
  await untilAtRest(platform, 'births', 2_000);

  await source.run('DELETE FROM person');
  await until(platform, 'the guard has stopped the capture', async () => {
    const { lanes } = await readBoard(platform);
    return lanes.some(({ capture, code }) => capture === 'SERVICE_CONDITION_STUCK' && code === 'DELETE_GUARD');
  });
  expect((await booksLine(platform, 'births')).sent.deletes).toBe(0);
  expect(await target.rows('SELECT count(*) FROM ex_person')).toEqual([['2000']]);

  await platform.qiao('bridge', 'run', 'births', '--allow-deletes', '2000');
  await untilAtRest(platform, 'births', 4_000);
  expect(await target.rows(TARGET_ROWS('ex_person'))).toEqual([]);
});
