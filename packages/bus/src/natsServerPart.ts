/**
 * The hub's own nats-server as a Part: configuration, start, readiness, stop. Each run writes nats.conf anew, so that a restart carries
 * the present accounts and revocations. Restarting is the supervisor's. What happens when the hub itself is killed is told in `natsProcess.ts`.
 */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { resolve as absolute, join } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import type { Log, Part } from '@qiao/runtime';
import type { ServerAuthConfig } from './busAccounts.ts';
import { findNatsServer } from './natsBinary.ts';
import { natsConfig } from './natsConfig.ts';
import { answersAs, startNatsProcess, stopStaleServer } from './natsProcess.ts';

export interface NatsServerOptions {
  /** Path of nats-server; default: found in PATH, /usr/sbin, /usr/local/sbin, /usr/local/bin. */
  readonly binary?: string;
  /** Holds nats.conf, the pid file and the account resolver. */
  readonly dir: string;
  /** `host:port`; port 0 takes a free one, kept over restarts of the part. */
  readonly listen: string;
  readonly tls: { readonly certFile: string; readonly keyFile: string; readonly authorityFile: string };
  /** A function is asked again at every start, so that revocations made since are in the preload. */
  readonly auth: ServerAuthConfig | (() => ServerAuthConfig);
  readonly jetstreamDir: string;
  /** Room for all streams: at least `BusAdministration.reservedBytes`. */
  readonly maxStoreBytes: number;
  /** Largest bus message, default 8 MiB. */
  readonly maxPayloadBytes?: number;
  readonly log: Log;
}

export interface NatsServerPart extends Part {
  /**
   * Resolves when the server first answers; `url` is `tls://host:port`. Rejects with NATS_SERVER_MISSING, NATS_SERVER_TOO_OLD,
   * BAD_LISTEN; a failure that may pass (a port in use) keeps it waiting for the next run.
   */
  readonly ready: Promise<{ readonly url: string; readonly version: string }>;
}

const MAX_PAYLOAD_BYTES = 8 * 1024 * 1024;

export function natsServerPart(options: NatsServerOptions): NatsServerPart {
  const ready = Promise.withResolvers<{ url: string; version: string }>();
  // Nobody need wait for it.
  ready.promise.catch(() => {});
  let port: number | undefined;

  async function run(signal: AbortSignal): Promise<void> {
    const { log } = options;
    const binary = await findNatsServer(options.binary);
    const listen = readListen(options.listen);
    port ??= listen.port === 0 ? await freePort(listen.host) : listen.port;
    const dir = absolute(options.dir);
    const configFile = join(dir, 'nats.conf');
    const pidFile = join(dir, 'nats-server.pid');
    await stopStaleServer(configFile, pidFile, log);
    // Random at every start: whoever answers under this name on our port is this run.
    const serverName = `qiao-${randomBytes(6).toString('hex')}`;
    await writeConfig(dir, configFile, (resolverDir) =>
      natsConfig(
        {
          serverName,
          host: listen.host,
          port: port ?? listen.port,
          tls: {
            certFile: absolute(options.tls.certFile),
            keyFile: absolute(options.tls.keyFile),
            authorityFile: absolute(options.tls.authorityFile),
          },
          auth: typeof options.auth === 'function' ? options.auth() : options.auth,
          resolverDir,
          jetstreamDir: absolute(options.jetstreamDir),
          maxStoreBytes: options.maxStoreBytes,
          maxPayloadBytes: options.maxPayloadBytes ?? MAX_PAYLOAD_BYTES,
          pidFile,
        },
        binary.version,
      ),
    );
    await mkdir(options.jetstreamDir, { recursive: true, mode: 0o700 });
    if (signal.aborted) return;

    const server = startNatsProcess(binary.path, configFile, pidFile, log);
    const looking = new AbortController();
    const stopped = Promise.withResolvers<void>();
    const onAbort = () => stopped.resolve();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const host = connectHost(listen.host);
      void answersAs(serverName, host, port, looking.signal).then((isThere) => {
        if (!isThere) return;
        log.info({ version: binary.version.text, port }, 'nats-server is ready');
        ready.resolve({
          url: `tls://${host.includes(':') ? `[${host}]` : host}:${port}`,
          version: binary.version.text,
        });
      });
      const reason = await Promise.race([server.ended, stopped.promise]);
      if (reason !== undefined && !signal.aborted) {
        throw new QiaoError('NATS_SERVER_ENDED', `nats-server ended by itself: ${reason}`, {
          fate: 'transient',
          hint: /address already in use/.test(reason)
            ? `choose another bus.listen in hub.yaml, or stop what holds ${listen.host}:${port}`
            : `nats-server -c ${configFile}`,
        });
      }
    } finally {
      looking.abort();
      signal.removeEventListener('abort', onAbort);
      await server.stop();
      await rm(pidFile, { force: true });
    }
  }

  return {
    name: 'nats-server',
    // Everything waits for it; a machine that kills it again and again still gets it back at once.
    mostPauseMs: 2_000,
    ready: ready.promise,
    run: async (signal) => {
      try {
        await run(signal);
      } catch (error) {
        if (error instanceof QiaoError && error.fate === 'permanent') ready.reject(error);
        throw error;
      }
    },
  };
}

/** The account claims in it are no secrets, but who may do what is nobody else's business: 0600 in a 0700 directory. */
async function writeConfig(dir: string, file: string, text: (resolverDir: string) => string): Promise<void> {
  const resolverDir = join(dir, 'resolver');
  await mkdir(resolverDir, { recursive: true, mode: 0o700 });
  await chmod(dir, 0o700);
  await writeFile(`${file}.new`, text(resolverDir), { mode: 0o600 });
  await rename(`${file}.new`, file);
}

function readListen(listen: string): { host: string; port: number } {
  const found = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(listen);
  const port = Number(found?.[3]);
  const host = found?.[1] ?? found?.[2];
  if (host === undefined || port > 65_535) {
    throw new QiaoError('BAD_LISTEN', `found listen ${JSON.stringify(listen)}, expected host:port`, {
      hint: 'qiao hub init --nats-listen 127.0.0.1:4222',
    });
  }
  return { host, port };
}

function connectHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

/** Between closing it here and the server's bind another process could take it; the run then fails and the supervisor tries again. */
function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (cause) => {
      reject(new QiaoError('BAD_LISTEN', `cannot listen on ${host}`, { fate: 'transient', cause }));
    });
    probe.listen(0, host, () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
