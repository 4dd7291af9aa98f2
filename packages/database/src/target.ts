// Owns how a store is named: a file for SQLite, or a PostgreSQL URL whose password comes from the environment or from a file of
// its own, read anew for each connection and written nowhere. What an error may say of the address is decided here too.

import { readFileSync, statSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { QiaoError } from '@qiao/exchange';

/** Where the password of a PostgreSQL URL is: an environment variable, or a file that its owner alone may read. */
export type PasswordSource = { readonly env: string } | { readonly file: string };

/** A store as a configuration names it. */
export interface DatabaseTarget {
  /** A file, or `postgres://user@host:port/database?sslmode=…&sslrootcert=FILE`. */
  readonly url: string;
  readonly password?: PasswordSource | undefined;
}

export interface PostgresAddress {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  /** False: not encrypted. An object: TLS, with or without a look at the server's certificate. */
  readonly ssl: false | { readonly rejectUnauthorized: boolean; readonly ca?: string };
  /** Undefined where the server asks for none. */
  readonly password: (() => string) | undefined;
  /** user@host:port/database, for messages. */
  readonly text: string;
}

const SSL_MODES = ['disable', 'require', 'verify-full'] as const;
const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|::1|\/.*)$/;
const HINT =
  'database: postgres://qiao_hub@db.example.gov.cn:5432/qiao_hub, and databasePassword: {env: NAME} or {file: PATH}';

export function isUrl(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
}

/** The store that a configuration in `directory` names; files count from there. */
export function databaseTarget(
  directory: string,
  { database, databasePassword }: { database: string; databasePassword?: PasswordSource | undefined },
): DatabaseTarget {
  if (!isUrl(database)) return { url: resolve(directory, database) };
  if (databasePassword === undefined || !('file' in databasePassword)) {
    return { url: database, password: databasePassword };
  }
  return { url: database, password: { file: resolve(directory, databasePassword.file) } };
}

/** The file of a password that lies in the program's own directory, as an entry of its backup; one elsewhere is its machine's. */
export function passwordFile(
  directory: string,
  { databasePassword }: { databasePassword?: PasswordSource | undefined },
): { readonly name: string; readonly file: string }[] {
  if (databasePassword === undefined || !('file' in databasePassword)) return [];
  const file = resolve(directory, databasePassword.file);
  const name = basename(file);
  // What a backup takes as a name; hidden files are temporary ones there.
  return dirname(file) === resolve(directory) && /^[\w-][\w.-]*$/.test(name) ? [{ name, file }] : [];
}

/** Reads a PostgreSQL URL. Throws DATABASE_UNSUPPORTED for another kind, DATABASE_URL_INVALID; neither quotes a password. */
export function readPostgresUrl({ url, password }: DatabaseTarget): PostgresAddress {
  if (!/^postgres(ql)?:\/\//i.test(url)) {
    throw new QiaoError('DATABASE_UNSUPPORTED', `found a ${url.split(':')[0]} URL, expected a file or postgres://…`, {
      hint: HINT,
    });
  }
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    // Without the cause: it quotes the text.
    throw invalid('it cannot be read');
  }
  if (parsed.password !== '') throw invalid('it carries a password, which would end in logs and process lists');
  const host = decodeURIComponent(parsed.hostname).replace(/^\[|\]$/g, '');
  const database = decodeURIComponent(parsed.pathname.slice(1));
  const user = decodeURIComponent(parsed.username);
  if (host === '' || database === '' || user === '') throw invalid('it must name user, host and database');
  const port = parsed.port === '' ? 5432 : Number(parsed.port);
  return {
    host,
    port,
    database,
    user,
    ssl: sslOf(parsed.searchParams, host),
    password: password === undefined ? undefined : () => readPassword(password),
    text: `${user}@${host}:${port}/${database}`,
  };
}

/** Beyond this machine the server must show a certificate that holds, unless the URL says otherwise. */
function sslOf(parameters: URLSearchParams, host: string): PostgresAddress['ssl'] {
  const unknown = [...parameters.keys()].filter((key) => key !== 'sslmode' && key !== 'sslrootcert');
  if (unknown.length > 0) throw invalid(`it has the parameter ${unknown[0]}, expected sslmode or sslrootcert`);
  const mode = parameters.get('sslmode') ?? (LOOPBACK.test(host) ? 'disable' : 'verify-full');
  if (!(SSL_MODES as readonly string[]).includes(mode)) {
    throw invalid(`found sslmode ${mode.slice(0, 32)}, expected ${SSL_MODES.join(', ')}`);
  }
  if (mode === 'disable') return false;
  const file = parameters.get('sslrootcert');
  const ca = file === null ? undefined : readText(file, 'the certificate of sslrootcert');
  return { rejectUnauthorized: mode === 'verify-full', ...(ca === undefined ? {} : { ca }) };
}

/** Throws DATABASE_PASSWORD_MISSING. */
function readPassword(source: PasswordSource): string {
  if ('env' in source) {
    const value = process.env[source.env];
    if (value !== undefined && value !== '') return value;
    throw new QiaoError('DATABASE_PASSWORD_MISSING', `the environment has no ${source.env}`, {
      hint: `set ${source.env} where the program starts, for example with EnvironmentFile= in the systemd unit`,
    });
  }
  const text = readText(source.file, 'the file of the database password');
  if ((statSync(source.file).mode & 0o077) !== 0) {
    throw new QiaoError('DATABASE_PASSWORD_MISSING', `${source.file} may be read by others than its owner`, {
      hint: `chmod 600 ${source.file}`,
    });
  }
  return text.replace(/\r?\n$/, '');
}

function readText(file: string, what: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new QiaoError('DATABASE_PASSWORD_MISSING', `${what} cannot be read: ${file}`, {
      hint: `ls -l ${file}`,
      cause,
    });
  }
}

function invalid(why: string): QiaoError {
  return new QiaoError('DATABASE_URL_INVALID', `the database URL cannot be used: ${why}`, { hint: HINT });
}
