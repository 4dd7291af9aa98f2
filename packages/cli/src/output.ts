// How answers look: tables for people, one JSON document for programs. Standard output carries the answer and nothing else;
// progress and remarks go to standard error.

import { type Problem, ProblemsError, QiaoError } from '@qiao/exchange';
import Table from 'cli-table3';

const isColoured = process.stdout.isTTY && process.env.NO_COLOR === undefined;

const COLOURS = { red: 31, green: 32, yellow: 33, cyan: 36, grey: 90, bold: 1 } as const;

/** Wraps text in a terminal colour; untouched when standard output is no terminal or NO_COLOR is set. */
export function colour(name: keyof typeof COLOURS, text: string): string {
  return isColoured ? `\u001B[${COLOURS[name]}m${text}\u001B[0m` : text;
}

// A colour of ours, or any control character (C0, DEL, C1).
const CONTROL = new RegExp(`\\u001B\\[(?:0|${Object.values(COLOURS).join('|')})m|\\p{Cc}`, 'gu');

/** Texts come from nodes as well: nothing but line ends, tabs and our colours may command the terminal. */
function clean(text: string): string {
  return text.replaceAll('\r\n', '\n').replace(CONTROL, (found) => {
    if (found === '\n' || found === '\t') return found;
    return found.length > 1 && isColoured ? found : '\uFFFD';
  });
}

/** For a text that has one line to itself. */
function cleanLine(text: string): string {
  return clean(text).replace(/[\n\t]+/g, ' ');
}

export type Cell = string | number | bigint | boolean | undefined;

/** Prints rows under a header; an empty list prints `none`. */
export function printTable(header: readonly string[], rows: readonly (readonly Cell[])[], none = 'none'): void {
  if (rows.length === 0) {
    say(none);
    return;
  }
  const table = new Table({
    head: header.map((title) => colour('bold', cleanLine(title))),
    chars: {
      top: '',
      'top-mid': '',
      'top-left': '',
      'top-right': '',
      bottom: '',
      'bottom-mid': '',
      'bottom-left': '',
      'bottom-right': '',
      left: '',
      'left-mid': '',
      mid: '',
      'mid-mid': '',
      right: '',
      'right-mid': '',
      middle: '  ',
    },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
    colAligns: header.map((_title, index) => (rows.every((row) => isNumber(row[index])) ? 'right' : 'left')),
  });
  for (const row of rows) table.push(row.map((cell) => (cell === undefined ? '' : cleanLine(String(cell)))));
  say(table.toString().replace(/[ \t]+$/gm, ''));
}

function isNumber(cell: Cell): boolean {
  return typeof cell === 'number' || typeof cell === 'bigint';
}

/** Prints `name  value` lines. */
export function printFacts(facts: Readonly<Record<string, Cell>>): void {
  const width = Math.max(...Object.keys(facts).map((name) => name.length));
  for (const [name, value] of Object.entries(facts)) {
    if (value !== undefined && value !== '') say(`${colour('grey', name.padEnd(width))}  ${cleanLine(String(value))}`);
  }
}

/** One JSON document. 64-bit integers become numbers while exact and text beyond 2^53; bytes become hexadecimal text. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, (_key, item: unknown) => jsonItem(item), 2)}\n`);
}

function jsonItem(item: unknown): unknown {
  if (typeof item === 'bigint') {
    return item <= BigInt(Number.MAX_SAFE_INTEGER) && item >= -BigInt(Number.MAX_SAFE_INTEGER)
      ? Number(item)
      : item.toString();
  }
  if (item instanceof Uint8Array) return Buffer.from(item).toString('hex');
  // Buffer.toJSON runs before the replacer sees the value.
  if (typeof item === 'object' && item !== null && 'type' in item && item.type === 'Buffer' && 'data' in item) {
    return Buffer.from(item.data as number[]).toString('hex');
  }
  return item;
}

/** A word as a shell reads it back: what is said as the next command can be copied. */
export function shellWord(word: string): string {
  return /^[\p{L}\p{N}_\-./:@%+=,~]+$/u.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** A line of the answer. */
export function say(text: string): void {
  process.stdout.write(`${clean(text)}\n`);
}

/** A remark beside the answer. */
export function remark(text: string): void {
  process.stderr.write(`${clean(text)}\n`);
}

/** Every finding of a check with its fix, worst first. */
export function printProblems(problems: readonly Problem[], write: (text: string) => void = say): void {
  const ordered = [...problems].sort((a, b) => Number(a.warning ?? false) - Number(b.warning ?? false));
  for (const { code, path, message, hint, warning } of ordered) {
    const mark = warning === true ? colour('yellow', 'warning') : colour('red', 'problem');
    write(
      `${mark} ${colour('bold', cleanLine(code))}${path === '' ? '' : ` at ${cleanLine(path)}`}\n  ${message}${hint === '' ? '' : `\n  ${colour('cyan', '→')} ${hint}`}`,
    );
  }
}

/** An error as a person should see it: code, message, problems, and the next command to run. */
export function printError(error: unknown, asJson: boolean): void {
  if (asJson) {
    process.stderr.write(`${JSON.stringify(errorFacts(error))}\n`);
    return;
  }
  if (!(error instanceof QiaoError)) {
    remark(`${colour('red', 'error')} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return;
  }
  if (error instanceof ProblemsError) {
    remark(`${colour('red', 'error')} ${colour('bold', error.code)}: ${error.problems.length} problem(s)`);
    printProblems(error.problems, remark);
    return;
  }
  remark(`${colour('red', 'error')} ${colour('bold', error.code)}: ${error.message}`);
  if (error.hint !== '') remark(`${colour('cyan', '→')} ${error.hint}`);
}

function errorFacts(error: unknown): object {
  if (!(error instanceof QiaoError))
    return { code: 'UNEXPECTED', message: error instanceof Error ? error.message : String(error) };
  const { code, message, hint } = error;
  return { code, message, hint, ...(error instanceof ProblemsError ? { problems: error.problems } : {}) };
}

/** A moment as people read it, in the given zone, or in this machine's, which is then named; empty for 0. */
export function moment(ms: bigint | number, timeZone?: string): string {
  if (Number(ms) === 0) return '';
  const options: Intl.DateTimeFormatOptions = {
    dateStyle: 'short',
    timeStyle: 'medium',
    ...(timeZone === undefined || timeZone === '' ? {} : { timeZone }),
  };
  const text = new Intl.DateTimeFormat('sv-SE', options).format(Number(ms));
  return options.timeZone === undefined ? `${text} ${zoneOfHere(Number(ms))}` : text;
}

/** As UTC or GMT+8. */
function zoneOfHere(ms: number): string {
  const parts = new Intl.DateTimeFormat('sv-SE', { timeZoneName: 'shortOffset' }).formatToParts(ms);
  const name = parts.find(({ type }) => type === 'timeZoneName')?.value ?? '';
  return name === 'GMT' || name === 'GMT+0' ? 'UTC' : name;
}

/** 1234567 → "1,234,567". */
export function grouped(value: bigint | number): string {
  return value.toLocaleString('en-US');
}
