// `qiao apply -f`: bring bridges to what files say — create, deploy and start in one command, and again after an edit.

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ProblemsError, parseBridge } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import type { Command } from 'commander';
import { printDeployed } from './bridge.ts';
import { type HubClient, withHub } from './context.ts';
import { EXIT } from './exitCodes.ts';
import { readBridgeFile } from './files.ts';
import { wantsJson } from './json.ts';
import { printJson, say } from './output.ts';

export function registerApply(program: Command): void {
  program
    .command('apply')
    .description('bring bridges to what files say: create, deploy, start')
    .requiredOption('-f, --file <file...>', 'bridge files, or directories of *.yaml')
    .option('--no-start', 'deploy only')
    .action(async (options: { file: string[]; start: boolean }, command: Command) => {
      const yamls = options.file.flatMap(bridgeFiles).map(readBridgeFile);
      const answers = await withHub(command, async (hub) => {
        const results: { name: string; deployed: boolean }[] = [];
        for (const yaml of yamls) results.push(await applyOne(hub, yaml, options.start, wantsJson(command)));
        return results;
      });
      if (wantsJson(command)) printJson(answers);
      if (answers.some((answer) => !answer.deployed)) process.exitCode = EXIT.problems;
    });
}

function bridgeFiles(path: string): string[] {
  if (path === '-' || !statSync(path, { throwIfNoEntry: false })?.isDirectory()) return [path];
  return (
    readdirSync(path)
      // Examples lie beside their bridge.
      .filter((name) => /\.ya?ml$/.test(name) && !/\.examples\.ya?ml$/.test(name))
      .sort()
      .map((name) => join(path, name))
  );
}

async function applyOne(
  hub: HubClient,
  yaml: string,
  start: boolean,
  quiet: boolean,
): Promise<{ name: string; deployed: boolean }> {
  const { definition, problems } = parseBridge(yaml);
  if (definition === undefined) throw new ProblemsError(problems, { code: 'BRIDGE_INVALID' });
  const { name } = definition;
  const { bridges } = await hub.listBridges({ includeRetired: false });
  const known = bridges.find((bridge) => bridge.name === name);
  if (known === undefined) await hub.createBridge({ yaml });
  crashPoint('bridgeFile.created');
  const answer = await hub.deployBridge({
    name,
    yaml: known === undefined || known.yaml === yaml ? '' : yaml,
    rollbackTo: 0,
    backfill: true,
  });
  if (!quiet) printDeployed(name, answer);
  const deployed = !answer.problems.some((problem) => !problem.warning);
  crashPoint('bridgeFile.deployed');
  if (deployed && start) {
    await hub.startBridge({ name });
    if (!quiet) say(`${name} is running.`);
  }
  return { name, deployed };
}
