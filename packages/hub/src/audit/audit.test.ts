import { isPostgresRun } from '@qiao/database/testing';
import { sql } from 'kysely';
import { expect, test } from 'vitest';
import type { HubDatabase } from '../hubDatabase.ts';
import { START_MS, TestWorld } from '../world.testing.ts';
import { appendAudit, readAudit } from './audit.ts';
import { sealOthers } from './seal.ts';
import { verifyAudit } from './verifyAudit.ts';

async function worldWithEntries(count: number): Promise<TestWorld> {
  const world = await TestWorld.create();
  for (let index = 1; index <= count; index += 1) {
    await appendAudit(world.store, {
      atMs: START_MS + index,
      actor: 'operator:li',
      action: 'bridge.deploy',
      subject: `bridge-${index}`,
      success: index % 2 === 0,
      detail: { version: index, note: '出生医学证明' },
    });
  }
  return world;
}

/** What somebody does who has the file and knows SQL. */
async function tamper(world: TestWorld, statement: string): Promise<void> {
  const on = isPostgresRun ? ' ON audit' : '';
  await sql.raw(`DROP TRIGGER IF EXISTS audit_is_never_changed${on}`).execute(world.store);
  await sql.raw(`DROP TRIGGER IF EXISTS audit_is_never_deleted${on}`).execute(world.store);
  await sql.raw(statement).execute(world.store);
}

test('an untouched chain is intact and names its head', async () => {
  await using world = await worldWithEntries(5);
  expect(await verifyAudit(() => readAudit(world.store))).toMatchObject({ kind: 'intact', entries: 5n });
});

test.each([
  ['another actor', `UPDATE audit SET actor = 'operator:wang' WHERE number = 3`, 3n],
  ['a failure made a success', 'UPDATE audit SET success = 1 WHERE number = 1', 1n],
  ['another time', 'UPDATE audit SET at_ms = at_ms + 1 WHERE number = 4', 4n],
  ['other facts', `UPDATE audit SET detail_json = '{}' WHERE number = 2`, 2n],
  ['an entry taken out of the middle', 'DELETE FROM audit WHERE number = 2', 2n],
] as const)('an edit is found: %s', async (_what, statement, number) => {
  await using world = await worldWithEntries(5);
  await tamper(world, statement);
  expect(await verifyAudit(() => readAudit(world.store))).toMatchObject({ kind: 'broken', number });
});

test('an edit with a recomputed hash is found at the entry after it', async () => {
  await using world = await worldWithEntries(3);
  await tamper(world, `UPDATE audit SET hash = previous_hash WHERE number = 3`);
  expect(await verifyAudit(() => readAudit(world.store))).toMatchObject({ kind: 'broken', number: 3n });
});

test('the tables themselves refuse a careless change', async () => {
  await using world = await worldWithEntries(1);
  await expect(sql`UPDATE audit SET actor = 'x'`.execute(world.store)).rejects.toThrow('never changed');
  await expect(sql`DELETE FROM audit`.execute(world.store)).rejects.toThrow('never deleted');
});

test('an event that is rolled back leaves no entry, and the chain goes on without a hole', async () => {
  await using world = await worldWithEntries(1);
  const failing = world.store.transaction().execute(async (store) => {
    await appendAudit(store, { atMs: 1, actor: 'hub', action: 'a.b', subject: '', success: true });
    throw new Error('on purpose');
  });
  await expect(failing).rejects.toThrow('on purpose');
  await appendAudit(world.store, { atMs: 2, actor: 'hub', action: 'a.b', subject: '', success: true });
  expect(await verifyAudit(() => readAudit(world.store))).toMatchObject({ kind: 'intact', entries: 2n });
});

test('a long audit is read in parts, from any entry, up to any number', async () => {
  await using world = await worldWithEntries(0);
  await world.store.transaction().execute(async (store) => {
    for (let index = 0; index < 2_300; index += 1) {
      await appendAudit(store, { atMs: index, actor: 'hub', action: 'a.b', subject: '', success: true });
    }
  });
  const numbers = (await Array.fromAsync(readAudit(world.store, { from: 900, limit: 1_205 }))).map(({ number }) =>
    Number(number),
  );
  expect([numbers[0], numbers.length, numbers.at(-1)]).toEqual([900, 1_205, 2_104]);
  expect(await verifyAudit(() => readAudit(world.store))).toMatchObject({ kind: 'intact', entries: 2_300n });
});

/** As another replica of the hub would write, on the same database. */
async function writeAs(world: TestWorld, replica: string, count: number): Promise<HubDatabase> {
  const store = await world.storeOf(replica);
  for (let index = 1; index <= count; index += 1) {
    await appendAudit(store, {
      atMs: START_MS + index,
      actor: 'hub',
      action: 'node.start',
      subject: '',
      success: true,
    });
  }
  return store;
}

test('each replica writes a chain of its own, numbered from 1, and all of them are proved', async () => {
  await using world = await worldWithEntries(2);
  await writeAs(world, 'hub-2', 3);
  expect(await verifyAudit(() => readAudit(world.store))).toMatchObject({
    kind: 'intact',
    entries: 5n,
    chains: [
      { replica: 'hub', entries: 2n },
      { replica: 'hub-2', entries: 3n },
    ],
  });
  const own = await Array.fromAsync(readAudit(world.store, { replica: 'hub-2' }));
  expect(own.map(({ number }) => number)).toEqual([1n, 2n, 3n]);
});

test('an entry moved from one chain to another is found', async () => {
  await using world = await worldWithEntries(0);
  await writeAs(world, 'hub-2', 1);
  await tamper(world, `UPDATE audit SET replica = 'hub-3' WHERE replica = 'hub-2'`);
  expect(await verifyAudit(() => readAudit(world.store))).toMatchObject({
    kind: 'broken',
    replica: 'hub-3',
    number: 1n,
  });
});

test('a chain that was cut is told on by the seal of another', async () => {
  await using world = await worldWithEntries(4);
  const other = await writeAs(world, 'hub-2', 1);
  expect(await sealOthers(other, START_MS)).toBe(1);
  expect(await verifyAudit(() => readAudit(world.store))).toMatchObject({ kind: 'intact', entries: 6n });
  await tamper(world, `DELETE FROM audit WHERE replica = 'hub' AND number = 4`);
  expect(await verifyAudit(() => readAudit(world.store))).toMatchObject({ kind: 'broken', replica: 'hub', number: 4n });
});

test('two replicas seal each other once for each news, never each other’s seals', async () => {
  await using world = await worldWithEntries(1);
  const other = await writeAs(world, 'hub-2', 1);
  const rounds: number[] = [];
  for (const store of [world.store, other, world.store, other]) rounds.push(await sealOthers(store, START_MS));
  expect(rounds).toEqual([1, 1, 0, 0]);
});
