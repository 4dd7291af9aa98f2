// npm run chaos -- [--seeds 100] [--seed N] [--minutes M] [--faults kill,cut] [--json FILE] [--keep DIR]: seeds one after another on a
// real platform, until the number or the time is reached.

import { parseArgs } from 'node:util';
import { stopSignal } from '@qiao/runtime';
import setup from '../program.setup.ts';
import { runCampaign } from './campaign.ts';
import { FAULT_KINDS, type FaultKind } from './faultPlan.ts';

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    seeds: { type: 'string' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string' },
    workers: { type: 'string', default: '1' },
    faults: { type: 'string' },
    json: { type: 'string' },
    keep: { type: 'string', default: 'chaos-failures' },
    verbose: { type: 'boolean', default: false },
    'no-shrink': { type: 'boolean', default: false },
  },
});

const removeProgram = await setup();
try {
  const campaign = await runCampaign({
    firstSeed: whole('seed', values.seed),
    seeds:
      values.seeds === undefined
        ? values.minutes === undefined
          ? 1
          : Number.POSITIVE_INFINITY
        : whole('seeds', values.seeds),
    minutes: values.minutes === undefined ? Number.POSITIVE_INFINITY : whole('minutes', values.minutes),
    workers: whole('workers', values.workers),
    kinds: kindsOf(values.faults),
    keep: values.keep,
    shrinks: !values['no-shrink'],
    tellsAll: values.verbose,
    json: values.json,
    signal: stopSignal(),
    say: (line) => process.stdout.write(`${line}\n`),
  });
  // What comes in none of a hundred seeds proves nothing; a hunt leaves most of it out.
  const isWhole = campaign.seeds >= 100 && values.faults === undefined;
  if (campaign.failures.length > 0 || (isWhole && campaign.never.length > 0)) process.exitCode = 1;
} finally {
  removeProgram();
}

function whole(name: string, text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 1)
    throw new Error(`--${name}: found ${text}, expected a whole number from 1`);
  return number;
}

function kindsOf(text: string | undefined): ReadonlySet<FaultKind> | undefined {
  if (text === undefined) return undefined;
  const kinds = text.split(',') as FaultKind[];
  const unknown = kinds.filter((kind) => !FAULT_KINDS.includes(kind));
  if (unknown.length > 0)
    throw new Error(`--faults: ${unknown.join(', ')} unknown; there are ${FAULT_KINDS.join(', ')}`);
  return new Set(kinds);
}
// Left to itself node may wait for ever, at full speed, for a helper process of the bundler that ended before it (seen once, after 200 seeds).
process.exit();
