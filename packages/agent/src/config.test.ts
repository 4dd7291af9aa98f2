import { parseConfig } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { agentConfigSchema } from './config.ts';

const SMALLEST = 'node: {code: health}\ndirectory: ./data\n';

function parse(text: string) {
  return parseConfig(text, 'agent.yaml', agentConfigSchema);
}

test('the smallest file exposes nothing and accepts nothing', () => {
  const config = parse(SMALLEST);
  expect([config.exposes, config.accepts]).toEqual([[], []]);
  expect(config.limits.outboxBudgetBytes).toBe(256 * 1024 * 1024);
});

test('an unknown key is an error wherever it stands, and every problem is reported at once', () => {
  const text = `${SMALLEST}limit: {}\ndataSources: {his: {adapter: sqlite, file: a.db, pasword: x}}\nexposes: [{datasource: his, table: t}]\n`;
  for (const key of ['limit', 'pasword', 'datasource']) expect(() => parse(text)).toThrow(key);
});

test('a password may be text, taken from the environment or encrypted, and nothing else', () => {
  const withPassword = (password: string): string =>
    `${SMALLEST}dataSources: {his: {adapter: postgres, host: h, database: d, user: u, password: ${password}}}\n`;
  for (const password of ['secret', "'${ENV:PGPASSWORD}'", '{encrypted: "qiaosec1:abc"}'])
    parse(withPassword(password));
  expect(() => parse(withPassword('{encrypted: "something else"}'))).toThrow(/agent.yaml/);
});

test('a table of files has neither the folder of the mark nor a null that is no field', () => {
  const withTable = (name: string, more: string): string =>
    `${SMALLEST}dataSources: {f: {adapter: files, directory: d, tables: {${name}: {nature: target, columns: {id: text}${more}}}}}\n`;
  parse(withTable('t', ', folder: in/t, "null": "NULL"'));
  for (const more of [', folder: .qiao/mark', ', "null": ","', `, "null": '"'`, ', "null": "a\\n"']) {
    expect(() => parse(withTable('t', more)), more).toThrow(/agent.yaml/);
  }
  expect(() => parse(withTable('.qiao', ''))).toThrow(/agent.yaml/);
});
