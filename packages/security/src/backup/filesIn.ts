// Owns how the files of one folder become entries of a backup.

import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';

/**
 * The files directly in `folder` (absolute), named after it (`identity/node.key`) and sorted; hidden ones are temporary and left
 * out. None when the folder is missing.
 */
export function filesIn(
  folder: string,
  isWanted: (name: string) => boolean = () => true,
): { readonly name: string; readonly file: string }[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.') && isWanted(entry.name))
    .map(({ name }) => ({ name: `${basename(folder)}/${name}`, file: join(folder, name) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}
