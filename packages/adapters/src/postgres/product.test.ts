import { describe, expect, test } from 'vitest';
import { productOf } from './product.ts';

describe('what a server calls itself', () => {
  test.each([
    [
      'PostgreSQL 15.18 (Debian 15.18-0+deb12u1) on x86_64-pc-linux-gnu, compiled by gcc',
      '15.18',
      'PostgreSQL 15.18',
      false,
      true,
    ],
    ['PostgreSQL 17.2 on aarch64-unknown-linux-gnu', '17.2', 'PostgreSQL 17.2', false, false],
    [
      '(openGauss 5.0.0 build a07d57c3) compiled at 2023-03-29 03:07:56 commit 0 last mr',
      '9.2.4',
      'openGauss 5.0.0',
      true,
      false,
    ],
    [
      'PostgreSQL 9.2.4 (openGauss 2.0.0 build 78689da9) compiled at 2021-03-31',
      '9.2.4',
      'openGauss 2.0.0',
      true,
      false,
    ],
    [
      'gaussdb (GaussDB Kernel V500R002C10 build 4a1e5f3b) compiled at',
      '9.2.4',
      'GaussDB Kernel V500R002C10',
      true,
      false,
    ],
    [
      'KingbaseES V008R006C008B0014 on x86_64-pc-linux-gnu, compiled by gcc',
      '12.1',
      'KingbaseES V008R006C008B0014',
      true,
      false,
    ],
    [
      'PostgreSQL 11.2-YB-2.15.1.0-b0 on x86_64-pc-linux-gnu',
      '11.2-YB-2.15.1.0-b0',
      'YugabyteDB 11.2-YB-2.15.1.0-b0',
      true,
      false,
    ],
    [
      'PostgreSQL 12.12 (Greenplum Database 7.0.0 build commit:0a7a3566)',
      '12.12',
      'Greenplum Database 7.0.0',
      true,
      false,
    ],
    ['CockroachDB CCL v23.1.11 (x86_64-pc-linux-gnu)', '13.0.0', 'CockroachDB 23.1.11', true, false],
    ['', '12.1', 'unknown 12.1', true, false],
  ])('%s', (text, serverVersion, expected, isKin, isVerified) => {
    const { name, version, ...rest } = productOf(text, serverVersion);
    expect({ named: `${name} ${version}`, ...rest }).toEqual({ named: expected, isKin, isVerified });
  });
});
