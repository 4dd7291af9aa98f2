// Owns the brake on guessing: how many wrong tokens one address may show in a minute. In memory, bounded; a restart forgets
// it, which gains a guesser ten tries against 256 random bits.

import { QiaoError } from '@qiao/exchange';

const WINDOW_MS = 60_000;
const WRONG_PER_WINDOW = 10;
/** Addresses remembered; past it the oldest is forgotten first. */
const MAX_ADDRESSES = 10_000;

export class Attempts {
  readonly #wrong = new Map<string, number[]>();

  /** Throws TOO_MANY_ATTEMPTS when the address has shown ten wrong tokens within the last minute. */
  check(address: string, nowMs: number): void {
    const recent = this.#recent(address, nowMs);
    if (recent.length < WRONG_PER_WINDOW) return;
    const waitS = Math.max(1, Math.ceil(((recent[0] ?? nowMs) + WINDOW_MS - nowMs) / 1000));
    throw new QiaoError('TOO_MANY_ATTEMPTS', `${recent.length} wrong tokens came from this address within a minute`, {
      hint: `wait ${waitS} s, then use the token as it was printed by \`qiao node invite\``,
      fate: 'transient',
    });
  }

  /** Counts a wrong token. */
  wrong(address: string, nowMs: number): void {
    const recent = [...this.#recent(address, nowMs), nowMs].slice(-WRONG_PER_WINDOW);
    this.#wrong.delete(address);
    this.#wrong.set(address, recent);
    for (const oldest of this.#wrong.keys()) {
      if (this.#wrong.size <= MAX_ADDRESSES) break;
      this.#wrong.delete(oldest);
    }
  }

  #recent(address: string, nowMs: number): number[] {
    return (this.#wrong.get(address) ?? []).filter((atMs) => atMs > nowMs - WINDOW_MS);
  }
}

/** The address without its port, so that a new connection is not a new address: `ipv4:10.0.0.1:5000` gives `10.0.0.1`. */
export function addressOf(peer: string): string {
  // Not decoded as a whole: the zone of a link-local address follows a bare per cent sign.
  const bare = peer.replace(/^ipv[46]:/, '').replace(/:\d+$/, '');
  return bare.replace(/^(\[|%5B)|(\]|%5D)$/gi, '').replace('%25', '%');
}
