/** Keys and claims of the bus: operator, account, system account, users, revocations. */
import type { Log } from '@qiao/runtime';
import type { BusAddress, BusCredentials } from './bus.ts';

export interface BusUser {
  /** Public NATS user key ("U…"). */
  readonly natsUser: string;
  readonly role: 'agent' | 'monitor' | 'hub';
  /** Codes of the platform and of the node; the hub's node code is `hub`. */
  readonly platform: string;
  readonly node: string;
  /** Milliseconds since 1970 UTC; without it the JWT lives until revoked. */
  readonly expiresAtMs?: number;
}

/** What `natsServerPart` writes into nats.conf. */
export interface ServerAuthConfig {
  readonly operatorJwt: string;
  readonly systemAccount: string;
  /** Account public key to account JWT. */
  readonly preload: Readonly<Record<string, string>>;
}

export class BusAccounts {
  static async create(_dir: string): Promise<BusAccounts> {
    throw new Error('not built yet');
  }
  static async open(_dir: string): Promise<BusAccounts> {
    throw new Error('not built yet');
  }
  async userJwt(_user: BusUser): Promise<string> {
    throw new Error('not built yet');
  }
  async revoke(_natsUser: string, _at: BusAddress, _log?: Log): Promise<void> {
    throw new Error('not built yet');
  }
  serverAuthConfig(): ServerAuthConfig {
    throw new Error('not built yet');
  }
  /** A new user key pair and its JWT in one: for the hub itself and for tests. Nodes make their own keys with `createBusUserKey`. */
  async createUser(_user: Omit<BusUser, 'natsUser'>): Promise<BusCredentials & { readonly natsUser: string }> {
    throw new Error('not built yet');
  }
  /** Pushes the account's present claims (with every revocation) to a server that lost or never had them. */
  async push(_at: BusAddress): Promise<void> {
    throw new Error('not built yet');
  }
  get revokedUsers(): readonly string[] {
    throw new Error('not built yet');
  }
}

/** Makes a NATS user key on the node: the public key goes into JoinRequest.nats_user, the seed stays. */
export function createBusUserKey(): { natsUser: string; seed: string } {
  throw new Error('not built yet');
}
