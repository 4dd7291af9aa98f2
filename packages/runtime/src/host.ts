// What a process can say of the machine it runs on, for heartbeats and preflight.

import { statfsSync } from 'node:fs';
import { cpus, freemem, totalmem } from 'node:os';
import type { HostState } from '@qiao/contract/node';

/** Returns a sampler; each call gives the load since the call before it. `directory` lies on the disk to watch. */
export function createHostSampler(directory: string): () => HostState {
  let before = cpuTimes();
  return () => {
    const after = cpuTimes();
    const total = after.total - before.total;
    const busy = total === 0 ? 0 : 1 - (after.idle - before.idle) / total;
    before = after;
    const disk = statfsSync(directory, { bigint: true });
    return {
      cpuPercent: Math.round(Math.min(Math.max(busy, 0), 1) * 1000) / 10,
      memoryTotalBytes: BigInt(totalmem()),
      memoryFreeBytes: BigInt(freemem()),
      processResidentBytes: BigInt(process.memoryUsage.rss()),
      diskTotalBytes: disk.blocks * disk.bsize,
      diskFreeBytes: disk.bavail * disk.bsize,
    };
  };
}

function cpuTimes(): { idle: number; total: number } {
  let idle = 0;
  let total = 0;
  for (const { times } of cpus()) {
    idle += times.idle;
    total += times.user + times.nice + times.sys + times.idle + times.irq;
  }
  return { idle, total };
}
