import { ProblemsError, QiaoError } from '@qiao/exchange';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { moment, printError, printFacts, printJson, printProblems, printTable, remark, say } from './output.ts';

let printed: { out: string; err: string };
beforeEach(() => {
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
afterEach(() => vi.restoreAllMocks());

/** Clears the screen, names a window, rings; C0, DEL and C1. */
const HOSTILE = 'a\u001B[2J\u001B]0;x\u0007\r\u007F\u009B31mb';
const CONTROL = /(?![\n\t])\p{Cc}/u;

test('what a node wrote reaches no terminal as a command', () => {
  const problem = { code: 'C', path: HOSTILE, message: HOSTILE, hint: HOSTILE };
  printTable([HOSTILE], [[HOSTILE]]);
  printFacts({ title: HOSTILE });
  printProblems([problem]);
  say(HOSTILE);
  remark(HOSTILE);
  printError(new QiaoError('X', HOSTILE, { hint: HOSTILE }), false);
  printError(new ProblemsError([problem]), false);
  printError(new Error(HOSTILE), false);
  expect(printed.out).not.toMatch(CONTROL);
  expect(printed.err).not.toMatch(CONTROL);
  expect(printed.out).toContain('a�[2J');
});

test('a cell, a fact and a path stay on their own line', () => {
  printTable(['name'], [['a\nforged  row']]);
  printFacts({ title: 'a\nforged: fact' });
  printProblems([{ code: 'C', path: 'a\nforged', message: 'm', hint: '' }]);
  expect(printed.out).not.toMatch(/^forged/m);
});

test('JSON says what came, untouched', () => {
  printJson({ title: HOSTILE, moved: '\u0085' });
  expect(JSON.parse(printed.out)).toEqual({ title: HOSTILE, moved: '\u0085' });
  expect(printed.out).toContain('\u0085');
  printError(new QiaoError('X', HOSTILE), true);
  expect(JSON.parse(printed.err)).toMatchObject({ message: HOSTILE });
});

test.each([
  ['UTC', '2026-01-02 03:04:05 UTC'],
  ['Asia/Shanghai', '2026-01-02 11:04:05 GMT+8'],
])('a moment of this machine names its zone: %s', (zone, expected) => {
  vi.stubEnv('TZ', zone);
  const ms = Date.UTC(2026, 0, 2, 3, 4, 5);
  expect(moment(ms)).toBe(expected);
  expect(moment(ms, 'Asia/Tokyo')).toBe('2026-01-02 12:04:05');
  vi.unstubAllEnvs();
});
