// A target that its owner changes between deliveries: each row meets what it meets, and the books say which.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { type BusinessDatabase, Platform, postgresDatabase, sqliteDatabase } from '@qiao/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  applyBridges,
  bridgeYaml,
  byOutcome,
  PERSON_ROWS,
  PERSON_TABLE,
  people,
  TARGET_ROWS,
  TARGET_TABLE,
  untilAtRest,
  untilSame,
} from './world.ts';

let folder: string;
let server: PostgresServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-outcomes-'));
  server = await startPostgres();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

test.each(['postgres', 'sqlite'] as const)(
  'at a %s target, an insert that meets a row, an update and a delete that meet none, and an untouched row each get their own outcome',
  async (adapter) => {
    await using source = sqliteDatabase(join(folder, `source-${adapter}.db`));
    await using target: BusinessDatabase =
      adapter === 'postgres'
        ? await postgresDatabase(await server.database())
        : sqliteDatabase(join(folder, 'target.db'));
    await source.run(PERSON_TABLE, `INSERT INTO person VALUES ${people(1, 100, '3702')}`);
    await target.run(TARGET_TABLE('ex_person'));
    await using platform = await Platform.start({
      nodes: [
        { code: 'health', dataSources: { his: source.config }, more: { limits: { compareEveryMs: 300 } } },
        { code: 'civil-affairs', dataSources: { own: target.config } },
      ],
    });
    await applyBridges(
      platform,
      bridgeYaml({
        name: 'births',
        from: 'health',
        source: 'his',
        to: [{ node: 'civil-affairs', dataSource: 'own', table: 'ex_person' }],
      }),
    );
    const loaded = await untilAtRest(platform, 'births', 100);
    expect(byOutcome(loaded)).toEqual({ inserted: 100 });

    // The owner of the target: deletes 1 and 2, has 201 and 202 already (one identical), and wrote what 4 will become.
    await target.run(
      'DELETE FROM ex_person WHERE id IN (1, 2)',
      "INSERT INTO ex_person VALUES (201, '他人', '3702', NULL), (202, '王202', '3702', 'note 1')",
      "UPDATE ex_person SET note = 'same' WHERE id = 4",
    );
    await source.run(
      "UPDATE person SET note = 'changed' WHERE id IN (1, 3)",
      'DELETE FROM person WHERE id IN (2, 5)',
      "UPDATE person SET note = 'same' WHERE id = 4",
      `INSERT INTO person VALUES ${people(201, 2, '3702')}, (203, '新', '3702', NULL)`,
    );
    const line = await untilAtRest(platform, 'births', 108);
    await untilSame(platform, source, PERSON_ROWS, target, TARGET_ROWS('ex_person'));
    expect(byOutcome(line)).toEqual({
      inserted: 101,
      updated: 1,
      deleted: 1,
      unchanged: 2,
      insertedInsteadOfUpdate: 1,
      updatedInsteadOfInsert: 1,
      deletedNothing: 1,
    });
    expect(line.verdict).toBe('VERDICT_EXPLAINED');
    expect((await platform.tryQiao('reconcile', '--check')).code).toBe(0);
  },
);
