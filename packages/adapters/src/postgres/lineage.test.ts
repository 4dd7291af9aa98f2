import { expect, test } from 'vitest';
import { comparePositions, Lineage, parsePosition } from './lineage.ts';
import { parseLsn } from './lsn.ts';

const LOST = expect.objectContaining({ code: 'LOG_LOST' });
const at = parseLsn;

test('a position names the transaction before it, and goes on behind the next', () => {
  const lineage = new Lineage('0/200@0/100:7');
  expect(lineage.begin).toBe('0/100');
  lineage.keptFrom(at('0/80'));
  lineage.transaction(at('0/100'), 7);
  lineage.transaction(at('0/300'), 8);
  expect(lineage.positionAt(at('0/340'))).toBe('0/340@0/300:8');
});

test('where nothing has come since, a position says since when', () => {
  const lineage = new Lineage('0/200');
  lineage.reached(at('0/900'));
  expect(lineage.positionAt(at('0/900'))).toBe('0/900@0/200');
  expect(new Lineage('0/900@0/200').begin).toBe('0/200');
});

test.each([
  ['another transaction at its place', (one: Lineage) => one.transaction(at('0/100'), 8)],
  ['another transaction between it and the position', (one: Lineage) => one.transaction(at('0/180'), 9)],
  ['none at its place, and the next one is behind the position', (one: Lineage) => one.transaction(at('0/300'), 9)],
  ['none at its place, and the log goes on', (one: Lineage) => one.reached(at('0/101'))],
])('a log with %s is another log', (_, come) => {
  const lineage = new Lineage('0/200@0/100:7');
  lineage.keptFrom(at('0/80'));
  expect(() => come(lineage)).toThrow(LOST);
});

test('what the slot was told to forget does not come again, and nobody expects it', () => {
  const lineage = new Lineage('0/200@0/100:7');
  lineage.transaction(at('0/300'), 8);
  lineage.keptFrom(at('0/200'));
  expect(lineage.positionAt(at('0/340'))).toBe('0/340@0/300:8');
  const early = new Lineage('0/200@0/100:7');
  early.transaction(at('0/300'), 8);
  expect(() => early.keptFrom(at('0/100'))).toThrow(LOST);
});

test('a transaction where there was none is another log', () => {
  expect(() => new Lineage('0/900@0/200').transaction(at('0/200'), 5)).toThrow(LOST);
  expect(() => new Lineage('0/900@0/200').transaction(at('0/899'), 5)).toThrow(LOST);
  expect(() => new Lineage('0/900@0/200').transaction(at('0/900'), 5)).not.toThrow();
});

test('positions are compared by their places', () => {
  expect(comparePositions('0/200@0/100:7', '0/200')).toBe(0);
  expect(comparePositions('0/200@0/100:7', '0/1FF@0/150:9')).toBe(1);
  expect(comparePositions('0/FFFFFFFF', '1/0')).toBe(-1);
});

test.each(['', '0', '0/200@', '0/200@0/100:', '0/200@0/100:x', '0/200@0/100:12345678901'])(
  'what is no position is refused (%s)',
  (text) => expect(() => parsePosition(text)).toThrow(expect.objectContaining({ code: 'LOG_POSITION_INVALID' })),
);
