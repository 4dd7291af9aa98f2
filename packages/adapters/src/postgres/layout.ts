/**
 * What the target's tables are at this moment, read once at the start of every apply: a table changed since the check must
 * stop the lane, not spoil rows. One round trip for all tables of a delivery.
 */

import { filterColumns } from '@qiao/exchange';
import type { TargetTable } from '../adapter.ts';
import { columnMissing } from '../columnMissing.ts';
import { loadTableName } from '../mark.ts';
import { type ServerLayout, schemaError } from '../targetServer.ts';
import { readReferrers } from './describe.ts';
import type { Session } from './session.ts';
import { qualified } from './sql.ts';

export interface LayoutColumn {
  readonly name: string;
  /** format_type(): what a bound value is cast to. */
  readonly sqlType: string;
  /** pg_type.typname of the base type, domains followed. */
  readonly baseType: string;
  readonly isCollatable: boolean;
  readonly isGenerated: boolean;
}

/** One target table as it is now. */
export interface Layout extends ServerLayout {
  readonly oid: string;
  readonly sql: string;
  readonly isPartitioned: boolean;
  readonly columns: ReadonlyMap<string, LayoutColumn>;
  /** Changes whenever a column's type does; stages are made for one fingerprint. */
  readonly fingerprint: string;
  /** BEFORE ROW triggers can swallow rows behind our back. */
  readonly hasRowTriggers: boolean;
  readonly hasTriggers: boolean;
  /** Quoted name of the load's side table, whether it exists or not. */
  readonly notes: string;
  readonly notesName: string;
  /** A load is under way that found rows in this table. */
  hasNotes: boolean;
}

const LAYOUT = `
  SELECT a.label, c.oid,
         (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
                   col.attname, pg_catalog.format_type(col.atttypid, col.atttypmod),
                   (SELECT b.typname FROM pg_catalog.pg_type b WHERE b.oid = COALESCE(NULLIF(t.typbasetype, 0), t.oid)),
                   t.typcollation <> 0, col.attgenerated <> '') ORDER BY col.attnum)
            FROM pg_catalog.pg_attribute col JOIN pg_catalog.pg_type t ON t.oid = col.atttypid
           WHERE col.attrelid = c.oid AND col.attnum > 0 AND NOT col.attisdropped),
         (SELECT max(CASE WHEN (g.tgtype & 3) = 3 THEN 2 ELSE 1 END) FROM pg_catalog.pg_trigger g
           WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgenabled IN ('O', 'A')),
         EXISTS (SELECT 1 FROM pg_catalog.pg_index i
                  WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
                    AND i.indpred IS NULL AND i.indexprs IS NULL
                    AND (SELECT pg_catalog.array_agg(k.attname::text ORDER BY k.attname::text COLLATE "C")
                           FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY u (attnum, place)
                           JOIN pg_catalog.pg_attribute k ON k.attrelid = c.oid AND k.attnum = u.attnum
                          WHERE u.place <= i.indnkeyatts)
                      = (SELECT pg_catalog.array_agg(w.name ORDER BY w.name COLLATE "C")
                           FROM pg_catalog.jsonb_array_elements_text(a.key) w (name))),
         pg_catalog.to_regclass(a.notes) IS NOT NULL, c.relkind,
         c.relhassubclass OR EXISTS (
           SELECT 1 FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_constraint f ON f.oid = g.tgconstraint
            WHERE g.tgrelid = c.oid AND f.confrelid = c.oid AND (f.confdeltype IN ('c', 'n', 'd') OR f.confupdtype IN ('c', 'n', 'd')))
    FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS a (label text, schema text, name text, key jsonb, notes text)
    LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = a.schema
    LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = a.name AND c.relkind IN ('r', 'p')`;

