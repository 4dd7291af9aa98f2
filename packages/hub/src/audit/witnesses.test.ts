import type { AuditEntry } from '@qiao/contract/hub';
import type { AuditHead } from '@qiao/contract/monitor';
import { expect, test } from 'vitest';
import { START_MS, TestWorld } from '../world.testing.ts';
import { appendAudit, readAudit } from './audit.ts';
import { compareWitnesses, type WitnessFinding } from './witnesses.ts';

class Chain {
  readonly world: TestWorld;
  nowMs = START_MS;

  constructor(world: TestWorld) {
    this.world = world;
  }

  async write(...actions: string[]): Promise<void> {
    for (const action of actions) {
      this.nowMs += 3_600_000;
      await appendAudit(this.world.store, { atMs: this.nowMs, actor: 'li', action, subject: 'hub', success: true });
    }
  }

  async heads(): Promise<AuditHead[]> {
    const heads: AuditHead[] = [];
    for await (const { replica, number, hash, atMs } of readAudit(this.world.store))
      heads.push({ replica, number, hash, atMs });
    return heads;
  }

  async compare(witnesses: readonly AuditHead[]): Promise<WitnessFinding> {
    return compareWitnesses(readAudit(this.world.store), witnesses);
  }
}

const numbers = (some: readonly Pick<AuditEntry, 'number'>[]): number[] => some.map(({ number }) => Number(number));

/** Entries 1 and 2, then 3 to 5 that the monitor was shown and a backup lacks. */
async function cut(world: TestWorld): Promise<{ chain: Chain; shown: AuditHead[] }> {
  const chain = new Chain(world);
  await chain.write('bridge.deploy', 'bridge.deploy');
  const kept = await chain.heads();
  // What was written after the backup lives in the monitor's memory alone.
  const lost = [3n, 4n, 5n].map((number) => {
    chain.nowMs += 3_600_000;
    return {
      replica: kept[0]?.replica ?? '',
      number,
      hash: new Uint8Array(32).fill(Number(number)),
      atMs: BigInt(chain.nowMs),
    };
  });
  return { chain, shown: [...kept, ...lost] };
}

test('heads that the backup of a restored hub lacks are named, with who confirmed the restore', async () => {
  await using world = await TestWorld.create();
  const { chain, shown } = await cut(world);
  await chain.write('hub.hold', 'hub.confirm');
  const found = await chain.compare(shown);
  expect(found.same).toBe(2);
  expect(numbers(found.lost)).toEqual([3, 4, 5]);
  expect(found.denied).toEqual([]);
  expect(found.restores).toMatchObject([{ begun: { number: 3n }, confirmed: { number: 4n, actor: 'li' } }]);
});

test('a chain that was cut and goes on past what was shown is told on by every head, not only the newest', async () => {
  await using world = await TestWorld.create();
  const { chain, shown } = await cut(world);
  await chain.write('a.b', 'a.b', 'a.b', 'a.b');
  expect(numbers((await chain.compare([...shown, ...(await chain.heads()).slice(-1)])).denied)).toEqual([3, 4, 5]);
});

test('a restore explains nothing that was shown after it, and no entry that is older than it', async () => {
  await using world = await TestWorld.create();
  const { chain, shown } = await cut(world);
  await chain.write('hub.hold', 'hub.confirm');
  const later = {
    replica: shown[0]?.replica ?? '',
    number: 9n,
    hash: new Uint8Array(32),
    atMs: BigInt(chain.nowMs + 3_600_000),
  };
  const rewritten = shown.map((one) => (one.number === 1n ? { ...one, hash: new Uint8Array(32) } : one));
  expect(numbers((await chain.compare([...rewritten, later])).denied)).toEqual([1, 9]);
});

test('a restore that nobody confirmed explains nothing', async () => {
  await using world = await TestWorld.create();
  const { chain, shown } = await cut(world);
  await chain.write('hub.hold');
  expect(numbers((await chain.compare(shown)).denied)).toEqual([3, 4, 5]);
});
