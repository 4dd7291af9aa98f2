import { expect, test } from 'vitest';
import { ReceiverWorld } from '../receive/sender.testing.ts';

const DAY_MS = 86_400_000;
const id = (number: number): Uint8Array => {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32BE(number);
  return bytes;
};

test('a command is good once, also where the clock leapt ahead and came back within its life', () => {
  using world = new ReceiverWorld();
  const { commands } = world.database;
  expect(commands.take(id(1), 60_000, 0)).toBe(true);
  expect(commands.take(id(2), DAY_MS + 60_000, DAY_MS)).toBe(true);
  expect(commands.take(id(1), 60_000, 1_000)).toBe(false);
});

test('what is remembered of commands does not grow for ever', () => {
  using world = new ReceiverWorld();
  const { commands } = world.database;
  world.database.transaction(() => {
    for (let number = 1; number <= 10_500; number++) commands.take(id(number), number, number);
  });
  expect(commands.take(id(1), 60_000, 20_000)).toBe(true);
  expect(commands.take(id(10_500), 60_000, 20_000)).toBe(false);
});
