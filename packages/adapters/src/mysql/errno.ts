/**
 * What a failure of MySQL or MariaDB means for a lane, decided by error number (manual, server error reference) and never by
 * message text. Messages carry values of rows, so they stop here: what leaves names only numbers, columns, keys and tables.
 */

import { QiaoError } from '@qiao/exchange';
import { RowRefusal } from '../sectionPort.ts';
import { identifier } from './sql.ts';

/** A failure that belongs to single rows: a value or a constraint. `line` is the 1-based row of the statement, when known. */
export class RowError extends RowRefusal {
  readonly errno: number;
  readonly code: string;
  readonly line: number | undefined;

  constructor(errno: number, message = '') {
    super(rowReason(errno, message));
    this.name = 'RowError';
    this.errno = errno;
    this.code = ROW_CODES[errno] ?? `ERROR_${errno}`;
    const line = VALUE_ERRORS.has(errno) ? / at row (\d+)$/.exec(message)?.[1] : undefined;
    this.line = line === undefined ? undefined : Number(line);
  }

  withoutLine(): RowError {
    if (this.line === undefined) return this;
    const same = new RowError(this.errno);
    same.message = this.message;
    return same;
  }

  /** Another order of the same rows may satisfy the constraint. */
  get isIntegrity(): boolean {
    return !VALUE_ERRORS.has(this.errno);
  }
}

/** Which end a failure happened at; it names the codes. */
export type Side = 'SOURCE' | 'TARGET';

/** The parts of the driver's error that are read here. */
interface DriverError {
  errno?: number;
  code?: string;
  sqlMessage?: string;
}

/** Stands for a warning of a statement that must not have any. */
export const WARNED = 1265;

/** Values: out of range, truncated, malformed, too long, not convertible, not a label; 1365 is raised by our own expressions. */
const VALUE_ERRORS = new Set([
  1264, 1265, 1292, 1300, 1301, 1365, 1366, 1367, 1406, 1411, 1441, 1690, 1916, 3140, 3141, 3854, 4038,
]);

const ROW_CODES: Readonly<Record<number, string>> = {
  ...Object.fromEntries([...VALUE_ERRORS].map((errno) => [errno, 'VALUE_INVALID'])),
  1048: 'NOT_NULL',
  1364: 'NOT_NULL',
  1022: 'UNIQUE',
  1062: 'UNIQUE',
  1169: 'UNIQUE',
  1586: 'UNIQUE',
  1859: 'UNIQUE',
  1216: 'FOREIGN_KEY',
  1217: 'FOREIGN_KEY',
  1451: 'FOREIGN_KEY',
  1452: 'FOREIGN_KEY',
  1761: 'FOREIGN_KEY',
  1762: 'FOREIGN_KEY',
  3819: 'CHECK',
  4025: 'CHECK',
  1369: 'CHECK',
  // SIGNAL of a trigger, and a row for which no partition was made.
  1644: 'ERROR_1644',
  1526: 'ERROR_1526',
};

type TransientName = 'FULL' | 'BUSY' | 'UNAVAILABLE';

