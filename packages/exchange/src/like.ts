/**
 * LIKE patterns: `%` any run of characters, `_` one character, backslash makes the next one ordinary. Case-sensitive, by
 * code point. Linear in practice and never exponential, whatever pattern a bridge brings.
 */

type Part = { any: 'run' } | { any: 'one' } | { any?: never; character: string };

/** A matcher for one pattern. */
export function likeMatcher(pattern: string): (text: string) => boolean {
  const parts = likeParts(pattern);
  if (parts.every((part) => part.any === undefined)) {
    const literal = parts.map((part) => (part.any === undefined ? part.character : '')).join('');
    return (text) => text === literal;
  }
  return (text) => matches(Array.from(text), parts);
}

/** The ordinary characters before the first wildcard, and whether a wildcard follows. */
export function likePrefix(pattern: string): { prefix: string; isWhole: boolean } {
  const parts = likeParts(pattern);
  const end = parts.findIndex((part) => part.any !== undefined);
  const ordinary = end < 0 ? parts : parts.slice(0, end);
  return {
    prefix: ordinary.map((part) => (part.any === undefined ? part.character : '')).join(''),
    isWhole: end < 0,
  };
}

function likeParts(pattern: string): Part[] {
  const parts: Part[] = [];
  let isEscaped = false;
  for (const character of pattern) {
    if (isEscaped) {
      parts.push({ character });
      isEscaped = false;
    } else if (character === '\\') isEscaped = true;
    else if (character === '%') parts.push({ any: 'run' });
    else if (character === '_') parts.push({ any: 'one' });
    else parts.push({ character });
  }
  return parts;
}

/** Greedy with one point of return: the last run, which alone can take more. */
function matches(text: readonly string[], parts: readonly Part[]): boolean {
  let at = 0;
  let part = 0;
  let runPart = -1;
  let runAt = 0;
  while (at < text.length) {
    const wanted = parts[part];
    if (wanted?.any === 'run') {
      runPart = part++;
      runAt = at;
    } else if (wanted !== undefined && (wanted.any === 'one' || wanted.character === text[at])) {
      at++;
      part++;
    } else if (runPart >= 0) {
      part = runPart + 1;
      at = ++runAt;
    } else return false;
  }
  while (parts[part]?.any === 'run') part++;
  return part === parts.length;
}
