import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
  ['hub', 'qiao hub init'],
  ['monitor', 'qiao monitor join'],
])(
  'a %s directory that is none is told of by the option that names it and the command that makes one',
  async (noun, made) => {
    expect(await runProgram([noun, 'start', '--dir', join(folder, 'wrong')])).toBe(EXIT.refused);
    expect(printed.err).toMatch(/CONFIG_NOT_FOUND.*wrong/);
    expect(printed.err).toContain('--dir');
    expect(printed.err).toContain(made);
    expect(printed.err).not.toContain('--config');
  },
);

test.each([
  ['hub.yaml', ['agent', 'status', '--config', '/agent.yaml'], 'the directory of a hub, expected that of an agent'],
  ['agent.yaml', ['hub', 'start', '--dir', ''], 'the directory of an agent, expected that of a hub'],
  [
    'exchange.db',
    ['monitor', 'start', '--dir', ''],
    'an agent, whose agent.yaml lies elsewhere, expected that of a monitor',
  ],
  ['hub.yaml', ['hub', 'status', '--context', ''], 'the directory of a hub, expected that of an operator'],
  ['agent.yaml', ['agent', 'status', '--config', ''], 'it is a directory (EISDIR); found agent.yaml there'],
] as const)('where %s lies, %j says whose directory it is', async (file, words, said) => {
  writeFileSync(join(folder, file), '');
  const [option, ...before] = words.toReversed();
  expect(await runProgram([...before.toReversed(), `${folder}${option}`])).toBe(EXIT.refused);
  expect(printed.err).toContain(said);
  expect(printed.err).toMatch(/\n→ /);
});

test('the configuration of a hub is not read as that of an agent, key by key', async () => {
  writeFileSync(join(folder, 'hub.yaml'), 'platform: {}\n');
  expect(await runProgram(['agent', 'start', '--config', join(folder, 'hub.yaml')])).toBe(EXIT.refused);
  expect(printed.err).toMatch(
    /CONFIG_INVALID.*is the configuration of a hub, expected that of an agent.*\n→ .*agent\.yaml/,
  );
});

test('a data source that does not answer is told of with what agent.yaml says of it, as the command that changes it', async () => {
  const file = join(folder, 'agent.yaml');
  writeFileSync(
    file,
    `node: {code: health}
directory: ${join(folder, 'agent')}
dataSources:
  his: {adapter: postgres, host: 127.0.0.1, port: 1, database: his, user: reader, password: '\${ENV:HIS_PASSWORD}', schema: clinic}
  old: {adapter: sqlite, file: ${join(folder, 'old data.db')}}
`,
  );
  vi.stubEnv('HIS_PASSWORD', 'x');
  expect(await runProgram(['agent', 'datasource', 'test', 'his', '--config', file])).toBe(EXIT.unreachable);
  expect(printed.out).toMatch(/his does not answer\. SOURCE_UNAVAILABLE.*\n→ check that PostgreSQL runs/);
  expect(printed.out).toContain(
    `qiao agent datasource add his --config ${file} --adapter postgres --host 127.0.0.1 --port 1 --database his --user reader --schema clinic --password-env HIS_PASSWORD --replace`,
  );
  printed.out = '';
  expect(await runProgram(['agent', 'datasource', 'test', 'old', '--config', file])).toBe(EXIT.unreachable);
  expect(printed.out).toMatch(/FILE_MISSING.*\n→ Let the department make its database/);
  expect(printed.out).toContain(`--adapter sqlite --file '${join(folder, 'old data.db')}' --replace`);
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

test('examples are played beside their bridge, with the files it names, and a mismatch is shown and ends with the code of problems', async () => {
  const golden = (name: string) =>
    readFileSync(new URL(`../../exchange/golden/${name}`, import.meta.url), 'utf8').replace(
      'map: { 男: "1", 女: "2" }',
      'file: sexes.csv',
    );
  writeFileSync(join(folder, 'births.yaml'), golden('bridge.yaml'));
  writeFileSync(join(folder, 'births.examples.yaml'), golden('bridge.examples.yaml'));
  const play = () => runProgram(['bridge', 'test', join(folder, 'births.yaml')]);
  expect(await play()).toBe(EXIT.refused);
  expect(printed.err).toContain('sexes.csv');
  writeFileSync(join(folder, 'sexes.csv'), Buffer.from([...Buffer.from('from,to\n'), 0xc4, 0xd0, 0x2c, 0x31]));
  expect(await play()).toBe(EXIT.refused);
  expect(printed.err).toContain('FILE_NOT_UTF8');
  writeFileSync(join(folder, 'sexes.csv'), 'from,to\n男,2\n');
  expect(await play()).toBe(EXIT.problems);
  expect(printed.out).toMatch(/sex_code +"1" +"2"/);
  expect(printed.out).toContain('3 of 4 examples came out as expected');
  process.exitCode = 0;
  writeFileSync(join(folder, 'sexes.csv'), 'from,to\n男,1\n');
  expect(await play()).toBe(EXIT.done);
});

test('a bridge that was saved in GBK is refused before its title is stored in signs that nobody meant', async () => {
  const file = join(folder, 'gbk.yaml');
  writeFileSync(file, Buffer.from([...Buffer.from('kind: Bridge\ntitle: '), 0xb5, 0xcd, 0xb1, 0xa3]));
  expect(await runProgram(['bridge', 'test', file])).toBe(EXIT.refused);
  expect(printed.err).toMatch(/FILE_NOT_UTF8.*gbk\.yaml[^]*→ .*iconv/);
});

test('what the system refuses is told in one sentence without a stack', async () => {
  writeFileSync(join(folder, 'file'), '');
  const inside = join(folder, 'file', 'hub');
  expect(await runProgram(['hub', 'init', '--dir', inside, '--platform', 'try'])).toBe(EXIT.refused);
  expect(printed.err).toMatch(/FILE_REFUSED.*ENOTDIR/);
  expect(printed.err).not.toContain(' at ');
});
