import { copyFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createDataSources } from '../data-sources/registry.ts';
import { personRows, RECEIVER, ReceiverWorld, TestSender } from '../receive/sender.testing.ts';
import { createLandings } from './landings.ts';

/** What a scan of a table at the receiver hears before it concludes from a row's absence. */
async function behind(world: ReceiverWorld, table = 'person') {
  const sources = createDataSources([{ name: 'target', adapter: 'sqlite', file: world.targetFile }]);
  const looked: string[] = [];
  const landings = createLandings({
    database: world.database,
    desired: world.desired,
    open: sources.open,
    onBehind: (dataSource) => looked.push(dataSource),
  });
  try {
    const found = await landings.behind([{ node: RECEIVER, dataSource: 'target', schema: undefined, table }]);
    return { bridge: found?.bridge, isLoading: found?.isLoading, looked };
  } finally {
    await sources.close();
  }
}

const landed = { bridge: undefined, isLoading: undefined, looked: [] };
const loads = { bridge: 'people', isLoading: true, looked: [] };
const waits = { bridge: 'people', isLoading: false, looked: [] };

test('a table is whole when its load has landed, also when the load’s own deliveries come again', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  expect(await behind(world)).toEqual(landed);
  const opening = sender.opening();
  const first = sender.rows([personRows('insert', ['1\tAnna'])], { begins: true });
  await world.receive(opening, first);
  await world.apply();
  expect(await behind(world)).toEqual(loads);
  expect(await behind(world, 'other')).toEqual(landed);
  await world.receive(sender.rows([personRows('insert', ['2\tBo'])], { ends: true }));
  await world.apply();
  expect(await behind(world)).toEqual(landed);
  await world.receive(opening, first);
  await world.apply();
  expect(await behind(world)).toEqual(landed);
});

test('a load that ended in a crash before its receipt has ended', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  const opening = sender.opening();
  await world.receive(opening);
  await world.apply();
  await world.receive(sender.rows([personRows('insert', ['1\tAnna'])], { begins: true, ends: true }));
  await world.apply({ failAnswers: true });
  await world.apply();
  expect(await behind(world)).toEqual(landed);
});

test('a database that was put back is behind until what had landed is there again', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tAnna'])], { begins: true, ends: true }));
  await world.apply();
  copyFileSync(world.targetFile, `${world.targetFile}.bak`);
  const lost = sender.rows([personRows('insert', ['2\tBo'])]);
  await world.receive(lost);
  await world.apply();
  expect(await behind(world)).toEqual(landed);
  copyFileSync(`${world.targetFile}.bak`, world.targetFile);
  // Noticed by the look itself, before apply has looked.
  expect(await behind(world)).toEqual({ ...waits, looked: ['target'] });
  await world.apply();
  expect(await behind(world)).toEqual(waits);
  await world.receive(lost);
  await world.apply();
  expect(await behind(world)).toEqual(landed);
});
