/**
 * One run of nats-server as a child: started so that it dies with us, whatever kills us; told apart from strangers on its port; stopped
 * cleanly. What to do when it ends is left to `natsServerPart.ts` and the supervisor.
 *
 * Two things keep a server from outliving its hub. The child is started through a shell that holds our end of a pipe: when this process
 * goes, even by kill -9, the pipe ends and the shell terminates the server. And because a shell can be killed too, each start first reads the
 * pid file and *stops* (never adopts) a server that still runs on our configuration: only a server started now has the present accounts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { QiaoError } from '@qiao/exchange';
import type { Log } from '@qiao/runtime';

/** `$@` is the server. File descriptor 3 is our pipe: its end is the end of this process. */
const LIFELINE = `
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
{ read -r _ <&3; kill -TERM "$server"; } 2>/dev/null &
watch=$!
exec 3<&-
wait "$server"
status=$?
kill "$watch" 2>/dev/null
exit "$status"
`;

const STOP_LIMIT_MS = 15_000;
const PROBE_EVERY_MS = 20;
const TAIL_LINES = 5;

export interface NatsProcess {
  /** Resolves with the reason when the server has ended. */
  readonly ended: Promise<string>;
  stop(): Promise<void>;
}

export function startNatsProcess(binary: string, configFile: string, pidFile: string, log: Log): NatsProcess {
  const child = spawn('/bin/sh', ['-c', LIFELINE, 'qiao-nats', binary, '-c', configFile], {
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  // The shell may be gone before we close the pipe; that is no news.
  child.stdin?.on('error', () => {});
  const tail = followLog(child, log);
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => {
      child.stdin?.destroy();
      resolve(`exit ${signal ?? code}${tail.length === 0 ? '' : `: ${tail.join(' | ')}`}`);
    });
  });
  return {
    ended,
    stop: async () => {
      child.stdin?.end();
      const isDone = await Promise.race([ended.then(() => true), delay(STOP_LIMIT_MS, false, { ref: false })]);
      if (isDone) return;
      log.warn({ limitMs: STOP_LIMIT_MS }, 'nats-server did not stop in time and is killed');
      const pid = await readPid(pidFile);
      if (pid !== undefined) signalProcess(pid, 'SIGKILL');
      await ended;
    },
  };
}

/** Stops a server left over from an earlier run on the same configuration file. A reused process number is never touched. */
export async function stopStaleServer(configFile: string, pidFile: string, log: Log): Promise<void> {
  const pid = await readPid(pidFile);
  if (pid === undefined || !(await runsOn(pid, configFile))) return;
  log.warn({ pid }, 'a nats-server of an earlier run is still there and is stopped');
  signalProcess(pid, 'SIGTERM');
  for (let waitedMs = 0; await runsOn(pid, configFile); waitedMs += 50) {
    if (waitedMs > STOP_LIMIT_MS) signalProcess(pid, 'SIGKILL');
    if (waitedMs > 2 * STOP_LIMIT_MS) {
      throw new QiaoError('NATS_SERVER_STALE', `process ${pid} is a nats-server of an earlier run and does not end`, {
        hint: `kill -9 ${pid}`,
      });
    }
    await delay(50);
  }
}

/** Resolves when the server of this name answers on its port. Throws nothing: it looks until `signal` aborts. */
export async function answersAs(serverName: string, host: string, port: number, signal: AbortSignal): Promise<boolean> {
  while (!signal.aborted) {
    const greeting = await greetingOf(host, port);
    if (greeting?.includes(`"server_name":${JSON.stringify(serverName)}`) === true) return true;
    await delay(PROBE_EVERY_MS);
  }
  return false;
}

/** The INFO line that a NATS server says first, before TLS. */
function greetingOf(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    let heard = '';
    const finish = (greeting: string | undefined) => {
      socket.destroy();
      resolve(greeting);
    };
    socket.setTimeout(2_000, () => finish(undefined));
    socket.on('error', () => finish(undefined));
    socket.on('close', () => finish(undefined));
    socket.on('data', (chunk) => {
      heard += chunk.toString('latin1');
      if (heard.includes('\n')) finish(heard);
      else if (heard.length > 65_536) finish(undefined);
    });
  });
}

/** Passes the server's lines on, and keeps the last complaints for the error that a failed start throws. */
function followLog(child: ChildProcess, log: Log): string[] {
  const tail: string[] = [];
  if (child.stderr === null) return tail;
  createInterface({ input: child.stderr }).on('line', (text) => {
    const said = text.replace(/^\[\d+\] \S+ \S+ /, '').slice(0, 500);
    if (said.endsWith('TLS handshake error: EOF')) {
      // Whoever looks at the port and goes: the hub's own probe, a load balancer's.
      log.debug({ said }, 'nats-server says');
    } else if (/\[(ERR|FTL)\]|^nats-server:/.test(said)) {
      tail.push(said);
      if (tail.length > TAIL_LINES) tail.shift();
      log.warn({ said }, 'nats-server complains');
    } else if (said.includes('[WRN]')) {
      log.info({ said }, 'nats-server warns');
    } else {
      log.debug({ said }, 'nats-server says');
    }
  });
  return tail;
}

export async function readPid(pidFile: string): Promise<number | undefined> {
  const text = await readFile(pidFile, 'utf8').catch(() => '');
  const pid = Number(text.trim());
  return Number.isSafeInteger(pid) && pid > 1 ? pid : undefined;
}

async function runsOn(pid: number, configFile: string): Promise<boolean> {
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '');
  const words = Buffer.from(commandLine, 'latin1').toString('utf8').split('\0');
  return words[0]?.includes('nats-server') === true && words.includes(configFile);
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended in the meantime.
  }
}
