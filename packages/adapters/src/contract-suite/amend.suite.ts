/** Promises A1–A5, M5 about settled runs, and R3 about what comes later of an open key. */
import { describe, expect, test } from 'vitest';
import type { AmendWork, ApplyWork, StoredAnswer, Target } from '../adapter.ts';
import { applied, cellsOf, type Fixture, integer, type Lane, mirror, openLane, section, text } from './fixture.ts';

const COLUMNS = ['id', 'x'];
const TABLE = mirror('t', [
  { name: 'id', type: integer },
  { name: 'x', type: text },
]);
const DDL = `CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x text NOT NULL CHECK (x <> 'bad'))`;

const ROWS = [
  ['1', 'bad'],
  ['2', 'bad'],
  ['3', 'bad'],
  ['4', 'good'],
];

function amendOf(work: ApplyWork, changes: Partial<AmendWork> = {}): AmendWork {
  const { laneId, epoch, sequence, tables, batchNo, sourceDepartment, appliedAtMs } = work;
  return {
    laneId,
    epoch,
    sequence,
    tables,
    batchNo,
    sourceDepartment,
    appliedAtMs,
    sections: [],
    placeOf: (part, index) => ({ section: part, index }),
    givenUp: [],
    revisionAbove: 0,
    beforeCommit: () => undefined,
    ...changes,
  };
}

async function stored(target: Target, lane: Lane, sequence: bigint): Promise<StoredAnswer | undefined> {
  return (await target.points(lane.id)).find((point) => point.sequence === sequence)?.answer;
}

