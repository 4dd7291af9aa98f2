/**
 * Which logical type a PostgreSQL type is, and back. `TYPES.md` is this file for people. Owns only names: values never
 * pass here, because the text that the fixed session settings give is already canonical.
 */

import { type ColumnType, QiaoError } from '@qiao/exchange';
import type { DescribedType } from '../adapter.ts';

/** What the catalog says about one column's type; domains are already followed to their base, arrays to their element. */
export interface CatalogType {
  /** pg_type.typname of the base type (of the element for arrays). */
  readonly name: string;
  /** Schema of the base type. */
  readonly schema: string;
  /** pg_type.typtype: b base, c composite, e enum, p pseudo, r range, m multirange. */
  readonly kind: string;
  readonly isArray: boolean;
  /** The effective atttypmod: the column's or the domain's; -1 for none. */
  readonly modifier: number;
  /** format_type() with that modifier, element type for arrays, as seen with pg_catalog first in the search path. */
  readonly text: string;
  readonly enumLabels: readonly string[];
  /** The type belongs to an extension, so its text form is somebody's promise. */
  readonly isOfExtension: boolean;
}

/** Types whose text depends on the server, its locale or its object numbers, so that no other database reads it alike. */
const NOT_PORTABLE = new Set([
  'money',
  'aclitem',
  'cid',
  'tid',
  'xid',
  'xid8',
  'refcursor',
  'gtsvector',
  'pg_node_tree',
]);

/** The logical type of a column, or the name of a type that cannot travel. */
export function describedType(found: CatalogType): DescribedType {
  const name = nativeName(found);
  if (name === undefined) return { unsupported: found.isArray ? `${found.text}[]` : found.text };
  if (found.isArray) return { type: 'native', system: 'postgres', name: `${name}[]` };
  if (found.schema !== 'pg_catalog') return { type: 'native', system: 'postgres', name };
  const { modifier } = found;
  const digits = modifier < 0 ? 6 : modifier;
  switch (found.name) {
    case 'int2':
      return { type: 'integer', bits: 16 };
    case 'int4':
      return { type: 'integer', bits: 32 };
    case 'int8':
      return { type: 'integer', bits: 64 };
    case 'numeric':
      return modifier < 4 ? { type: 'decimal' } : { type: 'decimal', ...precisionOf(modifier) };
    case 'float4':
      return { type: 'float', bits: 32 };
    case 'float8':
      return { type: 'float', bits: 64 };
    case 'bool':
      return { type: 'boolean' };
    case 'text':
      return { type: 'text' };
    case 'varchar':
      return modifier < 4 ? { type: 'text' } : { type: 'text', maxLength: modifier - 4 };
    case 'bpchar':
      // Without a length, trailing blanks mean nothing yet are kept: like no other type, so only to its own kind.
      return modifier < 4
        ? { type: 'native', system: 'postgres', name: 'bpchar' }
        : { type: 'text', maxLength: modifier - 4, padded: true };
    case 'bytea':
      return { type: 'bytes' };
    case 'date':
      return { type: 'date' };
    case 'time':
      return { type: 'time', digits };
    case 'timestamp':
      return { type: 'timestamp', digits };
    case 'timestamptz':
      return { type: 'timestamptz', digits };
    case 'uuid':
      return { type: 'uuid' };
    case 'json':
      return { type: 'json' };
    default:
      return { type: 'native', system: 'postgres', name };
  }
}

/** The name under which a type meets its equal elsewhere, or undefined when it cannot travel. */
function nativeName(found: CatalogType): string | undefined {
  if (NOT_PORTABLE.has(found.name) || found.name.startsWith('reg')) return undefined;
  switch (found.kind) {
    case 'e':
      return `enum(${found.enumLabels.map((label) => `'${label.replaceAll("'", "''")}'`).join(',')})`;
    case 'b':
      if (found.schema === 'pg_catalog') return found.text;
      // `public.citext` here and `ext.citext` there are the same type.
      return found.isOfExtension ? found.text.replace(/^("(?:[^"]|"")*"|[^".(]+)\./, '') : undefined;
    case 'r':
    case 'm':
      return found.schema === 'pg_catalog' ? found.text : undefined;
    default:
      return undefined;
  }
}

function precisionOf(modifier: number): { precision: number; scale: number } {
  const packed = modifier - 4;
  const scale = packed & 0x7ff;
  return { precision: (packed >> 16) & 0xffff, scale: scale >= 1024 ? scale - 2048 : scale };
}

/**
 * The SQL of a column type for CREATE TABLE. Native names come from another node, so the caller proves them with
 * `to_regtype`; here only characters that can be part of a type's name pass. Throws TYPE_REFUSED.
 */
export function columnSql(type: ColumnType, column: string): string {
  switch (type.type) {
    case 'integer':
      if (type.unsigned === true)
        return { 8: 'smallint', 16: 'integer', 24: 'integer', 32: 'bigint', 64: 'numeric(20,0)' }[type.bits];
      return { 8: 'smallint', 16: 'smallint', 24: 'integer', 32: 'integer', 64: 'bigint' }[type.bits];
    case 'decimal':
      if (type.precision === undefined) return 'numeric';
      if (type.precision > 1000) throw refused(column, `numeric holds 1000 digits, ${type.precision} are asked for`);
      return `numeric(${whole(type.precision)},${whole(type.scale ?? 0)})`;
    case 'float':
      return type.bits === 32 ? 'real' : 'double precision';
    case 'boolean':
      return 'boolean';
    case 'text':
      if (type.maxLength === undefined || type.maxLength > 10_485_760) return 'text';
      return `${type.padded === true ? 'character' : 'character varying'}(${whole(type.maxLength)})`;
    case 'bytes':
      return 'bytea';
    case 'date':
      return 'date';
    case 'time':
      return `time(${whole(type.digits)})`;
    case 'timestamp':
      return `timestamp(${whole(type.digits)})`;
    case 'timestamptz':
      return `timestamptz(${whole(type.digits)})`;
    case 'uuid':
      return 'uuid';
    case 'json':
      return 'json';
    case 'native':
      if (type.system !== 'postgres') throw refused(column, `${type.name} is a type of another database`);
      if (/^"?[a-z][a-z0-9_ ]*"?(\(\d+(,-?\d+)?\))?[a-z ]*(\[\])?$/.test(type.name)) return type.name;
      throw refused(column, 'a type of the department itself (an enum, for example) has to be created by hand first');
    default:
      return type satisfies never;
  }
}

function whole(value: number): string {
  if (!Number.isInteger(value)) throw new RangeError('a length of a type must be a whole number');
  return String(value);
}

function refused(column: string, why: string): QiaoError {
  return new QiaoError('TYPE_REFUSED', `column ${column} cannot be created: ${why}`, {
    hint: 'create the target table by hand, then: qiao bridge check -f FILE',
  });
}
