/**
 * What the target's tables are at this moment, looked at at the start of every apply: a table changed since the check must stop the
 * lane, not spoil rows. The catalog is read again only when the table's own DDL has changed.
 */

import { filterColumns } from '@qiao/exchange';
import type { TargetTable } from '../adapter.ts';
import { columnMissing } from '../columnMissing.ts';
import { loadTableName } from '../mark.ts';
import { type ServerLayout, schemaError } from '../targetServer.ts';
import { isTransactional, type MysqlColumn, type MysqlTable, readTable } from './describe.ts';
import { NOTES_TABLE } from './markDdl.ts';
import { type Referrers, readReferrers } from './referrers.ts';
import type { Session } from './session.ts';
import { literal, qualified } from './sql.ts';

/** One target table as it is now. */
export interface Layout extends ServerLayout {
  readonly table: MysqlTable;
  readonly sql: string;
  readonly columns: ReadonlyMap<string, MysqlColumn>;
  /** Changes whenever a column's type does; stages are made for one fingerprint. */
  readonly fingerprint: string;
  /** Under which its keys are noted by a load. */
  readonly notesName: string;
  /** A load is under way that found rows in this table. */
  hasNotes: boolean;
}

/** As read when the table's own DDL was last another; keys of other tables that came since are not seen before the next connection. */
interface Known {
  readonly ddl: string;
  readonly table: MysqlTable;
  readonly found: Referrers;
}

/** The layouts of one connection. */
export class Layouts {
  readonly #known = new Map<string, Known>();

  /** Layouts by label. Throws TARGET_SCHEMA for a missing table, column or key. */
  async read(session: Session, laneId: string, tables: Iterable<TargetTable>): Promise<Map<string, Layout>> {
    const layouts = new Map<string, Layout>();
    for (const target of tables) {
      const database = target.ref.schema ?? session.database;
      const sql = qualified(database, target.ref.name);
      const { ddl, table, found } = await this.#table(session, database, target.ref.name, sql);
      const layout: Layout = {
        target,
        ref: table.ref,
        referrers: found.referrers,
        table,
        sql,
        columns: new Map(table.columns.map((column) => [column.name, column])),
        fingerprint: `${sql} ${ddl}`,
        notesName: loadTableName(laneId, target.table),
        hasNotes: false,
      };
      prove(layout);
      layouts.set(target.table, layout);
    }
    await findNotes(session, layouts);
    return layouts;
  }

  async #table(session: Session, database: string, name: string, sql: string): Promise<Known> {
    const [row] = await session.rows(`SHOW CREATE TABLE ${sql}`);
    const ddl = (row?.[1] ?? '').replace(/ AUTO_INCREMENT=\d+/, '');
    const known = this.#known.get(sql);
    if (known?.ddl === ddl) return known;
    const table = await readTable(session, database, name);
    if (table === undefined) throw schemaError(`table ${sql} is missing`);
    if (this.#known.size > 10_000) this.#known.clear();
    const read = { ddl, table, found: await readReferrers(session, database, name) };
    this.#known.set(sql, read);
    return read;
  }
}

/** A column of the target. Throws TARGET_SCHEMA when it is missing. */
export function columnOf(layout: Layout, name: string): MysqlColumn {
  const column = layout.columns.get(name);
  if (column === undefined) throw columnMissing(name, layout.sql);
  return column;
}

/** Labels of tables ordered so that a referenced table comes before those that reference it; cycles in any order. */
export function parentsFirst(layouts: readonly Layout[]): string[] {
  const order: string[] = [];
  const seen = new Set<string>();
  const visit = (sql: string): void => {
    const same = layouts.filter((layout) => layout.sql === sql);
    if (seen.has(sql) || same.length === 0) return;
    seen.add(sql);
    for (const { toTable } of same[0]?.table.foreignKeys ?? []) visit(qualified(toTable.schema ?? '', toTable.name));
    order.push(...same.map((layout) => layout.target.table));
  };
  for (const layout of layouts) visit(layout.sql);
  return order;
}

/** Foreign keys of the table to itself: MySQL checks them row by row, in whatever order the rows come. */
export function selfReferences({
  table,
}: Layout): readonly { columns: readonly string[]; toColumns: readonly string[] }[] {
  return table.foreignKeys.filter(
    ({ toTable }) => toTable.name === table.ref.name && toTable.schema === table.database,
  );
}

function prove(layout: Layout): void {
  const { target, table, sql } = layout;
  if (table.kind === 'view') throw schemaError(`${sql} is a view`);
  if (!isTransactional(table)) throw schemaError(`table ${sql} is ${table.engine}, which has no transactions`);
  const isKey = (index: readonly string[]) =>
    index.length === target.key.length && index.every((name) => target.key.includes(name));
  if (target.landing === 'mirror' && !table.uniqueIndexes.some(isKey)) {
    throw schemaError(`table ${sql} has no unique index exactly on (${target.key.join(', ')})`);
  }
  for (const name of neededColumns(target)) columnOf(layout, name);
}

function neededColumns(target: TargetTable): string[] {
  if (target.landing === 'journal') return Object.values(target.journalColumns);
  const filtered = typeof target.ownership === 'object' ? filterColumns(target.ownership) : [];
  return [...target.key, ...filtered, ...(target.onDelete === 'mark' ? [target.markColumn ?? ''] : [])];
}

async function findNotes(session: Session, layouts: ReadonlyMap<string, Layout>): Promise<void> {
  if (layouts.size === 0) return;
  const names = [...layouts.values()].map((layout) => literal(layout.notesName));
  const rows = await session.rows(
    `SELECT load_name FROM ${qualified(session.database, NOTES_TABLE)} WHERE load_name IN (${names.join(', ')}) AND key_text = ''`,
  );
  const noted = new Set(rows.map(([name]) => name));
  for (const layout of layouts.values()) layout.hasNotes = noted.has(layout.notesName);
}
