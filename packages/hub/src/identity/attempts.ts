// Owns the brake on guessing: how many wrong tokens one address, and all together, may show in a minute. They are counted in hub.db, so that
// neither a restart nor another replica is a way around it; what was counted is bounded by the brake itself.

import { isIP } from 'node:net';
import { QiaoError } from '@qiao/exchange';
import type { HubDatabase } from '../hubDatabase.ts';

const WINDOW_MS = 60_000;
const WRONG_PER_ADDRESS = 10;
/** Every wrong token is an entry of the audit, so this also bounds what strangers can write there. */
const WRONG_IN_ALL = 200;

interface WrongToken {
  readonly network: string;
  readonly at_ms: number;
}

export class Attempts {
  readonly #store: HubDatabase;
  /** Of the last minute, as far as this replica has heard. */
  #known: readonly WrongToken[] = [];
  /** The token that is being looked at, and those that wait behind it. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(store: HubDatabase) {
    this.#store = store;
  }

  /**
   * Looks at tokens one after the other: of many wrong ones shown at the same moment only as many are looked at as the brake
   * allows, and the rest is refused by what those turned out to be. Each further replica may look at one more, which it has begun with
   * when another counts the last. `look` tells whether the token was wrong. Throws TOO_MANY_ATTEMPTS, and what `look` throws.
   */
  async inTurn<T extends { readonly isWrong: boolean }>(
    address: string,
    nowMs: number,
    look: () => Promise<T>,
  ): Promise<T> {
    const network = networkOf(address);
    // At once, so that who is braked already waits for nobody and holds up nobody, the database least of all.
    requireFew(this.#known, network, nowMs);
    const mine = this.#last.then(async () => {
      requireFew(this.#known, network, nowMs);
      this.#known = await this.#recent(nowMs);
      requireFew(this.#known, network, nowMs);
      const seen = await look();
      if (seen.isWrong) await this.#count({ network, at_ms: nowMs });
      return seen;
    });
    this.#last = mine.catch(() => undefined);
    return await mine;
  }

  async #recent(nowMs: number): Promise<readonly WrongToken[]> {
    return await this.#store
      .selectFrom('wrong_tokens')
      .select(['network', 'at_ms'])
      .where('at_ms', '>', nowMs - WINDOW_MS)
      .where('at_ms', '<=', nowMs + WINDOW_MS)
      .orderBy('at_ms')
      .execute();
  }

  async #count(wrong: WrongToken): Promise<void> {
    this.#known = [...this.#known, wrong];
    await this.#store.transaction().execute(async (store) => {
      // Twice the window: clocks of replicas differ, and what is past for one still counts for another.
      await store
        .deleteFrom('wrong_tokens')
        .where((row) =>
          row.or([row('at_ms', '<', wrong.at_ms - 2 * WINDOW_MS), row('at_ms', '>', wrong.at_ms + 2 * WINDOW_MS)]),
        )
        .execute();
      await store.insertInto('wrong_tokens').values(wrong).execute();
    });
  }
}

/** Throws TOO_MANY_ATTEMPTS when too many wrong tokens came within the last minute, from this network or from all. */
function requireFew(wrong: readonly WrongToken[], network: string, nowMs: number): void {
  const all = wrong.filter((one) => isRecent(one.at_ms, nowMs));
  const own = all.filter((one) => one.network === network);
  if (own.length >= WRONG_PER_ADDRESS) throw tooMany(own, nowMs, 'this address');
  if (all.length >= WRONG_IN_ALL) throw tooMany(all, nowMs, 'all addresses together');
}

/** A clock that was set back must not keep anybody out for longer than the window. */
function isRecent(atMs: number, nowMs: number): boolean {
  return atMs > nowMs - WINDOW_MS && atMs <= nowMs + WINDOW_MS;
}

function tooMany(recent: readonly WrongToken[], nowMs: number, whose: string): QiaoError {
  const waitS = Math.max(1, Math.ceil(((recent[0]?.at_ms ?? nowMs) + WINDOW_MS - nowMs) / 1000));
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
