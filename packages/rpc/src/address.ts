/** host:port as people write it. Owns reading and writing that text; nothing is resolved here. */
import { QiaoError } from '@qiao/exchange';

export interface Address {
  /** Without brackets. */
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
}

/** Reads `host:port` or `[v6]:port`. Throws ADDRESS_INVALID. */
export function parseAddress(text: string): Address {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:/[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65_535) {
    throw new QiaoError('ADDRESS_INVALID', `${JSON.stringify(text.slice(0, 80))} is not an address`, {
      hint: 'write host:port, for example 127.0.0.1:7400',
    });
  }
  return { host: (match[1] ?? match[2]) as string, port };
}

/** The text of an address, IPv6 in brackets. */
export function addressText(address: Address): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
