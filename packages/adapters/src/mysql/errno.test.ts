/** What leaves a message of the server: numbers and names, never a value. */
import { expect, test } from 'vitest';
import { classify, RowError } from './errno.ts';

test.each<[number, string, string]>([
  [1366, "Incorrect integer value: 'x' for column `d`.`t`.`age` at row 1", 'error 1366, column age'],
  [
    1366,
    "Incorrect integer value: 'for column 'Zhang San'' for column `d`.`t`.`age` at row 1",
    'error 1366, column age',
  ],
  [1366, "Incorrect integer value: ' for column `Li`\n' for column `d`.`t`.`age` at row 12", 'error 1366, column age'],
  [1292, "Truncated incorrect DOUBLE value: 'x for column 'Zhang San'", 'error 1292'],
  [1292, "Truncated incorrect DOUBLE value: 'x for column 'Zhang San' at row 1'", 'error 1292'],
  [1644, "no room for column 'Zhang San' at row 1", 'error 1644'],
  [1265, "Data truncated for column 'age' at row 3", 'error 1265, column age'],
  [
    3140,
    'Invalid JSON text: "Invalid value." at position 0 in value for column \'t.doc\'.',
    'error 3140, column t.doc',
  ],
  [1062, "Duplicate entry 'a' for key 'Zhang San' for key 'PRIMARY'", 'error 1062, key PRIMARY'],
  [1048, "Column 'age' cannot be null", 'error 1048, column age'],
])('the reason of error %i names only what the server wrote: %s', (errno, message, reason) => {
  expect(new RowError(errno, message).message).toBe(reason);
});

test('an account without any right on a database is told the first GRANT', () => {
  const denied = Object.assign(new Error(), {
    errno: 1044,
    sqlMessage: "Access denied for user 'qiao'@'%' to database '户籍`库'",
  });
  expect(classify(denied, 'SOURCE')).toMatchObject({
    code: 'SOURCE_RIGHTS',
    hint: expect.stringContaining("GRANT SELECT ON `户籍``库`.* TO 'qiao'@'%'"),
  });
  expect(classify(denied, 'TARGET')).toMatchObject({
    code: 'TARGET_RIGHTS',
    hint: expect.stringContaining('GRANT SELECT, INSERT, UPDATE, DELETE, CREATE TEMPORARY TABLES ON'),
  });
});
