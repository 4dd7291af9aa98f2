/**
 * Believing a server. A platform has its own authority, and addresses are translated at the departments' gates, so a server is
 * known by the identity in its certificate (role hub or monitor, from the pinned authority), never by the host name dialled.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { connect, type PeerCertificate } from 'node:tls';
import { QiaoError } from '@qiao/exchange';
import { parseAddress } from './address.ts';
import { unreachable } from './unreachable.ts';

/** Sent as server name instead of the address: an IP address is no valid server name (RFC 6066, 3). */
export const SERVER_NAME = 'qiao.internal';

/** Who answers: a monitor holds no hub's word, and a stolen key of the one must not pass for the other. */
export type ServerRole = 'hub' | 'monitor';

const SERVER_URI = /^URI:qiao:\/\/[0-9a-f]{32}\/(hub|monitor)\/[0-9a-f]{32}\/[a-z][a-z0-9-]{0,31}$/;

/** For tls.connect, after the chain was proven: an error unless the certificate is of this role. */
export function serverIdentityCheck(role: ServerRole) {
  return (_host: string, certificate: PeerCertificate): Error | undefined => {
    // Printed names that hold anything unusual are quoted by Node, so a comma inside a name cannot forge an entry.
    const uris = (certificate.subjectaltname ?? '').split(', ').filter((name) => name.startsWith('URI:'));
    if (uris.length === 1 && SERVER_URI.exec(uris[0] as string)?.[1] === role) return undefined;
    return new Error(`the certificate of the server is not that of a ${role} of this platform`);
  };
}

/**
 * The authority's certificate (DER) that the server at `address` shows, when its SHA-256 is the pinned one: the first step of
 * joining. Nothing is sent before the fingerprint fits. Throws AUTHORITY_MISMATCH, SERVER_UNREACHABLE (transient).
 */
export async function fetchAuthority(address: string, fingerprint: string, timeoutMs = 10_000): Promise<Uint8Array> {
  const chain = await shownChain(address, timeoutMs);
  const found = chain.find((der) => createHash('sha256').update(der).digest('hex') === fingerprint);
  if (found && new X509Certificate(found).ca) return found;
  throw new QiaoError(
    'AUTHORITY_MISMATCH',
    `${address} shows ${chain.length} certificates, none with the fingerprint ${fingerprint.slice(0, 16)}… of the token`,
    {
      hint: 'the address leads to another platform, or somebody stands between: compare with qiao node invite at the hub',
    },
  );
}

function shownChain(address: string, timeoutMs: number): Promise<Uint8Array[]> {
  const { host, port } = parseAddress(address);
  return new Promise((resolve, reject) => {
    // Nobody is believed yet, so nothing is verified here: the fingerprint decides.
    const socket = connect({
      host,
      port,
      servername: SERVER_NAME,
      ALPNProtocols: ['h2'],
      rejectUnauthorized: false,
      timeout: timeoutMs,
    });
    const fail = (why: string, cause?: unknown): void => {
      socket.destroy();
      reject(unreachable('hub', [{ address, details: why }], cause));
    };
    socket.once('timeout', () => fail(`no answer in ${timeoutMs} ms`));
    socket.once('error', (error) => fail(error.message, error));
    socket.once('secureConnect', () => {
      const chain: Uint8Array[] = [];
      let next = socket.getPeerCertificate(true) as { raw?: Buffer; issuerCertificate?: unknown };
      // A self-signed certificate names itself as its issuer: the walk ends where it repeats.
      while (next?.raw && !chain.some((der) => Buffer.compare(der, next.raw as Buffer) === 0)) {
        chain.push(new Uint8Array(next.raw));
        next = next.issuerCertificate as typeof next;
      }
      socket.destroy();
      resolve(chain);
    });
  });
}
