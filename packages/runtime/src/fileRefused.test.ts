import { QiaoError } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { fileRefused } from './fileRefused.ts';

const failure = (code: string, path?: string) => Object.assign(new Error('refused'), { code, path });

test('a file that another user owns is named, with the user who asked and the way out', () => {
  expect(fileRefused(failure('EACCES', '/var/lib/qiao-agent/identity'))).toMatchObject({
    code: 'FILE_REFUSED',
    message: expect.stringMatching(/^the system refuses \/var\/lib\/qiao-agent\/identity to the user \S+ \(EACCES\)$/),
    hint: expect.stringContaining('namei -l /var/lib/qiao-agent/identity'),
  });
});

test('SQLite names no file, so its caller does', () => {
  expect(fileRefused(failure('SQLITE_READONLY_DIRECTORY'), '/data/exchange.db')?.message).toContain(
    '/data/exchange.db',
  );
  expect(fileRefused(failure('SQLITE_READONLY'))).toBeUndefined();
});

test('other failures keep their own names', () => {
  expect(fileRefused(failure('ENOENT', '/nothing'))).toBeUndefined();
  expect(fileRefused(new QiaoError('EACCES', 'x'))).toBeUndefined();
});
