// Three real nats-servers for stories, made by the very steps of deploy/nats/README.md on free ports.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts } from '@qiao/testkit';

const DEPLOY = fileURLToPath(new URL('../deploy/nats', import.meta.url));

/** Outlives the platform, whose programs want to say goodbye to the bus. */
export class NatsCluster implements AsyncDisposable {
  readonly #directory = mkdtempSync(join(tmpdir(), 'qiao-cluster-'));
  #servers: ChildProcess[] = [];

  /** Three servers with the configuration of deploy/nats, brought to free ports and to folders of this test. */
  async start(hubDirectory: string, ports: readonly number[]): Promise<void> {
    const accounts = execFileSync('sh', [join(DEPLOY, 'accounts.sh'), hubDirectory], { encoding: 'utf8' });
    const routePorts = await freePorts(3);
    const routes = routePorts.map((port) => `    "nats-route://127.0.0.1:${port}"`).join('\n');
    this.#servers = ports.map((port, index) => {
      const name = `nats-${index + 1}`;
      const own = join(this.#directory, name);
      mkdirSync(own);
      execFileSync('sh', [join(DEPLOY, 'certificate.sh'), hubDirectory, name, 'localhost', '127.0.0.1'], {
        cwd: own,
      });
      cpSync(join(hubDirectory, 'identity/authority.pem'), join(own, 'authority.pem'));
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
      return this.#spawn(index);
    });
  }

  /** Starts a server that was killed, on what it left. */
  restart(index: number): void {
    this.#servers[index] = this.#spawn(index);
  }

  #spawn(index: number): ChildProcess {
    const own = join(this.#directory, `nats-${index + 1}`);
    return spawn(natsServer(), ['-c', join(own, 'nats-server.conf'), '-l', join(own, 'log')], { stdio: 'ignore' });
  }

  /** kill -9; resolves when the kernel has reaped it. */
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