const TRANSIENT: Readonly<Record<number, readonly [TransientName, string]>> = {
  1021: ['FULL', 'the disk of the database server is full: make room'],
  1114: ['FULL', 'a table or the temporary space of the server is full: make room'],
  1041: ['UNAVAILABLE', 'the database server is out of memory'],
  1037: ['UNAVAILABLE', 'the database server is out of memory'],
  1038: ['UNAVAILABLE', 'sort_buffer_size of the server is too small for its load'],
  1040: ['UNAVAILABLE', 'the database server has no free connection: raise max_connections or lower other users of it'],
  1203: ['UNAVAILABLE', 'the user has no free connection: raise max_user_connections'],
  1226: [
    'UNAVAILABLE',
    'the user has used up a limit of its account: see MAX_USER_CONNECTIONS and MAX_QUERIES_PER_HOUR',
  ],
  1053: ['UNAVAILABLE', 'the database server is shutting down'],
  1077: ['UNAVAILABLE', 'the database server is shutting down'],
  1079: ['UNAVAILABLE', 'the database server is shutting down'],
  1080: ['UNAVAILABLE', 'the connection was closed by the server'],
  1105: ['UNAVAILABLE', 'see the log of the database server'],
  1152: ['UNAVAILABLE', 'the connection was cut'],
  1158: ['UNAVAILABLE', 'the connection was cut'],
  1159: ['UNAVAILABLE', 'the connection was cut'],
  1160: ['UNAVAILABLE', 'the connection was cut'],
  1161: ['UNAVAILABLE', 'the connection was cut'],
  1184: ['UNAVAILABLE', 'the connection was cut'],
  1927: ['UNAVAILABLE', 'the connection was killed'],
  4031: ['UNAVAILABLE', 'the server closed an idle connection'],
  2002: ['UNAVAILABLE', 'check that the server runs and that host and port of the data source are open'],
  2003: ['UNAVAILABLE', 'check that the server runs and that host and port of the data source are open'],
  2006: ['UNAVAILABLE', 'the connection was cut'],
  2013: ['UNAVAILABLE', 'the connection was cut'],
  1049: ['UNAVAILABLE', 'there is no database of that name now: restore it, or correct `database` of the data source'],
  1047: ['UNAVAILABLE', 'the node of the cluster is not ready (WSREP): see wsrep_ready'],
  1205: ['BUSY', 'another session holds a lock on the rows: see SHOW ENGINE INNODB STATUS'],
  1206: ['BUSY', 'the lock table of the server is full'],
  1213: ['BUSY', 'two sessions waited for each other; it is tried again'],
  1317: ['BUSY', 'the statement was cancelled'],
  1412: ['BUSY', 'the definition of a table changed while it was read; it is tried again'],
  1637: ['BUSY', 'the server has too many open transactions'],
  1907: ['BUSY', 'the statement took longer than the limit'],
  1969: ['BUSY', 'the statement took longer than the limit'],
  3024: ['BUSY', 'the statement took longer than the limit'],
  3572: ['BUSY', 'another session holds a lock on the rows'],
  1207: ['UNAVAILABLE', 'the database is read-only at the moment'],
  1290: ['UNAVAILABLE', 'the server is read-only (a replica?): point the data source to the primary'],
  1792: ['UNAVAILABLE', 'the transaction is read-only'],
  1836: ['UNAVAILABLE', 'the server is read-only (a replica?): point the data source to the primary'],
};

const LOGIN = new Set([1045, 1698, 1130, 1129, 1251, 1820, 1862, 3118, 4151]);
const RIGHTS = new Set([1044, 1142, 1143, 1227, 1370, 1419]);

/**
 * A RowError when single rows are to blame, else a QiaoError with its fate. Errors that are already classified pass through.
 * Never throws.
 */
export function classify(error: unknown, side: Side): QiaoError | RowError {
  if (error instanceof QiaoError || error instanceof RowError) return error;
  const {
    errno = 0,
    code = '',
    sqlMessage = '',
  } = (typeof error === 'object' && error !== null ? error : {}) as DriverError;
  const isServers = sqlMessage !== '' || (errno >= 1000 && errno < 10_000);
  if (!isServers) return unreachable(code, side);
  const cause = new Error(`error ${errno}`);
  const transient = TRANSIENT[errno];
  if (transient !== undefined) {
    return new QiaoError(`${side}_${transient[0]}`, `the database cannot do this at the moment (error ${errno})`, {
      fate: 'transient',
      hint: transient[1],
      cause,
    });
  }
  if (ROW_CODES[errno] !== undefined) {
    const row = new RowError(errno, sqlMessage);
    if (side === 'TARGET') return row;
    return new QiaoError('SOURCE_DATA', `the source cannot read its own rows (${row.message})`, {
      hint: 'look for an expression of a view that fails',
      cause,
    });
  }
  if (LOGIN.has(errno)) {
    return new QiaoError(`${side}_RIGHTS`, `the database refused the login (error ${errno})`, {
      hint: 'check user, password and host of the account',
      cause,
    });
  }
  if (RIGHTS.has(errno)) {
    return new QiaoError(`${side}_RIGHTS`, `the user of the data source lacks a right: ${sqlMessage}`, {
      hint: firstGrant(sqlMessage, side) ?? 'qiao bridge check -f FILE lists every missing right with its GRANT',
      cause,
    });
  }
  if (errno === 1665) {
    return new QiaoError(
      `${side}_SCHEMA`,
      'the server logs statements (binlog_format = STATEMENT), which row locks forbid',
      {
        hint: 'SET GLOBAL binlog_format = MIXED, or ROW; it is the default of every supported server',
        cause,
      },
    );
  }
  return new QiaoError(
    `${side}_SCHEMA`,
    `the database refuses the statement (error ${errno}): ${named(errno, sqlMessage)}`,
    {
      hint: 'the table no longer is what the bridge was checked against: qiao bridge check -f FILE',
      cause,
    },
  );
}

