// An outside NATS cluster, made by the very steps of deploy/nats/README.md: the hub makes its streams in three replicas, an agent joins
// and is heard, and goes on being heard while one of the three servers is dead.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts, Platform, until } from '@qiao/testkit';
import { expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { NatsCluster } from './natsCluster.ts';

test('a platform moves to an outside cluster of three and lives on while one of them is dead', async () => {
  await using cluster = new NatsCluster();
  await using platform = await Platform.start({ nodes: [] });
  await platform.hub.stop();

  const ports = [platform.natsPort, ...(await freePorts(2))];
  await cluster.start(platform.hubDirectory, ports);
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
