// What each process of a platform costs: processor time and the kernel's own high-water mark of its memory, and the processor time of
// the database servers' processes that work for one database. Machines are shared and wall time lies; processor time does not.

import { readdirSync, readFileSync } from 'node:fs';
import type { Platform } from '@qiao/testkit';

export interface ProcessUse {
  /** Processor time since the watch began, milliseconds. */
  readonly cpuMs: number;
  /** Highest resident memory since the process began, bytes; of a database's processes undefined, they share theirs. */
  readonly peakBytes: number | undefined;
}

export interface ProcessWatch {
  /** Ends the watch; by name, in the order in which a row meets them. */
  stop(): Record<string, ProcessUse>;
}

const LOOK_MS = 200;
/** Processes that are new are looked for at every so many looks. */
const SEARCH_EVERY = 5;
/** Kernels count in hundredths of a second whatever their own tick is (proc(5), USER_HZ). */
const MS_PER_TICK = 10;

interface Watched {
  readonly name: string;
  readonly beganMs: number;
  cpuMs: number;
  peakBytes: number;
}

/** `databases`: a word of the command line of their processes (PostgreSQL: the database), under the name that they get in the answer. */
export function watchProcesses(
  platform: Platform | undefined,
  databases: Readonly<Record<string, string>>,
): ProcessWatch {
  const watched = new Map<number, Watched>();
  const programs = () => (platform?.programs ?? []).map(({ name, pid }) => ({ name, pid }));
  let looks = 0;

  function meet(pid: number, name: string, isBorn: boolean): void {
    if (watched.has(pid)) return;
    const cpuMs = cpuOf(pid);
    if (cpuMs !== undefined) watched.set(pid, { name, beganMs: isBorn ? 0 : cpuMs, cpuMs, peakBytes: 0 });
  }

  function search(isBorn: boolean): void {
    const hub = platform?.hub.pid;
    for (const entry of readdirSync('/proc')) {
      const pid = Number(entry);
      if (!Number.isInteger(pid) || watched.has(pid)) continue;
      const words = textOf(`/proc/${pid}/cmdline`).replaceAll('\0', ' ');
      const database = Object.keys(databases).find((name) => words.includes(` ${databases[name]} `));
      const isDatabase = words.startsWith('postgres:') || words.includes('mariadbd');
      if (isDatabase && database !== undefined) meet(pid, database, isBorn);
      else if (hub !== undefined && words.includes('nats-server') && isBelow(pid, hub))
        meet(pid, 'nats-server', isBorn);
    }
  }

  function look(isBorn: boolean): void {
    for (const { name, pid } of programs()) if (pid !== undefined) meet(pid, name, isBorn);
    if (looks % SEARCH_EVERY === 0) search(isBorn);
    looks += 1;
    for (const [pid, one] of watched) {
      one.cpuMs = cpuOf(pid) ?? one.cpuMs;
      one.peakBytes = peakOf(pid) ?? one.peakBytes;
    }
  }

  look(false);
  const timer = setInterval(() => look(true), LOOK_MS);
  return {
    stop() {
      clearInterval(timer);
      look(true);
      const sums: Record<string, { cpuMs: number; peakBytes: number | undefined }> = {};
      for (const { name, beganMs, cpuMs, peakBytes } of watched.values()) {
        const sum = sums[name] ?? { cpuMs: 0, peakBytes: name in databases ? undefined : 0 };
        sum.cpuMs += cpuMs - beganMs;
        if (sum.peakBytes !== undefined) sum.peakBytes = Math.max(sum.peakBytes, peakBytes);
        sums[name] = sum;
      }
      return sums;
    },
  };
}

/** User and system time of a process, milliseconds; undefined when it is gone. */
function cpuOf(pid: number): number | undefined {
  const fields = statOf(pid);
  return fields === undefined ? undefined : (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
}

/** Child, or child of a child: something may stand between. */
function isBelow(pid: number, ancestor: number): boolean {
  for (let at = parentOf(pid); at > 1; at = parentOf(at)) if (at === ancestor) return true;
  return false;
}

function parentOf(pid: number): number {
  return Number(statOf(pid)?.[1] ?? 0);
}

/** The fields behind the name, which may hold blanks: the first is the state. */
function statOf(pid: number): string[] | undefined {
  const text = textOf(`/proc/${pid}/stat`);
  return text === '' ? undefined : text.slice(text.lastIndexOf(')') + 2).split(' ');
}

function peakOf(pid: number): number | undefined {
  const found = /VmHWM:\s+(\d+) kB/.exec(textOf(`/proc/${pid}/status`));
  return found === null ? undefined : Number(found[1]) * 1024;
}

/** Empty when the process is gone. */
function textOf(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
