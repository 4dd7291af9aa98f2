// A bridge from a node to itself: from the department's business database into its exchange tables (前置库), over the same road as to any other node.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Platform, sqliteDatabase } from '@qiao/testkit';
import { expect, test } from 'vitest';
import {
  applyBridges,
  booksLine,
  bridgeYaml,
  PERSON_ROWS,
  PERSON_TABLE,
  people,
  TARGET_ROWS,
  TARGET_TABLE,
  untilAtRest,
  untilSame,
} from './world.ts';

test('a bridge from a node to itself loads, follows, and is compared like any other', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'qiao-own-node-'));
  {
    await using source = sqliteDatabase(join(folder, 'source.db'));
    await using target = sqliteDatabase(join(folder, 'target.db'));
    await source.run(PERSON_TABLE, `INSERT INTO person VALUES ${people(1, 500, '3702')}`);
    await target.run(TARGET_TABLE('ex_person'));
    await using platform = await Platform.start({
      nodes: [
        {
          code: 'health',
          dataSources: { his: source.config, own: target.config },
          more: { limits: { compareEveryMs: 200 } },
        },
      ],
    });
    const to = [{ node: 'health', dataSource: 'own', table: 'ex_person' }];
    await applyBridges(platform, bridgeYaml({ name: 'births', from: 'health', source: 'his', to }));
    await untilAtRest(platform, 'births', 500);

    await source.run("UPDATE person SET note = 'moved' WHERE id <= 20", 'DELETE FROM person WHERE id > 490');
    await untilSame(platform, source, PERSON_ROWS, target, TARGET_ROWS('ex_person'));
    await untilAtRest(platform, 'births', 530);
    expect((await booksLine(platform, 'births')).verdict).toBe('VERDICT_BALANCED');

    await target.run("UPDATE ex_person SET note = 'by hand' WHERE id = 7");
    const differs = await platform.tryQiao('bridge', 'verify', 'births', '--wait');
    expect(differs.stdout).toContain('1 other values');
    await platform.qiao('bridge', 'resync', 'births', '--wait');
    await untilSame(platform, source, PERSON_ROWS, target, TARGET_ROWS('ex_person'));
  }
  rmSync(folder, { recursive: true, force: true });
});
