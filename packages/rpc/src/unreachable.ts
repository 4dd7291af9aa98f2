/** What a person is told when a server does not answer: which one, where, why in our words, and the next command. */
import { QiaoError } from '@qiao/exchange';
import type { ServerRole } from './serverIdentity.ts';

interface Reason {
  /** In the words of the system, of OpenSSL or of grpc-js. */
  readonly found: RegExp;
  readonly says: string;
  /** `other`: something answers, which is not the server. Default: nothing does. */
  readonly who?: 'other' | 'ended' | 'clock';
}

const REASONS: readonly Reason[] = [
  { found: /ECONNREFUSED/, says: 'nobody listens there (ECONNREFUSED)' },
  { found: /ECONNRESET/, says: 'the connection was reset (ECONNRESET)' },
  { found: /EHOSTUNREACH/, says: 'there is no way to that machine (EHOSTUNREACH)' },
  { found: /ENETUNREACH/, says: 'there is no way to that network (ENETUNREACH)' },
  { found: /ENOTFOUND/, says: 'the name is not known (ENOTFOUND)' },
  { found: /EAI_AGAIN|Name resolution failed/, says: 'the name could not be looked up (DNS, or a misspelled host)' },
  { found: /ETIMEDOUT|timed out|no answer in/, says: 'timed out, the machine says nothing: is a firewall between?' },
  { found: /disconnected before secure TLS/, says: 'it takes the connection and hangs up before TLS', who: 'other' },
  {
    found: /wrong version number|packet length too long|http request|unexpected message/,
    says: 'what answers there does not speak TLS',
    who: 'other',
  },
  { found: /certificate has expired/, says: 'TLS: its certificate has ended', who: 'ended' },
  { found: /certificate is not yet valid/, says: 'TLS: its certificate is not valid yet', who: 'clock' },
  {
    found: /self-signed certificate|unable to (get|verify)|certificate signature failure/,
    says: 'TLS: its certificate is not of the authority of this platform',
    who: 'other',
  },
  {
    found: /is not that of a \w+ of this platform/,
    says: 'TLS: its certificate is that of another member of this platform',
    who: 'other',
  },
];

/** An address, and what the attempt to call it came to. */
export interface Attempt {
  readonly address: string;
  readonly details: string;
}

/** A server that does not answer at this address, or at any of several. Transient. */
export function unreachable(role: ServerRole, attempts: readonly Attempt[], cause?: unknown): QiaoError {
  const [only] = attempts;
  const whys = attempts.map(({ address, details }) => `${address}: ${why(details)}`);
  const message =
    only !== undefined && attempts.length === 1
      ? `the ${role} at ${only.address} does not answer: ${why(only.details)}`
      : `the ${role} answers at none of its addresses; ${whys.join('; ')}`;
  return new QiaoError('SERVER_UNREACHABLE', message, {
    hint: hintFor(role, reasonOf(only?.details ?? '')),
    fate: 'transient',
    cause,
  });
}

function reasonOf(details: string): Reason | undefined {
  return REASONS.find(({ found }) => found.test(details));
}

const DETAILS_MAX = 200;

function why(details: string): string {
  const reason = reasonOf(details);
  if (reason !== undefined) return reason.says;
  // grpc-js says the same before every reason, and ends with a label that has nothing under it.
  const text = details.replace(/^No connection established\. Last error: /, '').replace(/\.? *Resolution note: *$/, '');
  return text.slice(0, DETAILS_MAX) || 'it gives no reason';
}

function hintFor(role: ServerRole, reason: Reason | undefined): string {
  const elsewhere = `if it answers elsewhere: qiao operator ${role} HOST:PORT`;
  switch (reason?.who) {
    case 'other':
      return `the address leads to something else, or something stands between (a gate that opens TLS, another platform); ${elsewhere}`;
    case 'ended':
      return role === 'hub'
        ? 'on its machine: systemctl restart qiao-hub, which renews it; is the clock right at both ends?'
        : 'on its machine: systemctl status qiao-monitor, which renews it while the bus answers; is the clock right at both ends?';
    case 'clock':
      return 'compare the clocks of both machines: timedatectl';
    default:
      reason?.who satisfies undefined;
      return `on its machine: systemctl status qiao-${role}; ${elsewhere}; between machines: is the network opening granted?`;
  }
}
