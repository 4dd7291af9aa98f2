// Whether a command was asked for JSON: one place, since the flag may stand before or after the noun.

import type { Command } from 'commander';

export function wantsJson(command: Command): boolean {
  return command.optsWithGlobals<{ json?: boolean }>().json === true;
}
