// A million rows in bounded memory: the promise that no table is too large for a front-end machine.

import { expect, test } from 'vitest';
import { LoadWorld } from './bench/load.ts';

test('1,000,000 rows go from PostgreSQL to PostgreSQL and no agent holds more than 300 MB', {
  timeout: 600_000,
}, async () => {
  await using world = await LoadWorld.create(1_000_000, 100_000);
  const { use, ms } = await world.load();
  process.stdout.write(`a million rows in ${Math.round(ms)} ms; peaks ${JSON.stringify(use)}\n`);
  expect(use.health?.peakBytes).toBeLessThan(300 * 2 ** 20);
  expect(use['civil-affairs']?.peakBytes).toBeLessThan(300 * 2 ** 20);
});
