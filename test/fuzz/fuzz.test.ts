import { storySeed } from '@qiao/testkit';
import { afterAll, expect, test } from 'vitest';
import { readCorpus } from './corpus.ts';
import type { Decoder } from './decoder.ts';
import { GROUPS } from './decoders/index.ts';
import { run } from './run.ts';

/** Of the 20 s that CI gives, the servers' start and end included. The long runs are `npm run fuzz`. */
const EACH_MS = 250;

const opened: Decoder[] = [];
afterAll(async () => {
  for (const decoder of opened) await decoder.close?.();
});

test.each(Object.keys(GROUPS))(
  'hostile inputs to the decoders of %s give a value within its limits or a refusal',
  async (group) => {
    const seed = storySeed(`fuzz ${group}`);
    const decoders = (await GROUPS[group]?.()) ?? [];
    opened.push(...decoders);
    for (const decoder of decoders) {
      const corpus = readCorpus(decoder.name);
      expect(corpus.length, `npm run fuzz -- --decoder ${decoder.name} --keep`).toBeGreaterThan(0);
      const { findings, inputs } = await run(decoder, { seed, inputs: 1_000_000, deadlineMs: EACH_MS, corpus });
      const said = findings.map(
        ({ input, what }) => `${decoder.name}: ${what}\n${Buffer.from(input).toString('base64')}`,
      );
      expect(said).toEqual([]);
      expect(inputs).toBeGreaterThan(0);
    }
  },
);
