// The offline bundle of the agent: unpacked into an empty folder of a machine that has nothing, it checks itself, joins and runs.

import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Platform, until } from '@qiao/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bundle, makeBundle } from '../deploy/bundle/bundle.ts';
import type { Arch } from '../deploy/bundle/node.ts';

/** Nothing of this machine: no PATH, no HOME, no variable at all. */
const EMPTY = {};
/** Found by its path, since there is none to search. */
const ENV = '/usr/bin/env';

let directory = '';
let bundle: Bundle;
let home = '';

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'qiao-bundle-'));
  bundle = await makeBundle({ arch: process.arch as Arch, out: join(directory, 'out') });
  const empty = join(directory, 'machine');
  mkdirSync(empty);
  execFileSync('tar', ['-xzf', bundle.archive, '-C', empty]);
  home = join(empty, readdirSync(empty)[0] as string);
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Runs `qiao` of the bundle as `env -i PATH= qiao …` would. */
async function qiao(...words: string[]): Promise<string> {
  const run = promisify(execFile);
  return (await run(ENV, ['-i', 'PATH=', join(home, 'qiao'), ...words], { env: EMPTY })).stdout;
}

describe('the offline bundle', () => {
  test('is one archive with its digest beside it, and every file in it has the digest that it states', () => {
    const out = join(directory, 'out');
    expect(readdirSync(out).sort()).toEqual(
      [bundle.archive, `${bundle.archive}.sha256`].map((file) => file.slice(out.length + 1)),
    );
    execFileSync('sh', ['-c', 'sha256sum -c --quiet -- *.sha256'], { cwd: out });
    execFileSync('sh', ['-c', 'sha256sum -c --quiet --strict SHA256SUMS'], { cwd: home });
    const stated = readFileSync(join(home, 'SHA256SUMS'), 'utf8').trim().split('\n').length;
    const present = readdirSync(home, { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    ).length;
    expect(stated).toBe(present - 1);
  });

  test('says its version, the version of its Node and the licences of everything in it', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
      version: string;
    };
    expect((await qiao('--version')).trim()).toBe(version);
    expect(readFileSync(join(home, 'VERSION'), 'utf8')).toContain(`qiao ${version}\nnode ${bundle.nodeVersion}\n`);
    expect(readFileSync(join(home, 'VERSION'), 'utf8')).toMatch(/glibc 2\.\d+ or later\n$/);
    const notices = readFileSync(join(home, 'NOTICES.txt'), 'utf8');
    for (const name of ['node', 'better-sqlite3', 'oracledb', 'pg', 'tedious', 'nats', '@grpc/grpc-js', 'zod'])
      expect(notices).toContain(`\n${name} `);
    // 达梦's licence does not let its driver be handed on.
    expect(notices).not.toMatch(/\n(dmdb|@azure\/\S+) /);
  });

  test('holds the drivers of servers that are only read, and says which one it may not hold', async () => {
    const file = join(directory, 'agent.yaml');
    const place = 'host: 127.0.0.1, port: 1, user: qiao';
    const sources = [
      `  ms: {adapter: mssql, database: his, tls: require, ${place}}`,
      `  ora: {adapter: oracle, database: his, ${place}}`,
      `  dm: {adapter: dameng, driver: ${directory}, ${place}}`,
    ];
    writeFileSync(file, `node: {code: health}\ndirectory: data\ndataSources:\n${sources.join('\n')}\n`);
    const tested = async (name: string) =>
      await qiao('agent', 'datasource', 'test', name, '--config', file).catch(
        (error: { stdout: string }) => error.stdout,
      );
    expect(await tested('ms')).toContain('SOURCE_UNAVAILABLE');
    expect(await tested('ora')).toContain('SOURCE_UNAVAILABLE');
    expect(await tested('dm')).toContain('SOURCE_DRIVER_MISSING');
  });

  test('runs by no other Node: a broken one on the PATH and options meant for it change nothing', async () => {
    const strange = join(directory, 'strange');
    mkdirSync(strange);
    writeFileSync(join(strange, 'node'), '#!/bin/sh\nexit 99\n', { mode: 0o755 });
    const run = promisify(execFile);
    const answer = await run(join(home, 'qiao'), ['--version'], {
      env: { PATH: strange, NODE_OPTIONS: '--no-such-option' },
    });
    expect(answer.stdout).not.toBe('');
  });

  test('joins a platform and sends heartbeats from a machine without PATH, Node or npm', async () => {
    await using platform = await Platform.start({ nodes: [] });
    const node = { code: 'health', departmentTitle: '卫生健康委员会', dataSources: {} };
    platform.writeAgentConfig(node);
    const config = platform.agentConfig(node.code);
    const token = await platform.invite(node.code, [
      '--department',
      node.code,
      '--department-title',
      node.departmentTitle,
    ]);
    await qiao('agent', 'join', '--config', config, '--token', token);

    await using agent = new BundledAgent(config);
    await agent.ready();
    const seen = await until(platform, 'the heartbeat of the bundled agent', async () => {
      const answer = await platform.qiao('monitor', 'nodes', '--json');
      const nodes = JSON.parse(answer.stdout) as { code: string; silent: boolean; lastHeartbeatAtMs: number }[];
      return nodes.find(({ code, lastHeartbeatAtMs }) => code === node.code && lastHeartbeatAtMs > 0);
    });
    expect(seen.silent).toBe(false);
    expect(await agent.stop()).toBe(0);
  });
});

class BundledAgent implements AsyncDisposable {
  readonly #child: ChildProcess;
  #log = '';

  constructor(config: string) {
    this.#child = spawn(ENV, ['-i', 'PATH=', join(home, 'qiao'), 'agent', 'start', '--config', config], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: EMPTY,
    });
  }

  /** Resolves when it says that it is ready; rejects with its log when it ends before. */
  async ready(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#child.once('exit', (code) => reject(new Error(`the agent ended with ${code}\n${this.#log}`)));
      this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        this.#log += text;
        if (this.#log.includes('"msg":"agent started"')) resolve();
      });
    });
  }

  async stop(): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, 'exit');
      this.#child.kill('SIGTERM');
      await ended;
    }
    return this.#child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
