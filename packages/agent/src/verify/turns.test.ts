import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Turns } from './turns.ts';

const { signal } = new AbortController();

function turnsOf(most: number) {
  const freed: string[] = [];
  const turns = new Turns(most, { sleep: async () => await setImmediate() }, () => freed.push('free'));
  return { turns, freed };
}

test('a job that rests gives its turn away, and gets it back when one is free', async () => {
  const { turns, freed } = turnsOf(1);
  const first = turns.take();
  expect(turns.areLeft).toBe(false);
  first.rest();
  expect([turns.areLeft, freed]).toEqual([true, ['free']]);
  const second = turns.take();
  let isBack = false;
  const back = first.resume(signal).then(() => {
    isBack = true;
  });
  await setImmediate();
  expect(isBack).toBe(false);
  second.end();
  await back;
  expect([isBack, turns.areLeft]).toEqual([true, false]);
});

test('whoever waits while it reads keeps its turn until it has read', async () => {
  const { turns } = turnsOf(1);
  const turn = turns.take();
  const read = Promise.withResolvers<void>();
  const reading = turn.reading(() => read.promise);
  turn.rest();
  expect(turns.areLeft).toBe(false);
  read.resolve();
  await reading;
  expect(turns.areLeft).toBe(true);
  await turn.resume(signal);
  expect(turns.areLeft).toBe(false);
});

test('an agent that stops waits for no turn', async () => {
  const { turns } = turnsOf(1);
  const first = turns.take();
  first.rest();
  turns.take();
  await first.resume(AbortSignal.abort());
});
