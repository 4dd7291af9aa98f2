/** What a server says of its binary log: whether it writes one that can be read, under which name, from where to where, and for how long it keeps it. */
import type { Problem } from '@qiao/exchange';
import { currentUser } from './describe.ts';
import { RowError } from './errno.ts';
import { FIRST_OFFSET, type LogPlace } from './logPosition.ts';
import type { Session } from './session.ts';

export interface LogServer {
  readonly isMariaDb: boolean;
  /** As MySQL calls itself; a kin of it has a log of its own kind. */
  readonly isMysql: boolean;
  readonly isOn: boolean;
  readonly format: string;
  readonly rowImage: string;
  readonly rowMetadata: string;
  readonly hasChecksum: boolean;
  /** Of MySQL: `gtid_mode`, whether transactions become visible in the order of the log, and what is left out of changed values. */
  readonly gtidMode: string;
  readonly keepsOrder: boolean;
  readonly valueOptions: string;
  /** Changes as when it is another server, or its log has another name. */
  readonly identity: string;
  /** A replica that does not write what it is sent into a log of its own. */
  readonly isSilentReplica: boolean;
  /** 0: for ever. */
  readonly keptSeconds: number;
}

const SETTINGS = [
  'log_bin',
  'binlog_format',
  'binlog_row_image',
  'binlog_row_metadata',
  'binlog_checksum',
  'server_id',
  'log_bin_basename',
  'log_slave_updates',
  'read_only',
  'expire_logs_days',
  'binlog_expire_logs_seconds',
  'server_uuid',
  'gtid_mode',
  'binlog_order_commits',
  'binlog_row_value_options',
] as const;

export async function readLogServer(session: Session): Promise<LogServer> {
  const rows = await session.rows(
    `SHOW GLOBAL VARIABLES WHERE Variable_name IN (${SETTINGS.map((name) => `'${name}'`).join(', ')})`,
  );
  const settings = new Map(rows.map(([name, value]) => [name, value ?? '']));
  const get = (name: (typeof SETTINGS)[number]) => settings.get(name) ?? '';
  return {
    isMariaDb: session.server.isMariaDb,
    isMysql: !session.server.isMariaDb && !session.server.product.isKin,
    isOn: get('log_bin') === 'ON',
    format: get('binlog_format'),
    rowImage: get('binlog_row_image'),
    rowMetadata: get('binlog_row_metadata'),
    hasChecksum: get('binlog_checksum') === 'CRC32',
    gtidMode: get('gtid_mode'),
    keepsOrder: get('binlog_order_commits') === 'ON',
    valueOptions: get('binlog_row_value_options'),
    identity: `${get('server_uuid') || get('server_id')} ${get('log_bin_basename')}`,
    isSilentReplica: get('log_slave_updates') === 'OFF' && get('read_only') !== 'OFF',
    keptSeconds: Number(get('binlog_expire_logs_seconds')) || Math.round(Number(get('expire_logs_days')) * 86_400),
  };
}

/** Why nothing of this server's log can be read: every reason. */
export function logOff(server: LogServer): Omit<Problem, 'path'>[] {
  const off = (message: string, hint: string) => ({ code: 'LOG_OFF', message, hint });
  const orElse = 'or write another capture in the bridge';
  if (!server.isMariaDb && !server.isMysql)
    return [off('the binary log of this product is not read', 'write capture: trigger, or compare')];
  if (!server.isOn)
    return [
      off(
        'the server writes no binary log',
        `log_bin, binlog_format = ROW, binlog_row_metadata = FULL in its configuration, and restart it; ${orElse}`,
      ),
    ];
  const problems: Omit<Problem, 'path'>[] = [];
  if (server.format !== 'ROW')
    problems.push(
      off(
        `found binlog_format = ${server.format}; expected ROW`,
        `SET GLOBAL binlog_format = 'ROW'; also in its configuration; sessions that are open keep the other until they end; ${orElse}`,
      ),
    );
  if (server.rowImage !== 'FULL')
    problems.push(
      off(
        `found binlog_row_image = ${server.rowImage}; expected FULL`,
        `SET GLOBAL binlog_row_image = 'FULL'; also in its configuration; ${orElse}`,
      ),
    );
  // Without their names, whose values a row has could only be guessed once the table was altered.
  if (server.rowMetadata !== 'FULL')
    problems.push(
      off(
        `found binlog_row_metadata = ${server.rowMetadata}; expected FULL: the names of columns beside their rows`,
        `SET GLOBAL binlog_row_metadata = 'FULL'; also in its configuration; ${orElse}`,
      ),
    );
  if (server.isMysql) problems.push(...mysqlOff(server, orElse).map(([message, hint]) => off(message, hint)));
  if (server.isSilentReplica)
    problems.push(
      off(
        'the server is a replica that does not log what it is sent',
        `${server.isMysql ? 'log_replica_updates' : 'log_slave_updates'} in its configuration, and restart it; or point the data source to the primary`,
      ),
    );
  return problems;
}

