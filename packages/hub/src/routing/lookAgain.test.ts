import { systemClock } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { createLookAgain } from './lookAgain.ts';

test('whoever asks while a look is under way shares the next, which began after the question', async () => {
  let begun = 0;
  let release = () => undefined as void;
  const look = createLookAgain(async () => {
    begun += 1;
    await new Promise<void>((resolve) => {
      release = resolve;
    });
  }, systemClock);
  const first = look();
  await expect.poll(() => begun).toBe(1);
  const later = [look(), look(), look()];
  release();
  await first;
  await expect.poll(() => begun).toBe(2);
  release();
  await Promise.all(later);
  expect(begun).toBe(2);
});

test('a look that fails is told to those who asked, and the next one is made', async () => {
  let isAway = true;
  const look = createLookAgain(async () => {
    if (isAway) throw new Error('away');
  }, systemClock);
  await expect(look()).rejects.toThrow('away');
  isAway = false;
  await look();
});
