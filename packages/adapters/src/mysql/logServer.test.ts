import { expect, test } from 'vitest';
import { type LogServer, logOff } from './logServer.ts';

const MYSQL: LogServer = {
  isMariaDb: false,
  isMysql: true,
  isOn: true,
  format: 'ROW',
  rowImage: 'FULL',
  rowMetadata: 'FULL',
  hasChecksum: true,
  gtidMode: 'ON',
  keepsOrder: true,
  valueOptions: '',
  identity: '9ac4b8e2-0000-11f1-9857-02fc00000001 /var/lib/mysql/binlog',
  isSilentReplica: false,
  keptSeconds: 0,
};

test('a MySQL server whose log can be read has every setting that it takes', () => {
  expect(logOff(MYSQL)).toEqual([]);
});

test.each([
  [{ gtidMode: 'OFF' }, 'found gtid_mode = OFF', 'SET GLOBAL gtid_mode'],
  [{ keepsOrder: false }, 'found binlog_order_commits = OFF', 'SET GLOBAL binlog_order_commits'],
  [
    { valueOptions: 'PARTIAL_JSON' },
    'found binlog_row_value_options = PARTIAL_JSON',
    'SET GLOBAL binlog_row_value_options',
  ],
  [{ rowMetadata: 'MINIMAL' }, 'found binlog_row_metadata = MINIMAL', 'SET GLOBAL binlog_row_metadata'],
  [{ isSilentReplica: true }, 'the server is a replica', 'log_replica_updates'],
])('what is set otherwise is named with its fix: %o', (settings, message, hint) => {
  const problem = { code: 'LOG_OFF', message: expect.stringContaining(message), hint: expect.stringContaining(hint) };
  expect(logOff({ ...MYSQL, ...settings })).toEqual([problem]);
});

test('a kin of MySQL has a log of its own kind, which is not read', () => {
  expect(logOff({ ...MYSQL, isMysql: false }).map(({ code }) => code)).toEqual(['LOG_OFF']);
});
