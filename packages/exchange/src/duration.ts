/**
 * Durations and sizes as operators write them: `500ms 30s 5m 2h 7d` and `512KiB 16MiB 1GiB`. Inside the house they are
 * milliseconds and bytes.
 */

const UNIT_MS: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };
const UNIT_BYTES: Readonly<Record<string, number>> = { GiB: 1024 ** 3, MiB: 1024 ** 2, KiB: 1024, B: 1 };

/** Milliseconds of a duration text; undefined for anything else, also past 2^53. */
export function parseDuration(text: string): number | undefined {
  return parse(text, /^(\d{1,16})(ms|s|m|h|d)$/, UNIT_MS);
}

/** The shortest exact text of a whole number of milliseconds: 300000 → `5m`. */
export function durationText(ms: number): string {
  return textOf(ms, UNIT_MS);
}

/** Bytes of a size text; undefined for anything else, also past 2^53. */
export function parseBytes(text: string): number | undefined {
  return parse(text, /^(\d{1,16}) ?(B|KiB|MiB|GiB)$/, UNIT_BYTES);
}

/** The shortest exact text of a whole number of bytes: 16777216 → `16MiB`. */
export function bytesText(bytes: number): string {
  return textOf(bytes, UNIT_BYTES);
}

function parse(text: string, form: RegExp, units: Readonly<Record<string, number>>): number | undefined {
  const [, amount, unit] = form.exec(text) ?? [];
  if (amount === undefined || unit === undefined) return undefined;
  const value = Number(amount) * (units[unit] as number);
  return Number.isSafeInteger(value) ? value : undefined;
}

function textOf(value: number, units: Readonly<Record<string, number>>): string {
  const [unit, size] = Object.entries(units).find(([, each]) => value >= each && value % each === 0) ?? [];
  if (unit === undefined || size === undefined) return `0${Object.keys(units).at(-1)}`;
  return `${value / size}${unit}`;
}
