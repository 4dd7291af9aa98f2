// monitor.yaml: where the monitor listens and when it speaks up. Strict: an unknown key is an error.

import { join } from 'node:path';
import { readConfig } from '@qiao/runtime';
import { z } from 'zod';

const address = z.string().regex(/^\S+:\d{1,5}$/, 'expected host:port');

export const monitorConfigSchema = z.strictObject({
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
  return { ...readConfig(join(directory, 'monitor.yaml'), monitorConfigSchema), directory };
}

export function identityDirectory(directory: string): string {
  return join(directory, 'identity');
}
