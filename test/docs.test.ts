// The documents promise nothing that is not there: links lead somewhere, commands exist with the options shown, exit codes and the keys
// of bridges are those of the code.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CRASH_POINTS } from '@qiao/runtime';
import { describe, expect, test } from 'vitest';
import { EXIT } from '../packages/cli/src/exitCodes.ts';
import { createProgram } from '../packages/cli/src/program.ts';
import { bridgeSchema } from '../packages/exchange/src/bridgeSchema.ts';
import { SCENES } from './crash-points/scenes.ts';

type Command = ReturnType<typeof createProgram>;

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PAGES = [
  ...readdirSync(ROOT),
  ...['docs', 'deploy'].flatMap((folder) =>
    (readdirSync(join(ROOT, folder), { recursive: true }) as string[]).map((name) => join(folder, name)),
  ),
].filter((name) => name.endsWith('.md'));
const SOURCES = (readdirSync(join(ROOT, 'packages'), { recursive: true }) as string[])
  .filter((name) => /^[a-z]+\/src\/.*(?<!\.test|\.testing|\.suite)\.ts$/.test(name) && !name.startsWith('contract/'))
  .map((name) => join('packages', name));
/** Where the preflight finds things. */
const CHECKS = SOURCES.filter((name) =>
  /^packages\/(adapters\/src\/.*\b(check\w*|preflight|pairs|\w*[pP]roblems|foreignKeys|cascades|missingTable|product|triggers|log(Tables|Objects|Server)|referrers|markFiles|targetServer|dataSource|serverDataSource)|agent\/src\/(commands\/checkBridge|control\/permissions)|hub\/src\/bridges\/(check|twoWay)|exchange\/src\/(bridge\w+|transform\/(columns|compile)))\.ts$/.test(
    name,
  ),
);
/** In the same files: names in catalogs, and errors that are no finding, or are told as another. */
const OTHER_WORDS = new Set([
  ...['TABLE_SCHEMA', 'TABLE_NAME', 'COLUMN_NAME', 'CONSTRAINT_SCHEMA', 'EVENT_OBJECT_SCHEMA', 'EVENT_OBJECT_TABLE'],
  ...[
    'INNODB_FOREIGN',
    'INNODB_SYS_FOREIGN',
    'SQL_ASCII',
    'SOURCE_BUSY',
    'TARGET_SCHEMA',
    'TRANSFORM_INVALID',
    'ALL_TABLES',
    'CONFIG_INVALID',
  ],
]);
const TESTS = ['packages', 'test'].flatMap((folder) =>
  (readdirSync(join(ROOT, folder), { recursive: true }) as string[])
    .filter((name) => /(?<!docs)\.(test|testing|suite)\.ts$/.test(name) && !name.includes('node_modules'))
    .map((name) => join(folder, name)),
);
const read = (page: string) => readFileSync(join(ROOT, page), 'utf8');

