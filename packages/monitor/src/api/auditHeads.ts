// What this monitor has seen of the hub's audit, as a witness: a hub cannot take it back.

import type { AuditHead } from '@qiao/contract/monitor';
import type { MonitorDatabase } from '../monitorDatabase.ts';

const PAGE = 1_000;

/** Every head, by chain and number. */
export async function* listAuditHeads(database: MonitorDatabase): AsyncGenerator<AuditHead> {
  for (let last: { replica: string; number: number } | undefined; ; ) {
    let query = database.selectFrom('audit_head').selectAll().orderBy('replica').orderBy('number').limit(PAGE);
    if (last !== undefined) {
      const { replica, number } = last;
      query = query.where((is) =>
        is.or([is('replica', '>', replica), is.and([is('replica', '=', replica), is('number', '>', number)])]),
      );
    }
    const page = await query.execute();
    for (const { replica, number, hash, at_ms: atMs } of page) {
      yield { replica, number: BigInt(number), hash: Buffer.from(hash, 'hex'), atMs: BigInt(atMs) };
    }
    last = page.at(-1);
    if (page.length < PAGE) return;
  }
}