/** What of MySQL's log only MySQL's settings decide. */
function mysqlOff(
  { gtidMode, keepsOrder, valueOptions }: LogServer,
  orElse: string,
): [message: string, hint: string][] {
  const problems: [string, string][] = [];
  if (gtidMode !== 'ON') {
    problems.push([
      `found gtid_mode = ${gtidMode}; expected ON: which transactions a snapshot sees is known by their GTIDs`,
      `SET GLOBAL enforce_gtid_consistency = ON; then SET GLOBAL gtid_mode = OFF_PERMISSIVE, ON_PERMISSIVE and ON, one after the other; also in its configuration; ${orElse}`,
    ]);
  }
  if (!keepsOrder) {
    problems.push([
      'found binlog_order_commits = OFF; expected ON: else a change may be visible before the one in front of it',
      `SET GLOBAL binlog_order_commits = ON; also in its configuration; ${orElse}`,
    ]);
  }
  if (valueOptions !== '') {
    problems.push([
      `found binlog_row_value_options = ${valueOptions}; expected none: the log would have parts of changed documents`,
      `SET GLOBAL binlog_row_value_options = ''; also in its configuration; ${orElse}`,
    ]);
  }
  return problems;
}

/** Databases that the server leaves out of its log. */
export interface LogRange {
  readonly oldest: LogPlace;
  readonly newest: LogPlace;
  isLogged(database: string): boolean;
}

/** Throws LOG_RIGHTS as `denied` says it. */
export async function readLogRange(session: Session): Promise<LogRange> {
  const [end] = await session.rows(saysBinaryLogStatus(session) ? 'SHOW BINARY LOG STATUS' : 'SHOW MASTER STATUS');
  const [first] = await session.rows('SHOW BINARY LOGS');
  const only = listOf(end?.[2]);
  const never = listOf(end?.[3]);
  return {
    oldest: { file: first?.[0] ?? '', offset: FIRST_OFFSET },
    newest: { file: end?.[0] ?? '', offset: Number(end?.[1]) },
    isLogged: (database) => (only.length === 0 ? !never.includes(database) : only.includes(database)),
  };
}

/** MySQL from 8.2 on, and from 8.4 on nothing else. */
function saysBinaryLogStatus({ server: { isMariaDb, product } }: Session): boolean {
  const [major = 0, minor = 0] = product.version.split('.').map(Number);
  return !isMariaDb && (major > 8 || (major === 8 && minor >= 2));
}

/** Transactions that others can see: each comes in a moment after it can be seen, and in the order of the log. Of MySQL only. */
export async function readExecuted(session: Session): Promise<string> {
  const [row] = await session.rows('SELECT @@GLOBAL.gtid_executed');
  return (row?.[0] ?? '').replaceAll(/\s/g, '');
}

/** What the account lacks to read the log; undefined when it has it. */
export async function missingRights(session: Session): Promise<Omit<Problem, 'path'> | undefined> {
  const grants = (await session.rows('SHOW GRANTS'))
    .map(([grant]) => grant ?? '')
    .filter((grant) => / ON \*\.\* /.test(grant));
  const has = (right: RegExp) => grants.some((grant) => grant.startsWith('GRANT ALL PRIVILEGES') || right.test(grant));
  const missing = [
    ...(has(/\bREPLICATION (SLAVE|REPLICA)\b(?! ADMIN)/) ? [] : ['REPLICATION SLAVE']),
    ...(has(/\b(BINLOG MONITOR|REPLICATION CLIENT)\b/)
      ? []
      : [session.server.isMariaDb ? 'BINLOG MONITOR' : 'REPLICATION CLIENT']),
  ];
  if (missing.length === 0) return undefined;
  const user = await currentUser(session);
  return {
    code: 'LOG_RIGHTS',
    message: `the account ${user} may not read the binary log`,
    hint: `as a DBA: GRANT ${missing.join(', ')} ON *.* TO ${user};`,
  };
}

/** XA transactions that are prepared: their rows are in the log already, and they may be committed yet. */
export async function readPrepared(session: Session): Promise<string[]> {
  try {
    return (await session.rows('XA RECOVER')).map((row) => row.join(' '));
  } catch (error) {
    // Told to few accounts by some servers.
    if (error instanceof RowError || (error as { fate?: string }).fate !== 'permanent') throw error;
    return [];
  }
}

function listOf(text: string | null | undefined): string[] {
  return (text ?? '').split(',').filter((name) => name !== '');
}
