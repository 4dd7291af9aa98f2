// One source, three destinations, one of them silent: the others do not notice, and the third catches up in order.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Platform, readBoard, sqliteDatabase, until } from '@qiao/testkit';
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

const NODES = ['civil-affairs', 'social-security', 'police'] as const;
const ROUNDS = 8;

test('a silent destination does not delay the others, and catches up in order when it is back', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'qiao-fan-out-'));
  await using source = sqliteDatabase(join(folder, 'source.db'));
  const targets = NODES.map((code) => ({ code, database: sqliteDatabase(join(folder, `${code}.db`)) }));
  await source.run(PERSON_TABLE, `INSERT INTO person VALUES ${people(1, 1_000, '3702')}`);
  for (const { database } of targets) await database.run(TARGET_TABLE('ex_person'));
  {
    await using platform = await Platform.start({
      nodes: [
        { code: 'health', dataSources: { his: source.config }, more: { limits: { compareEveryMs: 200 } } },
        ...targets.map(({ code, database }) => ({ code, dataSources: { own: database.config } })),
      ],
    });
    const to = NODES.map((node) => ({ node, dataSource: 'own', table: 'ex_person' }));
    await applyBridges(platform, bridgeYaml({ name: 'births', from: 'health', source: 'his', to }));
    for (const node of NODES) await untilAtRest(platform, 'births', 1_000, node);

    const [first, second, silent] = targets as [(typeof targets)[0], (typeof targets)[0], (typeof targets)[0]];
    /** Milliseconds from a commit at the source until both living destinations show it. */
    const round = async (n: number): Promise<number> => {
      const startedAtMs = performance.now();
      await source.run(
        `INSERT INTO person VALUES ${people(10_000 + n * 100, 20, '3702')}`,
        `UPDATE person SET note = 'round ${n}' WHERE id <= 50`,
      );
      const deadlineMs = 30_000;
      await untilSame(platform, source, PERSON_ROWS, first.database, TARGET_ROWS('ex_person'), deadlineMs);
      await untilSame(platform, source, PERSON_ROWS, second.database, TARGET_ROWS('ex_person'), deadlineMs);
      return performance.now() - startedAtMs;
    };
    const before: number[] = [];
    for (let n = 0; n < ROUNDS; n += 1) before.push(await round(n));
    platform.agent('police').freeze();
    const during: number[] = [];
    for (let n = ROUNDS; n < 2 * ROUNDS; n += 1) during.push(await round(n));
    // A wait for the silent one would be a resend timer or a window: tens of seconds. Noise of a busy machine stays far below 1 s.
    expect(
      median(during),
      `before ${before.map(Math.round).join(', ')} ms, during ${during.map(Math.round).join(', ')} ms`,
    ).toBeLessThan(median(before) + 1_000);
    expect(await silent.database.rows("SELECT count(*) FROM ex_person WHERE note = 'round 15'")).toEqual([['0']]);

    platform.agent('police').thaw();
    await untilSame(platform, source, PERSON_ROWS, silent.database, TARGET_ROWS('ex_person'));
    await untilAtRest(platform, 'births', 1_000 + 2 * ROUNDS * 70, 'police');
    const line = await booksLine(platform, 'births', 'police');
    expect(line.verdict).toBe('VERDICT_BALANCED');
    // In order: an update that overtook its insert, or a delivery applied twice, would show as another outcome.
    expect(line.received).toEqual((await booksLine(platform, 'births', 'civil-affairs')).received);
    await until(platform, 'no alert is left open', async () => (await readBoard(platform)).alerts.length === 0);
  }
  for (const { database } of targets) await database[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
}
