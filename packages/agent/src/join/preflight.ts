// Looks before the first step: machine, directory, disk, network openings, clock, certificate, data sources, permissions.
// Every finding at once, good ones included, each with what to do; nothing is changed.

import { accessSync, constants, existsSync, statfsSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { userInfo } from 'node:os';
import { dirname } from 'node:path';
import { connectBus, inboxPrefix, subjects } from '@qiao/bus';
import { HelloRequest } from '@qiao/contract/control';
import { QiaoError, readHelloReply, snapshotWrittenAtMs } from '@qiao/exchange';
import { addressText, parseAddresses } from '@qiao/rpc';
import { fileRefused, silentLog, VERSION } from '@qiao/runtime';
import { hasIdentity, type NodeIdentity, openHostKey, readCertificate, readIdentity, toPem } from '@qiao/security';
import type { AgentConfig } from '../config.ts';
import { READS_FORMAT } from '../control/hello.ts';
import { createDataSources } from '../data-sources/registry.ts';
import {
  dataSourceConfigs,
  EXCHANGE,
  exchangeTablesFile,
  rowKeyFile,
  settingsProblems,
} from '../data-sources/settings.ts';
import { identityDirectory } from './join.ts';

export interface Finding {
  /** Stable code, for example DISK_SPACE. */
  readonly code: string;
  readonly level: 'good' | 'warning' | 'problem';
  /** What was looked at. */
  readonly subject: string;
  readonly message: string;
  /** How to mend it; empty when good. */
  readonly hint: string;
}

const CONNECT_TIMEOUT_MS = 5_000;
const PROBE_TIMEOUT_MS = 10_000;
const CLOCK_DIFFERENCE_MS = 30_000;
const DAY_MS = 86_400_000;
const GIB = 1024n ** 3n;
/** Below this glibc the bundled SQLite does not load. */
const GLIBC_FLOOR = [2, 34] as const;

/** Everything that keeps this agent from working, or will. Never throws for what it finds. */
export async function preflight(config: AgentConfig, nowMs: () => number = Date.now): Promise<Finding[]> {
  const findings: Finding[] = [machine(), libc(), ...directory(config)];
  const identity = identityOf(config, findings);
  if (identity !== undefined) {
    findings.push(certificate(identity, nowMs()));
    findings.push(...(await Promise.all(openings(identity).map(reach))));
    findings.push(...(await hubAndClock(identity, nowMs)));
  }
  findings.push(...permissions(config), ...(await dataSources(config)));
  return findings;
}

function good(code: string, subject: string, message: string): Finding {
  return { code, level: 'good', subject, message, hint: '' };
}

function found(level: 'warning' | 'problem', code: string, subject: string, message: string, hint: string): Finding {
  return { code, level, subject, message, hint };
}

function machine(): Finding {
  const major = Number(process.versions.node.split('.')[0]);
  if (major >= 24) return good('NODE_VERSION', 'Node', process.versions.node);
  return found('problem', 'NODE_VERSION', 'Node', `this is Node ${process.versions.node}`, 'install Node 24 or later');
}

function libc(): Finding {
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  const version = report.header?.glibcVersionRuntime;
  if (version === undefined) return good('GLIBC', 'C library', 'not glibc');
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const isOld = major < GLIBC_FLOOR[0] || (major === GLIBC_FLOOR[0] && minor < GLIBC_FLOOR[1]);
  if (!isOld) return good('GLIBC', 'C library', `glibc ${version}`);
  return found(
    'problem',
    'GLIBC',
    'C library',
    `glibc ${version}, at least ${GLIBC_FLOOR.join('.')} is needed`,
    'update the operating system',
  );
}

function directory(config: AgentConfig): Finding[] {
  const { directory: dir } = config;
  const findings: Finding[] = [];
  const present = nearestPresent(dir);
  try {
    accessSync(present, constants.R_OK | constants.W_OK | constants.X_OK);
    findings.push(good('DIRECTORY', dir, present === dir ? 'can be written' : 'can be made'));
  } catch {
    const denied = `${present} cannot be written by this user`;
    const parent = dirname(dir);
    const missing = present === parent ? dir : parent;
    findings.push(
      present === dir
        ? found('problem', 'DIRECTORY', dir, denied, `chown or chmod ${present}`)
        : found(
            'problem',
            'DIRECTORY',
            dir,
            `${missing} does not exist, and ${denied}`,
            `as root: mkdir -p ${dir} && chown ${userInfo().username} ${dir}`,
          ),
    );
    return findings;
  }
  const identity = identityDirectory(config);
  if (existsSync(identity)) {
    const mode = statSync(identity).mode & 0o777;
    findings.push(
      (mode & 0o077) === 0
        ? good('IDENTITY_RIGHTS', identity, 'only its owner may read it')
        : found('problem', 'IDENTITY_RIGHTS', identity, `its mode is ${mode.toString(8)}`, `chmod 700 ${identity}`),
    );
  }
  const key = rowKeyFile(config);
  if (existsSync(key)) {
    try {
      openHostKey(key);
      findings.push(good('ROWS_KEY', key, 'opens rows at rest'));
    } catch (error) {
      findings.push(errorFinding(error, key));
    }
  }
  const disk = statfsSync(present, { bigint: true });
  const free = disk.bavail * disk.bsize;
  const text = `${free / (1024n * 1024n)} MiB free`;
  if (free < GIB)
    findings.push(found('problem', 'DISK_SPACE', present, text, 'make room: the outbox and the inbox live here'));
  else if (free < 10n * GIB) findings.push(found('warning', 'DISK_SPACE', present, text, '10 GiB or more is advised'));
  else findings.push(good('DISK_SPACE', present, text));
  return findings;
}

/** The directory, or what of the way to it is there: the agent makes the rest at its start. */
function nearestPresent(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearestPresent(dirname(path));
}

function identityOf(config: AgentConfig, findings: Finding[]): NodeIdentity | undefined {
  const dir = identityDirectory(config);
  try {
    if (!hasIdentity(dir)) {
      findings.push(
        found(
          'problem',
          'NOT_JOINED',
          dir,
          'this node has not joined a platform',
          'qiao agent join --config FILE --token TOKEN',
        ),
      );
      return undefined;
    }
    const identity = readIdentity(dir);
    if (identity.nodeCode !== config.node.code) {
      findings.push(
        found(
          'problem',
          'NODE_CODE',
          dir,
          `the identity is of node ${identity.nodeCode}, agent.yaml says ${config.node.code}`,
          'mend node.code',
        ),
      );
    }
    return identity;
  } catch (error) {
    findings.push(errorFinding(error, dir));
    return undefined;
  }
}

function certificate(identity: NodeIdentity, nowMs: number): Finding {
  const { notBeforeMs, notAfterMs } = readCertificate(identity.certificate);
  const days = Math.floor((notAfterMs - nowMs) / DAY_MS);
  const subject = 'certificate';
  if (nowMs < notBeforeMs) {
    const from = new Date(notBeforeMs).toISOString();
    return found(
      'problem',
      'CERTIFICATE_EARLY',
      subject,
      `valid from ${from}, the clock says ${new Date(nowMs).toISOString()}`,
      'set the clock',
    );
  }
  if (days < 0)
    return found(
      'problem',
      'CERTIFICATE_ENDED',
      subject,
      `ended ${-days} day(s) ago`,
      'join again: qiao node invite CODE at the hub',
    );
  if (days < 30)
    return found(
      'warning',
      'CERTIFICATE_ENDS',
      subject,
      `ends in ${days} day(s)`,
      'join again: qiao node invite CODE at the hub',
    );
  return good('CERTIFICATE', subject, `ends in ${days} days`);
}

/** The outbound openings that an agent needs (网络策略开通). */
function openings(identity: NodeIdentity): { subject: string; host: string; port: number }[] {
  const bus = identity.natsUrls.flatMap((url) => {
    const parsed = URL.parse(url);
    return parsed === null
      ? []
      : [{ subject: `bus ${parsed.host}`, host: parsed.hostname, port: Number(parsed.port || 4222) }];
  });
  const hubs = parseAddresses(identity.hubAddress).map((address) => ({
    subject: `hub ${addressText(address)}`,
    ...address,
  }));
  return [...bus, ...hubs];
}

async function reach({ subject, host, port }: { subject: string; host: string; port: number }): Promise<Finding> {
  const failure = await new Promise<string | undefined>((resolve) => {
    const socket = connect({ host, port, timeout: CONNECT_TIMEOUT_MS });
    const end = (why: string | undefined) => {
      socket.destroy();
      resolve(why);
    };
    socket.once('connect', () => end(undefined));
    socket.once('timeout', () => end(`no answer in ${CONNECT_TIMEOUT_MS} ms`));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
  });
  if (failure === undefined) return good('PORT', subject, 'reachable');
  return found(
    'problem',
    'PORT',
    subject,
    failure,
    `apply for the network opening to ${host}:${port}/tcp (网络策略开通申请)`,
  );
}

/** One hello that takes no token: are the bus credentials good, does the hub know us, and does our clock agree? */
async function hubAndClock(identity: NodeIdentity, nowMs: () => number): Promise<Finding[]> {
  if (identity.nats === undefined)
    return [found('problem', 'BUS_CREDENTIALS', 'bus', 'the identity has none', 'join again')];
  const { platformCode, nodeCode } = identity;
  try {
    const bus = await connectBus({
      urls: identity.natsUrls,
      name: `${nodeCode} preflight`,
      credentials: identity.nats,
      tls: { authorityPem: toPem(identity.authority, 'CERTIFICATE') },
      inboxPrefix: inboxPrefix(nodeCode),
      log: silentLog(),
    });
    try {
      const request = HelloRequest.fromPartial({
        nodeId: identity.nodeId,
        exchangeDatabaseId: new Uint8Array(16),
        readsFormat: READS_FORMAT,
        version: VERSION,
        isStart: false,
        clockMs: BigInt(nowMs()),
      });
      const bytes = await bus.request(
        subjects.hello(platformCode, nodeCode),
        HelloRequest.encode(request).finish(),
        CONNECT_TIMEOUT_MS,
      );
      const reply = readHelloReply(bytes);
      if (reply.problem !== undefined) {
        return [found('problem', reply.problem.code, 'hub', reply.problem.message, reply.problem.hint)];
      }
      return [good('HUB', 'hub', 'answers over the bus'), clock(snapshotWrittenAtMs(reply), nowMs())];
    } finally {
      await bus.close();
    }
  } catch (error) {
    return [errorFinding(error, 'hub')];
  }
}

/** The hub signs when it wrote a snapshot: a clock that stands before that is slow. Of a fast one the hub's own log warns. */
function clock(writtenAtMs: number, nowMs: number): Finding {
  const behindMs = writtenAtMs - nowMs;
  if (behindMs <= CLOCK_DIFFERENCE_MS) return good('CLOCK', 'clock', 'not behind the hub');
  return found(
    'problem',
    'CLOCK',
    'clock',
    `at least ${Math.round(behindMs / 1000)} s behind the hub`,
    'set the clock, best by NTP',
  );
}

function permissions(config: AgentConfig): Finding[] {
  const problems = settingsProblems(config).map((problem) =>
    found('problem', problem.code, problem.path, problem.message, problem.hint),
  );
  if (problems.length > 0) return problems;
  if (config.exposes.length === 0 && config.accepts.length === 0) {
    return [
      found(
        'warning',
        'PERMISSIONS_EMPTY',
        'exposes, accepts',
        'nothing may leave this node and nothing may be written',
        'name tables under exposes: or accepts: in agent.yaml',
      ),
    ];
  }
  return [good('PERMISSIONS', 'exposes, accepts', `${config.exposes.length} and ${config.accepts.length} rule(s)`)];
}

async function dataSources(config: AgentConfig): Promise<Finding[]> {
  let sources: ReturnType<typeof createDataSources>;
  try {
    sources = createDataSources(dataSourceConfigs(config));
  } catch (error) {
    return [errorFinding(error, 'data sources')];
  }
  try {
    return await Promise.all(
      sources.names().map(async ({ name }) => {
        const subject = `data source ${name}`;
        if (name === EXCHANGE && config.exchange === undefined && !existsSync(exchangeTablesFile(config))) {
          return good('DATA_SOURCE', subject, 'made at the first start');
        }
        try {
          const probe = await withTimeout((await sources.open(name)).probe(), PROBE_TIMEOUT_MS);
          if (probe.reachable)
            return good('DATA_SOURCE', subject, [probe.version, probe.remark].filter(Boolean).join('; '));
          const test = `qiao agent datasource test ${name}`;
          return found(
            'problem',
            probe.code,
            subject,
            probe.message,
            probe.hint === '' ? test : `${probe.hint}; then: ${test}`,
          );
        } catch (error) {
          return errorFinding(error, subject);
        }
      }),
    );
  } finally {
    await sources.close();
  }
}

async function withTimeout<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new QiaoError('DATA_SOURCE_TIMEOUT', `no answer in ${timeoutMs} ms`, { fate: 'transient' })),
      timeoutMs,
    );
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}

function errorFinding(thrown: unknown, subject: string): Finding {
  const error = fileRefused(thrown) ?? thrown;
  if (error instanceof QiaoError) return found('problem', error.code, subject, error.message, error.hint);
  return found(
    'problem',
    'UNEXPECTED',
    subject,
    error instanceof Error ? error.message : String(error),
    'qiao agent status',
  );
}