export function amendContract(make: () => Promise<Fixture>): void {
  describe('rows that wait', () => {
    test('the stored answer names every row that waits, at its place in the delivery', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const held = {
        sections: [section('t', 'update', COLUMNS, [['9', 'later']])],
        open: [
          {
            section: 5,
            index: 0,
            table: 't',
            kind: 'update',
            outcome: 'held',
            code: 'HELD',
            reason: 'behind',
          } as const,
        ],
      };
      const work = lane.next([section('t', 'insert', COLUMNS, ROWS)], {
        held,
        placeOf: (part, index) => ({ section: part + 2, index: index + 10 }),
        revisionAbove: 4,
      });
      const { answer, cells } = await applied(target, work);
      expect(cells).toEqual(['t insert inserted 1', 't insert quarantined 3', 't update held 1']);
      expect(answer.revision).toBe(5);
      expect(answer.open.map(({ section: part, index, outcome, code }) => [part, index, outcome, code])).toEqual(
        expect.arrayContaining([
          [5, 0, 'held', 'HELD'],
          [2, 10, 'quarantined', 'CHECK'],
          [2, 11, 'quarantined', 'CHECK'],
          [2, 12, 'quarantined', 'CHECK'],
        ]),
      );
      expect(answer.open).toHaveLength(4);
      const again = await stored(target, lane, 1n);
      expect(again?.outcomes).toEqual(answer.outcomes);
      expect(again?.revision).toBe(5);
      expect(again?.open).toEqual(expect.arrayContaining([...answer.open]));
    });

    test('rows tried again or given up move in the stored answer, which rises by one revision', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const work = lane.next([section('t', 'insert', COLUMNS, ROWS)]);
      await applied(target, work);
      const seen: unknown[] = [];
      const places = [2, 1];
      const result = await target.amend(
        amendOf(work, {
          sections: [
            section('t', 'insert', COLUMNS, [
              ['3', 'mended'],
              ['2', 'bad'],
            ]),
          ],
          placeOf: (_part, index) => ({ section: 0, index: places[index] as number }),
          givenUp: [{ section: 0, index: 0, outcome: 'abandoned' }],
          beforeCommit: async (answer, quarantined) => {
            seen.push(cellsOf(answer), quarantined.length, await fixture.query('SELECT count(*) FROM t'));
          },
        }),
      );
      const expected = ['t insert abandoned 1', 't insert inserted 2', 't insert quarantined 1'];
      expect(result).toMatchObject({ kind: 'amended', quarantined: [{ index: 1, code: 'CHECK' }] });
      expect(seen).toEqual([expected, 1, [['1']]]);
      const answer = await stored(target, lane, 1n);
      expect(cellsOf(answer as StoredAnswer)).toEqual(expected);
      expect(answer?.revision).toBe(2);
      expect(answer?.open).toMatchObject([{ section: 0, index: 1, outcome: 'quarantined' }]);
      expect(await fixture.query('SELECT id, x FROM t ORDER BY id')).toEqual([
        ['3', 'mended'],
        ['4', 'good'],
      ]);
    });

    test('a row that is not open is moved by nobody, and nothing else of the work is', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const work = lane.next([section('t', 'insert', COLUMNS, ROWS)]);
      const { cells } = await applied(target, work);
      const mended = [section('t', 'insert', COLUMNS, [['1', 'mended']])];
      const notOpen = amendOf(work, { sections: mended, givenUp: [{ section: 0, index: 3, outcome: 'abandoned' }] });
      expect(await target.amend(notOpen)).toMatchObject({ kind: 'unknown' });
      const twice = amendOf(work, { sections: mended, givenUp: [{ section: 0, index: 0, outcome: 'abandoned' }] });
      expect(await target.amend(twice)).toMatchObject({ kind: 'unknown' });
      expect(await target.amend({ ...amendOf(work), sequence: 99n })).toMatchObject({ kind: 'unknown' });
      expect(cellsOf((await stored(target, lane, 1n)) as StoredAnswer)).toEqual(cells);
      expect(await fixture.query('SELECT count(*) FROM t')).toEqual([['1']]);
    });

    test('a beforeCommit that throws leaves rows and answer as they were', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const work = lane.next([section('t', 'insert', COLUMNS, ROWS)]);
      await applied(target, work);
      const amend = amendOf(work, {
        sections: [section('t', 'insert', COLUMNS, [['1', 'mended']])],
        beforeCommit: () => {
          throw new Error('the exchange database is full');
        },
      });
      await expect(target.amend(amend)).rejects.toThrow('full');
      expect((await stored(target, lane, 1n))?.revision).toBe(1);
      expect(await fixture.query('SELECT count(*) FROM t')).toEqual([['1']]);
    });

    test('a revision never falls below one that somebody holds, and stays when nothing moved', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const work = lane.next([section('t', 'insert', COLUMNS, ROWS)]);
      await applied(target, work);
      const revisionAfter = async (changes: Partial<AmendWork>) => {
        const result = await target.amend(amendOf(work, changes));
        return result.kind === 'amended' ? result.answer.revision : undefined;
      };
      const refused = [section('t', 'insert', COLUMNS, [['1', 'bad']])];
      expect(await revisionAfter({ sections: refused })).toBe(1);
      expect(await revisionAfter({ revisionAbove: 1 })).toBe(1);
      expect(await revisionAfter({ revisionAbove: 6 })).toBe(7);
      expect(await revisionAfter({ givenUp: [{ section: 0, index: 0, outcome: 'cancelled' }] })).toBe(8);
    });

    test('what comes later of a key never overtakes the row that waits', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const { cells, quarantined } = await applied(
        target,
        lane.next([
          section('t', 'insert', COLUMNS, [
            ['1', 'bad'],
            ['2', 'good'],
          ]),
          section('t', 'update', COLUMNS, [
            ['1', 'newer'],
            ['2', 'newer'],
          ]),
          section('t', 'delete', COLUMNS, [['1']]),
        ]),
      );
      expect(cells).toEqual([
        't delete held 1',
        't insert inserted 1',
        't insert quarantined 1',
        't update held 1',
        't update updated 1',
      ]);
      expect(quarantined.map((row) => [row.section, row.index, row.code])).toEqual([
        [0, 0, 'CHECK'],
        [1, 0, 'HELD'],
        [2, 0, 'HELD'],
      ]);
      expect(await fixture.query('SELECT id, x FROM t')).toEqual([['2', 'newer']]);
    });

    test('the number of rows that may be isolated is the work’s to say', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const work = lane.next([section('t', 'insert', COLUMNS, ROWS)]);
      await expect(target.apply({ ...work, mostIsolated: 2 })).rejects.toMatchObject({ code: 'QUARANTINE_LIMIT' });
      expect((await applied(target, { ...work, mostIsolated: 3 })).quarantined).toHaveLength(3);
    });

    test('marks that the sender settled behind an early open row go', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [TABLE]);
      await applied(target, lane.next([section('t', 'insert', COLUMNS, [['1', 'bad']])]));
      for (let id = 2; id <= 8; id++) {
        await applied(target, lane.next([section('t', 'insert', COLUMNS, [[String(id), 'x']])]));
      }
      const settled = [
        { first: 2n, last: 4n },
        { first: 6n, last: 9n },
      ];
      await applied(target, lane.next([section('t', 'insert', COLUMNS, [['9', 'x']])], { settled }));
      const left = (await target.points(lane.id)).map(({ sequence }) => sequence).filter((sequence) => sequence > 0n);
      expect(left).toEqual([1n, 5n, 9n]);
    });
  });
}
