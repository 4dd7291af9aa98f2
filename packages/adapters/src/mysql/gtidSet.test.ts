import { expect, test } from 'vitest';
import { GtidSet } from './gtidSet.ts';
import { comparePositions, parsePosition, positionText } from './logPosition.ts';

const A = '9ac4b8e2-0000-11f1-9857-02fc00000001';
const B = '9ac4b8e2-0000-11f1-9857-02fc00000002';

test('a set has the numbers of its intervals, by source and tag', () => {
  const set = new GtidSet(`${A}:1-5:7:10-9007199254740993:Audit:2-3,\n${B.toUpperCase()}:1`);
  const has = (name: string, ...numbers: bigint[]) => numbers.map((number) => set.has(name, number));
  expect(has(A, 0n, 1n, 5n, 6n, 7n, 8n, 10n, 9007199254740993n, 9007199254740994n)).toEqual([
    false,
    true,
    true,
    false,
    true,
    false,
    true,
    true,
    false,
  ]);
  expect(has(`${A}:audit`, 1n, 2n, 3n, 4n)).toEqual([false, true, true, false]);
  expect(has(B, 1n, 2n)).toEqual([true, false]);
  expect(has('unknown', 1n)).toEqual([false]);
  expect(new GtidSet('').has(A, 1n)).toBe(false);
});

test.each([A, `${A}:`, `${A}:0`, `${A}:5-1`, `${A}:1-`, `${A}:1.5`, `${A}:1-2-3`, 'x:1', `${A}:9-1,`, `${A}:1;drop`])(
  'what is no set is refused: %s',
  (text) => {
    expect(() => new GtidSet(text)).toThrow(expect.objectContaining({ code: 'LOG_POSITION_INVALID' }));
  },
);

test('a place in the log of MySQL names the last transaction of each source and tag', () => {
  const text = `${A}:17,${A}:audit:1@binlog.000003:52718#1763830000`;
  const position = parsePosition(text);
  expect([...position.gtids]).toEqual([
    [A, `${A}:17`],
    [`${A}:audit`, `${A}:audit:1`],
  ]);
  expect(positionText(position)).toBe(text);
  expect(comparePositions(text, `${A}:18@binlog.000003:52719#1763830000`)).toBeLessThan(0);
});
