import { sql } from 'kysely';
import { expect, test } from 'vitest';
import { START_MS, TestWorld } from '../world.testing.ts';
import { appendAudit, readAudit, verifyAudit } from './audit.ts';

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
  await sql.raw('DROP TRIGGER IF EXISTS audit_is_never_changed').execute(world.store);
  await sql.raw('DROP TRIGGER IF EXISTS audit_is_never_deleted').execute(world.store);
  await sql.raw(statement).execute(world.store);
}

test('an untouched chain is intact and names its head', async () => {
  await using world = await worldWithEntries(5);
  expect(await verifyAudit(readAudit(world.store))).toMatchObject({ kind: 'intact', entries: 5n });
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
  expect(await verifyAudit(readAudit(world.store))).toMatchObject({ kind: 'broken', number });
});

test('an edit with a recomputed hash is found at the entry after it', async () => {
  await using world = await worldWithEntries(3);
  await tamper(world, `UPDATE audit SET hash = randomblob(32) WHERE number = 3`);
  expect(await verifyAudit(readAudit(world.store))).toMatchObject({ kind: 'broken', number: 3n });
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
  expect(await verifyAudit(readAudit(world.store))).toMatchObject({ kind: 'intact', entries: 2n });
});

test('a long audit is read in parts, from any entry, up to any number', async () => {
  await using world = await worldWithEntries(0);
  await world.store.transaction().execute(async (store) => {
    for (let index = 0; index < 2_300; index += 1) {
      await appendAudit(store, { atMs: index, actor: 'hub', action: 'a.b', subject: '', success: true });
    }
  });
  const numbers = (await Array.fromAsync(readAudit(world.store, 900, 1_205))).map(({ number }) => Number(number));
  expect([numbers[0], numbers.length, numbers.at(-1)]).toEqual([900, 1_205, 2_104]);
  expect(await verifyAudit(readAudit(world.store))).toMatchObject({ kind: 'intact', entries: 2_300n });
});
