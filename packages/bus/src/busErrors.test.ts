import { expect, test } from 'vitest';
import { answeredError } from './busErrors.ts';

test('an answered error keeps code, words and fate', () => {
  const message = encodeURIComponent('已撤销');
  expect(answeredError({ code: 'NODE_REVOKED', message, hint: 'a%20b', fate: 'transient' })).toMatchObject({
    code: 'NODE_REVOKED',
    message: '已撤销',
    hint: 'a b',
    fate: 'transient',
  });
});

test('headers that no honest side writes become an ordinary error', () => {
  const odd = { code: '\u001b[2J', message: '100 %', hint: '%E4', fate: 'constructor' };
  expect(answeredError(odd)).toMatchObject({
    name: 'QiaoError',
    code: 'REQUEST_FAILED',
    message: 'the other side failed and its words cannot be read',
    fate: 'permanent',
  });
});
