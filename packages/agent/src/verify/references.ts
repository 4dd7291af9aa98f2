/** Names of rows for people who may not see them: keyed hashes under a secret of this node and the lane, the same in every job. */
import { createHmac } from 'node:crypto';

export interface References {
  readonly secret: Uint8Array;
  readonly laneId: Uint8Array;
}

/** 16 hexadecimal digits. */
export function rowReference({ secret, laneId }: References, table: string, key: string): string {
  const named = createHmac('sha256', secret).update(laneId).update(`${table}\0${key}`);
  return named.digest('hex').slice(0, 16);
}
