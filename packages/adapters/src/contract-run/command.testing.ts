/** `npm run contract` as a person runs it, for its tests. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('./main.testing.ts', import.meta.url));

export interface Ended {
  readonly status: number;
  readonly output: string;
}

/** Runs the command to its end, or tells it to end once its output is like `until`; the password goes by the environment. */
export function contractCommand(args: readonly string[], password: string, until?: RegExp): Promise<Ended> {
  const env = { ...process.env, QIAO_CONTRACT_PASSWORD: password, NO_COLOR: '1' };
  return new Promise((resolve) => {
    const command = execFile(process.execPath, [MAIN, ...args], { env, maxBuffer: 2 ** 26 }, (error, stdout, stderr) =>
      resolve({ status: Number(error?.code ?? 0), output: stdout + stderr }),
    );
    command.stdout?.on('data', (text: string) => {
      if (until?.test(text)) command.kill('SIGTERM');
    });
  });
}
