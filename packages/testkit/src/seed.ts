// Randomness of stories: seeded, and the seed is printed, so that a failure can be told again with QIAO_SEED.

/** The seed of this run: QIAO_SEED, or a fresh one that is printed. */
export function storySeed(story: string): number {
  const given = process.env.QIAO_SEED;
  const seed = given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given);
  process.stdout.write(`${story}: seed ${seed} (repeat with QIAO_SEED=${seed})\n`);
  return seed;
}

/** Numbers from 0 (inclusive) to 1 (exclusive) that follow from the seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
