// `qiao bridge test`: plays the examples that lie beside a bridge. Everything happens here: no server is asked.

import { type Mismatch, ProblemsError, parseBridge, parseExamples, playExamples } from '@qiao/exchange';
import { createMaskHasher } from '@qiao/security';
import type { Command } from 'commander';
import { EXIT } from './exitCodes.ts';
import { readBridgeFile, readText } from './files.ts';
import { wantsJson } from './json.ts';
import { printJson, printTable, say } from './output.ts';

/** Hashes of examples: under zeros, for the keys of nodes never leave them. */
const EXAMPLE_KEY = new Uint8Array(32);

export function registerBridgeTest(bridge: Command): void {
  bridge
    .command('test <file>')
    .description('play the examples beside a bridge: rows of the source and what shall become of them; asks no server')
    .option('--examples <file>', 'the examples; default: NAME.examples.yaml beside NAME.yaml')
    .action((file: string, options: { examples?: string }, command: Command) => {
      const { definition, problems } = parseBridge(readBridgeFile(file));
      if (definition === undefined) throw new ProblemsError(problems, { code: 'BRIDGE_INVALID' });
      const beside = options.examples ?? file.replace(/(\.ya?ml)?$/, '.examples$1');
      const { examples, problems: wrong } = parseExamples(readText(beside));
      if (examples === undefined) throw new ProblemsError(wrong, { code: 'EXAMPLES_INVALID' });
      const played = playExamples(definition, examples, createMaskHasher(EXAMPLE_KEY).hash);
      if (wantsJson(command)) printJson(played);
      else {
        for (const mismatch of played.mismatches) printMismatch(mismatch);
        const failed = played.mismatches.length;
        say(`${definition.name}: ${played.examples - failed} of ${played.examples} examples came out as expected.`);
      }
      if (played.mismatches.length > 0) process.exitCode = EXIT.problems;
    });
}

function printMismatch({ table, example, title, differences }: Mismatch): void {
  say(`${table}, example ${example}${title === '' ? '' : ` (${title})`}:`);
  printTable(
    ['column', 'expected', 'got'],
    differences.map(({ what, expected, got }) => [what, expected, got]),
  );
  say('');
}
