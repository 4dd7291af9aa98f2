/**
 * Which logical type a MySQL or MariaDB type is, and back. `TYPES.md` is this file for people. Owns only names: how a value is
 * written as canonical text and read from it is SQL, in `texts.ts`.
 */

import { type ColumnType, QiaoError } from '@qiao/exchange';
import type { DescribedType } from '../adapter.ts';
import type { Server } from './session.ts';

/** What the catalog says about one column's type. */
export interface CatalogType {
  /** DATA_TYPE, lower case: `int`, `varchar`. */
  readonly name: string;
  /** COLUMN_TYPE as the server writes it: `int(10) unsigned zerofill`, `enum('a','b')`. */
  readonly text: string;
  /** CHARACTER_MAXIMUM_LENGTH: characters of a text, bytes of a binary type. */
  readonly length: number;
  readonly precision: number;
  readonly scale: number;
  /** Digits after the point of a time. */
  readonly digits: number;
  readonly charset: string | undefined;
  readonly collation: string | undefined;
  /** MariaDB's JSON: text with a check. */
  readonly isCheckedJson: boolean;
}

/** Lengths that no text or blob reaches: as good as none. */
const LONGEST = 4_294_967_295;
/** Longer texts become LONGTEXT: a row of MySQL holds 65,535 bytes of VARCHAR in all. */
const MOST_VARCHAR = 4_000;
const MOST_CHAR = 255;
const MOST_DIGITS = 6;
/** InnoDB indexes so many bytes of a key, all its columns together. */
export const MOST_KEY_BYTES = 3_072;

/** The logical type of a column, or the name of a type that cannot travel. */
export function describedType(found: CatalogType): DescribedType {
  const unsigned = / unsigned/.test(found.text);
  const integer = (bits: 8 | 16 | 24 | 32 | 64): ColumnType => ({
    type: 'integer',
    bits,
    ...(unsigned ? { unsigned } : {}),
  });
  const limit = found.length >= LONGEST ? {} : { maxLength: found.length };
  const limitBytes = found.length >= LONGEST ? {} : { maxBytes: found.length };
  switch (found.name) {
    case 'tinyint':
      // What BOOLEAN is made of. Other numbers than 0 and 1 in it stay behind, counted.
      return found.text === 'tinyint(1)' ? { type: 'boolean' } : integer(8);
    case 'smallint':
      return integer(16);
    case 'mediumint':
      return integer(24);
    case 'int':
      return integer(32);
    case 'bigint':
      return integer(64);
    case 'decimal':
      return { type: 'decimal', precision: found.precision, scale: found.scale };
    case 'float':
      return { type: 'float', bits: 32 };
    case 'double':
      return { type: 'float', bits: 64 };
    case 'varchar':
    case 'tinytext':
    case 'text':
    case 'mediumtext':
    case 'longtext':
      return found.isCheckedJson ? { type: 'json' } : { type: 'text', ...limit };
    case 'char':
      return { type: 'text', maxLength: found.length, padded: true };
    case 'binary':
    case 'varbinary':
    case 'tinyblob':
    case 'blob':
    case 'mediumblob':
    case 'longblob':
      return { type: 'bytes', ...limitBytes };
    case 'date':
      return { type: 'date' };
    case 'time':
      return { type: 'time', digits: found.digits };
    case 'datetime':
      return { type: 'timestamp', digits: found.digits };
    case 'timestamp':
      return { type: 'timestamptz', digits: found.digits };
    case 'uuid':
      return { type: 'uuid' };
    case 'bit':
      return found.text === 'bit(1)' ? { type: 'boolean' } : native(found.text);
    case 'year':
      return native('year');
    case 'json':
    case 'inet4':
    case 'inet6':
      return native(found.name);
    case 'enum':
    case 'set':
      return native(found.text);
    default:
      return { unsupported: found.text };
  }
}

function native(name: string): ColumnType {
  return { type: 'native', system: 'mysql', name };
}

/** The SQL of a column type for CREATE TABLE. Throws TYPE_REFUSED for what this server cannot hold. */
export function columnSql(type: ColumnType, column: string, server: Pick<Server, 'isMariaDb' | 'version'>): string {
  switch (type.type) {
    case 'integer': {
      const name = { 8: 'tinyint', 16: 'smallint', 24: 'mediumint', 32: 'int', 64: 'bigint' }[type.bits];
      return type.unsigned === true ? `${name} unsigned` : name;
    }
    case 'decimal':
      if (type.precision === undefined) throw refused(column, 'DECIMAL has at most 65 digits, the source has no limit');
      if (type.precision > 65 || (type.scale ?? 0) > 30 || (type.scale ?? 0) < 0) {
        throw refused(column, 'DECIMAL has at most 65 digits, 30 of them behind the point');
      }
      return `decimal(${whole(type.precision)},${whole(type.scale ?? 0)})`;
    case 'float':
      return type.bits === 32 ? 'float' : 'double';
    case 'boolean':
      return 'tinyint(1)';
    case 'text':
      if (type.maxLength === undefined || type.maxLength > MOST_VARCHAR) return 'longtext';
      return `${type.padded === true && type.maxLength <= MOST_CHAR ? 'char' : 'varchar'}(${whole(type.maxLength)})`;
    case 'bytes':
      if (type.maxBytes === undefined || type.maxBytes > MOST_VARCHAR) return 'longblob';
      return `varbinary(${whole(type.maxBytes)})`;
    case 'date':
      return 'date';
    case 'time':
      return `time(${fraction(type.digits, column)})`;
    case 'timestamp':
      return `datetime(${fraction(type.digits, column)})`;
    case 'timestamptz':
      return `timestamp(${fraction(type.digits, column)})`;
    case 'uuid':
      return hasUuid(server) ? 'uuid' : 'char(36)';
    case 'json':
      return server.isMariaDb ? 'json' : 'longtext';
    case 'native':
      if (type.system !== 'mysql') throw refused(column, `${type.name} is a type of another database`);
      if (/^(year|json|inet[46]|bit\(\d+\)|(enum|set)\('(?:[^'\\]|'')*'(,'(?:[^'\\]|'')*')*\))$/.test(type.name))
        return type.name;
      throw refused(column, `${type.name} is no type that can be created here`);
    default:
      return type satisfies never;
  }
}

/** Bytes that an index spends on a key column of this type; undefined where it has no limit and cannot be a key. */
export function keyBytes(type: ColumnType): number | undefined {
  switch (type.type) {
    case 'text':
      return type.maxLength === undefined || type.maxLength > MOST_VARCHAR ? undefined : 4 * type.maxLength;
    case 'bytes':
      return type.maxBytes === undefined || type.maxBytes > MOST_VARCHAR ? undefined : type.maxBytes;
    case 'json':
      return undefined;
    default:
      return 30;
  }
}

function hasUuid({ isMariaDb, version }: Pick<Server, 'isMariaDb' | 'version'>): boolean {
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  return isMariaDb && (major > 10 || (major === 10 && minor >= 7));
}

function fraction(digits: number, column: string): string {
  if (digits > MOST_DIGITS)
    throw refused(column, `${digits} digits of a second are asked for, MySQL has ${MOST_DIGITS}`);
  return whole(digits);
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
