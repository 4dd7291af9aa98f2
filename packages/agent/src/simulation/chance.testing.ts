// Every choice of a simulated run comes from here, so that a seed tells the whole story again.

export interface Chance {
  /** A whole number from 0 to `below` - 1. */
  below(below: number): number;
  /** True with this probability, 0 to 1. */
  is(probability: number): boolean;
  bytes(length: number): Uint8Array;
}

/** Numbers that follow from the seed (mulberry32). */
export function createChance(seed: number): Chance {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  return {
    below: (below) => Math.floor((next() / 2 ** 32) * below),
    is: (probability) => next() / 2 ** 32 < probability,
    bytes: (length) => {
      const drawn = new Uint8Array(length);
      for (let at = 0; at < length; at += 1) drawn[at] = next() & 0xff;
      return drawn;
    },
  };
}
