/** What servers that speak PostgreSQL's protocol call themselves. */
import type { Product } from '../product.ts';

const VERIFIED_MAJOR = '15';

/** Kin that write PostgreSQL's name in front of their own. */
const KIN =
  /\b(openGauss|MogDB|Vastbase|PanWeiDB|GBase ?8c|GaussDB Kernel|Greenplum Database|Cloudberry Database|PolarDB) (V?[\w.]+)/i;

/** Reads `version()`; `serverVersion` is the parameter of that name, which kin give as the PostgreSQL that they stem from. */
export function productOf(versionText: string, serverVersion: string): Product {
  const kin = KIN.exec(versionText);
  if (kin !== null) return { name: kin[1] ?? '', version: kin[2] ?? '', isKin: true, isVerified: false };
  const [, name = 'unknown', version = serverVersion] = /^\W*([A-Za-z]+)\D*?(V?\d[\w.-]*)/.exec(versionText) ?? [];
  if (name !== 'PostgreSQL') return { name, version, isKin: true, isVerified: false };
  if (/-YB-/.test(version)) return { name: 'YugabyteDB', version, isKin: true, isVerified: false };
  return { name, version: serverVersion, isKin: false, isVerified: serverVersion.split('.')[0] === VERIFIED_MAJOR };
}
