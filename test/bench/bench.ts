// npm run bench [-- --rows 1000000 --runs 3]: rows per second of a first load PostgreSQL → PostgreSQL over the whole road —
// signed, sealed, durable at both ends, counted, receipted — beside a plain COPY | COPY of the same rows in the same run.

import { parseArgs } from 'node:util';
import setup from '../program.setup.ts';
import { type LoadResult, LoadWorld } from './load.ts';

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: { rows: { type: 'string', default: '1000000' }, runs: { type: 'string', default: '3' } },
});
const rows = Number(values.rows);
const runs = Number(values.runs);

const removeProgram = await setup();
console.log(`Making ${rows.toLocaleString('en-US')} rows of the workload ...`);
await using world = await LoadWorld.create(rows);
const results: (LoadResult & { readonly copyMs: number })[] = [];
for (let run = 1; run <= runs; run += 1) {
  const copyMs = await world.copyBeside();
  const result = { ...(await world.load()), copyMs };
  results.push(result);
  console.log(
    `run ${run}: COPY | COPY ${perSecond(rows, result.copyMs)} rows/s, Qiao ${perSecond(rows, result.roadMs)} rows/s, ` +
      `ratio ${(result.copyMs / result.roadMs).toFixed(2)}; peak resident MB ${memoryText(result)}`,
  );
}
const median = (pick: (result: (typeof results)[number]) => number) =>
  results.map(pick).sort((a, b) => a - b)[Math.floor(results.length / 2)] as number;
console.log(
  `\nmedian of ${runs}: COPY | COPY ${perSecond(
    rows,
    median(({ copyMs }) => copyMs),
  )} rows/s, ` +
    `Qiao ${perSecond(
      rows,
      median(({ roadMs }) => roadMs),
    )} rows/s, ratio ${median(({ copyMs, roadMs }) => copyMs / roadMs).toFixed(2)}`,
);
removeProgram();

function perSecond(count: number, ms: number): string {
  return Math.round((count * 1000) / ms).toLocaleString('en-US');
}

function memoryText({ peakBytes }: LoadResult): string {
  return Object.entries(peakBytes)
    .map(([name, bytes]) => `${name} ${Math.round(bytes / 2 ** 20)}`)
    .join(', ');
}
