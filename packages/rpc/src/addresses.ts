/** Several addresses of one service, as text: `a:7400,b:7400`. Owns which of them is called: the first that answers. */
import { connect } from 'node:net';
import { QiaoError } from '@qiao/exchange';
import { type Address, addressText, parseAddress } from './address.ts';
import type { ServerRole } from './serverIdentity.ts';
import { unreachable } from './unreachable.ts';

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
  for (const address of addresses) if (await answers(address)) return addressText(address);
  throw unreachable(role, text, '');
}

function answers({ host, port }: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: ANSWER_MS });
    const done = (isThere: boolean) => {
      socket.destroy();
      resolve(isThere);
    };
    socket.once('connect', () => done(true));
    socket.once('timeout', () => done(false));
    socket.once('error', () => done(false));
  });
}
