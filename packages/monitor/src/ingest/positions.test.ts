import { ControlMessage } from '@qiao/contract/control';
import { QiaoError } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import { expect, test } from 'vitest';
import type { BooksPosition } from './entries.ts';
import { positionsPart } from './positions.ts';

const HEALTH = '01'.repeat(16);
const CIVIL = '02'.repeat(16);
const DATABASE = '03'.repeat(16);

function position(nodeId: string, through: number, more: Partial<BooksPosition> = {}): BooksPosition {
  return { nodeId, databaseId: DATABASE, through, mark: '', hasHole: false, repeats: false, ...more };
}

/** Runs the part for so many turns of half a second; what the bus takes is told, by turn. */
async function turns(
  count: number,
  positions: readonly BooksPosition[],
  isAway: (turn: number) => boolean = () => false,
) {
  const stop = new AbortController();
  const told: string[] = [];
  let turn = 0;
  const part = positionsPart(
    {
      tell: async (bytes) => {
        if (isAway(turn)) throw new QiaoError('BUS_UNREACHABLE', 'the bus is away', { fate: 'transient' });
        const { toNodeId, body } = ControlMessage.decode(bytes);
        if (body?.$case !== 'booksThrough') throw new Error(`a node was told ${body?.$case}`);
        told.push(`${turn}: ${toNodeId[0]} ${body.value.number}${body.value.sendAgain ? ' again' : ''}`);
      },
      clock: {
        nowMs: () => 1_000_000 + turn * 500,
        elapsedMs: () => turn * 500,
        sleep: async () => {
          turn += 1;
          if (turn > count) stop.abort();
        },
      },
      log: silentLog(),
    },
    new Map(positions.map((one) => [one.nodeId, one])),
  );
  await part.run(stop.signal);
  return told;
}

test('a position that the bus did not take is told when it is there again, and then no more', async () => {
  const told = await turns(10, [position(HEALTH, 7), position(CIVIL, 9)], (turn) => turn < 4);
  expect(told).toEqual(['4: 1 7', '4: 2 9']);
});

test('a hole is asked for every five seconds until it is filled', async () => {
  const told = await turns(21, [position(HEALTH, 7, { hasHole: true })]);
  expect(told).toEqual(['1: 1 7 again', '11: 1 7 again', '21: 1 7 again']);
});

test('a node that repeated its entries is told once', async () => {
  const told = await turns(30, [position(HEALTH, 7, { repeats: true })]);
  expect(told).toEqual(['1: 1 7']);
});
