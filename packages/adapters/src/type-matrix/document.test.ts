import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { withPairs } from './document.testing.ts';
import { SYSTEMS } from './systems.testing.ts';

test.each(SYSTEMS)('the pairs in TYPES.md of $title are those that the check goes by', async (system) => {
  const file = new URL(`../${system.adapter}/TYPES.md`, import.meta.url);
  await expect(withPairs(await readFile(file, 'utf8'), system)).toMatchFileSnapshot(file.pathname);
});
