/** Opens the data source that an agent's configuration names: the one place that knows which adapters there are. */
import type { DataSource, DataSourceConfig } from './adapter.ts';

/**
 * Opens a data source without connecting yet: ask `probe()` whether it can be reached. Throws on settings that can
 * never work. A driver is loaded by the first data source that needs it.
 */
export async function openDataSource(config: DataSourceConfig): Promise<DataSource> {
  switch (config.adapter) {
    case 'postgres':
      return (await import('./postgres/dataSource.ts')).openPostgres(config);
    case 'mysql':
      return (await import('./mysql/dataSource.ts')).openMysql(config);
    case 'mssql':
      return (await import('./mssql/dataSource.ts')).openMssql(config);
    case 'oracle':
      return (await import('./oracle/dataSource.ts')).openOracle(config);
    case 'dameng':
      return (await import('./dameng/dataSource.ts')).openDameng(config);
    case 'sqlite':
      return (await import('./sqlite/dataSource.ts')).openSqlite(config);
    case 'files':
      return (await import('./files/dataSource.ts')).openFiles(config);
    default:
      return config satisfies never;
  }
}
