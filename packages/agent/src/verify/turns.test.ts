import { expect, test } from 'vitest';
import { createTurns } from './turns.ts';

const { signal } = new AbortController();

test('turns are given in the order in which they were asked for, whoever rested before', async () => {
  const newTurn = createTurns(1);
  const [first, second, third] = [newTurn(), newTurn(), newTurn()];
  await first.take(signal);
  const order: string[] = [];
  const taken = [
    second.take(signal).then(() => order.push('second')),
    third.take(signal).then(() => order.push('third')),
  ];
  first.rest();
  taken.push(first.take(signal).then(() => order.push('first')));
  await taken[0];
  second.rest();
  await taken[1];
  third.rest();
  await taken[2];
  expect(order).toEqual(['second', 'third', 'first']);
});

test('a turn that is there is not taken twice, nor given back twice', async () => {
  const newTurn = createTurns(2);
  const [one, two] = [newTurn(), newTurn()];
  await one.take(signal);
  await one.take(signal);
  await two.take(signal);
  one.rest();
  one.rest();
  await newTurn().take(signal);
  let isMore = false;
  void newTurn()
    .take(signal)
    .then(() => {
      isMore = true;
    });
  await new Promise(setImmediate);
  expect(isMore).toBe(false);
});

test('whoever is told to stop while waiting for a turn takes none, and leaves it to the next', async () => {
  const newTurn = createTurns(1);
  const [one, stopped, next] = [newTurn(), newTurn(), newTurn()];
  await one.take(signal);
  const stop = new AbortController();
  const waiting = stopped.take(stop.signal);
  const given = next.take(signal);
  stop.abort();
  await waiting;
  one.rest();
  await given;
});