describe('the documents', () => {
  test('lead nowhere that does not exist', () => {
    const broken = PAGES.flatMap((page) =>
      [...read(page).matchAll(/\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)/g)].flatMap(([, path = '', anchor]) => {
        const target = path === '' ? join(ROOT, page) : join(ROOT, dirname(page), path);
        if (!existsSync(target)) return [`${page}: ${path}`];
        if (anchor === undefined) return [];
        return anchorsOf(readFileSync(target, 'utf8')).has(anchor.slice(1)) ? [] : [`${page}: ${path}${anchor}`];
      }),
    );
    expect(PAGES.length).toBeGreaterThan(10);
    expect(broken).toEqual([]);
  });

  test('show only commands that exist, with options that they take', () => {
    const program = createProgram();
    const wrong = PAGES.flatMap((page) =>
      commandsIn(read(page)).flatMap((words) =>
        wrongWords(program, words).map((why) => `${page}: qiao ${words.join(' ')}: ${why}`),
      ),
    );
    expect(wrong).toEqual([]);
  });

  test('are not alone in that: the hints of errors name commands that exist, with all that these need', () => {
    const program = createProgram();
    const nouns = program.commands.map((noun) => noun.name()).join('|');
    const next = new RegExp(String.raw`^(?! *(?://|/?\*)).*?\bqiao ((?:${nouns}) [^;#,:()|'"\`\\\n]*)(.?)`, 'gm');
    const wrong = SOURCES.flatMap((file) =>
      [...read(file).matchAll(next)].flatMap(([, words = '', end = '']) => {
        // What stands in quotes of its own is spoken of, and need not be the next thing to run.
        const isWhole = !['`', '\\'].includes(end);
        return wrongWords(program, words.trim().split(/\s+/), isWhole).map((why) => `${file}: qiao ${words}: ${why}`);
      }),
    );
    expect(wrong).toEqual([]);
  });

  test('name every command and every option of its own in docs/cli.md', () => {
    const page = read('docs/cli.md');
    const missing = leaves(createProgram()).flatMap((path) => {
      const name = path.map((command) => command.name()).join(' ');
      const isNamed = page.includes(name) || page.includes(`… ${path.at(-1)?.name()}`);
      const options = path.at(-1)?.options.map(({ long }) => long ?? '') ?? [];
      return [
        ...(isNamed ? [] : [name]),
        ...options.filter((option) => !page.includes(option)).map((option) => `${name} ${option}`),
      ];
    });
    expect(missing).toEqual([]);
  });

  test('give each exit code the meaning that the code gives it a number for', () => {
    const stated = [...read('docs/cli.md').matchAll(/^\| (\d) +\|/gm)].map(([, code]) => Number(code));
    expect(stated).toEqual(Object.values(EXIT));
  });

  test('explain every key of a bridge in docs/bridges.md', () => {
    const page = read('docs/bridges.md');
    const missing = keysOf(bridgeSchema.toJSONSchema({ unrepresentable: 'any', io: 'input' })).filter(
      (key) => !new RegExp(`[\`{. ,]${key}[\`.,:}]`).test(page),
    );
    expect(missing).toEqual([]);
  });

  test('name every finding of the preflight in docs/findings.md, and none that no end can give; each has a test', () => {
    const given = new Set(
      CHECKS.flatMap((file) => [...read(file).matchAll(/'([A-Z]+(?:_[A-Z]+)+)'/g)].map(([, code = '']) => code)),
    );
    const named = new Set(
      [...read('docs/findings.md').matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map(([, code = '']) => code),
    );
    const isFinding = (code: string) => !OTHER_WORDS.has(code) && !code.startsWith('TWO_WAY_');
    expect([...given].filter((code) => isFinding(code) && !named.has(code))).toEqual([]);
    expect([...named].filter((code) => !given.has(code))).toEqual([]);
    const tests = TESTS.map(read).join('\n');
    const withoutServer = ['SNAPSHOT_ISOLATION_OFF', 'COLUMN_MASKED'];
    expect([...named].filter((code) => !tests.includes(code))).toEqual(withoutServer);
  });

  test('explain every package and every room that exists', () => {
    const page = read('docs/architecture.md');
    const packages = readdirSync(join(ROOT, 'packages'));
    expect(packages.filter((name) => !page.includes(`${name}/ `))).toEqual([]);
    for (const room of ['agent', 'hub', 'monitor']) {
      const folders = readdirSync(join(ROOT, 'packages', room, 'src'), { withFileTypes: true }).filter((entry) =>
        entry.isDirectory(),
      );
      const line = page.split('\n').find((text) => text.trim().startsWith(`${room}/ `)) ?? '';
      expect({ room, missing: folders.map(({ name }) => name).filter((name) => !line.includes(name)) }).toEqual({
        room,
        missing: [],
      });
    }
  });

  test('list every crash point as the registry has it, and where each is died at', () => {
    const lines = new Set(read('docs/crash-points.md').replaceAll(/ +/g, ' ').split('\n'));
    const registry = Object.entries(CRASH_POINTS).map(
      ([name, { between, restart }]) => `| \`${name}\` | ${between} | ${restart} |`,
    );
    const elsewhere = Object.entries(SCENES).flatMap(([name, scene]) =>
      'act' in scene ? [] : [`| \`${name}\` | \`${scene.story}\` |`],
    );
    expect([...registry, ...elsewhere].filter((line) => !lines.has(line))).toEqual([]);
    const listed = [...lines].filter((line) => line.startsWith('| `'));
    expect(listed.length).toBe(registry.length + elsewhere.length);
  });

  test('list every decision', () => {
    const folder = join(ROOT, 'docs/decisions');
    const list = readFileSync(join(folder, 'README.md'), 'utf8');
    const numbered = readdirSync(folder).filter((name) => /^\d{4}-/.test(name));
    expect(numbered.filter((name) => !list.includes(relative('.', name)))).toEqual([]);
  });
});

/** Headings as the anchors that a forge makes of them. */
function anchorsOf(text: string): Set<string> {
  return new Set(
    [...text.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
      title
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

/** The words behind `qiao` in code spans and code blocks, until the end of the command. */
function commandsIn(text: string): string[][] {
  const code = [...text.matchAll(/```sh\n([\s\S]*?)```|`([^`\n]+)`/g)].map(([, block, span]) => block ?? span ?? '');
  return code
    .map((part) => part.replace(/\\\n/g, ' '))
    .flatMap((part) => [...part.matchAll(/(?:^|[\s/;(])qiao (?:-- )?([a-z][^\n;|#)]*)/g)])
    .map(([, words = '']) =>
      words
        .trim()
        .split(/\s+/)
        .filter((word) => word !== '…' && word !== '--'),
    );
}

/** `isWhole`: the command can be run as it is written. */
function wrongWords(program: Command, words: readonly string[], isWhole = false): string[] {
  let command = program;
  let index = 0;
  for (; index < words.length; index += 1) {
    const verb = command.commands.find((each) => each.name() === words[index]);
    if (verb === undefined) break;
    command = verb;
  }
  if (command === program) return ['no such noun'];
  const next = words[index];
  if (command.commands.length > 0 && next !== undefined && /^[a-z]/.test(next)) return [`no verb ${next}`];
  const known = [...command.options, ...program.options].flatMap(({ long, short, negate }) => [
    long,
    short,
    negate ? undefined : long?.replace('--', '--no-'),
  ]);
  if (isWhole && command.options.some(({ mandatory, short }) => mandatory && short === '-f') && !words.includes('-f'))
    return ['without -f FILE'];
  if (isWhole && command.registeredArguments.some(({ required }) => required) && words[index] === undefined)
    return ['without its argument'];
  return words
    .slice(index)
    .filter((word) => /^--?[a-z]/.test(word))
    .filter((word) => !known.includes(word) && word !== '--help')
    .map((word) => `no option ${word}`);
}

function leaves(program: Command): Command[][] {
  return program.commands.flatMap(function paths(command: Command): Command[][] {
    if (command.commands.length === 0) return [[command]];
    return command.commands.flatMap((verb) => paths(verb).map((path) => [command, ...path]));
  });
}

/** Names of all properties in a JSON schema. */
function keysOf(schema: unknown): string[] {
  if (typeof schema !== 'object' || schema === null) return [];
  const own = 'properties' in schema ? Object.keys(schema.properties as object) : [];
  return [...new Set([...own, ...Object.values(schema).flatMap(keysOf)])];
}
