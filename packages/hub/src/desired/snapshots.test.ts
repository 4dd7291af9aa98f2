import { ControlMessage } from '@qiao/contract/control';
import { Directory, NodeSnapshot } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { isPostgresRun } from '@qiao/database/testing';
import { bridgeJson, parseBridge, QiaoError } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { giveFencingToken } from '../registry/nodes.ts';
import { idText, TestWorld } from '../world.testing.ts';
import { createDesiredState, type DesiredPorts } from './snapshots.ts';

const YAML = `
kind: Bridge
name: births
title: 出生
source: {node: health, dataSource: his, capture: compare, tables: [{name: birth, key: [id]}]}
schedule: realtime
destinations: [{node: civil, dataSource: exchange, tables: {birth: {to: t, ownership: whole}}}]
`;

async function platform() {
  const world = await TestWorld.create();
  const [health, civil, city] = [await world.join('health'), await world.join('civil'), await world.join('city')];
  const ids = await world.bridge('births', health, civil);
  const { definition, problems } = parseBridge(YAML);
  if (definition === undefined) throw new Error(JSON.stringify(problems));
  await world.store
    .updateTable('bridge_versions')
    .set({ definition_json: bridgeJson(definition) })
    .execute();
  const pushed: { to: string; snapshot: NodeSnapshot }[] = [];
  const directories: Directory[] = [];
  const away = new Set<string>();
  const ports: DesiredPorts = {
    store: world.store,
    platform: world.platform,
    clock: world.clock,
    log: silentLog(),
    sign: (context, payload) => world.hub.signer.sign(context, payload),
    isLeader: () => true,
    toNode: async (to, message) => {
      if (away.has(to)) throw new QiaoError('BUS_UNREACHABLE', 'away', { fate: 'transient' });
      const { body } = ControlMessage.decode(Signed.decode(message).payload);
      if (body?.$case === 'snapshot') pushed.push({ to, snapshot: NodeSnapshot.decode(body.value.payload) });
    },
    toMonitor: async (message) => {
      directories.push(Directory.decode(Signed.decode(message).payload));
    },
  };
  const desired = createDesiredState(ports);
  const read = async (node: { id: Uint8Array }) =>
    NodeSnapshot.decode((await desired.snapshotOf(idText(node.id))).payload);
  return {
    world,
    health,
    civil,
    city,
    ids,
    desired,
    ports,
    pushed,
    directories,
    away,
    read,
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

test('each end sees its bridges, its lanes and the node at the other end; a third sees nothing', async () => {
  await using it = await platform();
  await it.desired.refresh();
  const [health, civil, city] = [await it.read(it.health), await it.read(it.civil), await it.read(it.city)];
  expect(health.bridges.map(({ name, lanes }) => [name, lanes.length])).toEqual([['births', 1]]);
  expect([health.peers.map(({ code }) => code), civil.peers.map(({ code }) => code)]).toEqual([['civil'], ['health']]);
  expect([city.bridges, city.peers]).toEqual([[], []]);
  expect(health.peers[0]).toMatchObject({ departmentTitle: 'civil 局', fencingToken: 1n });
});

test('a state that did not change keeps its number; one that did gets a higher one, for those whom it concerns', async () => {
  await using it = await platform();
  await it.desired.refresh();
  const first = [await it.read(it.health), await it.read(it.city)];
  await it.desired.refresh();
  expect((await it.read(it.health)).number).toBe(first[0]?.number);
  await it.world.store.updateTable('bridges').set({ state: 'stopped' }).execute();
  await it.desired.refresh();
  const after = await it.read(it.health);
  expect(after.number).toBeGreaterThan(first[0]?.number ?? 0n);
  expect((await it.read(it.city)).number).toBe(first[1]?.number);
});

test('no number is given twice, however many changes come at once', async () => {
  await using it = await platform();
  await Promise.all(
    Array.from({ length: 8 }, async (_, index) => {
      await it.world.store.updateTable('bridges').set({ run_number: index }).execute();
      await it.desired.refresh();
    }),
  );
  const rows = await it.world.store.selectFrom('snapshots').select('number').execute();
  expect(new Set(rows.map(({ number }) => number)).size).toBe(rows.length);
  const { number } = await it.world.store.selectFrom('hub_state').select('number').executeTakeFirstOrThrow();
  expect(number).toBeGreaterThanOrEqual(Math.max(...rows.map((row) => row.number)));
});

test('a new generation writes every snapshot anew, above all of the old one', async () => {
  await using it = await platform();
  await it.desired.refresh();
  await it.world.store.updateTable('hub_state').set({ generation: 2 }).execute();
  await it.desired.refresh();
  expect(await it.read(it.city)).toMatchObject({ generation: 2n });
});

test('the bridge that closes a circle tells both nodes that its tables, and those of the other bridge, lie in one', async () => {
  await using it = await platform();
  await it.desired.refresh();
  expect((await it.read(it.health)).bridges[0]?.circles).toEqual({ pairs: [], rings: [] });
  const back = parseBridge(
    YAML.replace('name: births', 'name: back')
      .replace('node: health, dataSource: his', 'node: civil, dataSource: exchange')
      .replace('name: birth, key', 'name: t, key')
      .replace(
        '{node: civil, dataSource: exchange, tables: {birth: {to: t',
        '{node: health, dataSource: his, tables: {t: {to: birth',
      ),
  ).definition;
  if (back === undefined) throw new Error('no bridge');
  const { bridgeId } = await it.world.bridge('back', it.civil, it.health);
  await it.world.store
    .updateTable('bridge_versions')
    .set({ definition_json: bridgeJson(back) })
    .where('bridge_id', '=', idText(bridgeId))
    .execute();
  await it.desired.refresh();
  for (const node of [it.health, it.civil]) {
    expect((await it.read(node)).bridges.map(({ name, circles }) => [name, circles?.pairs, circles?.rings])).toEqual([
      ['back', ['t'], []],
      ['births', ['birth'], []],
    ]);
  }
});

test('a node that starts anew is told to its peers by its token', async () => {
  await using it = await platform();
  await it.desired.refresh();
  await giveFencingToken(it.world.store, idText(it.civil.id));
  await it.desired.refresh();
  expect((await it.read(it.health)).peers[0]?.fencingToken).toBe(2n);
});

test('a revoked peer stays named but has no key to seal for; an ended lane stays named for a month', async () => {
  await using it = await platform();
  await it.world.store.updateTable('nodes').set({ status: 'revoked' }).where('code', '=', 'civil').execute();
  await it.world.store.updateTable('lanes').set({ ended_at_ms: it.world.clock.ms }).execute();
  await it.desired.refresh();
  const soon = await it.read(it.health);
  expect(soon.peers.map(({ code, sealingKey }) => [code, sealingKey.length])).toEqual([['civil', 0]]);
  expect(soon.bridges[0]?.lanes[0]?.ended).toBe(true);
  it.world.clock.ms += 31 * 86_400_000;
  await it.desired.refresh();
  expect((await it.read(it.health)).bridges[0]?.lanes).toEqual([]);
});

test('what changed is brought out once, what the bus did not take is brought out later, and the monitor hears the directory', async () => {
  await using it = await platform();
  it.away.add('health');
  const stop = new AbortController();
  const running = it.desired.run(stop.signal);
  await expect.poll(() => it.directories.length + it.pushed.length).toBeGreaterThan(0);
  it.away.clear();
  it.desired.busIsBack();
  await expect.poll(() => it.pushed.map(({ to }) => to)).toContain('health');
  await expect.poll(() => it.directories.length).toBeGreaterThan(0);
  stop.abort();
  await running;
  expect(it.directories.at(-1)).toMatchObject({ timeZone: 'Asia/Shanghai', bridges: [{ name: 'births' }] });
  expect(it.directories.at(-1)?.nodes.map(({ code }) => code)).toEqual(['city', 'civil', 'health']);
});

test('with nothing new to say it waits: the directory is not sent over and over', async () => {
  await using it = await platform();
  const stop = new AbortController();
  const running = it.desired.run(stop.signal);
  await expect.poll(() => it.directories.length).toBeGreaterThan(0);
  // Each look costs what a directory costs, and more: if it never waited, there would be as many of them.
  for (let look = 0; look < 50; look += 1) {
    await it.desired.refresh();
    await new Promise((resolve) => setImmediate(resolve));
  }
  stop.abort();
  await running;
  expect(it.directories.length).toBeLessThanOrEqual(3);
});

test('two replicas never give one number to two states, nor a newer number to an older state', async () => {
  await using it = await platform();
  // A file has one program, so on SQLite the two share its connection.
  const store = isPostgresRun ? await it.world.storeOf('hub-2') : it.world.store;
  const other = createDesiredState({ ...it.ports, store });
  for (let round = 1; round <= 5; round += 1) {
    await it.world.store.updateTable('bridges').set({ run_number: round }).execute();
    await Promise.all([it.desired.refresh(), other.refresh()]);
    const health = await it.read(it.health);
    expect(health.bridges[0]?.runNumber).toBe(BigInt(round));
  }
  const { number } = await it.world.store.selectFrom('hub_state').select('number').executeTakeFirstOrThrow();
  // The first round numbers three nodes and the directory; each later one the two ends of the bridge.
  expect(number).toBe(4 + 4 * 2);
});

test('a snapshot that a replica stored and did not live to bring out is brought out by another', async () => {
  await using it = await platform();
  await it.desired.refresh();
  const other = createDesiredState({ ...it.ports, store: await it.world.storeOf('hub-2'), isLeader: () => false });
  const stop = new AbortController();
  const running = other.run(stop.signal);
  await expect.poll(() => it.pushed.map(({ to }) => to).sort()).toEqual(['city', 'civil', 'health']);
  stop.abort();
  await running;
});
