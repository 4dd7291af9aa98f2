// An outside NATS cluster, made by the very steps of deploy/nats/README.md: the hub makes its streams in three replicas, an agent joins
// and is heard, and goes on being heard while one of the three servers is dead.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts, Platform, until } from '@qiao/testkit';
import { expect, test } from 'vitest';
import { parse, stringify } from 'yaml';

const DEPLOY = fileURLToPath(new URL('../deploy/nats', import.meta.url));

test('a platform moves to an outside cluster of three and lives on while one of them is dead', async () => {
  await using cluster = new Cluster();
  await using platform = await Platform.start({ nodes: [] });
  await platform.hub.stop();

  const ports = [platform.natsPort, ...(await freePorts(2))];
  await cluster.start(platform, ports);
  const file = join(platform.hubDirectory, 'hub.yaml');
  const urls = ports.map((port) => `tls://127.0.0.1:${port}`);
  const config = parse(readFileSync(file, 'utf8')) as object;
  writeFileSync(file, stringify({ ...config, bus: { server: 'external', urls, replicas: 3 } }));
  await platform.hub.start();

  const status = await until(platform, 'the hub is connected to the cluster', async () => {
    const read = JSON.parse((await platform.qiao('hub', 'status', '--json')).stdout) as {
      busConnected: boolean;
      natsUrls: string[];
    };
    return read.busConnected && read;
  });
  expect(status.natsUrls).toEqual(urls);

  const node = { code: 'health', dataSources: {} };
  await platform.join(node);
  await platform.agent(node.code).start();
  const first = await heardAfter(platform, 0);

  await cluster.kill(2);
  expect(await heardAfter(platform, first)).toBeGreaterThan(first);
});

/** Resolves with the moment of the first heartbeat after `ms`. */
async function heardAfter(platform: Platform, ms: number): Promise<number> {
  return until(platform, `a heartbeat after ${ms}`, async () => {
    const nodes = JSON.parse((await platform.qiao('monitor', 'nodes', '--json')).stdout) as {
      lastHeartbeatAtMs: number;
    }[];
    const [lastMs = 0] = nodes.map((one) => one.lastHeartbeatAtMs);
    return lastMs > ms && lastMs;
  });
}

/** Outlives the platform, whose programs want to say goodbye to the bus. */
class Cluster implements AsyncDisposable {
  readonly #directory = mkdtempSync(join(tmpdir(), 'qiao-cluster-'));
  #servers: ChildProcess[] = [];

  /** Three servers with the configuration of deploy/nats, brought to free ports and to folders of this test. */
  async start(platform: Platform, ports: readonly number[]): Promise<void> {
    const accounts = execFileSync('sh', [join(DEPLOY, 'accounts.sh'), platform.hubDirectory], { encoding: 'utf8' });
    const routePorts = await freePorts(3);
    const routes = routePorts.map((port) => `    "nats-route://127.0.0.1:${port}"`).join('\n');
    this.#servers = ports.map((port, index) => {
      const name = `nats-${index + 1}`;
      const own = join(this.#directory, name);
      mkdirSync(own);
      execFileSync('sh', [join(DEPLOY, 'certificate.sh'), platform.hubDirectory, name, 'localhost', '127.0.0.1'], {
        cwd: own,
      });
      cpSync(join(platform.hubDirectory, 'identity/authority.pem'), join(own, 'authority.pem'));
      writeFileSync(join(own, 'accounts.conf'), accounts);
      const config = readFileSync(join(DEPLOY, 'nats-server.conf'), 'utf8')
        .replaceAll('nats-1', name)
        .replaceAll('/etc/nats/', `${own}/`)
        .replaceAll('/var/lib/nats', `${own}/store`)
        .replace('0.0.0.0:4222', `127.0.0.1:${port}`)
        .replace('0.0.0.0:6222', `127.0.0.1:${routePorts[index]}`)
        .replace(/( {4}"nats-route.*\n)+/, `${routes}\n`);
      writeFileSync(
        join(own, 'nats-server.conf'),
        knowsSyncInterval() ? config : config.replace(/\n *sync_interval:.*/, ''),
      );
      return spawn(natsServer(), ['-c', join(own, 'nats-server.conf'), '-l', join(own, 'log')], { stdio: 'ignore' });
    });
  }

  async kill(index: number): Promise<void> {
    const server = this.#servers[index] as ChildProcess;
    if (server.exitCode !== null || server.signalCode !== null) return;
    const ended = once(server, 'exit');
    server.kill('SIGKILL');
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#servers.map((_, index) => this.kill(index)));
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function natsServer(): string {
  return execFileSync('sh', ['-c', 'PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v nats-server'], {
    encoding: 'utf8',
  }).trim();
}

/** 2.9 refuses the key. */
function knowsSyncInterval(): boolean {
  const [, minor = '0'] = /v2\.(\d+)/.exec(execFileSync(natsServer(), ['--version'], { encoding: 'utf8' })) ?? [];
  return Number(minor) >= 10;
}
