/**
 * The two tables that Qiao keeps in a target of MySQL: the mark, and the notes of loads. Both are made once, by `prepare` or by the
 * DBA: MySQL commits whatever is open at every CREATE TABLE, so that a delivery must never need one.
 */

import { MARK_TABLE, OWN_PREFIX } from '../mark.ts';
import { qualified } from './sql.ts';

/** Keys that loads found, of all lanes and tables. */
export const NOTES_TABLE = `${OWN_PREFIX}note`;
/** Longer keys are noted by their beginning and a digest. */
export const NOTED_KEY_BYTES = 700;

/** The DDL that `bridge check` prints for the DBA, a statement each. */
export function ownTables(database: string): string[] {
  return [
    `CREATE TABLE IF NOT EXISTS ${qualified(database, MARK_TABLE)} (
  lane varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  epoch bigint NOT NULL,
  nonce varbinary(16) NOT NULL,
  sequence bigint NOT NULL,
  chain varbinary(32) NOT NULL,
  content_hash varbinary(32) NOT NULL,
  answer longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  applied_at_ms bigint NOT NULL,
  PRIMARY KEY (lane, epoch, sequence)
) ENGINE = InnoDB`,
    `CREATE TABLE IF NOT EXISTS ${qualified(database, NOTES_TABLE)} (
  load_name varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  key_text varbinary(${NOTED_KEY_BYTES + 60}) NOT NULL,
  noted bigint,
  PRIMARY KEY (load_name, key_text)
) ENGINE = InnoDB`,
  ];
}

/** The DDL with the rights that go with it. `user` is quoted. */
export function ownTablesForDba(database: string, user: string): string {
  const grants = [MARK_TABLE, NOTES_TABLE].map(
    (table) => `GRANT SELECT, INSERT, UPDATE, DELETE ON ${qualified(database, table)} TO ${user}`,
  );
  return [...ownTables(database), ...grants].map((statement) => `${statement};`).join('\n');
}