/** An account without any right on a database may not even look which tables it has. */
function firstGrant(sqlMessage: string, side: Side): string | undefined {
  const [, user, database] = /for user ('[^']*'@'[^']*') to database '([^']+)'/.exec(sqlMessage) ?? [];
  if (user === undefined || database === undefined) return undefined;
  const rights = side === 'SOURCE' ? 'SELECT' : 'SELECT, INSERT, UPDATE, DELETE, CREATE TEMPORARY TABLES';
  return `as its DBA, or for the bridge’s tables alone: GRANT ${rights} ON ${identifier(database)}.* TO ${user}; the rest is listed by qiao bridge check -f FILE`;
}

function unreachable(code: string, side: Side): QiaoError {
  const cause = new Error(code === '' ? 'no code' : `code ${code}`);
  if (code === 'HANDSHAKE_NO_SSL_SUPPORT') {
    return new QiaoError(
      `${side}_TLS_REFUSED`,
      'the database server does not offer TLS, which the data source asks for',
      {
        hint: 'give the server a certificate (ssl_cert, ssl_key), or write `tls: disable` if the network is trusted',
        cause,
      },
    );
  }
  if (/CERT|SIGNED|ALTNAME|TLS|SSL/.test(code)) {
    return new QiaoError(`${side}_TLS_REFUSED`, `the database server's certificate is not accepted (${code})`, {
      hint: "compare `tls.ca` of the data source with the server's certificate authority",
      cause,
    });
  }
  return new QiaoError(`${side}_UNAVAILABLE`, `the database cannot be reached${code === '' ? '' : ` (${code})`}`, {
    fate: 'transient',
    hint: 'check that the server runs and that host and port of the data source are open',
    cause,
  });
}

/**
 * Names of column, key or constraint out of a message whose values stay behind. A value stands before the name and may itself hold
 * anything: only what the server writes behind it, up to the end, counts.
 */
function rowReason(errno: number, message: string): string {
  const column = VALUE_ERRORS.has(errno)
    ? /^.* (?:for|of) column (?:`[^`]*`\.`[^`]*`\.)?[`']([^`']+)[`'](?: at row \d+|\.)$/is.exec(message)?.[1]
    : undefined;
  const required = /^Column '([^']+)' cannot be null$/.exec(message)?.[1];
  const key = errno === 1062 ? / for key '([^']+)'$/.exec(message)?.[1] : undefined;
  const constraint = /^CONSTRAINT `([^`]+)` failed|CONSTRAINT `([^`]+)` FOREIGN KEY/.exec(message);
  const name = constraint?.[1] ?? constraint?.[2];
  return [
    `error ${errno}`,
    column === undefined && required === undefined ? undefined : `column ${column ?? required}`,
    key === undefined ? undefined : `key ${key}`,
    name === undefined ? undefined : `constraint ${name}`,
  ]
    .filter((part) => part !== undefined)
    .join(', ');
}

/** Messages of these numbers name tables and columns only. */
const SAFE_MESSAGES = new Set([1049, 1051, 1054, 1071, 1072, 1109, 1118, 1146, 1170, 1235, 1356, 1805, 1932]);

function named(errno: number, message: string): string {
  return SAFE_MESSAGES.has(errno) ? message : 'no detail';
}
