// One real process of Qiao: started as an operator would start it, awaited until it says it is ready, killed without warning
// when a story wants that. Its log is kept so that a failing story can print it.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** As deploy/bundle/qiao.sh starts the program with these words. */
export function nodeFlags([command = '']: readonly string[]): string[] {
  return [
    `--max-semi-space-size=${command === 'hub' || command === 'monitor' ? 1 : 4}`,
    '--single-threaded-gc',
    '--no-incremental-marking',
    '--heap-growing-percent=120',
    '--disable-warning=ExperimentalWarning',
  ];
}

/** How long a program may take until it is ready. Generous, since CI may have two busy cores. */
const READY_MS = 60_000;

/** Log lines kept in memory for a failing story; the rest is in the log file. */
const KEPT_LINES = 400;

/** The program: QIAO_PROGRAM when somebody bundled one, else the sources as they are. */
export function programFile(): string {
  return process.env.QIAO_PROGRAM ?? fileURLToPath(new URL('../../cli/src/main.ts', import.meta.url));
}

export interface ProgramOptions {
  readonly name: string;
  readonly arguments: readonly string[];
  /** The log message that says it is ready. */
  readonly readyWhen: string;
  readonly logFile: string;
  readonly environment?: Readonly<Record<string, string>>;
}

export class Program {
  readonly #options: ProgramOptions;
  #child: ChildProcess | undefined;
  #lines: string[] = [];

  constructor(options: ProgramOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  /** Undefined once it has ended: its number may be another's by then. */
  get pid(): number | undefined {
    return this.isRunning ? this.#child?.pid : undefined;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The last lines of its log. */
  get log(): string {
    return this.#lines.join('\n');
  }

  /** Starts the process and resolves when it is ready; rejects with its log when it ends before or takes too long. */
  async start(environment: Readonly<Record<string, string>> = {}): Promise<void> {
    const words = this.#options.arguments;
    const child = spawn(process.execPath, [...nodeFlags(words), programFile(), ...words], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, MALLOC_ARENA_MAX: '2', ...this.#options.environment, ...environment },
    });
    this.#child = child;
    await new Promise<void>((resolve, reject) => {
      const fail = (why: string) => reject(new Error(`${this.name} ${why}\n${this.log}`));
      const timer = setTimeout(() => fail(`was not ready within ${READY_MS} ms`), READY_MS);
      child.once('exit', (code, signal) => {
        clearTimeout(timer);
        fail(`ended before it was ready: code ${code}, signal ${signal}`);
      });
      let rest = '';
      child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
        appendFileSync(this.#options.logFile, chunk);
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        this.#lines = [...this.#lines, ...lines].slice(-KEPT_LINES);
        if (lines.some((line) => line.includes(`"msg":"${this.#options.readyWhen}"`))) {
          clearTimeout(timer);
          resolve();
        }
      });
    });
  }

  /**
   * Starts the process to die by itself at the first of these crash points (`name` or `name:pass`) that it passes. Resolves as soon
   * as it is ready or dead; `died` resolves with the point's name, and rejects when it ended in any other way.
   */
  async startToDieAt(points: readonly string[]): Promise<{ readonly died: Promise<string> }> {
    const ready = this.start({ QIAO_CRASH_AT: points.join(',') });
    const child = this.#child;
    if (child === undefined) throw new Error(`${this.name} was not started`);
    // Its last word may still be in the pipe when it is gone.
    const died = once(child, 'close').then(() => {
      const point = /"crashPoint":"([\w.]+)"/.exec(this.#lines.at(-1) ?? '')?.[1];
      if (point === undefined)
        throw new Error(`${this.name} ended with ${child.exitCode ?? child.signalCode}\n${this.log}`);
      return point;
    });
    died.catch(() => undefined);
    // Dead before it was ready is no failure: some points lie on the way there.
    await Promise.race([ready.catch(() => died), died]);
    return { died };
  }

  /** Resolves with how the process ended; at once when it has ended already. */
  async ended(): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    const child = this.#child;
    if (child === undefined) throw new Error(`${this.name} was never started`);
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    return { code: child.exitCode, signal: child.signalCode };
  }

  /** kill -9; resolves when the kernel has reaped it. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** SIGTERM, and resolves with its exit code when it has ended. */
  async stop(): Promise<number | null> {
    return this.#end('SIGTERM');
  }

  /** Freezes or thaws the process: it stays there and does nothing. */
  freeze(): void {
    this.#child?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child?.kill('SIGCONT');
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    if (child === undefined) return null;
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit');
      child.kill(signal);
      await ended;
    }
    return child.exitCode;
  }
}
