import { type BridgeDefinition, parseBridge } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { twoWayProblems } from './twoWay.ts';

interface Leg {
  readonly capture?: string;
  readonly columns?: string;
  /** Of the destination's table. */
  readonly more?: string;
}

/** A bridge between tables named like their nodes. */
function leg(
  from: string,
  to: string,
  { capture = 'log', columns, more = 'conflict: {newestWins: seen_at}' }: Leg = {},
) {
  const { definition, problems } = parseBridge(`
kind: Bridge
name: ${from}-${to}
title: 双向
source:
  node: ${from}
  dataSource: own
  capture: ${capture}
  tables: [{name: ${from}, key: [id]${columns === undefined ? '' : `, columns: [${columns}]`}}]
schedule: realtime
destinations:
  - {node: ${to}, dataSource: own, tables: {${from}: {to: ${to}${more === '' ? '' : `, ${more}`}}}}
`);
  if (definition === undefined) throw new Error(JSON.stringify(problems));
  return definition;
}

const found = (definition: BridgeDefinition, ...others: BridgeDefinition[]) =>
  twoWayProblems(definition, others).map(({ code, path }) => `${code} ${path}`);
const AT_B = 'destinations[0].tables.a';

test('two bridges between the same two tables come to rest by log or trigger, with a policy in one at least', () => {
  expect(found(leg('a', 'b'), leg('b', 'a'))).toEqual([]);
  expect(found(leg('a', 'b', { more: '' }), leg('b', 'a', { more: 'conflict: targetWins' }))).toEqual([]);
  expect(found(leg('a', 'b', { more: '' }), leg('b', 'a', { more: '' }))).toEqual([
    `TWO_WAY_CONFLICT ${AT_B}.conflict`,
  ]);
  expect(found(leg('a', 'b', { capture: 'trigger' }), leg('b', 'a'))).toEqual([]);
  expect(found(leg('a', 'b', { capture: 'compare' }), leg('b', 'a'))).toEqual([`TWO_WAY_CAPTURE ${AT_B}`]);
  expect(found(leg('a', 'b'), leg('b', 'a', { capture: 'compare' }))).toEqual([`TWO_WAY_CAPTURE ${AT_B}`]);
});

test('pairs may hang together and tables may form one ring; two ways from one to another are refused, and what leads in or out is none of it', () => {
  expect(found(leg('a', 'b'), leg('b', 'c'), leg('c', 'a'))).toEqual([]);
  expect(found(leg('a', 'b'), leg('b', 'c'), leg('c', 'b'), leg('c', 'a'))).toEqual([`TWO_WAY_RING ${AT_B}`]);
  expect(found(leg('a', 'b', { more: '' }), leg('b', 'c', { more: '' }), leg('c', 'a', { more: '' }))).toEqual([
    `TWO_WAY_CONFLICT ${AT_B}.conflict`,
  ]);
  const ring = (count: number) => Array.from({ length: count }, (_none, n) => leg(`n${n}`, `n${(n + 1) % count}`));
  const [one = leg('a', 'b'), ...sixteen] = ring(16);
  expect(found(one, ...sixteen)).toEqual([]);
  const [other = leg('a', 'b'), ...seventeen] = ring(17);
  expect(found(other, ...seventeen)).toEqual(['TWO_WAY_RING destinations[0].tables.n0']);
  const pairs = ['ab', 'ba', 'bc', 'cb'].map(([from = '', to = '']) => leg(from, to));
  const [first = leg('a', 'b'), ...others] = pairs;
  expect(found(first, ...others)).toEqual([]);
  expect(found(first, ...others, leg('c', 'a'), leg('a', 'c'))).toEqual([`TWO_WAY_RING ${AT_B}`]);
  const aside = { capture: 'compare', more: '' };
  expect(found(leg('a', 'b'), leg('b', 'a'), leg('b', 'x', aside), leg('y', 'a', aside))).toEqual([]);
  expect(found(leg('y', 'a', aside), leg('a', 'b'), leg('b', 'a'))).toEqual([]);
});

test('a bridge that alters rows or has more destinations cannot know what came from the other end', () => {
  const back = leg('b', 'a');
  const [table] = back.source.tables;
  if (table === undefined) throw new Error('no table');
  const filtering = { ...back, source: { ...back.source, tables: [{ ...table, where: "x = 'y'" }] } };
  expect(found(leg('a', 'b'), filtering)).toEqual([`TWO_WAY_CAPTURE ${AT_B}`]);
  const [home] = back.destinations;
  if (home === undefined) throw new Error('no destination');
  const spreading = { ...back, destinations: [home, { ...home, node: 'c' }] };
  expect(found(leg('a', 'b'), spreading)).toEqual([`TWO_WAY_CAPTURE ${AT_B}`]);
});

test('the ends must go by the same columns to find the same row newer', () => {
  const other = { more: 'conflict: {newestWins: changed_at}' };
  expect(found(leg('a', 'b'), leg('b', 'a', other))).toEqual([`TWO_WAY_COLUMNS ${AT_B}.conflict`]);
  expect(found(leg('a', 'b', { columns: 'id, x, seen_at' }), leg('b', 'a', { columns: 'id, seen_at, x' }))).toEqual([]);
  expect(found(leg('a', 'b', { columns: 'id, x, seen_at' }), leg('b', 'a', { columns: 'id, seen_at' }))).toEqual([
    `TWO_WAY_COLUMNS ${AT_B}.conflict`,
  ]);
});

test('a delete that lands as a mark and a schema that is named in one bridge alone are refused', () => {
  const marks = { more: 'conflict: {newestWins: seen_at}, onDelete: mark, markColumn: gone' };
  expect(found(leg('a', 'b', marks), leg('b', 'a'))).toEqual([`TWO_WAY_CAPTURE ${AT_B}`]);
  const named = { more: 'conflict: {newestWins: seen_at}, schema: other' };
  expect(found(leg('a', 'b'), leg('b', 'a', named))).toEqual([`TWO_WAY_SCHEMA ${AT_B}`]);
});

test('a journal, another schema and a later version of the bridge itself close no circle', () => {
  const journal = { capture: 'compare', more: 'landing: journal' };
  expect(found(leg('a', 'b', journal), leg('b', 'a', { capture: 'compare', more: '' }))).toEqual([]);
  const apart = leg('b', 'a', { capture: 'compare', more: 'schema: other' });
  const [table] = apart.source.tables;
  expect(
    found(leg('a', 'b'), { ...apart, source: { ...apart.source, tables: table ? [{ ...table, schema: 's' }] : [] } }),
  ).toEqual([`TWO_WAY_CAPTURE ${AT_B}`, `TWO_WAY_SCHEMA ${AT_B}`]);
  const inOther = leg('a', 'b', { more: 'schema: t, conflict: targetWins' });
  expect(
    found(inOther, { ...apart, source: { ...apart.source, tables: table ? [{ ...table, schema: 's' }] : [] } }),
  ).toEqual([]);
  expect(found(leg('a', 'b'), leg('a', 'b'))).toEqual([]);
});
