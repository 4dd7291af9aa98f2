// The operator's context: whom the CLI talks to and as whom. A key, a certificate, the authority's certificate, and
// context.json beside them, written by `qiao hub init` or `qiao operator join`. Clients are loaded when they are called, so that
// `qiao --help` and local verbs start fast.

import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { HubServiceDefinition } from '@qiao/contract/hub';
import type { MonitorServiceDefinition } from '@qiao/contract/monitor';
import { QiaoError } from '@qiao/exchange';
import type { GrpcClient } from '@qiao/rpc';
import { fileRefused, foundInstead, systemClock } from '@qiao/runtime';
import type { Command } from 'commander';
import { z } from 'zod';
import { remark } from './output.ts';

const contextSchema = z.strictObject({
  platform: z.string(),
  operator: z.string(),
  /** host:port; of several replicas, separated by commas: the first that answers is called. */
  hubAddress: z.string(),
  monitorAddress: z.string().optional(),
});

export type OperatorContext = z.infer<typeof contextSchema> & { readonly directory: string };

/** Where the context lies: --context, QIAO_CONTEXT, ~/.config/qiao. */
export function contextDirectory(command: Command): string {
  const given = command.optsWithGlobals<{ context?: string }>().context;
  // An empty one is an unset variable in a script, never the directory one happens to stand in.
  return given || process.env.QIAO_CONTEXT || join(homedir(), '.config', 'qiao');
}

/** Reads the context. Throws CONTEXT_NOT_FOUND, FILE_REFUSED or CONTEXT_INVALID with the command that makes one. */
export function readContext(command: Command): OperatorContext {
  const directory = contextDirectory(command);
  const file = join(directory, 'context.json');
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw (
      fileRefused(cause) ??
      new QiaoError(
        'CONTEXT_NOT_FOUND',
        `no operator context in ${directory}${foundInstead(join(directory, 'context.json'))}`,
        {
          hint: 'name its directory with --context or QIAO_CONTEXT; `qiao hub init` makes the first, `qiao operator join` further ones',
          cause,
        },
      )
    );
  }
  try {
    return { ...contextSchema.parse(JSON.parse(text)), directory };
  } catch (cause) {
    throw new QiaoError('CONTEXT_INVALID', `${file} is not a context`, {
      hint: 'join again with `qiao operator join`',
      cause,
    });
  }
}

/** Writes context.json beside an identity. */
export function writeContext({ directory, ...facts }: OperatorContext): void {
  writeFileSync(join(directory, 'context.json'), `${JSON.stringify(facts, null, 2)}\n`, { mode: 0o600 });
}

function tlsOf({ directory }: OperatorContext) {
  const read = (name: string) => readFileSync(join(directory, name), 'utf8');
  const cert = read('certificate.pem');
  warnOfEnd(cert);
  return { ca: read('authority.pem'), cert, key: read('key.pem') };
}

const WARN_BEFORE_MS = 30 * 86_400_000;

/** On standard error, so that scripts read on; the call itself says when it has ended. */
function warnOfEnd(certificatePem: string): void {
  const endsAtMs = new X509Certificate(certificatePem).validToDate.getTime();
  const leftMs = endsAtMs - systemClock.nowMs();
  if (leftMs > WARN_BEFORE_MS || leftMs < 0) return;
  remark(`Your certificate ends at ${new Date(endsAtMs).toISOString()}: qiao operator renew`);
}

/** Calls the hub, or the first of its replicas that answers, for the time of `use`, then hangs up. */
export async function withHub<T>(command: Command, use: (hub: HubClient) => Promise<T>): Promise<T> {
  const context = readContext(command);
  const [{ HubServiceDefinition }, { createGrpcClient, firstAnswering }] = await Promise.all([
    import('@qiao/contract/hub'),
    import('@qiao/rpc'),
  ]);
  const address = await firstAnswering(context.hubAddress);
  using hub = createGrpcClient(HubServiceDefinition, { address, tls: tlsOf(context) });
  return await use(hub);
}

/** Calls the monitor for the time of `use`, then hangs up. */
export async function withMonitor<T>(command: Command, use: (monitor: MonitorClient) => Promise<T>): Promise<T> {
  const context = readContext(command);
  if (context.monitorAddress === undefined) {
    throw new QiaoError('MONITOR_UNKNOWN', 'this context does not know where the monitor is', {
      hint: 'qiao operator monitor HOST:PORT  # of several monitors, separated by commas',
    });
  }
  const [{ MonitorServiceDefinition }, { createGrpcClient, firstAnswering }] = await Promise.all([
    import('@qiao/contract/monitor'),
    import('@qiao/rpc'),
  ]);
  using monitor = createGrpcClient(MonitorServiceDefinition, {
    address: await firstAnswering(context.monitorAddress, 'monitor'),
    tls: tlsOf(context),
    role: 'monitor',
  });
  return await use(monitor);
}

export type HubClient = GrpcClient<typeof HubServiceDefinition>;
export type MonitorClient = GrpcClient<typeof MonitorServiceDefinition>;
