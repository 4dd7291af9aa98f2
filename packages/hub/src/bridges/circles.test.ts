import { parseBridge } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { circlesOf } from './circles.ts';

/** A bridge of `register` from one node to others; the schema is the first one's. */
function leg(from: string, to: string[], { schema = '', landing = '' } = {}) {
  const destinations = to.map(
    (node) => `{node: ${node}, dataSource: own, tables: {register: {to: register${schema}${landing}}}}`,
  );
  const { definition, problems } = parseBridge(
    `{kind: Bridge, name: ${from}-${to.join('-')}, title: t, schedule: realtime, destinations: [${destinations.join(', ')}],
      source: {node: ${from}, dataSource: own, capture: log, tables: [{name: register, key: [id]}]}}`,
  );
  if (definition === undefined) throw new Error(JSON.stringify(problems));
  return definition;
}

const said = (...legs: ReturnType<typeof leg>[]) =>
  Object.fromEntries([...circlesOf(legs)].map(([name, { pairs, rings }]) => [name, [pairs, rings]]));

test('tables lie in pairs, in rings or in no circle; what leads in and out of one lies in none', () => {
  expect(said(leg('a', ['b']), leg('b', ['c', 'd']))).toEqual({});
  expect(said(leg('a', ['b']), leg('b', ['a']), leg('b', ['c']), leg('x', ['y']), leg('y', ['a']))).toEqual({
    'a-b': [['register'], []],
    'b-a': [['register'], []],
  });
  expect(said(leg('a', ['b']), leg('b', ['c']), leg('c', ['a']), leg('c', ['d']))).toEqual({
    'a-b': [[], ['register']],
    'b-c': [[], ['register']],
    'c-a': [[], ['register']],
  });
  expect(said(leg('a', ['b'], { landing: ', landing: journal' }), leg('b', ['a']))).toEqual({});
});

test('a schema that is named at one end alone does not hide a circle', () => {
  expect(said(leg('a', ['b']), leg('b', ['a'], { schema: ', schema: public' }))).toEqual({
    'a-b': [['register'], []],
    'b-a': [['register'], []],
  });
});
