// Files of the repository that are valid inputs.

import { readFileSync } from 'node:fs';

/** A file, by its path from the root. */
export function sample(file: string): Buffer {
  return readFileSync(new URL(`../../${file}`, import.meta.url));
}
