import { QiaoError } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { diskFull } from './diskFull.ts';
import { describeError } from './part.ts';

const sqlite = Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' });

test('a full disk has one name and a way out, whoever met it first', () => {
  const kernel = Object.assign(new Error('no space left on device, write'), { code: 'ENOSPC' });
  const inside = new QiaoError('TARGET_UNAVAILABLE', 'the target failed', { fate: 'transient', cause: sqlite });
  for (const error of [sqlite, kernel, inside]) {
    expect(diskFull(error)).toMatchObject({ code: 'DISK_FULL', fate: 'transient' });
  }
});

test('a log line about a full disk says so, and shows no stack of ours', () => {
  expect(describeError(sqlite)).toEqual({
    code: 'DISK_FULL',
    message: 'the disk is full: nothing can be written until there is room',
    hint: 'df -h  # then make room; it goes on by itself',
  });
});

test('other failures keep their own names', () => {
  expect(diskFull(Object.assign(new Error('busy'), { code: 'SQLITE_BUSY' }))).toBeUndefined();
  expect(describeError(new Error('else')).code).toBe('UNEXPECTED');
});
