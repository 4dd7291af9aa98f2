// The tables of a bridge: the source with what the harness keeps beside it, a mirror, a journal.

import type { Adapter } from './departments.ts';

export const REFUSED = 'refused';

/** A person's name and a note that stand nowhere but in rows: leaks.ts looks for them everywhere. */
export const WITNESS_NAME = '欧阳证人靖';
export const WITNESS_NOTE = 'Zeugnis-5b1d0e77a4';

/** Those of the bridge. `code` is unique beside the key. */
export const COLUMNS = 'id, name, city, code, note';

export function sourceTable(name: string, adapter: Adapter): string[] {
  const time = adapter === 'mysql' ? 'DATETIME(6)' : 'TIMESTAMP';
  return [
    `CREATE TABLE ${name} (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL, city VARCHAR(4) NOT NULL, code INTEGER UNIQUE, note ${text(adapter)}, changed ${time} NOT NULL)`,
    `CREATE INDEX ${name}_changed ON ${name} (changed)`,
    `CREATE TABLE ${playedTable(name)} (number INTEGER NOT NULL PRIMARY KEY)`,
  ];
}

/** Which transactions of the plan are committed: their last statement says so. */
export function playedTable(name: string): string {
  return `${name}_played`;
}

export function mirrorTable(name: string, adapter: Adapter): string {
  return `CREATE TABLE ${name} (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL CHECK (name NOT LIKE '${REFUSED}%'), city VARCHAR(4) NOT NULL, code BIGINT UNIQUE, note ${text(adapter)})`;
}

/** A journal has no key of its own. `seq` is the harness's, to read it in the order of writing. */
export function journalTable(name: string, adapter: Adapter): string {
  return `CREATE TABLE ${name} (seq ${SEQ[adapter]}, id BIGINT NOT NULL, name VARCHAR(64), city VARCHAR(4), code BIGINT, note ${text(adapter)},
 qiao_operation VARCHAR(1), qiao_batch_no VARCHAR(200), qiao_source_department VARCHAR(64), qiao_applied_at ${adapter === 'mysql' ? 'DATETIME(3)' : 'TIMESTAMP'}, qiao_processed VARCHAR(1))`;
}

const SEQ: Readonly<Record<Adapter, string>> = {
  postgres: 'BIGSERIAL PRIMARY KEY',
  sqlite: 'INTEGER PRIMARY KEY AUTOINCREMENT',
  mysql: 'BIGINT AUTO_INCREMENT PRIMARY KEY',
};

/** A TEXT of MySQL ends at 64 KiB. */
function text(adapter: Adapter): string {
  return adapter === 'mysql' ? 'LONGTEXT' : 'TEXT';
}
