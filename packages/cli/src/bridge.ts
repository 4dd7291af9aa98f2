// `qiao bridge`: check, create, deploy, start, stop, bind, unbind, retire, run, list, show. Comparisons are in bridgeJobs.ts, examples in bridgeTest.ts, rows
// at the source in bridgeRows.ts.

import type { Bridge, DeployBridgeResponse } from '@qiao/contract/hub';
import { systemClock } from '@qiao/runtime';
import type { Command } from 'commander';
import { registerBridgeJobs } from './bridgeJobs.ts';
import { registerBridgeRows } from './bridgeRows.ts';
import { registerBridgeTest } from './bridgeTest.ts';
import { type HubClient, withHub } from './context.ts';
import { EXIT } from './exitCodes.ts';
import { readBridgeFile, readText } from './files.ts';
import { wantsJson } from './json.ts';
import { wholeNumber } from './numbers.ts';
import { grouped, moment, printFacts, printJson, printProblems, printTable, say } from './output.ts';
import { WAIT_LIMIT, waitForExchange } from './progress.ts';

export function registerBridge(program: Command): void {
  const bridge = program
    .command('bridge')
    .description('bridges (桥接): one agreed flow from one source to its destinations');

  bridge
    .command('check')
    .description('prove at every end that a bridge can run; starts and stores nothing')
    .requiredOption('-f, --file <file>', 'the bridge as YAML, - for standard input')
    .action(async (options: { file: string }, command: Command) => {
      const answer = await withHub(command, (hub) => hub.checkBridge({ yaml: readBridgeFile(options.file) }));
      const failed = answer.problems.filter((problem) => !problem.warning);
      if (wantsJson(command)) printJson(answer);
      else {
        printProblems(answer.problems);
        say(
          // A file that cannot be read as a bridge has no name yet.
          `${answer.name || options.file}: ${failed.length === 0 ? 'every end is ready' : `${failed.length} problem(s)`}.`,
        );
      }
      if (failed.length > 0) process.exitCode = EXIT.problems;
    });

  bridge
    .command('create')
    .description('store the first version of a bridge')
    .requiredOption('-f, --file <file>', 'the bridge as YAML, - for standard input')
    .action(async (options: { file: string }, command: Command) => {
      const made = await withHub(command, (hub) => hub.createBridge({ yaml: readBridgeFile(options.file) }));
      if (wantsJson(command)) return printJson(made);
      say(`${made.name} is created (version ${made.version}).\n\nNext:  qiao bridge deploy ${made.name}`);
    });

  bridge
    .command('deploy <name>')
    .description('check a version at every end and hand it to the nodes')
    .option('-f, --file <file>', 'store this as the next version first')
    .option('--rollback-to <version>', 'go back to a stored version')
    .option('--backfill', 'bring rows and columns that the new version adds to the destinations')
    .option('--no-backfill', 'leave what was exchanged before as it is')
    .action(async (name: string, options: DeployOptions, command: Command) => {
      const answer = await withHub(command, (hub) =>
        hub.deployBridge({
          name,
          yaml: options.file === undefined ? '' : readBridgeFile(options.file),
          rollbackTo: options.rollbackTo === undefined ? 0 : wholeNumber('--rollback-to', options.rollbackTo),
          backfill: options.backfill ?? true,
        }),
      );
      if (wantsJson(command)) printJson(answer);
      else {
        printDeployed(name, answer);
        if (answer.bridge !== undefined && stateWord(answer.bridge) === 'deployed') {
          say(`\nNext:  qiao bridge start ${name}`);
        }
      }
      if (answer.problems.some((problem) => !problem.warning)) process.exitCode = EXIT.problems;
    });

  bridge
    .command('start <name>')
    .description('let a deployed or stopped bridge run')
    .option('--wait', `until the next run is finished and every row has its outcome; ${WAIT_LIMIT}`)
    .action(async (name: string, options: { wait?: boolean }, command: Command) => {
      const sinceMs = systemClock.nowMs();
      const made = await withHub(command, (hub) => hub.startBridge({ name }));
      if (options.wait === true) await waitForExchange(command, name, sinceMs);
      if (wantsJson(command)) return printJson(made);
      say(`${made.name} is ${stateWord(made)}.`);
    });

  simpleVerb(bridge, 'stop <name>', 'pause sending; capture goes on', (hub, name) => hub.stopBridge({ name }));
  simpleVerb(bridge, 'retire <name>', 'end a bridge and its lanes for good', (hub, name) => hub.retireBridge({ name }));

  bridge
    .command('run <name>')
    .description('ask the source for one run now')
    .option('--allow-deletes <rows>', 'deletes allowed in this run, past the deleteGuard')
    .option('--wait', `until the run is finished and every row has its outcome; ${WAIT_LIMIT}`)
    .action(async (name: string, options: { allowDeletes?: string; wait?: boolean }, command: Command) => {
      const sinceMs = systemClock.nowMs();
      const allowedDeletes = BigInt(
        options.allowDeletes === undefined ? 0 : wholeNumber('--allow-deletes', options.allowDeletes),
      );
      const made = await withHub(command, (hub) => hub.runBridge({ name, allowedDeletes }));
      if (options.wait === true) await waitForExchange(command, name, sinceMs);
      if (wantsJson(command)) return printJson(made);
      say(`${name}: one run is ${options.wait === true ? 'finished' : 'asked for'}.\n\nNext:  qiao reconcile ${name}`);
    });

  bridge
    .command('bind <name>')
    .description('add a destination; it begins with a load of its own')
    .requiredOption('-f, --file <file>', 'one entry of `destinations:` as YAML, - for standard input')
    .action(async (name: string, options: { file: string }, command: Command) => {
      const made = await withHub(command, (hub) =>
        hub.bindDestination({ name, destinationYaml: readText(options.file) }),
      );
      if (wantsJson(command)) return printJson(made);
      printBridge(made);
    });

  bridge
    .command('unbind <name> <node>')
    .description("end a destination's lane; what is under way on it is cancelled and counted")
    .action(async (name: string, node: string, _options: object, command: Command) => {
      const made = await withHub(command, (hub) => hub.unbindDestination({ name, nodeCode: node }));
      if (wantsJson(command)) return printJson(made);
      printBridge(made);
    });

  registerBridgeJobs(bridge);
  registerBridgeTest(bridge);
  registerBridgeRows(bridge);

  bridge
    .command('list')
    .description('every bridge with its state')
    .option('--all', 'also the retired ones')
    .action(async (options: { all?: boolean }, command: Command) => {
      const { bridges } = await withHub(command, (hub) => hub.listBridges({ includeRetired: options.all ?? false }));
      if (wantsJson(command)) return printJson(bridges);
      printTable(
        ['bridge', 'title', 'state', 'version', 'from', 'to', 'routed', 'refused'],
        bridges.map((one) => [
          one.name,
          one.title,
          stateWord(one),
          one.deployedVersion === one.version ? one.version : `${one.deployedVersion} (${one.version} stored)`,
          one.sourceNode,
          liveLanes(one)
            .map((lane) => lane.destinationNode)
            .join(', '),
          grouped(one.lanes.reduce((sum, lane) => sum + lane.routedDeliveries, 0n)),
          grouped(one.lanes.reduce((sum, lane) => sum + lane.refusedDeliveries, 0n)),
        ]),
        'no bridge yet; write one and run `qiao bridge check -f FILE`',
      );
    });

  bridge
    .command('show <name>')
    .description('one bridge: its state, lanes, versions and YAML')
    .action(async (name: string, _options: object, command: Command) => {
      const made = await withHub(command, (hub) => hub.getBridge({ name }));
      if (wantsJson(command)) return printJson(made);
      printBridge(made);
      say(`\n${made.yaml.trimEnd()}`);
    });

  bridge
    .command('refusals')
    .description('deliveries that the hub refused, newest first')
    .option('--limit <n>', 'at most this many', '50')
    .action(async (options: { limit: string }, command: Command) => {
      const { refusals } = await withHub(command, (hub) =>
        hub.listRefusals({ limit: wholeNumber('--limit', options.limit) }),
      );
      if (wantsJson(command)) return printJson(refusals);
      printTable(
        ['at', 'from', 'bridge', 'epoch', 'sequence', 'code', 'times', 'message'],
        refusals.map((one) => [
          moment(one.atMs),
          one.fromNode,
          one.bridge,
          one.epoch,
          one.sequence,
          one.code,
          one.times,
          one.message,
        ]),
      );
    });
}

