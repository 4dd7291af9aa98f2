// The data sources of this agent, each opened once and shared by capture, apply, probes and commands. Names and settings come
// from agent.yaml; `exchange` is always there: a SQLite file in the agent's directory unless the configuration says otherwise.

import { type DataSource, type DataSourceConfig, openDataSource, schemaOf } from '@qiao/adapters';
import { QiaoError } from '@qiao/exchange';

export interface DataSourceRegistry {
  readonly names: () => readonly { name: string; adapter: DataSourceConfig['adapter'] }[];
  /** Opened at the first call. Throws DATA_SOURCE_UNKNOWN. */
  readonly open: (name: string) => Promise<DataSource>;
  /** The schema of tables that name none; undefined where the adapter knows no schemas. */
  defaultSchema(name: string): string | undefined;
  close(): Promise<void>;
}

export function createDataSources(
  configs: readonly DataSourceConfig[],
  open: (config: DataSourceConfig) => Promise<DataSource> = openDataSource,
): DataSourceRegistry {
  const byName = new Map(configs.map((config) => [config.name, config]));
  const opened = new Map<string, Promise<DataSource>>();
  return {
    names: () => configs.map(({ name, adapter }) => ({ name, adapter })),
    async open(name) {
      const config = byName.get(name);
      if (config === undefined) {
        throw new QiaoError(
          'DATA_SOURCE_UNKNOWN',
          `data source ${name} is not in this agent's configuration; it has ${[...byName.keys()].join(', ')}`,
          { hint: `qiao agent datasource add ${name}` },
        );
      }
      const held = opened.get(name);
      if (held !== undefined) return held;
      const opening = open(config);
      opened.set(name, opening);
      // A failed opening is tried again by the next caller.
      opening.catch(() => opened.delete(name));
      return opening;
    },
    defaultSchema(name) {
      const config = byName.get(name);
      if (config?.adapter === 'postgres') return config.schema ?? 'public';
      if (config?.adapter === 'mssql') return config.schema ?? 'dbo';
      if (config?.adapter === 'oracle' || config?.adapter === 'dameng') return schemaOf(config);
      return config?.adapter === 'mysql' ? config.database : undefined;
    },
    async close() {
      const all = await Promise.allSettled(opened.values());
      opened.clear();
      await Promise.allSettled(all.flatMap((one) => (one.status === 'fulfilled' ? [one.value.close()] : [])));
    },
  };
}
