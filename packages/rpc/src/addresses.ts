/** Several addresses of one service, as text: `a:7400,b:7400`. Owns which of them is called: the first that answers. */
import { connect } from 'node:net';
import { QiaoError } from '@qiao/exchange';
import { type Address, addressText, parseAddress } from './address.ts';
import type { ServerRole } from './serverIdentity.ts';
import { type Attempt, unreachable } from './unreachable.ts';

const ADDRESSES_MAX = 8;
/** A machine that is gone says nothing at all; one that is there answers a call within a round trip. */
const ANSWER_MS = 2_000;

/** Reads one to eight addresses, separated by commas. Throws ADDRESS_INVALID. */
export function parseAddresses(text: string): Address[] {
  const addresses = text.split(',').map((one) => parseAddress(one.trim()));
  if (addresses.length <= ADDRESSES_MAX) return addresses;
  throw new QiaoError('ADDRESS_INVALID', `found ${addresses.length} addresses, expected at most ${ADDRESSES_MAX}`, {
    hint: 'name one address per replica',
  });
}

/** The first of the addresses where somebody listens. One alone is not tried here. Throws SERVER_UNREACHABLE (transient). */
export async function firstAnswering(text: string, role: ServerRole = 'hub'): Promise<string> {
  const addresses = parseAddresses(text);
  const [only] = addresses;
  if (only !== undefined && addresses.length === 1) return addressText(only);
  const attempts: Attempt[] = [];
  for (const address of addresses) {
    const details = await refusal(address);
    if (details === undefined) return addressText(address);
    attempts.push({ address: addressText(address), details });
  }
  throw unreachable(role, attempts);
}

/** Why nobody answers; undefined when somebody listens. */
function refusal({ host, port }: Address): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: ANSWER_MS });
    const done = (details?: string) => {
      socket.destroy();
      resolve(details);
    };
    socket.once('connect', () => done());
    socket.once('timeout', () => done(`no answer in ${ANSWER_MS} ms`));
    socket.once('error', (error) => done(error.message));
  });
}
