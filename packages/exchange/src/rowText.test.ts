import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { QiaoError } from './errors.ts';
import { checkRows, escapeField, joinRow, splitRow, unescapeField } from './rowText.ts';

const value = fc.oneof(
  fc.string({ unit: 'grapheme' }).filter((text) => !text.includes('\0')),
  fc.string({ unit: fc.constantFrom('\\', '\t', '\n', '\r', 'N', 't', 'n', 'r', 'a', '桥') }),
);
const field = fc.option(value, { nil: null });

function golden(name: string): Buffer {
  return readFileSync(new URL(`../golden/${name}`, import.meta.url));
}

describe('row text', () => {
  test('any value survives a field', () => {
    fc.assert(fc.property(value, (text) => unescapeField(escapeField(text)) === text));
  });

  test('any row survives a line, and the line passes the check', () => {
    fc.assert(
      fc.property(fc.array(field, { minLength: 1, maxLength: 8 }), fc.integer({ min: 1, max: 3 }), (fields, times) => {
        const line = joinRow(fields);
        expect(splitRow(line)).toEqual(fields);
        expect(checkRows(Buffer.from(`${line}\n`.repeat(times)), fields.length)).toBe(times);
      }),
    );
  });

  test('the check accepts exactly the bytes that splitting and joining reproduce', () => {
    const alphabet = fc.constantFrom('\\', '\t', '\n', '\r', '\0', 'N', 't', 'n', 'r', 'a', '桥');
    fc.assert(
      fc.property(fc.string({ unit: alphabet, maxLength: 12 }), fc.integer({ min: 1, max: 3 }), (text, columns) => {
        expect(accepts(text, columns)).toBe(reproduces(text, columns));
      }),
      { numRuns: 3000 },
    );
  });

  test('the golden rows are read as the golden values, and written back byte for byte', () => {
    const bytes = golden('rows.txt');
    const expected = JSON.parse(golden('rows.json').toString()) as (string | null)[][];
    expect(checkRows(bytes, 4)).toBe(expected.length);
    const lines = bytes.toString().split('\n').slice(0, -1);
    expect(lines.map(splitRow)).toEqual(expected);
    expect(Buffer.from(expected.map((fields) => `${joinRow(fields)}\n`).join(''))).toEqual(bytes);
  });

  test('every golden refusal is refused with its reason', () => {
    const cases = JSON.parse(golden('rows-refused.json').toString()) as { hex: string; columns: number; why: string }[];
    for (const { hex, columns, why } of cases) {
      expect(() => checkRows(Buffer.from(hex, 'hex'), columns), `${why} ${hex}`).toThrow(why);
    }
  });

  test('rows of a few bytes are read wherever in memory they begin', () => {
    const memory = Buffer.from('\n\n\n\n\n\n\n\n\n\n\n\n');
    for (let start = 0; start < 5; start++) {
      for (let length = 0; length < 7; length++) {
        expect(checkRows(memory.subarray(start, start + length), 1)).toBe(length);
      }
    }
  });

  test('what stands out is found at every place, wherever in memory the rows begin', () => {
    const memory = Buffer.alloc(128);
    const bad: [Buffer, string][] = [
      [Buffer.from([0]), 'NUL'],
      [Buffer.from('\r'), 'CR'],
      [Buffer.from('\\x'), 'escape'],
      [Buffer.from('\t'), 'fields'],
    ];
    for (let start = 0; start < 4; start++) {
      for (let length = 1; length < 11; length++) {
        const line = Buffer.from(`${'x'.repeat(length)}\n桥\n`);
        const rows = memory.subarray(start, start + line.length);
        line.copy(rows);
        expect(checkRows(rows, 1)).toBe(2);
        for (const [bytes, why] of bad) {
          for (let at = 0; at + bytes.length <= length; at++) {
            line.copy(rows);
            bytes.copy(rows, at);
            expect(() => checkRows(rows, 1), `${why} at ${at} of ${length}, from ${start}`).toThrow(why);
          }
        }
      }
    }
  });

  test('a refusal names the line and never its contents', () => {
    const rows = Buffer.from('a\tb\nsecret\\x\tb\n');
    const error = capture(() => checkRows(rows, 2));
    expect(error).toBeInstanceOf(QiaoError);
    expect(error.message).toContain('line 2');
    expect(error.message).not.toContain('secret');
  });

  test('a buffer of 4 MiB is checked at more than 150 MB/s', () => {
    const line = `${joinRow(['370200202401010001', '王小明', '1', '2024-01-01', '\\x6869', null, 'Qingdao, Shinan 区'])}\n`;
    const rows = Buffer.from(line.repeat(Math.floor((4 * 1024 * 1024) / Buffer.byteLength(line))));
    // Processor time: what else the machine does is not measured.
    let bestMicros = Number.POSITIVE_INFINITY;
    for (let round = 0; round < 30; round++) {
      const before = process.threadCpuUsage();
      checkRows(rows, 7);
      bestMicros = Math.min(bestMicros, process.threadCpuUsage(before).user);
    }
    expect(rows.length / bestMicros).toBeGreaterThan(150);
  });
});

function accepts(text: string, columns: number): boolean {
  try {
    checkRows(Buffer.from(text), columns);
    return true;
  } catch {
    return false;
  }
}

function reproduces(text: string, columns: number): boolean {
  if (text === '') return true;
  if (!text.endsWith('\n') || text.includes('\0')) return false;
  return text
    .slice(0, -1)
    .split('\n')
    .every((line) => {
      try {
        const fields = splitRow(line);
        return fields.length === columns && joinRow(fields) === line;
      } catch {
        return false;
      }
    });
}

function capture(action: () => unknown): Error {
  try {
    action();
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected an error');
}
