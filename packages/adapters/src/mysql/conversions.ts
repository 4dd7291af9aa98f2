/**
 * How canonical text becomes a stored value: one SQL expression per column over the raw text of the stage, for INSERT … SELECT in
 * strict mode. What strict mode would alter without a word is made to fail here; what it alters with a warning fails in `store`.
 */

import type { MysqlColumn } from './describe.ts';
import { bytesLiteral, bytesOf } from './sql.ts';

/** Fails its statement (error 1365), as nothing else does in the middle of an expression. */
const FAIL = '1 / 0';

/** The value to store; `raw` is the quoted, qualified text. */
export function storedSql(column: MysqlColumn, raw: string): string {
  const value = valueSql(column, raw);
  const { catalog, nullable, isAutoIncrement } = column;
  // NULL would become the next number, or the present moment.
  const inventsValues = isAutoIncrement || (catalog.name === 'timestamp' && !nullable);
  return inventsValues ? `IF(${raw} IS NULL, ${FAIL}, ${value})` : value;
}

function valueSql({ catalog, type }: MysqlColumn, raw: string): string {
  const only = (condition: string, value = raw) => `IF(${raw} IS NULL OR (${condition}), ${value}, ${FAIL})`;
  const isBoolean = 'type' in type && type.type === 'boolean';
  switch (catalog.name) {
    case 'tinyint':
    case 'smallint':
    case 'mediumint':
    case 'int':
    case 'bigint':
      if (isBoolean) return booleanSql(raw);
      // A text is rounded without a word; a cast of 1.5 fails, but one of -1 to unsigned does not.
      return / unsigned/.test(catalog.text)
        ? only(`${raw} NOT LIKE '%.%' AND ${raw} NOT LIKE '%e%'`)
        : `CAST(${raw} AS SIGNED)`;
    case 'float':
    case 'double': {
      // The shortest text of the largest float is a little more than it.
      const text = catalog.name === 'float' ? `REPLACE(${raw}, '3.4028235e+38', '3.4028234663852886e+38')` : raw;
      const decimals = /\(\d+,(\d+)\)/.exec(catalog.text)?.[1];
      // MariaDB stores minus zero as zero.
      const isZeroKept = `${raw} <> '-0'`;
      if (decimals === undefined) return only(isZeroKept, text);
      return only(`${isZeroKept} AND ${isUnrounded(raw, decimals, catalog.name === 'float')}`, text);
    }
    case 'bit':
      if (isBoolean) return booleanSql(raw);
      return only(`${raw} REGEXP '^[01]+$'`, `CAST(CONV(${raw}, 2, 10) AS UNSIGNED)`);
    case 'year':
      // As a text 0 would be 2000 and 70 would be 1970.
      return only(`${raw} REGEXP '^(0|19[0-9]{2}|2[01][0-9]{2})$'`, `CAST(${raw} AS UNSIGNED)`);
    case 'date':
      return only(`CHAR_LENGTH(${raw}) = 10`);
    case 'datetime':
    case 'timestamp':
      // More digits than the column has would be rounded.
      return only(`CHAR_LENGTH(${withoutZone(raw)}) <= ${19 + fraction(catalog.digits)}`, withoutZone(raw));
    case 'time':
      return only(`CHAR_LENGTH(${raw}) BETWEEN 8 AND ${8 + fraction(catalog.digits)}`);
    case 'binary':
      // Shorter values would be filled up with zeros.
      return only(`CHAR_LENGTH(${raw}) = ${2 + 2 * catalog.length} AND ${hex(raw)} IS NOT NULL`, hex(raw));
    case 'varbinary':
    case 'tinyblob':
    case 'blob':
    case 'mediumblob':
    case 'longblob':
      return only(
        `LEFT(${raw}, 2) = '\\\\x' AND CHAR_LENGTH(${raw}) <= ${2 + 2 * catalog.length} AND ${hex(raw)} IS NOT NULL`,
        hex(raw),
      );
    case 'char':
    case 'varchar':
      // Blanks that do not fit are cut with a note, or without one.
      return only(`CHAR_LENGTH(${raw}) <= ${catalog.length}`);
    case 'tinytext':
    case 'text':
    case 'mediumtext':
      // From one text column into a shorter one MariaDB cuts the length to its low bytes, without a word: 256 bytes become none.
      return only(`LENGTH(CONVERT(${raw} USING ${catalog.charset ?? 'utf8mb4'})) <= ${catalog.length}`);
    case 'enum':
      // The label in another case would be taken, and so would its number.
      return only(`${bytesOf(raw)} IN (${labels(catalog.text).join(', ')})`);
    case 'set':
      return only(`${raw} = '' OR (${setOf(labels(catalog.text), raw)})`);
    default:
      return raw;
  }
}

/** FLOAT(M,D) and DOUBLE(M,D) round without a word: in these very steps, which change the last bit of some values with D digits, too. */
function isUnrounded(raw: string, decimals: string, isFloat: boolean): string {
  const number = `(${raw} + 0e0)`;
  const difference = `(FLOOR(${number}) + ROUND(${number} - FLOOR(${number}), ${decimals}) - ${number})`;
  // The last bits of a double are none of a float.
  return isFloat ? `ABS(${difference}) <= 1e-12 * ABS(${number})` : `${difference} = 0`;
}

function booleanSql(raw: string): string {
  return `CASE ${bytesOf(raw)} WHEN 't' THEN 1 WHEN 'f' THEN 0 ELSE IF(${raw} IS NULL, NULL, ${FAIL}) END`;
}

function hex(raw: string): string {
  return `UNHEX(SUBSTRING(${raw}, 3))`;
}

function withoutZone(raw: string): string {
  return `TRIM(TRAILING '+00' FROM ${raw})`;
}

function fraction(digits: number): number {
  return digits > 0 ? 1 + digits : 0;
}

/** Labels of `enum('a','b')` as literals of bytes. */
function labels(text: string): string[] {
  return [...text.matchAll(/'((?:[^']|'')*)'/g)].map(([, label = '']) =>
    bytesLiteral(Buffer.from(label.replaceAll("''", "'"))),
  );
}

/** Each label in the order of the type, once at most: what the column would print. */
function setOf(known: readonly string[], raw: string): string {
  const chosen = known.map(
    (label) => `IF(LOCATE(CONCAT(0x2C, ${label}, 0x2C), CONCAT(0x2C, ${bytesOf(raw)}, 0x2C)) > 0, ${label}, NULL)`,
  );
  return `${bytesOf(raw)} = CONCAT_WS(0x2C, ${chosen.join(', ')})`;
}
