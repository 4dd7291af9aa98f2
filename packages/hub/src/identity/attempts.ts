// Owns the brake on guessing: how many wrong tokens one address, and all together, may show in a minute. In memory and bounded;
// at a start it takes the last minute from the audit, so that a restart is no way around it.

import { isIP } from 'node:net';
import { QiaoError } from '@qiao/exchange';
import type { HubDatabase } from '../hubDatabase.ts';

const WINDOW_MS = 60_000;
const WRONG_PER_ADDRESS = 10;
/** Every wrong token is an entry of the audit, so this also bounds what strangers can write there. */
const WRONG_IN_ALL = 200;
/** Addresses remembered; past it the oldest is forgotten first, and the brake on all of them still holds. */
const MAX_ADDRESSES = 10_000;

export class Attempts {
  readonly #wrong = new Map<string, number[]>();
  #all: number[] = [];
  /** The token that is being looked at, and those that wait behind it. */
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Looks at tokens one after the other: of many wrong ones shown at the same moment only as many are looked at as the brake
   * allows, and the rest is refused by what those turned out to be. `look` tells whether the token was wrong.
   * Throws TOO_MANY_ATTEMPTS, and what `look` throws.
   */
  async inTurn<T extends { readonly isWrong: boolean }>(
    address: string,
    nowMs: number,
    look: () => Promise<T>,
  ): Promise<T> {
    // At once, so that who is braked already waits for nobody and holds up nobody.
    this.check(address, nowMs);
    const mine = this.#last.then(async () => {
      this.check(address, nowMs);
      const seen = await look();
      if (seen.isWrong) this.wrong(address, nowMs);
      return seen;
    });
    this.#last = mine.catch(() => undefined);
    return await mine;
  }

  /** Throws TOO_MANY_ATTEMPTS when too many wrong tokens came within the last minute, from this address or from all. */
  check(address: string, nowMs: number): void {
    const network = networkOf(address);
    const recent = this.#recent(network, nowMs);
    if (recent.length >= WRONG_PER_ADDRESS) throw tooMany(recent, nowMs, 'this address');
    const all = this.#all.filter((atMs) => isRecent(atMs, nowMs));
    if (all.length >= WRONG_IN_ALL) throw tooMany(all, nowMs, 'all addresses together');
  }

  /** Counts a wrong token. */
  wrong(address: string, nowMs: number): void {
    const network = networkOf(address);
    const recent = [...this.#recent(network, nowMs), nowMs].slice(-WRONG_PER_ADDRESS);
    this.#wrong.delete(network);
    this.#wrong.set(network, recent);
    for (const oldest of this.#wrong.keys()) {
      if (this.#wrong.size <= MAX_ADDRESSES) break;
      this.#wrong.delete(oldest);
    }
    this.#all = [...this.#all.filter((atMs) => isRecent(atMs, nowMs)), nowMs].slice(-WRONG_IN_ALL);
  }

  #recent(network: string, nowMs: number): number[] {
    return (this.#wrong.get(network) ?? []).filter((atMs) => isRecent(atMs, nowMs));
  }
}

/** The wrong tokens of the last minute, as the audit has them. */
export async function attemptsBefore(store: HubDatabase, nowMs: number): Promise<Attempts> {
  const attempts = new Attempts();
  // By number, which is its key: an audit of five years is not searched by time.
  const rows = await store
    .selectFrom('audit')
    .select(['at_ms', 'action', 'success', 'detail_json'])
    .orderBy('number', 'desc')
    .limit(5 * WRONG_IN_ALL)
    .execute();
  for (const { at_ms: atMs, action, success, detail_json: detail } of rows.toReversed()) {
    if (action !== 'node.join' || success !== 0 || !isRecent(atMs, nowMs)) continue;
    const { address } = JSON.parse(detail) as { address?: string };
    attempts.wrong(address ?? '', atMs);
  }
  return attempts;
}

/** A clock that was set back must not keep anybody out for longer than the window. */
function isRecent(atMs: number, nowMs: number): boolean {
  return atMs > nowMs - WINDOW_MS && atMs <= nowMs + WINDOW_MS;
}

function tooMany(recent: readonly number[], nowMs: number, whose: string): QiaoError {
  const waitS = Math.max(1, Math.ceil(((recent[0] ?? nowMs) + WINDOW_MS - nowMs) / 1000));
  return new QiaoError('TOO_MANY_ATTEMPTS', `${recent.length} wrong tokens came from ${whose} within a minute`, {
    hint: `wait ${waitS} s, then use the token as it was printed by \`qiao node invite\``,
    fate: 'transient',
  });
}

/** One guest of an IPv6 network has 2^64 addresses of it: the network counts as one. */
function networkOf(address: string): string {
  const bare = address.split('%')[0] ?? '';
  if (isIP(bare) !== 6) return address;
  const [head = '', tail] = bare.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const missing = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  const groups = [...left, ...Array.from({ length: missing }, () => '0'), ...right];
  // An IPv4 address that is written as one of IPv6 is one guest.
  if (groups.at(-1)?.includes('.') === true) return groups.at(-1) as string;
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':');
}

/** The address without its port, so that a new connection is not a new address: `ipv4:10.0.0.1:5000` gives `10.0.0.1`. */
export function addressOf(peer: string): string {
  // Not decoded as a whole: the zone of a link-local address follows a bare per cent sign.
  const bare = peer.replace(/^ipv[46]:/, '').replace(/:\d+$/, '');
  return bare.replace(/^(\[|%5B)|(\]|%5D)$/gi, '').replace('%25', '%');
}