/** Layouts by label. Throws TARGET_SCHEMA for a missing table, column or key. */
export async function readLayouts(
  session: Session,
  schema: string,
  laneId: string,
  tables: Iterable<TargetTable>,
): Promise<Map<string, Layout>> {
  const asked = new Map([...tables].map((table) => [table.table, table]));
  const layouts = new Map<string, Layout>();
  if (asked.size === 0) return layouts;
  const request = [...asked.values()].map((table) => ({
    label: table.table,
    schema: table.ref.schema ?? schema,
    name: table.ref.name,
    key: table.key,
    notes: qualified(schema, loadTableName(laneId, table.table)),
  }));
  const found = await session.asked(LAYOUT, [JSON.stringify(request)]);
  for (const [label, oid, columns, triggers, hasKey, hasNotes, relationKind, mayAct] of found.rows) {
    const target = asked.get(label ?? '');
    if (target === undefined) continue;
    const ref = { schema: target.ref.schema ?? schema, name: target.ref.name };
    const where = qualified(ref.schema, ref.name);
    if (oid == null || columns == null) throw schemaError(`table ${where} is missing`);
    const list = (JSON.parse(columns) as [string, string, string, boolean, boolean][]).map(
      ([name, sqlType, baseType, isCollatable, isGenerated]) => ({
        name,
        sqlType,
        baseType,
        isCollatable,
        isGenerated,
      }),
    );
    if (target.landing === 'mirror' && hasKey !== 't') {
      throw schemaError(`table ${where} has no unique index exactly on (${target.key.join(', ')})`);
    }
    const layout: Layout = {
      target,
      ref,
      // Told in full only where there is anything to tell: this is asked for each delivery.
      referrers: mayAct === 't' ? await readReferrers(session, oid) : [],
      oid,
      sql: where,
      isPartitioned: relationKind === 'p',
      columns: new Map(list.map((column) => [column.name, column])),
      fingerprint: `${oid} ${columns}`,
      hasRowTriggers: triggers === '2',
      hasTriggers: triggers !== null,
      notesName: loadTableName(laneId, target.table),
      notes: qualified(schema, loadTableName(laneId, target.table)),
      hasNotes: hasNotes === 't',
    };
    for (const name of neededColumns(target)) columnOf(layout, name);
    layouts.set(target.table, layout);
  }
  return layouts;
}

/** A column of the target. Throws TARGET_SCHEMA when it is missing. */
export function columnOf(layout: Layout, name: string): LayoutColumn {
  const column = layout.columns.get(name);
  if (column === undefined) throw columnMissing(name, layout.sql);
  return column;
}

/** Labels of tables ordered so that a referenced table comes before those that reference it; cycles in any order. */
export async function parentsFirst(session: Session, layouts: readonly Layout[]): Promise<string[]> {
  const rows = await session.rows(
    `SELECT conrelid, confrelid FROM pg_catalog.pg_constraint
      WHERE contype = 'f' AND conrelid <> confrelid AND conrelid = ANY ($1::oid[]) AND confrelid = ANY ($1::oid[])`,
    [layouts.map((layout) => layout.oid)],
  );
  const parents = new Map<string, string[]>();
  for (const [child, parent] of rows) parents.set(child ?? '', [...(parents.get(child ?? '') ?? []), parent ?? '']);
  const order: string[] = [];
  const seen = new Set<string>();
  const visit = (oid: string): void => {
    if (seen.has(oid)) return;
    seen.add(oid);
    for (const parent of parents.get(oid) ?? []) visit(parent);
    order.push(...layouts.filter((layout) => layout.oid === oid).map((layout) => layout.target.table));
  };
  for (const layout of layouts) visit(layout.oid);
  return order;
}

function neededColumns(target: TargetTable): string[] {
  const names: string[] = target.landing === 'mirror' ? [...target.key] : Object.values(target.journalColumns);
  if (target.landing === 'mirror' && typeof target.ownership === 'object')
    names.push(...filterColumns(target.ownership));
  if (target.landing === 'mirror' && target.onDelete === 'mark') names.push(target.markColumn ?? '');
  return names;
}
