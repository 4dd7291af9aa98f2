/** The hub's own nats-server as a Part. */
import type { Log, Part } from '@qiao/runtime';
import type { ServerAuthConfig } from './bus-accounts.ts';

export interface NatsServerOptions {
  /** Path of nats-server; default: found in PATH, /usr/sbin, /usr/local/sbin, /usr/local/bin. */
  readonly binary?: string;
  /** Holds nats.conf, the pid file and the account resolver. */
  readonly dir: string;
  /** `host:port`; port 0 takes a free one, kept over restarts. */
  readonly listen: string;
  readonly tls: { readonly certFile: string; readonly keyFile: string; readonly authorityFile: string };
  /** A function is asked again at every start, so that revocations made since are in the preload. */
  readonly auth: ServerAuthConfig | (() => ServerAuthConfig);
  readonly jetstreamDir: string;
  readonly maxStoreBytes: number;
  /** Largest bus message, default 8 MiB. */
  readonly maxPayloadBytes?: number;
  readonly log: Log;
}

export interface NatsServerPart extends Part {
  /** Resolves when the server first answers. `url` is `tls://host:port`. */
  readonly ready: Promise<{ url: string; version: string }>;
}

export function natsServerPart(_options: NatsServerOptions): NatsServerPart {
  throw new Error('not built yet');
}