interface DeployOptions {
  readonly file?: string;
  readonly rollbackTo?: string;
  readonly backfill?: boolean;
}

function simpleVerb(
  bridge: Command,
  verb: string,
  description: string,
  call: (hub: HubClient, name: string) => Promise<Bridge>,
): void {
  bridge
    .command(verb)
    .description(description)
    .action(async (name: string, _options: object, command: Command) => {
      const made = await withHub(command, (hub) => call(hub, name));
      if (wantsJson(command)) return printJson(made);
      say(`${made.name} is ${stateWord(made)}.`);
    });
}

export function printDeployed(name: string, { bridge, problems, effects }: DeployBridgeResponse): void {
  printProblems(problems);
  if (bridge === undefined || problems.some((problem) => !problem.warning)) {
    say(`${name} is not deployed.`);
    return;
  }
  for (const effect of effects) say(`  ${effect}`);
  say(`${name} is ${stateWord(bridge)} in version ${bridge.deployedVersion}.`);
}

function printBridge(bridge: Bridge): void {
  printFacts({
    bridge: bridge.name,
    title: bridge.title,
    state: stateWord(bridge),
    version: `${bridge.deployedVersion} deployed, ${bridge.version} newest`,
    from: bridge.sourceNode,
    created: moment(bridge.createdAtMs),
    changed: moment(bridge.changedAtMs),
  });
  say('');
  printTable(
    ['to', 'lane', 'epoch', 'routed through', 'deliveries', 'refused', 'state'],
    bridge.lanes.map((lane) => [
      lane.destinationNode,
      Buffer.from(lane.laneId).toString('hex').slice(0, 12),
      lane.highestEpoch,
      lane.routedSequence,
      lane.routedDeliveries,
      lane.refusedDeliveries,
      lane.ended ? 'ended' : 'bound',
    ]),
  );
}

function liveLanes(bridge: Bridge) {
  return bridge.lanes.filter((lane) => !lane.ended);
}

function stateWord(bridge: Bridge): string {
  return bridge.state.replace('BRIDGE_STATE_', '').toLowerCase();
}

/** A whole number, 0 or more. Throws NUMBER_INVALID. */
