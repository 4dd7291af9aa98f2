/** What a person is told when a server does not answer: which one, where, why in our words, and the next command. */
import { QiaoError } from '@qiao/exchange';
import type { ServerRole } from './serverIdentity.ts';

/** Codes of the system in words; the code stays beside them. */
const WHY: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there',
  ECONNRESET: 'the connection was reset',
  EHOSTUNREACH: 'there is no way to that machine',
  ENETUNREACH: 'there is no way to that network',
  ENOTFOUND: 'the name is not known',
  EAI_AGAIN: 'the name could not be looked up',
  ETIMEDOUT: 'the machine says nothing',
};

/** A server that does not answer at this address, or at any of several separated by commas. Transient. */
export function unreachable(role: ServerRole, address: string, details: string, cause?: unknown): QiaoError {
  return new QiaoError('SERVER_UNREACHABLE', `the ${role} at ${address} does not answer${reason(details)}`, {
    hint: `on its machine: systemctl status qiao-${role}; if it answers elsewhere: qiao operator ${role} HOST:PORT; between machines: is the network opening granted?`,
    fate: 'transient',
    cause,
  });
}

const DETAILS_MAX = 200;

function reason(details: string): string {
  const code = Object.keys(WHY).find((one) => details.includes(one));
  if (code !== undefined) return `: ${WHY[code]} (${code})`;
  // grpc-js says the same before every reason, and ends with a label that has nothing under it.
  const text = details.replace(/^No connection established\. Last error: /, '').replace(/\.? *Resolution note: *$/, '');
  return text === '' ? '' : `: ${text.slice(0, DETAILS_MAX)}`;
}
