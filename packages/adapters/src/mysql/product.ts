/** What servers that speak MySQL's protocol call themselves. */
import type { Product } from '../product.ts';

const VERIFIED = /^10\.11\./;
/** Debian and Ubuntu write nothing but their own name. */
const IS_MYSQL = /mysql|source distribution|percona|^\((Debian|Ubuntu)\)$/i;
const KIN = /(TiDB|OceanBase|GBase|TDSQL|PolarDB|StarRocks|Doris|GoldenDB|GreatDB)(?:[\s-]*v?(\d[\w.]*))?/i;

/** Reads VERSION() and the comment beside it: kin write a version of MySQL in front of their own name, or say their name in the comment only. */
export function productOf(version: string, comment: string): Product {
  const kin = KIN.exec(version) ?? KIN.exec(comment);
  if (kin !== null) return { name: kin[1] ?? '', version: kin[2] ?? version, isKin: true, isVerified: false };
  const own = /\d+(\.\d+)*/.exec(version)?.[0] ?? version;
  if (/mariadb/i.test(version)) return { name: 'MariaDB', version: own, isKin: false, isVerified: VERIFIED.test(own) };
  if (IS_MYSQL.test(comment)) return { name: 'MySQL', version: own, isKin: false, isVerified: false };
  return { name: comment === '' ? 'unknown' : comment, version, isKin: true, isVerified: false };
}
