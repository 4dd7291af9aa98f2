/** Makes a target table for an operator who has none: exactly the bridged columns, the key as primary key. */

import { QiaoError } from '@qiao/exchange';
import type { TargetTable } from '../adapter.ts';
import { homeOf } from '../pairs.ts';
import type { Server, Session } from './session.ts';
import { identifier, identifiers, qualified } from './sql.ts';
import { columnSql, keyBytes, MOST_KEY_BYTES } from './types.ts';

/** Does nothing when the table exists. Throws TYPE_REFUSED for a type that the database does not have, or a key too long for an index. */
export async function createTable(session: Session, table: TargetTable): Promise<void> {
  await session.run(createTableSql(session.server, session.database, table));
}

/** The statement that makes the table. Throws TYPE_REFUSED. */
export function createTableSql(server: Server, database: string, table: TargetTable): string {
  const lines: string[] = [];
  const isMirror = table.landing === 'mirror';
  if (isMirror) requireShortKey(table);
  for (const { name, type } of table.columns) {
    const isKey = table.key.includes(name);
    // A journal's deletes carry the key only, so nothing but the key may be required there. A TIMESTAMP without a default would
    // take the present moment whenever its row is updated.
    const required = type.type === 'timestamptz' ? "NOT NULL DEFAULT '1970-01-02 00:00:00'" : 'NOT NULL';
    lines.push(`${identifier(name)} ${columnSql(homeOf(type, 'mysql'), name, server)} ${isKey ? required : 'NULL'}`);
  }
  if (isMirror) {
    if (table.onDelete === 'mark' && table.markColumn !== undefined) {
      lines.push(`${identifier(table.markColumn)} boolean NOT NULL DEFAULT 0`);
    }
    lines.push(`PRIMARY KEY (${identifiers(table.key)})`);
  } else {
    const names = table.journalColumns;
    // Tells the department's programs in which order the changes came.
    lines.unshift(`${identifier('qiao_journal_id')} bigint NOT NULL AUTO_INCREMENT PRIMARY KEY`);
    lines.push(
      `${identifier(names.operation)} char(1) NOT NULL`,
      `${identifier(names.batchNo)} varchar(255) NOT NULL`,
      `${identifier(names.sourceDepartment)} varchar(255) NOT NULL`,
      `${identifier(names.appliedAt)} datetime(3) NOT NULL`,
      `${identifier(names.processed)} varchar(20) NOT NULL DEFAULT '0'`,
    );
  }
  return `CREATE TABLE IF NOT EXISTS ${qualified(table.ref.schema ?? database, table.ref.name)} (\n  ${lines.join(',\n  ')}\n)
ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE ${server.exactCollation}`;
}

function requireShortKey(table: TargetTable): void {
  let sum = 0;
  for (const { name, type } of table.columns) {
    if (!table.key.includes(name)) continue;
    const bytes = keyBytes(homeOf(type, 'mysql'));
    sum += bytes ?? Number.POSITIVE_INFINITY;
    if (sum <= MOST_KEY_BYTES) continue;
    throw new QiaoError(
      'TYPE_REFUSED',
      `key column ${name} cannot be created: an index of MySQL holds ${MOST_KEY_BYTES} bytes, ${
        bytes === undefined ? 'and the column has no limit' : `the key (${table.key.join(', ')}) needs ${sum}`
      }`,
      {
        hint: 'create the target table by hand with a shorter key (768 characters at most), then: qiao bridge check -f FILE',
      },
    );
  }
}
