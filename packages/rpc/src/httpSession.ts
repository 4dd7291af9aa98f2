/**
 * Who a browser is: a one-time ticket, made for a caller who was already proven over gRPC, is exchanged for a session cookie.
 * Owns tickets and sessions, both in memory: after a restart people open a new link. Only hashes of the secrets are kept.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Caller } from './caller.ts';

export interface SessionOptions {
  nowMs(): number;
  readonly ticketLifeMs: number;
  readonly sessionLifeMs: number;
  /** Cookies only over TLS. */
  readonly isSecure: boolean;
  /** Part of the cookie's name: two boards on one host keep their own. */
  readonly port: number;
}

interface Grant {
  readonly caller: Caller;
  readonly expiresAtMs: number;
}

const MAX_TICKETS = 1_000;
const MAX_SESSIONS = 1_000;

export class Sessions {
  readonly #options: SessionOptions;
  readonly #tickets = new Map<string, Grant>();
  readonly #sessions = new Map<string, Grant>();

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  /** A ticket for this caller: good once, until `expiresAtMs`. Neither it nor its session outlives the caller's certificate. */
  makeTicket(caller: Caller): { ticket: string; expiresAtMs: number } {
    const expiresAtMs = Math.min(this.#options.nowMs() + this.#options.ticketLifeMs, caller.notAfterMs);
    return { ticket: this.#keep(this.#tickets, MAX_TICKETS, { caller, expiresAtMs }), expiresAtMs };
  }

  /** The Set-Cookie header for a ticket, which is used up by the asking; undefined for a wrong, used or late one. */
  exchange(ticket: string): string | undefined {
    const name = hash(ticket);
    const grant = this.#tickets.get(name);
    this.#tickets.delete(name);
    const nowMs = this.#options.nowMs();
    if (!grant || grant.expiresAtMs <= nowMs) return undefined;
    const lifeMs = Math.min(this.#options.sessionLifeMs, grant.caller.notAfterMs - nowMs);
    const secret = this.#keep(this.#sessions, MAX_SESSIONS, { caller: grant.caller, expiresAtMs: nowMs + lifeMs });
    const attributes = ['HttpOnly', 'SameSite=Strict', 'Path=/', `Max-Age=${Math.floor(lifeMs / 1000)}`];
    if (this.#options.isSecure) attributes.push('Secure');
    return [`${this.#cookieName}=${secret}`, ...attributes].join('; ');
  }

  /** The caller whose session the Cookie header carries. */
  callerOf(cookieHeader: string | undefined): Caller | undefined {
    for (const pair of (cookieHeader ?? '').split(';')) {
      const at = pair.indexOf('=');
      if (at < 0 || pair.slice(0, at).trim() !== this.#cookieName) continue;
      const name = hash(pair.slice(at + 1).trim());
      const grant = this.#sessions.get(name);
      if (!grant) continue;
      if (grant.expiresAtMs > this.#options.nowMs()) return grant.caller;
      this.#sessions.delete(name);
    }
    return undefined;
  }

  /** Ends every session and ticket of the callers for whom `matches` is true. */
  cut(matches: (caller: Caller) => boolean): void {
    for (const grants of [this.#tickets, this.#sessions]) {
      for (const [name, grant] of grants) if (matches(grant.caller)) grants.delete(name);
    }
  }

  get #cookieName(): string {
    return `qiao_session_${this.#options.port}`;
  }

  #keep(grants: Map<string, Grant>, limit: number, grant: Grant): string {
    const nowMs = this.#options.nowMs();
    if (grants.size >= limit) for (const [name, kept] of grants) if (kept.expiresAtMs <= nowMs) grants.delete(name);
    // Still full: the oldest gives way, so that asking for tickets can never fill memory nor lock people out.
    const oldest = grants.keys().next();
    if (grants.size >= limit && !oldest.done) grants.delete(oldest.value);
    const secret = randomBytes(32).toString('base64url');
    grants.set(hash(secret), grant);
    return secret;
  }
}

/** Looking up a hash leaks nothing of the secret by its time. */
function hash(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}
