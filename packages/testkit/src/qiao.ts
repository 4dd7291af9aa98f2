// The CLI as an operator runs it: a process of its own, its exit code, what it printed.

import { spawn } from 'node:child_process';
import { nodeFlags, programFile } from './program.ts';

export interface Answer {
  readonly code: number;
  /** What killed it; null when it ended by itself. */
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `qiao` with the given words. Resolves also when it fails: look at `code`. */
export async function runQiao(
  words: readonly string[],
  options: { context: string; input?: string; environment?: Readonly<Record<string, string>>; signal?: AbortSignal },
): Promise<Answer> {
  const child = spawn(process.execPath, [...nodeFlags(words), programFile(), ...words], {
    env: { ...process.env, QIAO_CONTEXT: options.context, NO_COLOR: '1', ...options.environment },
  });
  options.signal?.addEventListener('abort', () => child.kill('SIGKILL'));
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  child.stdin.end(options.input ?? '');
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code: code ?? -1, signal, stdout, stderr }));
  });
}
