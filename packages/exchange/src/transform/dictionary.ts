/** Dictionaries: values translated by a map of the bridge. */
import type { Dictionary } from './transform.ts';

/** Undefined: the map does not know the value, and the bridge says to refuse it. */
export function compileDictionary({ map, otherwise }: Dictionary): (value: string) => string | null | undefined {
  const translations = new Map(Object.entries(map));
  return (value) => {
    const translated = translations.get(value);
    if (translated !== undefined) return translated;
    switch (otherwise) {
      case 'refuse':
        return undefined;
      case 'keep':
        return value;
      case 'null':
        return null;
      default:
        return otherwise satisfies never;
    }
  };
}

/** Characters of the longest value that can come out, of a column whose longest has so many. */
export function longestTranslation({ map, otherwise }: Dictionary, longest: number): number {
  const translated = Object.values(map).reduce((most, text) => Math.max(most, Array.from(text).length), 1);
  return otherwise === 'keep' ? Math.max(longest, translated) : translated;
}
