import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createLog, requireNode24, VERSION } from './index.ts';

test('a password, a seed or a row handed to the log by mistake is not printed', () => {
  const lines: string[] = [];
  const log = createLog({ component: 'test', destination: { write: (line: string) => void lines.push(line) } });
  log.info({ password: 'hunter2', source: { password: 'hunter2', seed: 'SUAX' }, row: ['张三'] }, 'connected');
  log.child({ bridge: 'births' }).warn({ line: '张三\t1', config: { url: 'postgres://u:hunter2@h/d' } }, 'refused');
  const printed = lines.join('');
  expect(printed).not.toMatch(/hunter2|SUAX|张三/);
  expect(printed).toContain('[redacted]');
  expect(printed).toContain('"bridge":"births"');
});

test('the version printed is the version of the repository', () => {
  const manifest = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  expect(VERSION).toBe(manifest.version);
});

test('an old Node is refused with the way out', () => {
  expect(() => requireNode24('20.20.2')).toThrow(/needs Node 24/);
  expect(() => requireNode24('24.6.9')).toThrow(/needs Node 24.7/);
  for (const enough of ['24.7.0', '24.21.0', '26.0.0']) requireNode24(enough);
});
