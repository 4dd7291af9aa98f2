/** The server that a person names by a URL. */
import { QiaoError } from '@qiao/exchange';
import type { DataSourceConfig } from '../adapter.ts';

/** A server's data source, in the schema or database that the run makes for itself. */
export type ServerConfig = Extract<DataSourceConfig, { adapter: 'postgres' | 'mysql' }>;

const ADAPTERS = {
  'postgres:': 'postgres',
  'postgresql:': 'postgres',
  'mysql:': 'mysql',
  'mariadb:': 'mysql',
} as const;
const PORTS = { postgres: 5432, mysql: 3306 } as const;
const TLS = [undefined, 'disable', 'require'] as const;
const EXPECTED = 'postgres://user@host:5432/database or mysql://user@host:3306, also postgresql:// and mariadb://';

/** Reads a URL; `password` is for one that names none. Throws CONTRACT_URL, which never repeats the URL: it may hold a password. */
export function serverAt(text: string, name: string, password = ''): ServerConfig {
  if (!/^[a-z][a-z0-9_]{0,20}$/.test(name)) {
    throw new QiaoError('CONTRACT_URL', `found the name ${name}; expected a letter, then up to 20 of a-z, 0-9 and _`);
  }
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const adapter = ADAPTERS[url?.protocol as keyof typeof ADAPTERS];
  const database = decodeURIComponent(url?.pathname.slice(1) ?? '');
  const tls = TLS.find((mode) => mode === (url?.searchParams.get('tls') ?? undefined));
  const isKnown = [...(url?.searchParams ?? [])].every(([key, value]) => key === 'tls' && value === tls);
  if (url === undefined || adapter === undefined || url.hostname === '' || url.username === '' || !isKnown) {
    throw unreadable();
  }
  if (adapter === 'postgres' && database === '') {
    throw new QiaoError('CONTRACT_URL', `the URL names no database; expected ${EXPECTED}`, {
      hint: `the run makes the schema ${name} in it`,
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
  return adapter === 'postgres'
    ? { ...shared, adapter, database, schema: name }
    : { ...shared, adapter, database: name };
}

function unreadable(): QiaoError {
  return new QiaoError('CONTRACT_URL', `the URL is none of a server; expected ${EXPECTED}`, {
    hint: 'characters such as @ : / # of user and password are written %40 %3A %2F %23; after it ?tls=disable or ?tls=require',
  });
}
