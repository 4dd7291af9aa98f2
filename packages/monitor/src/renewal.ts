// The monitor's certificate: renewed over the bus in the last third of its life, in the same words as a node's hello, for the same key.
// The servers take the new one at the next start; until then the old one is good.

import { HelloRequest } from '@qiao/contract/control';
import { QiaoError, readHelloReply } from '@qiao/exchange';
import { type Clock, crashPoint, type Log, type Part } from '@qiao/runtime';
import { isRenewalDue, type NodeIdentity, renewalRequest, takeRenewal } from '@qiao/security';

export interface RenewalPorts {
  readonly identity: NodeIdentity;
  readonly directory: string;
  /** Request and reply over the bus. */
  ask(request: Uint8Array, timeoutMs: number): Promise<Uint8Array>;
  readonly clock: Clock;
  readonly log: Log;
}

const LOOK_EVERY_MS = 60_000;
const ASK_TIMEOUT_MS = 10_000;

export function renewalPart(ports: RenewalPorts): Part {
  let { identity } = ports;
  return {
    name: 'renewal',
    async run(signal) {
      while (!signal.aborted) {
        if (isRenewalDue(identity.certificate, ports.clock.nowMs())) identity = await renewed(ports, identity);
        await ports.clock.sleep(LOOK_EVERY_MS, signal);
      }
    },
  };
}

async function renewed(ports: RenewalPorts, identity: NodeIdentity): Promise<NodeIdentity> {
  const request = HelloRequest.fromPartial({
    nodeId: identity.nodeId,
    // A monitor has no exchange database.
    exchangeDatabaseId: new Uint8Array(16),
    clockMs: BigInt(ports.clock.nowMs()),
    renewalCsr: await renewalRequest(identity),
  });
  const reply = readHelloReply(await ports.ask(HelloRequest.encode(request).finish(), ASK_TIMEOUT_MS));
  if (reply.renewal === undefined) {
    const {
      code = 'RENEWAL_MISSING',
      message = 'the hub did not renew the certificate',
      hint = '',
    } = reply.problem ?? {};
    throw new QiaoError(code, message, { hint, fate: 'transient' });
  }
  crashPoint('renewal.received');
  const next = takeRenewal(ports.directory, identity, reply.renewal, ports.clock.nowMs());
  ports.log.info('certificate renewed; the servers show it from the next start on');
  return next;
}
