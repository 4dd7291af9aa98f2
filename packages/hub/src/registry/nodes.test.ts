import { expect, test } from 'vitest';
import { idText, TestWorld } from '../world.testing.ts';
import { getNode, problemsOf, recordActualState } from './nodes.ts';

test('a report with numbers that no database holds changes nothing and is no error', async () => {
  await using world = await TestWorld.create();
  const id = idText((await world.join('health')).id);
  await recordActualState(world.store, id, { generation: 1n, number: 7n, problems: [] });
  await recordActualState(world.store, id, { generation: 2n ** 64n - 1n, number: 1n, problems: [] });
  await recordActualState(world.store, id, { generation: 1n, number: 2n ** 63n, problems: [] });
  expect(await getNode(world.store, 'health')).toMatchObject({ actual_generation: 1, actual_number: 7 });
});

test('of what a node says of its problems only a bounded part is kept', async () => {
  await using world = await TestWorld.create();
  const id = idText((await world.join('health')).id);
  const long = 'x'.repeat(100_000);
  const problem = { bridgeId: new Uint8Array(100_000), version: 1, code: long, message: long, hint: long };
  await recordActualState(world.store, id, {
    generation: 1n,
    number: 1n,
    problems: Array.from({ length: 200 }, () => problem),
  });
  const kept = problemsOf(await getNode(world.store, 'health'));
  expect(kept).toHaveLength(100);
  expect(kept[0]?.bridgeId).toHaveLength(16);
  expect(JSON.stringify(kept).length).toBeLessThan(200_000);
});
