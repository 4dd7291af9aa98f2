/** Promises M1–M5. */
import { describe, expect, test } from 'vitest';
import { applied, type Fixture, hash, integer, Lane, mirror, openLane, section, text } from './fixture.ts';

const COLUMNS = ['id', 'x'];
const TABLE = mirror('t', [
  { name: 'id', type: integer },
  { name: 'x', type: text },
]);
const DDL = 'CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x text)';

export function markContract(make: () => Promise<Fixture>): void {
  describe('the mark', () => {
    test('prepare makes the mark once and the target id stays', async () => {
      await using fixture = await make();
      const one = await fixture.dataSource.openTarget();
      const made = await one.prepare();
      expect(made).toEqual({ targetId: expect.stringMatching(/^[0-9a-f]{32}$/), created: true });
      expect(await one.prepare()).toEqual({ ...made, created: false });
      await one.close();
      const two = await fixture.dataSource.openTarget();
      expect(await two.prepare()).toEqual({ ...made, created: false });
      expect(await two.points('a'.repeat(32))).toEqual([]);
    });

    test('a lane that is over leaves nothing in the mark; others and the rows stay', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      await applied(target, lane.next([section('t', 'insert', COLUMNS, [['1', 'a']])]));
      const other = new Lane([TABLE], 'b'.repeat(32));
      await applied(target, other.opening());
      await applied(target, other.next([section('t', 'insert', COLUMNS, [['2', 'b']])]));
      const { targetId } = await target.prepare();
      await target.forgetLane(lane.id);
      expect(await target.points(lane.id)).toEqual([]);
      expect(await target.points(other.id)).not.toEqual([]);
      expect(await target.prepare()).toEqual({ targetId, created: false });
      expect(await fixture.query('SELECT count(*) FROM t')).toEqual([['2']]);
    });

    test('points give back what was applied, newest last', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const work = lane.next([section('t', 'insert', COLUMNS, [['1', 'a']])]);
      const { answer } = await applied(target, work);
      const points = await target.points(lane.id);
      // The opening's row may be gone: `settledThrough` 0 reaches it.
      expect(points.map(({ epoch, sequence }) => [epoch, sequence]).at(-1)).toEqual([1n, 1n]);
      const last = points.at(-1);
      expect(last?.answer).toEqual(answer);
      expect(last?.appliedAtMs).toBe(work.appliedAtMs);
      for (const name of ['nonce', 'chain', 'contentHash'] as const) {
        expect(Buffer.compare(last?.[name] ?? Buffer.alloc(0), work[name])).toBe(0);
      }
      expect(await target.points('b'.repeat(32))).toEqual([]);
    });

    test('a delivery given twice is applied once and answered the same', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const work = lane.next([section('t', 'insert', COLUMNS, [['1', 'a']])]);
      const { answer } = await applied(target, work);
      const again = await target.apply(work);
      expect(again).toMatchObject({ kind: 'alreadyApplied', answer });
      expect(await fixture.query('SELECT count(*) FROM t')).toEqual([['1']]);
    });

    test('two appliers of one delivery: one applies, the other is told so', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const other = await fixture.dataSource.openTarget();
      const work = lane.next([section('t', 'insert', COLUMNS, [['1', 'a']])]);
      const kinds = (await Promise.all([target.apply(work), other.apply(work)])).map(({ kind }) => kind);
      expect(kinds.toSorted()).toEqual(['alreadyApplied', 'applied']);
      expect(await fixture.query('SELECT count(*) FROM t')).toEqual([['1']]);
    });

    test('a delivery ahead of its place is a gap and changes nothing', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      lane.next([]);
      const early = lane.next([section('t', 'insert', COLUMNS, [['1', 'a']])]);
      expect(await target.apply(early)).toEqual({ kind: 'gap', expected: 1n });
      expect(await fixture.query('SELECT count(*) FROM t')).toEqual([['0']]);
      expect(await target.points(lane.id)).toHaveLength(1);
    });

    test('a delivery of an epoch that was never opened is a gap at its opening', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      lane.nextOpening();
      expect(await target.apply(lane.next([]))).toEqual({ kind: 'gap', expected: 0n });
      const stranger = new Lane([TABLE], 'c'.repeat(32));
      stranger.opening();
      expect(await target.apply(stranger.next([]))).toEqual({ kind: 'gap', expected: 0n });
    });

    test('another content, chain or nonce at a known place is a fork and changes nothing', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const first = lane.next([section('t', 'insert', COLUMNS, [['1', 'a']])]);
      await applied(target, first);
      const second = lane.next([section('t', 'insert', COLUMNS, [['2', 'b']])]);
      for (const forked of [
        { ...first, contentHash: hash('another') },
        { ...first, chain: hash('another') },
        { ...first, nonce: hash('another').subarray(0, 16) },
        { ...second, previousChain: hash('another') },
        { ...second, nonce: hash('another').subarray(0, 16) },
      ]) {
        expect(await target.apply(forked)).toMatchObject({ kind: 'fork', why: expect.any(String) });
      }
      expect(await fixture.query('SELECT id FROM t')).toEqual([['1']]);
      await applied(target, second);
    });

    test('a new epoch begins at its opening; the old one is answered, never applied', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const old = lane.next([section('t', 'insert', COLUMNS, [['1', 'a']])]);
      const { answer } = await applied(target, old);
      const late = lane.next([section('t', 'insert', COLUMNS, [['2', 'b']])]);
      await applied(target, lane.nextOpening());
      expect(await target.apply(old)).toMatchObject({ kind: 'alreadyApplied', answer });
      expect(await target.apply(late)).toMatchObject({ kind: 'fork' });
      await applied(target, lane.next([section('t', 'insert', COLUMNS, [['3', 'c']])]));
      expect(await fixture.query('SELECT id FROM t ORDER BY id')).toEqual([['1'], ['3']]);
    });

    test('settled rows of the mark go, the highest stays', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const first = lane.next([section('t', 'insert', COLUMNS, [['1', 'a']])]);
      await applied(target, first);
      await applied(target, lane.next([section('t', 'insert', COLUMNS, [['2', 'b']])]));
      await applied(target, lane.next([], { settledThrough: 1n }));
      expect((await target.points(lane.id)).map(({ sequence }) => sequence)).toEqual([2n, 3n]);
      expect(await target.apply(first)).toMatchObject({ kind: 'alreadyApplied', answer: { outcomes: [], extras: [] } });
      await applied(target, lane.next([], { settledThrough: 100n }));
      expect((await target.points(lane.id)).map(({ sequence }) => sequence)).toEqual([4n]);
    });

    test('lanes do not see each other', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const other = new Lane([TABLE], 'b'.repeat(32));
      await applied(target, other.opening());
      await applied(target, other.next([section('t', 'insert', COLUMNS, [['1', 'a']])], { settledThrough: 9n }));
      await applied(target, lane.next([section('t', 'insert', COLUMNS, [['2', 'b']])]));
      for (const { id } of [lane, other]) {
        expect((await target.points(id)).at(-1)).toMatchObject({ sequence: 1n, answer: { outcomes: [{ rows: 1 }] } });
      }
    });

    test('a delivery that fails leaves neither rows nor mark, and succeeds when tried again', async () => {
      await using fixture = await make();
      await fixture.sql(`${DDL.slice(0, -1)}, CHECK (x <> 'bad'))`);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const rows = section('t', 'insert', COLUMNS, [
        ['1', 'a'],
        ['2', 'bad'],
      ]);
      let attempts = 0;
      const work = lane.next([rows], {
        beforeCommit: () => {
          if (attempts++ === 0) throw new Error('the quarantine is full');
        },
      });
      await expect(target.apply(work)).rejects.toThrow('the quarantine is full');
      expect(await fixture.query('SELECT count(*) FROM t')).toEqual([['0']]);
      expect(await target.points(lane.id)).toHaveLength(1);
      await applied(target, work);
      expect(await fixture.query('SELECT id FROM t')).toEqual([['1']]);
    });
  });
}
