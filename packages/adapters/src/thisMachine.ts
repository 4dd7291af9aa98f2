/** Which hosts of a data source are this machine, whose traffic no network sees: TLS is asked for on the way to any other. */

import { isIPv4 } from 'node:net';

/** A name is taken for itself: `127.example.gov` is somebody else. */
export function isThisMachine(host: string): boolean {
  const isSocket = host.startsWith('/');
  return isSocket || host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}
