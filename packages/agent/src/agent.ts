// The agent from its lock to its last closed file: opens what it keeps and what it talks to, runs its parts until it is stopped, and
// closes everything again.

import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Bus, connectBus, inboxPrefix } from '@qiao/bus';
import { lockDirectory } from '@qiao/database/files';
import { ProblemsError, QiaoError } from '@qiao/exchange';
import { type Clock, crashPoint, type Log, supervise, systemClock, VERSION } from '@qiao/runtime';
import { createRowBox, type NodeIdentity, openHostKey, RESTORED_MARKER, readIdentity, toPem } from '@qiao/security';
import { composeAgent } from './compose.ts';
import type { AgentConfig } from './config.ts';
import { makeExchangeTables } from './data-sources/exchangeTables.ts';
import { createDataSources } from './data-sources/registry.ts';
import { dataSourceConfigs, exchangeDatabaseFile, rowKeyFile, settingsProblems } from './data-sources/settings.ts';
import { type ExchangeDatabase, openExchangeDatabase } from './exchange-database/index.ts';
import { identityDirectory } from './join/join.ts';

export interface StartAgentOptions {
  /** As `readAgentConfig` gives it: paths absolute. */
  readonly config: AgentConfig;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly clock?: Clock;
}

/**
 * Runs the agent until the signal aborts. Rejects at once for what no waiting mends: IDENTITY_MISSING, CONFIG_INVALID,
 * ALREADY_RUNNING, EXCHANGE_DATABASE_LOCKED, SECRET_MISSING. A hub or bus that is away is waited for; capture goes on meanwhile.
 */
export async function startAgent({ config, signal, log, clock = systemClock }: StartAgentOptions): Promise<void> {
  const problems = settingsProblems(config);
  if (problems.length > 0) throw new ProblemsError(problems, { code: 'CONFIG_INVALID' });
  const identity = readIdentity(identityDirectory(config));
  requireOwnIdentity(identity, config);
  mkdirSync(config.directory, { recursive: true, mode: 0o700 });
  const lock = lockDirectory(config.directory, 'agent');
  try {
    await runAgent({ config, identity, signal, log, clock });
  } finally {
    lock.release();
  }
}

async function runAgent({
  config,
  identity,
  signal,
  log,
  clock,
}: Required<StartAgentOptions> & { readonly identity: NodeIdentity }): Promise<void> {
  if (config.exchange === undefined) makeExchangeTables(config);
  const database = openExchangeDatabase(exchangeDatabaseFile(config), {
    nowMs: () => clock.nowMs(),
    rowBox: createRowBox(openHostKey(rowKeyFile(config), { create: true })),
  });
  const start = database.meta.countStart();
  noticeLoss(database, clock, log);
  noticeRestore(config, database, clock, log);
  const sources = createDataSources(dataSourceConfigs(config));
  let bus: Bus | undefined;
  try {
    bus = await openBus(identity, log);
    const agent = composeAgent({ config, identity, database, start, sources, bus, log, clock });
    log.info({ node: identity.nodeCode, platform: identity.platformCode, version: VERSION }, 'agent started');
    await supervise(agent, { signal, clock, log });
    log.info('agent stopped');
  } finally {
    await bus?.close().catch(() => {});
    await sources.close();
    database.close();
  }
}

/** Joining makes the exchange database: one without a word in its books that joining did not make stands in the place of one that is lost. */
function noticeLoss(database: ExchangeDatabase, clock: Clock, log: Log): void {
  const { meta, books } = database;
  if (meta.isMadeByJoining() || books.cursor().last > 0n) return;
  log.warn('the exchange database was missing: this agent begins with an empty one, and its books say so');
  const nowMs = clock.nowMs();
  database.transaction(() => books.append({ $case: 'restored', value: { atMs: BigInt(nowMs) } }, nowMs));
}

/** A restore leaves a marker beside the exchange database: what starts on it is an older copy. */
function noticeRestore(
  config: AgentConfig,
  database: ReturnType<typeof openExchangeDatabase>,
  clock: Clock,
  log: Log,
): void {
  const marker = join(config.directory, RESTORED_MARKER);
  if (!existsSync(marker)) return;
  log.warn('this agent was restored from a backup: its lanes begin new epochs and compare both ends');
  database.becomeAnother(clock.nowMs());
  crashPoint('agent.becameAnother');
  rmSync(marker);
}

function openBus(identity: NodeIdentity, log: Log): Promise<Bus> {
  if (identity.nats === undefined) {
    throw new QiaoError('IDENTITY_INVALID', 'the identity has no bus credentials', {
      hint: 'join again: qiao agent join --config FILE --token TOKEN',
    });
  }
  return connectBus({
    urls: identity.natsUrls,
    name: identity.nodeCode,
    credentials: identity.nats,
    tls: { authorityPem: toPem(identity.authority, 'CERTIFICATE') },
    inboxPrefix: inboxPrefix(identity.nodeCode),
    log: log.child({ part: 'bus' }),
  });
}

function requireOwnIdentity(identity: NodeIdentity, config: AgentConfig): void {
  if (identity.role === 'agent' && identity.nodeCode === config.node.code) return;
  throw new QiaoError(
    'IDENTITY_FOREIGN',
    `the identity is of ${identity.role} ${identity.nodeCode}, the configuration says agent ${config.node.code}`,
    { hint: 'mend node.code in agent.yaml, or join with this configuration' },
  );
}
