/**
 * The known name that a mistyped one most likely meant.
 */

/** The nearest of `known` by edit distance, when near enough to be meant (a third of its letters, at least 2); else undefined. */
export function nearestName(name: string, known: Iterable<string>): string | undefined {
  const wanted = Array.from(name.toLowerCase());
  let nearest: string | undefined;
  let best = Math.max(2, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of known) {
    const letters = Array.from(candidate.toLowerCase());
    // No fewer steps than letters too many or too few.
    if (Math.abs(letters.length - wanted.length) >= best) continue;
    const distance = editDistance(wanted, letters);
    if (distance < best && distance < Math.max(wanted.length, 2)) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

/** `Did you mean x?`, or the known names when few, or nothing. */
export function didYouMean(name: string, known: readonly string[]): string {
  const nearest = nearestName(name, known);
  if (nearest !== undefined) return `Did you mean ${nearest}?`;
  return known.length > 0 && known.length <= 20 ? `Known here: ${known.join(', ')}.` : '';
}

/** Insertions, deletions, replacements and swaps of neighbours. */
function editDistance(a: readonly string[], b: readonly string[]): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replaced = (last[column - 1] as number) + (a[row - 1] === b[column - 1] ? 0 : 1);
      let distance = Math.min(replaced, (last[column] as number) + 1, (current[column - 1] as number) + 1);
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        distance = Math.min(distance, (beforeLast[column - 2] as number) + 1);
      }
      current.push(distance);
    }
    beforeLast = last;
    last = current;
  }
  return last[b.length] as number;
}
