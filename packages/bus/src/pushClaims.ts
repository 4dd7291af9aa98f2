/** Tells a running nats-server an account's present claims. It answers for one server; a cluster passes them on by itself. */
import { QiaoError } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import type { BusAddress, BusCredentials } from './bus.ts';
import { connectBus } from './connectBus.ts';

const ANSWER_TIMEOUT_MS = 5_000;

/** Throws BUS_UNREACHABLE, REQUEST_TIMED_OUT, or CLAIMS_REFUSED when the server knows another operator. */
export async function pushClaims(accountJwt: string, systemUser: BusCredentials, at: BusAddress): Promise<void> {
  const bus = await connectBus({
    urls: at.urls,
    tls: at.tls,
    name: 'qiao-claims',
    credentials: systemUser,
    inboxPrefix: '_INBOX_claims',
    log: silentLog(),
  });
  try {
    const claims = new TextEncoder().encode(accountJwt);
    const answer = await bus.request('$SYS.REQ.CLAIMS.UPDATE', claims, ANSWER_TIMEOUT_MS);
    const read = JSON.parse(new TextDecoder().decode(answer)) as { error?: { description?: string } };
    if (read.error === undefined) return;
    const reason = read.error.description ?? 'no reason';
    throw new QiaoError('CLAIMS_REFUSED', `the bus refused the account's claims: ${reason}`, {
      hint: 'qiao hub start with the keys that this bus was started with',
    });
  } finally {
    await bus.close();
  }
}
