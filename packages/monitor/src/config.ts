// monitor.yaml: where the monitor listens and when it speaks up. Strict: an unknown key is an error.

import { join } from 'node:path';
import { readConfig } from '@qiao/runtime';
import { z } from 'zod';

const address = z.string().regex(/^\S+:\d{1,5}$/, 'expected host:port');

/** Where the password of the database URL is; never the password. */
const databasePassword = z.union([
  z.strictObject({ env: z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'expected the name of an environment variable') }),
  z.strictObject({ file: z.string().min(1) }),
]);

export const monitorConfigSchema = z.strictObject({
  /** A file, or the URL of a PostgreSQL database that several monitors share. */
  database: z.string().min(1).default('monitor.db'),
  databasePassword: databasePassword.optional(),
  /** Where the CLI and services call (gRPC, TLS with client certificates). */
  listen: address.default('127.0.0.1:7401'),
  board: z
    .strictObject({
      /** Where browsers reach the health board. Beside loopback it speaks https with the monitor's certificate. */
      listen: address.default('127.0.0.1:7402'),
      /** Further host names under which browsers reach it. */
      hosts: z.array(z.string()).default([]),
    })
    .prefault({}),
  alerts: z
    .strictObject({
      /** A node is silent after this many milliseconds without a heartbeat: 5,000 to 3,600,000. */
      nodeSilentAfterMs: z.int().min(5_000).max(3_600_000).default(20_000),
      /** A service that retries this long is down: 1,000 to 3,600,000 milliseconds. */
      serviceDownAfterMs: z.int().min(1_000).max(3_600_000).default(10_000),
    })
    .prefault({}),
});

export interface MonitorConfig extends z.infer<typeof monitorConfigSchema> {
  /** The monitor's directory: monitor.yaml, identity/, monitor.db. */
  readonly directory: string;
}

/** Reads monitor.yaml in the monitor's directory. Throws CONFIG_NOT_FOUND, CONFIG_INVALID. */
export function readMonitorConfig(directory: string): MonitorConfig {
  const whenMissing =
    'name the directory of the monitor with --dir; a new one is made by: qiao monitor join --dir DIR --token TOKEN';
  return { ...readConfig(join(directory, 'monitor.yaml'), monitorConfigSchema, whenMissing), directory };
}

export function identityDirectory(directory: string): string {
  return join(directory, 'identity');
}
