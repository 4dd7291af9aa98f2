/**
 * Conditions and values over rows of the target: which are the lane's, which are marked as deleted, which differ, and the text of a
 * key. Everything compares bytes: a collation of the department must neither join two keys nor hide a change.
 */

import { type Filter, filterSql } from '@qiao/exchange';
import { schemaError } from '../targetServer.ts';
import type { MysqlColumn } from './describe.ts';
import { columnOf, type Layout } from './layout.ts';
import { NOTED_KEY_BYTES } from './markDdl.ts';
import { bytesOf, identifier, literal } from './sql.ts';

/** `t.k = s.k AND …`; the index finds by the column's own equality, and the bytes decide. */
export function sameKey(layout: Layout, left: string, right: string): string {
  return layout.target.key
    .map((name) => {
      const column = columnOf(layout, name);
      const [a, b] = [`${left}.${identifier(name)}`, `${right}.${identifier(name)}`];
      return isText(column) ? `${a} = ${b} AND ${bytesOf(a)} = ${bytesOf(b)}` : `${a} = ${b}`;
    })
    .join(' AND ');
}

/** True for rows of the lane: the ownership filter over columns qualified by `of`; undefined without a filter. Never null. */
export function ownedBy(layout: Layout, of: string | ((column: string) => string)): string | undefined {
  const { ownership } = layout.target;
  if (typeof ownership !== 'object') return undefined;
  const at = (name: string) => `${typeof of === 'string' ? of : of(name)}.${identifier(name)}`;
  const sql = filterSql(ownership satisfies Filter, {
    column: (name) => comparedSql(columnOf(layout, name), at(name)),
    literal: (name, text) => comparedLiteral(columnOf(layout, name), text),
    // Characters, not bytes, are what `_` stands for.
    like: (name, pattern) =>
      `CONVERT(${at(name)} USING utf8mb4) COLLATE utf8mb4_bin LIKE ${literal(pattern)} ESCAPE '\\\\'`,
  });
  return `((${sql}) IS TRUE)`;
}

/** The mark column's texts and the condition that a row `t` is marked as deleted; undefined without onDelete 'mark'. */
export function markOf(layout: Layout): { column: string; set: string; clear: string; isMarked: string } | undefined {
  const { onDelete, markColumn, landing } = layout.target;
  if (onDelete !== 'mark' || landing !== 'mirror') return undefined;
  const { type, nativeType } = columnOf(layout, markColumn ?? '');
  const column = identifier(markColumn ?? '');
  const kind = 'type' in type ? type.type : '';
  if (kind === 'boolean' || kind === 'integer')
    return { column, set: '1', clear: '0', isMarked: `(t.${column} <=> 1)` };
  if (kind === 'text')
    return { column, set: "'1'", clear: "'0'", isMarked: `(${bytesOf(`t.${column}`)} <=> ${bytesOf("'1'")})` };
  throw schemaError(`column ${markColumn} of table ${layout.sql} is ${nativeType}; expected boolean, integer or text`);
}

/** The condition that a row `t` is not marked as deleted. */
export function aliveOf(layout: Layout): string {
  const mark = markOf(layout);
  return mark === undefined ? '1' : `NOT ${mark.isMarked}`;
}

/** The stored images of `t` and `s` differ in one of these columns. */
export function imagesDiffer(layout: Layout, columns: readonly string[]): string {
  if (columns.length === 0) return '0';
  const same = columns.map((name) => {
    const [a, b] = [`t.${identifier(name)}`, `s.${identifier(name)}`];
    const { name: type } = columnOf(layout, name).catalog;
    if (isText(columnOf(layout, name))) return `${bytesOf(a)} <=> ${bytesOf(b)}`;
    // Labels compare by collation, their numbers do not.
    return type === 'enum' || type === 'set' ? `${a} + 0 <=> ${b} + 0` : `${a} <=> ${b}`;
  });
  return `NOT (${same.join(' AND ')})`;
}

/** The key of a row as one text, the same for the same stored key and for no other. */
export function keyText(layout: Layout, of: string): string {
  const parts = layout.target.key.flatMap((name) => {
    const at = `${of}.${identifier(name)}`;
    const text = bytesOf(columnOf(layout, name).catalog.name === 'float' ? `${at} * 1e0` : at);
    return [`LENGTH(${text})`, "':'", text];
  });
  const whole = `CONCAT(${parts.join(', ')})`;
  const isShort = layout.target.key.every((name) => columnOf(layout, name).catalog.length * 4 < 300);
  if (isShort && layout.target.key.length <= 2) return whole;
  return `IF(LENGTH(${whole}) <= ${NOTED_KEY_BYTES}, ${whole}, CONCAT(LEFT(${whole}, ${NOTED_KEY_BYTES - 100}), SHA2(${whole}, 256)))`;
}

/** Rows `t` that count as the lane's and as there. */
export function presentRows(layout: Layout): string {
  const mark = markOf(layout);
  return [ownedBy(layout, 't') ?? '1', ...(mark === undefined ? [] : [`NOT ${mark.isMarked}`])].join(' AND ');
}

/** A column as filters compare it: by code point, as canonical text where that is not what the database compares. */
function comparedSql(column: MysqlColumn, at: string): string {
  const type = 'type' in column.type ? column.type.type : '';
  switch (type) {
    case 'text':
      return bytesOf(`CONVERT(${at} USING utf8mb4)`);
    case 'boolean':
      return `CASE ${at} WHEN 1 THEN 't' WHEN 0 THEN 'f' END`;
    case 'bytes':
      return `CONCAT('\\\\x', LOWER(HEX(${at})))`;
    default:
      return at;
  }
}

/** A literal of a filter beside such a column. */
function comparedLiteral(column: MysqlColumn, text: string): string {
  const as = (type: string) => `CAST(${literal(text)} AS ${type})`;
  switch ('type' in column.type ? column.type.type : '') {
    case 'integer':
    case 'decimal':
      return as('DECIMAL(65,30)');
    case 'float':
      return as('DOUBLE');
    case 'text':
      return as('BINARY');
    case 'date':
      return as('DATE');
    case 'time':
      return as('TIME(6)');
    case 'timestamp':
    case 'timestamptz':
      return `CAST(${literal(text.replace(/\+00$/, ''))} AS DATETIME(6))`;
    default:
      return literal(text);
  }
}

function isText(column: MysqlColumn): boolean {
  return column.catalog.charset !== undefined && column.catalog.name !== 'enum' && column.catalog.name !== 'set';
}
