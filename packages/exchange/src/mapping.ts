/** Mappings that operators wrote, with any text as key. */

/** Order in a mapping means nothing, so the canonical text has its keys sorted. */
export function sorted<T, U>(record: Readonly<Record<string, T>>, write: (value: T) => U): Record<string, U> {
  const entries = Object.entries(record).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return Object.fromEntries(entries.map(([key, value]) => [key, write(value)]));
}

/**
 * A mapping that holds its own keys and nothing else: tables and columns may be called `constructor` or `toString`, and an
 * ordinary object would answer for them although nobody wrote them.
 */
export function own<T>(entries: readonly (readonly [string, T])[]): Record<string, T> {
  const mapping = Object.create(null) as Record<string, T>;
  for (const [key, value] of entries) mapping[key] = value;
  return mapping;
}
