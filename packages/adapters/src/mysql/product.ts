/** What servers that speak MySQL's protocol call themselves. */
import type { Product } from '../product.ts';

const VERIFIED = /^10\.11\./;
const KIN = /(TiDB|OceanBase|GBase|TDSQL|PolarDB|StarRocks|Doris|GoldenDB|GreatDB)(?:[\s-]*v?(\d[\w.]*))?/i;

/** Reads VERSION() and the comment beside it: kin write a version of MySQL in front of their own name, or say their name in the comment only. */
export function productOf(version: string, comment: string): Product {
  const kin = KIN.exec(version) ?? KIN.exec(comment);
  if (kin !== null) return { name: kin[1] ?? '', version: kin[2] ?? version, isKin: true, isVerified: false };
  const own = /\d+(\.\d+)*/.exec(version)?.[0] ?? version;
  if (/mariadb/i.test(version)) return { name: 'MariaDB', version: own, isKin: false, isVerified: VERIFIED.test(own) };
  const name = /mysql|source distribution|percona/i.test(comment) ? 'MySQL' : comment === '' ? 'unknown' : comment;
  return { name, version, isKin: true, isVerified: false };
}
