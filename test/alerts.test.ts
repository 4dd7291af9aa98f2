// What a person is told when something stops, and that it is taken back when it goes on.

import { mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Platform, readBoard, sqliteDatabase, until } from '@qiao/testkit';
import { expect, test } from 'vitest';
import { applyBridges, bridgeYaml, PERSON_TABLE, people, TARGET_TABLE, untilAtRest } from './world.ts';

test('a silent node, a data source that is gone, a late delivery and a capture that is stuck are told, and resolved when they are over', {
  timeout: 300_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'qiao-alerts-'));
  {
    await using source = sqliteDatabase(join(folder, 'source.db'));
    await using target = sqliteDatabase(join(folder, 'target.db'));
    await source.run(PERSON_TABLE, `INSERT INTO person VALUES ${people(1, 100, '3702')}`);
    await target.run(TARGET_TABLE('ex_person'));
    await using platform = await Platform.start({
      nodes: [
        {
          code: 'health',
          dataSources: { his: source.config, spare: { adapter: 'sqlite', file: join(folder, 'spare.db') } },
          more: { limits: { compareEveryMs: 300 } },
        },
        { code: 'civil-affairs', dataSources: { own: target.config } },
      ],
      monitorConfig: { alerts: { nodeSilentAfterMs: 12_000, serviceDownAfterMs: 3_000 } },
    });
    await using spare = sqliteDatabase(join(folder, 'spare.db'));
    await spare.run('CREATE TABLE x (id INTEGER PRIMARY KEY)');
    await applyBridges(
      platform,
      bridgeYaml({
        name: 'births',
        from: 'health',
        source: 'his',
        to: [{ node: 'civil-affairs', dataSource: 'own', table: 'ex_person' }],
        more: 'lateAfter: 5s\n',
      }),
    );
    await untilAtRest(platform, 'births', 100);
    const codes = async () => (await readBoard(platform)).alerts.map(({ code }) => code).sort();

    renameSync(join(folder, 'spare.db'), join(folder, 'spare.away'));
    await until(platform, 'the data source is missed', async () => (await codes()).includes('DATA_SOURCE_UNREACHABLE'));

    await platform.agent('civil-affairs').kill();
    await until(platform, 'the node is silent', async () => (await codes()).includes('NODE_SILENT'));
    // Every line balances, as far as anybody can know.
    const morning = await platform.tryQiao('reconcile', '--check');
    expect(morning.code).toBe(7);
    expect(morning.stdout).toMatch(
      /balanced 平 as far as was heard.*\nunheard +civil-affairs: silent since \d{4}-.*\nheard +hub .*, health /,
    );
    expect(JSON.parse((await platform.qiao('reconcile', '--json')).stdout)).toMatchObject({
      verdict: 'VERDICT_BALANCED',
      incomplete: true,
      heard: [
        { code: 'hub', silent: false },
        { code: 'civil-affairs', silent: true },
        { code: 'health', silent: false },
      ],
    });
    await source.run("UPDATE person SET note = 'later'");
    await until(platform, 'the delivery is late', async () => (await codes()).includes('DELIVERY_LATE'));
    expect((await platform.tryQiao('reconcile', '--check')).code).toBe(7);

    renameSync(join(folder, 'spare.away'), join(folder, 'spare.db'));
    await platform.agent('civil-affairs').start();
    await untilAtRest(platform, 'births', 200);
    await until(platform, 'every alert is resolved', async () => (await codes()).length === 0);
    expect((await platform.tryQiao('reconcile', '--check')).code).toBe(0);

    // Nothing waits anywhere, and every line balances: what a capture does not read is missing without a word.
    await source.run('ALTER TABLE person RENAME TO elsewhere');
    await until(platform, 'the capture is stuck', async () => (await codes()).includes('CAPTURE_DOWN'));
    const stuck = await platform.tryQiao('reconcile', '--check');
    expect(stuck.code).toBe(7);
    expect(stuck.stdout).toMatch(
      /balanced 平 as far as was heard.*\nstands +births at health: capture 抽取, [A-Z_]+: qiao alert list/,
    );
    await source.run('ALTER TABLE elsewhere RENAME TO person', "UPDATE person SET note = 'last'");
    await untilAtRest(platform, 'births', 300);
    await until(platform, 'the capture went on by itself', async () => (await codes()).length === 0);
    expect((await platform.tryQiao('reconcile', '--check')).code).toBe(0);

    // Who has mended the cause and asks for a run is not told of what was stuck before it.
    await source.run('ALTER TABLE person RENAME TO elsewhere');
    await until(platform, 'the capture is stuck again', async () => (await codes()).includes('CAPTURE_DOWN'));
    await source.run('ALTER TABLE elsewhere RENAME TO person');
    const asked = await platform.tryQiao('bridge', 'run', 'births', '--wait');
    expect([asked.code, asked.stderr]).toEqual([
      0,
      expect.stringMatching(/^births: waits until health has finished the run/),
    ]);
    await until(platform, 'nothing is told any more', async () => (await codes()).length === 0);
    const all = JSON.parse((await platform.qiao('alert', 'list', '--all', '--json')).stdout) as { state: string }[];
    expect(all.every(({ state }) => state === 'ALERT_STATE_RESOLVED')).toBe(true);
    expect(all.length).toBeGreaterThanOrEqual(3);
  }
  rmSync(folder, { recursive: true, force: true });
});
