import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ProblemsError } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { parseConfig, readConfig } from './index.ts';

const schema = z.strictObject({ name: z.string(), port: z.int().min(1) });

function problemsOf(text: string) {
  try {
    parseConfig(text, 'x.yaml', schema);
  } catch (error) {
    return (error as ProblemsError).problems;
  }
  throw new Error('it was accepted');
}

test('a configuration with several mistakes names all of them at once', () => {
  const problems = problemsOf('name: 3\nport: 0\nprot: 1\n');
  expect(problems.map((problem) => problem.path).sort()).toEqual(['x.yaml name', 'x.yaml port', 'x.yaml prot']);
  expect(problems.some((problem) => problem.code === 'UNKNOWN_KEY' && problem.message.includes('prot'))).toBe(true);
});

test('a key written twice is refused with its line', () => {
  expect(problemsOf('name: a\nport: 1\nport: 2\n')[0]?.path).toBe('x.yaml line 3');
});

test('an alias bomb is refused', () => {
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nname: n\nport: 1\n`;
  expect(() => parseConfig(bomb, 'x.yaml', schema)).toThrow(/alias/);
});

test('a missing file says where it was looked for and how to make one', () => {
  expect(refusal(() => readConfig('agent.yaml', schema))).toMatchObject({
    code: 'CONFIG_NOT_FOUND',
    message: `cannot read ${join(process.cwd(), 'agent.yaml')}: there is no such file (ENOENT)`,
    hint: expect.stringContaining('--config'),
  });
});

test('a file that was saved in GBK or UTF-16 is refused; a BOM of UTF-8 is passed over', () => {
  const folder = mkdtempSync(join(tmpdir(), 'qiao-config-'));
  const file = join(folder, 'x.yaml');
  const read = (bytes: Uint8Array) => {
    writeFileSync(file, bytes);
    return readConfig(file, schema);
  };
  const gbk = Buffer.from([...Buffer.from('port: 1\nname: '), 0xb5, 0xcd, 0xb1, 0xa3]);
  for (const bytes of [gbk, Buffer.from('\ufeffname: 低保\nport: 1\n', 'utf16le')]) {
    expect(refusal(() => read(bytes))).toMatchObject({
      code: 'FILE_NOT_UTF8',
      hint: expect.stringContaining('iconv'),
    });
  }
  expect(read(Buffer.from('\ufeffname: 低保\r\nport: 1\r\n'))).toEqual({ name: '低保', port: 1 });
  rmSync(folder, { recursive: true });
});

function refusal(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error('it was accepted');
}
