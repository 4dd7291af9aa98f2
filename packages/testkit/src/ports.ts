// Free ports for servers that are told theirs: below those that the kernel lends to outgoing connections, which would take one of them
// between the moment it was found free and the moment it is used.

import { randomInt } from 'node:crypto';
import { createServer, type Server } from 'node:net';

const LOWEST = 10_000;
/** Linux lends from here on (net.ipv4.ip_local_port_range). */
const FIRST_LENT = 32_768;

/** Given out by this process: what is free now may be somebody's in a moment. */
const given = new Set<number>();

/** Ports that were free a moment ago, each given to nobody else here. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const port = randomInt(LOWEST, FIRST_LENT);
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) ports.push(port);
  }
  return ports;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server: Server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(false);
      else reject(error);
    });
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
