// The nats-server that a hub runs for its platform, unless the configuration names a cluster.

import { join } from 'node:path';
import { type BusAccounts, type NatsServerPart, natsServerPart } from '@qiao/bus';
import { QiaoError } from '@qiao/exchange';
import { type Clock, type Log, supervise } from '@qiao/runtime';
import type { HubConfig } from './config.ts';

export interface BusServer {
  /** What the hub itself dials. */
  readonly url: string;
  readonly stop: () => Promise<void>;
}

/** The embedded nats-server, unless the configuration names a cluster. It is stopped last, so it has a signal of its own. */
export async function startBusServer(
  config: HubConfig,
  identityDirectory: string,
  accounts: BusAccounts,
  { log, clock, signal }: { log: Log; clock: Clock; signal: AbortSignal },
): Promise<BusServer | undefined> {
  if (config.bus.server === 'external') return undefined;
  const part: NatsServerPart = natsServerPart({
    ...(config.bus.binary === undefined ? {} : { binary: config.bus.binary }),
    dir: join(config.directory, 'bus'),
    listen: config.bus.listen,
    tls: {
      certFile: join(identityDirectory, 'certificate.pem'),
      keyFile: join(identityDirectory, 'key.pem'),
      authorityFile: join(identityDirectory, 'authority.pem'),
    },
    auth: () => accounts.serverAuthConfig(),
    jetstreamDir: join(config.directory, 'jetstream'),
    maxStoreBytes: config.bus.maxStoreBytes,
    log: log.child({ part: 'nats-server' }),
  });
  const controller = new AbortController();
  const running = supervise([part], { signal: controller.signal, clock, log });
  const stop = async () => {
    controller.abort();
    await running;
  };
  try {
    const ready = await Promise.race([part.ready, aborted(signal)]);
    if (ready === undefined) throw new QiaoError('HUB_STOPPED', 'the hub was stopped while nats-server started');
    return { url: ready.url, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Where a cluster of the platform's own is dialled; empty when the hub runs its nats-server. */
export function externalUrls(config: HubConfig): readonly string[] {
  return config.bus.server === 'external' ? config.bus.urls : [];
}

/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<undefined> {
  if (signal.aborted) return Promise.resolve(undefined);
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined), { once: true }));
}
