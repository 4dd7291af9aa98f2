/** Opens the data source that an agent's configuration names: the one place that knows which adapters there are. */
import type { DataSource, DataSourceConfig } from './adapter.ts';
import { openPostgres } from './postgres/dataSource.ts';
import { openSqlite } from './sqlite/dataSource.ts';

/** Opens a data source without connecting yet: ask `probe()` whether it can be reached. Throws on settings that can never work. */
export async function openDataSource(config: DataSourceConfig): Promise<DataSource> {
  switch (config.adapter) {
    case 'postgres':
      return openPostgres(config);
    case 'sqlite':
      return openSqlite(config);
    default:
      return config satisfies never;
  }
}
