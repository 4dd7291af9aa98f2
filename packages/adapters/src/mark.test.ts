/** The decision and the texts that adapters share. */
import { expect, test } from 'vitest';
import { answerText, guardStops, loadTableName, loadTablePrefix, parseAnswer } from './mark.ts';

test('an answer comes back as it was stored, in one order', () => {
  const outcomes = [
    { table: '表', sent: 'insert', outcome: 'inserted', rows: 3 },
    { table: 'a"b', sent: 'delete', outcome: 'deleted', rows: 1 },
  ] as const;
  const extras = [
    { table: '表', deleted: 1, kept: 0 },
    { table: 'a"b', deleted: 0, kept: 2 },
  ];
  const open = [
    { section: 0, index: 7, table: '表', kind: 'insert', outcome: 'quarantined', code: 'CHECK', reason: 'x "y"' },
    { section: 1, index: 0, table: '表', kind: 'delete', outcome: 'held', code: 'HELD', reason: '' },
  ] as const;
  const stored = answerText({ outcomes, extras, revision: 3, open });
  expect(
    answerText({ outcomes: outcomes.toReversed(), extras: extras.toReversed(), revision: 3, open: open.toReversed() }),
  ).toBe(stored);
  const sorted = { outcomes: outcomes.toReversed(), extras: extras.toReversed(), revision: 3, open };
  expect(parseAnswer(stored)).toEqual(sorted);
});

test('an answer that Qiao did not write is refused', () => {
  for (const stored of ['', '{', 'null', '{"outcomes":1}'])
    expect(() => parseAnswer(stored)).toThrow(expect.objectContaining({ code: 'MARK_UNREADABLE' }));
});

test('names of load tables fit every database and tell lanes and tables apart', () => {
  const names = ['a', 'b'].flatMap((lane) =>
    ['t', '表'.repeat(21)].map((table) => loadTableName(lane.repeat(32), table)),
  );
  expect(new Set(names).size).toBe(4);
  for (const name of names) expect(name).toMatch(/^qiao_load_[0-9a-f]+_[0-9a-f]+$/);
  expect(Math.max(...names.map((name) => name.length))).toBeLessThanOrEqual(63);
  expect(names[0]?.startsWith(loadTablePrefix('a'.repeat(32)))).toBe(true);
});

test('the guard stops removals that are many, a large share, and not allowed', () => {
  const work = (allowedDeletes: number) => ({
    deleteGuard: { rows: 1000, share: 0.05 },
    load: { begins: false, ends: true, allowedDeletes },
  });
  expect(guardStops(1001, 1001, work(0))).toBe(true);
  expect(guardStops(1000, 1000, work(0))).toBe(false);
  expect(guardStops(1001, 30_000, work(0))).toBe(false);
  expect(guardStops(1001, 1001, work(1001))).toBe(false);
  expect(guardStops(1002, 1002, work(1001))).toBe(true);
});
