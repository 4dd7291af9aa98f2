import { expect, test } from 'vitest';
import { reportOf } from './report.testing.ts';

test('a report says what passed, what was not tried and why, and what failed', () => {
  expect(
    reportOf({
      adapter: 'postgres',
      server: 'PostgreSQL 12.1',
      seconds: 61,
      missing: ['MERGE INTO t\n   USING v'],
      waivers: { log: 'LOG_OFF: found wal_level = replica; expected logical' },
      outcomes: [
        { group: 'reading', test: 'a', isPassed: true, errors: [] },
        { group: 'rows', test: 'b', isPassed: true, errors: [] },
        { group: 'reading', test: 'c', isPassed: false, errors: ["expected 't'\n to be 'f'"] },
      ],
    }),
  ).toBe(`### Adapter contract: PostgreSQL 12.1

Adapter postgres, 2 of 3 tests passed in 61 s.

| promise | passed | failed |
| --- | ---: | ---: |
| reading | 1 | 1 |
| rows | 1 | 0 |

Not there, or not open to this account, and not tried:

- capture: log: LOG_OFF: found wal_level = replica; expected logical
- the statement \`MERGE INTO t USING v\`

Failed:

- reading: c
  expected 't' to be 'f'
`);
});
