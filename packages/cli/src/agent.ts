// `qiao agent`: a department's node — join, check the machine, run, look at it — from the machine itself.

import type { AgentStatus } from '@qiao/agent';
import { createLog, stopSignal, systemClock } from '@qiao/runtime';
import type { Command } from 'commander';
import { registerDataSource } from './agentDataSource.ts';
import { registerTriggers } from './agentTriggers.ts';
import { type BackupKind, registerBackup } from './backup.ts';
import { EXIT } from './exitCodes.ts';
import { wantsJson } from './json.ts';
import { colour, grouped, moment, printFacts, printJson, printTable, say } from './output.ts';

const CONFIG = ['--config <file>', 'agent.yaml', 'agent.yaml'] as const;

export function registerAgent(program: Command): void {
  const agent = program
    .command('agent')
    .description("a department's node (交换节点、前置 Agent): join, check, run, look at it");

  agent
    .command('join')
    .description('make keys here and join the platform, with a token from `qiao node invite`')
    .option(...CONFIG)
    .requiredOption('--token <token>', 'the one-time token (or QIAO_TOKEN)', process.env.QIAO_TOKEN)
    .option('--again', 'the same node over its own identity, with the keys it has: its certificate ended')
    .option('--new-keys', 'with --again: make new keys, because the old ones were revoked')
    .action(async (options: JoinOptions, command: Command) => {
      const { joinAgent, readAgentConfig } = await import('@qiao/agent');
      const joined = await joinAgent({
        config: readAgentConfig(options.config),
        token: options.token,
        ...(options.again === true ? { again: { newKeys: options.newKeys === true } } : {}),
      });
      if (wantsJson(command)) {
        return printJson({
          platform: joined.identity.platformCode,
          node: joined.identity.nodeCode,
          fingerprint: joined.fingerprint,
        });
      }
      say(`Joined ${joined.identity.platformCode} as ${joined.identity.nodeCode}.`);
      printFacts({ identity: joined.identityDirectory, fingerprint: joined.fingerprint });
      say(
        `\nNext:  qiao agent preflight --config ${options.config}\n       qiao agent start --config ${options.config}`,
      );
    });

  agent
    .command('preflight')
    .description('look at this machine before anything runs: clock, ports, disk, C library, data sources')
    .option(...CONFIG)
    .action(async (options: { config: string }, command: Command) => {
      const { preflight, readAgentConfig } = await import('@qiao/agent');
      const findings = await preflight(readAgentConfig(options.config));
      if (wantsJson(command)) printJson(findings);
      else {
        const marks = {
          good: colour('green', 'good'),
          warning: colour('yellow', 'warning'),
          problem: colour('red', 'problem'),
        };
        printTable(
          ['', 'what', 'found', 'how to mend it'],
          findings.map(({ level, subject, message, hint }) => [marks[level], subject, message, hint]),
        );
      }
      if (findings.some(({ level }) => level === 'problem')) process.exitCode = EXIT.problems;
    });

  agent
    .command('start')
    .description('run the agent in the foreground')
    .option(...CONFIG)
    .action(async (options: { config: string }) => {
      const { readAgentConfig, startAgent } = await import('@qiao/agent');
      const config = readAgentConfig(options.config);
      await startAgent({
        config,
        signal: stopSignal(),
        log: createLog({ component: 'agent', level: config.log.level }),
      });
    });

  agent
    .command('status')
    .description('identity, snapshot, lanes and books as they stand on this disk; a running agent is not disturbed')
    .option(...CONFIG)
    .action(async (options: { config: string }, command: Command) => {
      const { readAgentConfig, readAgentStatus } = await import('@qiao/agent');
      const status = readAgentStatus(readAgentConfig(options.config));
      if (wantsJson(command)) return printJson(status);
      printStatus(status);
    });

  agent
    .command('diagnose')
    .description(
      'everything a support engineer asks for in one JSON document: status and preflight; no rows, no secrets',
    )
    .option(...CONFIG)
    .action(async (options: { config: string }) => {
      const { preflight, readAgentConfig, readAgentStatus } = await import('@qiao/agent');
      const config = readAgentConfig(options.config);
      printJson({ status: readAgentStatus(config), preflight: await preflight(config) });
    });

  agent
    .command('peers')
    .description(
      'fingerprints of this node’s own keys and of those it seals for, to be compared by another way than the hub',
    )
    .option(...CONFIG)
    .action(async (options: { config: string }, command: Command) => {
      const { identityDirectory, readAgentConfig, readPeers, spokenFingerprint } = await import('@qiao/agent');
      const config = readAgentConfig(options.config);
      const known = readPeers(identityDirectory(config));
      if (wantsJson(command)) return printJson(known);
      printFacts({ [`this node, ${config.node.code}`]: spokenFingerprint(known.own) });
      say('');
      printTable(
        ['node', 'fingerprint', 'state'],
        known.peers.map(({ node, named, state }) => [
          node,
          spokenFingerprint(named),
          state === 'waiting' ? colour('yellow', `waiting: qiao agent confirm ${node} FINGERPRINT`) : state,
        ]),
        'no other node yet',
      );
    });

  agent
    .command('confirm <node> <fingerprint...>')
    .description('say that you compared another node’s fingerprint with that node itself; see confirmDestinations')
    .option(...CONFIG)
    .action(async (node: string, fingerprint: string[], options: { config: string }) => {
      const { confirmPeer, identityDirectory, readAgentConfig } = await import('@qiao/agent');
      confirmPeer(identityDirectory(readAgentConfig(options.config)), node, fingerprint.join(''), systemClock.nowMs());
      say(`The keys of ${node} are confirmed; a running agent takes it in within a second.`);
    });

  registerDataSource(agent);
  registerTriggers(agent);
  registerBackup(agent, backup);
}

