import { expect, test } from 'vitest';
import { definition } from '../receive/sender.testing.ts';
import { acceptProblems, exposeProblems, type PermissionRule, refusedColumns } from './permissions.ts';

const schemas: Record<string, string> = { his: 'public' };

function allowed(exposes: readonly PermissionRule[], accepts: readonly PermissionRule[] = []) {
  return { exposes, accepts, defaultSchema: (name: string) => schemas[name] };
}

const codes = (problems: readonly { code: string }[]) => problems.map(({ code }) => code);

test('nothing leaves a node whose file exposes nothing', () => {
  expect(codes(exposeProblems(definition(), allowed([])))).toEqual(['EXPOSE_DENIED']);
});

test('a rule without a schema means the data source’s own, never another one', () => {
  const bridge = definition();
  expect(exposeProblems(bridge, allowed([{ dataSource: 'his', table: 'person' }]))).toEqual([]);
  expect(exposeProblems(bridge, allowed([{ dataSource: 'his', schema: 'public', table: '*' }]))).toEqual([]);
  const [table] = bridge.source.tables;
  if (table !== undefined) table.schema = 'secret';
  expect(codes(exposeProblems(bridge, allowed([{ dataSource: 'his', table: '*' }])))).toEqual(['EXPOSE_DENIED']);
});

test('columns that only the filter reads must be exposed too', () => {
  const bridge = definition();
  const [table] = bridge.source.tables;
  if (table !== undefined) table.where = "salary > '1000'";
  const rules = [{ dataSource: 'his', table: 'person', columns: ['id', 'name'] }];
  const [problem] = exposeProblems(bridge, allowed(rules));
  expect(problem?.message).toContain('salary');
});

test('a bridge that takes every column is refused by a rule that names some', () => {
  const bridge = definition();
  const [table] = bridge.source.tables;
  if (table !== undefined) delete table.columns;
  const rules = [{ dataSource: 'his', table: 'person', columns: ['id'] }];
  expect(codes(exposeProblems(bridge, allowed(rules)))).toEqual(['EXPOSE_DENIED']);
});

test('accepted columns are compared after renames', () => {
  const bridge = definition();
  const [table] = bridge.source.tables;
  table?.transform.push({ rename: { name: 'full_name' } });
  const rules = [{ dataSource: 'target', table: 'person', columns: ['id', 'full_name'] }];
  expect(acceptProblems(bridge, 0, allowed([], rules))).toEqual([]);
  const old = [{ dataSource: 'target', table: 'person', columns: ['id', 'name'] }];
  expect(codes(acceptProblems(bridge, 0, allowed([], old)))).toEqual(['ACCEPT_DENIED']);
});

test('columns of rows that came are looked at again before they are written', () => {
  const [destination] = definition().destinations;
  if (destination === undefined) throw new Error('no destination');
  const rules = [{ dataSource: 'target', table: 'person', columns: ['id'] }];
  expect(refusedColumns(destination, 'person', ['id', 'name'], allowed([], rules))).toEqual(['name']);
  expect(refusedColumns(destination, 'unknown', ['id'], allowed([], rules))).toEqual(['id']);
});

test('a key that the bridge leaves to the database is a column nobody exposed', () => {
  const bridge = definition();
  const [table] = bridge.source.tables;
  if (table !== undefined) delete table.key;
  const rules = [{ dataSource: 'his', table: 'person', columns: ['id', 'name'] }];
  expect(codes(exposeProblems(bridge, allowed(rules)))).toEqual(['EXPOSE_DENIED']);
  expect(exposeProblems(bridge, allowed([{ dataSource: 'his', table: 'person' }]))).toEqual([]);
});

test('no bridge writes a table that Qiao keeps for itself, however wide the rule', () => {
  const everything = allowed([], [{ dataSource: 'target', table: '*' }]);
  expect(codes(acceptProblems(definition({ to: 'qiao_mark' }), 0, everything))).toEqual(['ACCEPT_DENIED']);
  expect(codes(acceptProblems(definition({ to: 'QIAO_MARK' }), 0, everything))).toEqual(['ACCEPT_DENIED']);
});

test('columns that the landing writes or the ownership reads must be accepted too', () => {
  const rules = [{ dataSource: 'target', table: 'person', columns: ['id', 'name'] }];
  const withTarget = (change: object) => {
    const bridge = definition();
    const target = bridge.destinations[0]?.tables['person'];
    if (target !== undefined) Object.assign(target, change);
    return acceptProblems(bridge, 0, allowed([], rules)).map(({ message }) => message);
  };
  expect(withTarget({ ownership: { where: "salary > '1000'" } })).toEqual([expect.stringContaining('salary')]);
  expect(withTarget({ journalColumns: { operation: 'password' } })).toEqual([expect.stringContaining('password')]);
  expect(withTarget({ ownership: { where: "name = 'x'" } })).toEqual([]);
});

test('a table of a name that every object has is no table of the bridge', () => {
  const [destination] = definition().destinations;
  if (destination === undefined) throw new Error('no destination');
  const everything = allowed([], [{ dataSource: 'target', table: '*' }]);
  expect(refusedColumns(destination, 'constructor', ['id'], everything)).toEqual(['id']);
});
