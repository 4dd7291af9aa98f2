/** Writes nats.conf. Pure: what may stand in it depends on the server's version, and 2.9 is the floor. */
import type { ServerAuthConfig } from './busAccounts.ts';

export interface NatsConfig {
  readonly serverName: string;
  readonly host: string;
  readonly port: number;
  readonly tls: { readonly certFile: string; readonly keyFile: string; readonly authorityFile: string };
  readonly auth: ServerAuthConfig;
  readonly resolverDir: string;
  readonly jetstreamDir: string;
  readonly maxStoreBytes: number;
  readonly maxPayloadBytes: number;
  readonly pidFile: string;
}

/** A version as the server prints it: "2.9.10" from "nats-server: v2.9.10". Undefined when the text has none. */
export function readVersion(
  text: string,
): { readonly text: string; readonly major: number; readonly minor: number } | undefined {
  const found = /v?(\d+)\.(\d+)\.(\d+)(-[\w.]+)?/.exec(text);
  if (found === null) return undefined;
  return { text: found[0].replace(/^v/, ''), major: Number(found[1]), minor: Number(found[2]) };
}

/** The text of nats.conf for a server of this version. */
export function natsConfig(config: NatsConfig, version: { readonly major: number; readonly minor: number }): string {
  const knowsSyncInterval = version.major > 2 || (version.major === 2 && version.minor >= 10);
  const preload = Object.entries(config.auth.preload).map(([account, jwt]) => `  ${account}: ${quoted(jwt)}`);
  return [
    '# Written at every start of the hub: changes made here are lost.',
    `server_name: ${quoted(config.serverName)}`,
    `listen: ${quoted(`${config.host.includes(':') ? `[${config.host}]` : config.host}:${config.port}`)}`,
    `pid_file: ${quoted(config.pidFile)}`,
    `max_payload: ${config.maxPayloadBytes}`,
    // A slow line may take long over one message of megabytes; the default of 10 s would cut it off in the middle, for ever.
    'write_deadline: "60s"',
    'tls {',
    `  cert_file: ${quoted(config.tls.certFile)}`,
    `  key_file: ${quoted(config.tls.keyFile)}`,
    `  ca_file: ${quoted(config.tls.authorityFile)}`,
    '  timeout: 10',
    '}',
    'jetstream {',
    `  store_dir: ${quoted(config.jetstreamDir)}`,
    '  max_memory_store: 67108864',
    `  max_file_store: ${config.maxStoreBytes}`,
    ...(knowsSyncInterval ? ['  sync_interval: always'] : []),
    '}',
    `operator: ${quoted(config.auth.operatorJwt)}`,
    `system_account: ${quoted(config.auth.systemAccount)}`,
    'resolver {',
    '  type: full',
    `  dir: ${quoted(config.resolverDir)}`,
    '  allow_delete: false',
    '  interval: "2m"',
    '}',
    'resolver_preload {',
    ...preload,
    '}',
    '',
  ].join('\n');
}

/** nats.conf reads double-quoted strings with JSON's escapes for quote, backslash and line ends. */
function quoted(text: string): string {
  return JSON.stringify(text);
}
