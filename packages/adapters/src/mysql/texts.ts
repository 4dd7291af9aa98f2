/**
 * How a stored value is written as canonical text, and when it cannot be: SQL over a column, one expression each, so that the
 * server writes whole lines and no row becomes an object here. What MySQL prints otherwise than PostgreSQL does is named where
 * it is mended. `conversions.ts` is the way back.
 */

import { bytesOf, literal } from './sql.ts';
import type { CatalogType } from './types.ts';

/** One column as it is read. */
export interface ReadColumn {
  readonly name: string;
  readonly nullable: boolean;
  readonly catalog: CatalogType;
}

/** A condition under which a value cannot be carried, and the code that such a row is counted under (S3). */
export interface Refusal {
  readonly when: string;
  readonly code: 'VALUE_INVALID' | 'TEXT_NOT_UTF8';
}

/** Floats come as MySQL prints them, exact but spelled otherwise: the reader writes them anew. Bits, or undefined for no float. */
export function floatBits(catalog: CatalogType): 32 | 64 | undefined {
  return catalog.name === 'float' ? 32 : catalog.name === 'double' ? 64 : undefined;
}

/**
 * Long texts come as they are and are escaped by the reader: MariaDB's REPLACE moves the rest of the text at every match, which for
 * a megabyte of short lines is a minute of the department's processor.
 */
export function isLongText(catalog: CatalogType): boolean {
  if (/^(tiny|medium|long)?text$|^json$/.test(catalog.name)) return true;
  return catalog.name === 'varchar' && catalog.length > MOST_ESCAPED_THERE;
}

const MOST_ESCAPED_THERE = 1_000;

/** The bytes of a text in UTF-8. */
export function textSql(catalog: CatalogType, at: string): string {
  return catalog.charset !== undefined && !isConverted(catalog) ? at : `CONVERT(${at} USING utf8mb4)`;
}

/** The field of a line, as bytes with its escapes; null where the value is NULL. `at` is the quoted, qualified column. */
export function fieldSql(catalog: CatalogType, at: string): string {
  switch (catalog.name) {
    case 'tinyint':
      return catalog.text === 'tinyint(1)' ? `IF(${at} = 1, 't', 'f')` : integerSql(catalog, at);
    case 'smallint':
    case 'mediumint':
    case 'int':
    case 'bigint':
      return integerSql(catalog, at);
    case 'decimal':
      return isZerofill(catalog) ? `CAST(${at} AS DECIMAL(${catalog.precision},${catalog.scale}))` : at;
    case 'float':
    case 'double':
      // A FLOAT prints six digits only; its value as a double prints all of them. The product also drops a fixed number of decimals.
      return `${at} * 1e0`;
    case 'bit':
      return catalog.text === 'bit(1)'
        ? `IF(${at} = 1, 't', 'f')`
        : `LPAD(BIN(${at} + 0), ${/\d+/.exec(catalog.text)?.[0] ?? '1'}, '0')`;
    case 'year':
      return `${at} + 0`;
    case 'date':
      return at;
    case 'uuid':
    case 'inet4':
    case 'inet6':
      return `CAST(${at} AS CHAR)`;
    case 'time':
    case 'datetime':
      return trimmed(catalog, at);
    case 'timestamp':
      return `CONCAT(${trimmed(catalog, at)}, '+00')`;
    case 'binary':
    case 'varbinary':
    case 'tinyblob':
    case 'blob':
    case 'mediumblob':
    case 'longblob':
      return `CONCAT(0x5C5C78, LOWER(HEX(${at})))`;
    case 'char':
      // CHAR is read without its blanks; its text has them, as PostgreSQL's has.
      return escaped(catalog, `RPAD(${at}, ${catalog.length}, ' ')`);
    default:
      return escaped(catalog, at);
  }
}

/** What keeps a value of this column from being carried. */
export function refusalsOf(catalog: CatalogType, at: string): Refusal[] {
  const invalid = (when: string): Refusal[] => [{ when, code: 'VALUE_INVALID' }];
  switch (catalog.name) {
    case 'tinyint':
      return catalog.text === 'tinyint(1)' ? invalid(`${at} NOT IN (0, 1)`) : [];
    case 'date':
    case 'datetime':
    case 'timestamp':
      // Zero dates, zero months and days, 31 February. LAST_DAY of a zero date is NULL.
      return invalid(
        `${at} IS NOT NULL AND (DAYOFMONTH(${at}) BETWEEN 1 AND DAYOFMONTH(LAST_DAY(${at})) AND YEAR(${at}) > 0) IS NOT TRUE`,
      );
    case 'time':
      return invalid(`${at} NOT BETWEEN '00:00:00' AND '24:00:00'`);
    case 'enum':
      // The empty label number 0 stands where a value was refused without strict mode.
      return invalid(`${at} + 0 = 0`);
    default:
      return isConverted(catalog)
        ? [
            {
              // A character without an equal in UTF-8 becomes a question mark: what does not come back was altered.
              when: `${at} IS NOT NULL AND (${bytesOf(`CONVERT(CONVERT(${at} USING utf8mb4) USING ${catalog.charset})`)} = ${bytesOf(at)}) IS NOT TRUE`,
              code: 'TEXT_NOT_UTF8',
            },
          ]
        : [];
  }
}

/** The value as a literal that a column of this type can be compared with, so that the next step begins behind it. */
export function keyLiteral(catalog: CatalogType, text: string): string {
  switch (catalog.name) {
    case 'binary':
    case 'varbinary':
    case 'tinyblob':
    case 'blob':
    case 'mediumblob':
    case 'longblob':
      return `x'${text.slice(2)}'`;
    case 'tinyint':
    case 'bit':
      if (/^[tf]$/.test(text)) return text === 't' ? '1' : '0';
      return catalog.name === 'bit' ? `b'${text}'` : literal(text);
    case 'timestamp':
      return literal(text.replace(/\+00$/, ''));
    case 'enum':
    case 'set':
      return literal(text);
    default:
      if (catalog.charset === undefined || catalog.collation === undefined) return literal(text);
      return `CONVERT(${literal(text)} USING ${catalog.charset}) COLLATE ${catalog.collation}`;
  }
}

/** What a key column is sorted and compared by: enums and sets sort by number but compare with texts by label. */
export function sortSql(catalog: CatalogType, at: string): string {
  return catalog.name === 'enum' || catalog.name === 'set' ? bytesOf(at) : at;
}

function integerSql(catalog: CatalogType, at: string): string {
  return isZerofill(catalog) ? `CAST(${at} AS UNSIGNED)` : at;
}

/** Without zeros at the end of the fraction: `08:00:00.5`. */
function trimmed(catalog: CatalogType, at: string): string {
  return catalog.digits === 0 ? at : `TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM ${at}))`;
}

/** The four escapes of row text, over bytes: over characters MySQL would compare them one by one by collation. */
function escaped(catalog: CatalogType, text: string): string {
  const bytes = bytesOf(textSql(catalog, text));
  return `REPLACE(REPLACE(REPLACE(REPLACE(${bytes}, 0x5C, 0x5C5C), 0x09, 0x5C74), 0x0A, 0x5C6E), 0x0D, 0x5C72)`;
}

function isZerofill(catalog: CatalogType): boolean {
  return /zerofill/i.test(catalog.text);
}

function isConverted({ charset }: CatalogType): boolean {
  return charset !== undefined && !/^(utf8|utf8mb3|utf8mb4|ascii|binary)$/.test(charset);
}
