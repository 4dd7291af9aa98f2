/** For the tests of this package only: a line to the server that breaks when it is told to. */
import { connect, createServer, type Server } from 'node:net';
import type { BusAddress } from './bus.ts';

export interface BadLine extends Disposable {
  readonly url: string;
  /** Resets every connection. */
  cut(): void;
  /** From now on what the server says on the connections that are there reaches nobody, and it is not told. */
  swallow(): void;
  readonly attempts: number;
}

/** Forwards, but resets the connection of attempt n when its caller speaks for the n-th time; attempt 0 and those past `bad` pass. */
export async function badLine({ urls }: BusAddress, bad = 0): Promise<BadLine> {
  const port = Number(new URL(urls[0] ?? '').port);
  let attempts = 0;
  let swallowed = 0;
  const cuts = new Set<() => void>();
  const server: Server = createServer((caller) => {
    const attempt = attempts;
    attempts += 1;
    const callee = connect({ host: '127.0.0.1', port });
    const end = () => {
      cuts.delete(end);
      caller.resetAndDestroy();
      callee.resetAndDestroy();
    };
    cuts.add(end);
    for (const socket of [caller, callee]) socket.on('error', end).on('close', end);
    let words = 0;
    caller.on('data', (chunk) => {
      words += 1;
      callee.write(chunk);
      if (attempt > 0 && attempt <= bad && words >= attempt) end();
    });
    callee.on('data', (chunk) => {
      if (attempt >= swallowed) caller.write(chunk);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => {
    for (const end of [...cuts]) end();
  };
  return {
    url: `tls://127.0.0.1:${(server.address() as { port: number }).port}`,
    cut,
    swallow: () => {
      swallowed = attempts;
    },
    get attempts() {
      return attempts;
    },
    [Symbol.dispose]: () => {
      cut();
      server.close();
    },
  };
}
