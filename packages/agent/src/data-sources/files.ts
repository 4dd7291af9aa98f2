// Directories of files: what agent.yaml declares, as the adapter wants to hear it.

import type { DataSourceConfig, FilesTable } from '@qiao/adapters';
import { parseTypeText } from '@qiao/exchange';
import type { AgentDataSource } from '../config.ts';

type Files = Extract<AgentDataSource, { adapter: 'files' }>;

export function filesConfig(
  name: string,
  { adapter, directory, settledAfterMs, tables }: Files,
  ledger: string,
): Extract<DataSourceConfig, { adapter: 'files' }> {
  const declared = Object.entries(tables).map(([table, written]) => [table, filesTable(written)] as const);
  return { name, adapter, directory, settledAfterMs, ledger, tables: Object.fromEntries(declared) };
}

function filesTable({ delimiter, header, null: nothing, columns, ...rest }: Files['tables'][string]): FilesTable {
  return {
    ...rest,
    key: 'key' in rest ? rest.key : [],
    csv: { delimiter, header, null: nothing },
    columns: Object.entries(columns).flatMap(([name, text]) => {
      const type = parseTypeText(text);
      return type === undefined ? [] : [{ name, type }];
    }),
  };
}