const backup: BackupKind<{ config: string }> = {
  component: 'agent',
  place: CONFIG,
  backup: async ({ config }, task) => (await import('@qiao/agent')).backupAgent({ configFile: config, ...task }),
  restore: async ({ config }, task) => ({
    ...(await (await import('@qiao/agent')).restoreAgent({ configFile: config, ...task })),
    next: `qiao agent start --config ${config}; its lanes begin new epochs and compare both ends`,
  }),
};

interface JoinOptions {
  readonly config: string;
  readonly token: string;
  readonly again?: boolean;
  readonly newKeys?: boolean;
}

function printStatus({ version, node, directory, identity, snapshot, exchangeDatabase }: AgentStatus): void {
  printFacts({
    node,
    version,
    directory,
    platform: identity?.platform ?? 'not joined yet: qiao agent join',
    department: identity?.department,
    hub: identity?.hubAddress,
    fingerprint: identity?.fingerprint,
    'certificate ends': identity === undefined ? undefined : moment(identity.certificateEndsAtMs),
    snapshot: snapshot === undefined ? 'none yet' : `${snapshot.generation}.${snapshot.number}`,
    bridges: snapshot?.bridges.map(({ name }) => name).join(', '),
  });
  if (exchangeDatabase === undefined) {
    say('\nNo agent ever ran here.');
    return;
  }
  const { lanes, books, quarantinedRows, controlWaiting } = exchangeDatabase;
  const names = new Map(snapshot?.bridges.map(({ bridgeId, name }) => [bridgeId, name]));
  const nameOf = (bridge: string) => names.get(bridge.toLowerCase()) ?? `${bridge.slice(0, 12).toLowerCase()} (gone)`;
  say('');
  printTable(
    ['bridge', 'lane', 'direction', 'epoch', 'sequence', 'waiting', 'bytes', 'open rows', 'state'],
    lanes.map((lane) => [
      nameOf(lane.bridge),
      lane.lane.slice(0, 12).toLowerCase(),
      lane.direction,
      lane.epoch,
      lane.sequence,
      lane.waitingDeliveries,
      grouped(lane.waitingBytes),
      lane.openRows,
      lane.stuck === undefined ? lane.phase : `stuck ${lane.stuck.code}: ${lane.stuck.message} → ${lane.stuck.hint}`,
    ]),
    'no lane yet',
  );
  for (const { bridge, stuck } of exchangeDatabase.captures) {
    if (stuck !== undefined)
      say(`capture of ${nameOf(bridge)} is stuck, ${stuck.code}: ${stuck.message} → ${stuck.hint}`);
  }
  say(
    `\nbooks ${books.last} written, ${books.through} held by the monitor; ${controlWaiting} control messages wait; ${quarantinedRows} rows in quarantine`,
  );
}
