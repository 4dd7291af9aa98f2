import { describe, expect, test } from 'vitest';
import { productOf } from './product.ts';

describe('what a server calls itself', () => {
  test.each([
    ['10.11.19-MariaDB-0+deb12u1-log', 'Debian 12', 'MariaDB 10.11.19', false, true],
    ['11.4.2-MariaDB', 'mariadb.org binary distribution', 'MariaDB 11.4.2', false, false],
    ['8.0.36', 'MySQL Community Server - GPL', 'MySQL 8.0.36', false, false],
    ['8.0.36', 'Source distribution', 'MySQL 8.0.36', false, false],
    ['8.0.43-0ubuntu0.24.04.1', '(Ubuntu)', 'MySQL 8.0.43', false, false],
    ['9.7.4-2', '(Debian)', 'MySQL 9.7.4', false, false],
    ['8.0.11-TiDB-v7.5.0', 'TiDB Server (Apache License 2.0) Community Edition', 'TiDB 7.5.0', true, false],
    ['5.7.25-OceanBase-v4.2.1.2', 'OceanBase_CE 4.2.1.2 (r102000042023120514)', 'OceanBase 4.2.1.2', true, false],
    ['9.5.3.27.11', 'GBase 8a MPP Cluster', 'GBase 8a', true, false],
    ['5.7.99', 'Doris version doris-2.0.3', 'Doris 5.7.99', true, false],
    ['9.5.3.27', '', 'unknown 9.5.3.27', true, false],
  ])('%s, %s', (version, comment, expected, isKin, isVerified) => {
    const found = productOf(version, comment);
    expect(found).toEqual({
      name: expected.slice(0, expected.lastIndexOf(' ')),
      version: expected.slice(expected.lastIndexOf(' ') + 1),
      isKin,
      isVerified,
    });
  });
});
