import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ProblemsError, QiaoError } from '@qiao/exchange';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { EXIT, exitCodeOf } from './exitCodes.ts';
import { shellWord } from './output.ts';
import { runProgram } from './program.ts';

let folder: string;
let printed: { out: string; err: string };
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-cli-'));
  printed = { out: '', err: '' };
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed.out += String(text);
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    printed.err += String(text);
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  process.exitCode = 0;
  rmSync(folder, { recursive: true });
});

test('a mistyped verb ends with the usage code and the nearest verb', async () => {
  expect(await runProgram(['bridge', 'lst'])).toBe(EXIT.usage);
  expect(printed.err).toContain('list');
});

test('without a context the way to one is told, and with --json it is told to a program', async () => {
  expect(await runProgram(['--context', join(folder, 'none'), 'bridge', 'list'])).toBe(EXIT.refused);
  expect(printed.err).toMatch(/CONTEXT_NOT_FOUND.*\n→ .*--context/);
  printed.err = '';
  expect(await runProgram(['--context', join(folder, 'none'), 'bridge', 'list', '--json'])).toBe(EXIT.refused);
  expect(JSON.parse(printed.err)).toMatchObject({ code: 'CONTEXT_NOT_FOUND' });
  expect(printed.out).toBe('');
});

test('a missing configuration is refused with the samples named', async () => {
  expect(await runProgram(['agent', 'status', '--config', join(folder, 'agent.yaml')])).toBe(EXIT.refused);
  expect(printed.err).toContain('CONFIG_NOT_FOUND');
});

test.each([
  ['a level that the log does not know', ['hub', 'start', '--dir', 'x', '--log-level', 'loud'], EXIT.usage, 'loud'],
  ['an entry that is no number', ['audit', 'list', '--from', 'yesterday'], EXIT.refused, '--from is yesterday'],
  ['an empty number', ['bridge', 'run', 'b', '--allow-deletes', ''], EXIT.refused, '--allow-deletes is empty'],
  [
    'a port that is no number',
    ['agent', 'datasource', 'add', 'a', '--adapter', 'postgres', '--port', 'abc', '--database', 'd', '--user', 'u'],
    EXIT.refused,
    '--port is abc',
  ],
  ['an address without a port', ['operator', 'monitor', 'nonsense'], EXIT.refused, 'ADDRESS_INVALID'],
  [
    'a port past the last',
    ['hub', 'init', '--dir', 'x', '--platform', 'p', '--listen', '127.0.0.1:99999'],
    EXIT.refused,
    'ADDRESS_INVALID',
  ],
])('%s is named, never a stack', async (_what, words, code, said) => {
  expect(await runProgram(['--context', join(folder, 'none'), ...words])).toBe(code);
  expect(printed.err).toContain(said);
  expect(printed.err).not.toMatch(/^ +at /m);
});

test('an empty context directory means the one at home, not the folder one stands in', async () => {
  vi.stubEnv('QIAO_CONTEXT', '');
  vi.stubEnv('HOME', folder);
  expect(await runProgram(['--context', '', 'hub', 'status'])).toBe(EXIT.refused);
  expect(printed.err).toContain(join(folder, '.config', 'qiao'));
});

test('a command that is said to be next can be copied', () => {
  expect(shellWord('/tmp/平台')).toBe('/tmp/平台');
  expect(shellWord("/tmp/平 台's")).toBe("'/tmp/平 台'\\''s'");
});

test('what a process of the platform writes is its user’s alone, from before the first file', async () => {
  const umask = vi.spyOn(process, 'umask').mockReturnValue(0o022);
  await runProgram(['bridge', 'list', '--context', join(folder, 'none')]);
  await runProgram(['bridge', 'start', 'births', '--context', join(folder, 'none')]);
  expect(umask).not.toHaveBeenCalled();
  await runProgram(['--json', 'hub', 'start', '--dir', join(folder, 'none')]);
  await runProgram(['agent', 'start', '--config', join(folder, 'agent.yaml')]);
  expect(umask.mock.calls).toEqual([[0o077], [0o077]]);
});

test('every noun and verb that the program knows is in the completion script', async () => {
  expect(await runProgram(['completion', 'bash'])).toBe(EXIT.done);
  expect(printed.out).toMatch(/'bridge'\) words='check create deploy start stop/);
  expect(printed.out).toMatch(/'agent datasource'\) words='add test tables/);
});

test('the exit code says whether to mend, to wait, or to ask for rights', () => {
  expect(exitCodeOf(new QiaoError('SERVER_UNREACHABLE', 'x', { fate: 'transient' }))).toBe(EXIT.unreachable);
  expect(exitCodeOf(new QiaoError('CERTIFICATE_REQUIRED', 'x'))).toBe(EXIT.notAllowed);
  expect(exitCodeOf(new ProblemsError([], { code: 'BRIDGE_INVALID' }))).toBe(EXIT.refused);
  expect(exitCodeOf(new QiaoError('AUDIT_BROKEN', 'x'))).toBe(EXIT.problems);
  expect(exitCodeOf(new TypeError('x'))).toBe(EXIT.unexpected);
});
