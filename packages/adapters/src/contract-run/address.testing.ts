/** The server that a person names by a URL. */
import { QiaoError } from '@qiao/exchange';
import type { DataSourceConfig } from '../adapter.ts';

/** A server's data source, in the schema or database that the run makes for itself; of Oracle and 达梦 in the account's own schema. */
export type ServerConfig = Exclude<DataSourceConfig, { adapter: 'sqlite' | 'files' }>;

const ADAPTERS = {
  'postgres:': 'postgres',
  'postgresql:': 'postgres',
  'mysql:': 'mysql',
  'mariadb:': 'mysql',
  'mssql:': 'mssql',
  'sqlserver:': 'mssql',
  'oracle:': 'oracle',
  'dm:': 'dameng',
} as const;
const PORTS = { postgres: 5432, mysql: 3306, mssql: 1433, oracle: 1521, dameng: 5236 } as const;
const TLS = [undefined, 'disable', 'require'] as const;
const EXPECTED =
  'postgres://user@host:5432/database, mysql://user@host:3306, mssql://user@host:1433/database, oracle://user@host:1521/service or dm://user@host:5236';

/** Reads a URL; `password` is for one that names none. Throws CONTRACT_URL, which never repeats the URL: it may hold a password. */
export function serverAt(text: string, name: string, password = ''): ServerConfig {
  if (!/^[a-z][a-z0-9_]{0,20}$/.test(name)) {
    throw new QiaoError('CONTRACT_URL', `found the name ${name}; expected a letter, then up to 20 of a-z, 0-9 and _`);
  }
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const adapter = ADAPTERS[url?.protocol as keyof typeof ADAPTERS];
  const database = decodeURIComponent(url?.pathname.slice(1) ?? '');
  const tls = TLS.find((mode) => mode === (url?.searchParams.get('tls') ?? undefined));
  const isKnown = [...(url?.searchParams ?? [])].every(
    ([key, value]) => (key === 'tls' && value === tls) || (key === 'driver' && adapter === 'dameng' && value !== ''),
  );
  const driver = url?.searchParams.get('driver') ?? undefined;
  if (url === undefined || adapter === undefined || url.hostname === '' || url.username === '' || !isKnown) {
    throw unreadable();
  }
  const needsDatabase = adapter === 'postgres' || adapter === 'mssql' || adapter === 'oracle';
  if (needsDatabase && database === '') {
    throw new QiaoError('CONTRACT_URL', `the URL names no database; expected ${EXPECTED}`, {
      hint: adapter === 'oracle' ? 'it is the name of the service' : `the run makes the schema ${name} in it`,
    });
  }
  const shared = {
    name: 'contract',
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? PORTS[adapter] : Number(url.port),
    user: decodeURIComponent(url.username),
    password: url.password === '' ? password : decodeURIComponent(url.password),
    tls,
  };
  switch (adapter) {
    case 'postgres':
    case 'mssql':
      return { ...shared, adapter, database, schema: name };
    case 'mysql':
      return { ...shared, adapter, database: name };
    case 'oracle':
      return { ...shared, adapter, database };
    case 'dameng':
      if (tls === 'require') throw unreadable();
      return { ...shared, adapter, tls, driver };
    default:
      return adapter satisfies never;
  }
}

function unreadable(): QiaoError {
  return new QiaoError('CONTRACT_URL', `the URL is none of a server; expected ${EXPECTED}`, {
    hint: 'characters such as @ : / # of user and password are written %40 %3A %2F %23; after it ?tls=disable or ?tls=require',
  });
}
