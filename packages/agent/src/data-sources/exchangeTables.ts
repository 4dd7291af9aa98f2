// The built-in data source `exchange` (前置库): a SQLite file in the agent's directory, made at the first start, that a
// department may read and write itself instead of opening its business database.

import { closeSync, existsSync, openSync } from 'node:fs';
import type { AgentConfig } from '../config.ts';
import { exchangeTablesFile } from './settings.ts';

/** Makes the file when it is missing: an empty file is an empty SQLite database. */
export function makeExchangeTables(config: Pick<AgentConfig, 'directory'>): void {
  const file = exchangeTablesFile(config);
  if (!existsSync(file)) closeSync(openSync(file, 'a', 0o660));
}
