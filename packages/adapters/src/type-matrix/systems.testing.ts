/**
 * The three databases of the matrix: how a department's own client makes a table of every type, and how it reads one, without the adapter. What
 * a client prints is brought to canonical text here, in few words, so that reading and landing are judged by something else than themselves.
 */
import { type ColumnType, floatText } from '@qiao/exchange';
import type { Fixture } from '../contract-suite/fixture.ts';
import type { PairedColumn, TargetAdapter } from '../pairs.ts';
import type { MatrixColumn } from './column.testing.ts';
import { MYSQL_COLUMNS, MYSQL_UNSUPPORTED } from './mysql.testing.ts';
import { POSTGRES_COLUMNS, POSTGRES_TYPES, POSTGRES_UNSUPPORTED } from './postgres.testing.ts';
import { SQLITE_COLUMNS, SQLITE_UNSUPPORTED } from './sqlite.testing.ts';

export interface System {
  readonly adapter: TargetAdapter;
  readonly title: string;
  readonly columns: readonly MatrixColumn[];
  readonly unsupported: readonly string[];
  /** Settings of the department's session, and types that the columns need. */
  readonly prepare: string;
  /** Runs before values that a strict session would refuse. */
  readonly loosen?: string;
  /** SQL that a client reads a column with. */
  shown(column: MatrixColumn, name: string): string;
  /** What it printed, as canonical text. */
  canonical(column: MatrixColumn, printed: string): string;
}

export const SYSTEMS: readonly System[] = [
  {
    adapter: 'postgres',
    title: 'PostgreSQL',
    columns: POSTGRES_COLUMNS,
    unsupported: POSTGRES_UNSUPPORTED,
    prepare: `SET TimeZone = 'UTC'; SET IntervalStyle = 'iso_8601'; ${POSTGRES_TYPES}`,
    shown: (_, name) => name,
    canonical: (_, printed) => printed,
  },
  {
    adapter: 'mysql',
    title: 'MariaDB',
    columns: MYSQL_COLUMNS,
    unsupported: MYSQL_UNSUPPORTED,
    prepare: "SET SESSION time_zone = '+00:00'",
    loosen: "SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,ALLOW_INVALID_DATES'",
    shown({ sql, type }, name) {
      if (type.type === 'bytes') return `CONCAT('\\x', LOWER(HEX(${name})))`;
      if (type.type === 'boolean') return `ELT(${name} + 1, 'f', 't')`;
      if (type.type === 'float') return `CAST(${name} AS DOUBLE)`;
      if (type.type === 'text' && type.padded === true) return `RPAD(${name}, ${type.maxLength}, ' ')`;
      if (sql.startsWith('bit')) return `LPAD(BIN(${name} + 0), ${/\d+/.exec(sql)?.[0]}, '0')`;
      return sql === 'year' || sql.includes('zerofill') ? `${name} + 0` : name;
    },
    canonical({ type }, printed) {
      switch (type.type) {
        case 'float':
          return floatText(Number(printed), type.bits);
        case 'time':
        case 'timestamp':
          return withoutZeros(printed);
        case 'timestamptz':
          return `${withoutZeros(printed)}+00`;
        default:
          return printed;
      }
    },
  },
  {
    adapter: 'sqlite',
    title: 'SQLite',
    columns: SQLITE_COLUMNS,
    unsupported: SQLITE_UNSUPPORTED,
    prepare: 'SELECT 1',
    shown({ type }, name) {
      if (type.type === 'bytes') return `iif(${name} IS NULL, NULL, '\\x' || lower(hex(${name})))`;
      if (type.type === 'boolean') return `CASE ${name} WHEN 1 THEN 't' WHEN 0 THEN 'f' ELSE ${name} END`;
      return name;
    },
    canonical({ sql, type }, printed) {
      if (type.type === 'float') return floatText(Number(printed), type.bits);
      if (type.type !== 'decimal') return printed;
      const isReal = !sql.includes('TEXT') && !/^-?\d+$/.test(printed);
      return withScale(isReal ? plain(String(Number(printed))) : printed, type.scale);
    },
  },
];

/** One table with a key beyond 2^53 and a column of every type, `c0` to `cn`. */
export function tableOf(system: System, name: string): string {
  const columns = system.columns.map(({ sql }, index) => `c${index} ${sql}`);
  return `CREATE TABLE ${name} (id bigint NOT NULL PRIMARY KEY, ${columns.join(', ')})`;
}

export const FIRST_ID = 9_007_199_254_740_993n;

/** Row k holds the k-th value of every type. */
export async function fill(system: System, fixture: Pick<Fixture, 'sql'>, name: string): Promise<number> {
  const rows = Math.max(...system.columns.map(({ values }) => values.length));
  for (let row = 0; row < rows; row++) {
    const given = system.columns.map(({ values }) => values[row]?.[0] ?? 'NULL');
    await fixture.sql(`INSERT INTO ${name} VALUES (${FIRST_ID + BigInt(row)}, ${given.join(', ')})`);
  }
  return rows;
}

/** Each value that stays behind in a row of its own; as `column code`. */
export async function fillRefused(system: System, fixture: Pick<Fixture, 'sql'>, name: string): Promise<string[]> {
  if (system.loosen !== undefined) await fixture.sql(system.loosen);
  const expected: string[] = [];
  for (const [index, { refused = [] }] of system.columns.entries()) {
    for (const [sql, code] of refused) {
      await fixture.sql(`INSERT INTO ${name} (id, c${index}) VALUES (${1_000 + expected.length}, ${sql})`);
      expected.push(`c${index} ${code}`);
    }
  }
  return expected.toSorted();
}

/** The column as a target describes it. */
export function pairedColumn({ sql, type }: MatrixColumn): PairedColumn {
  // The server writes the sign that zeros in front imply.
  return { type, nativeType: sql.includes('zerofill') ? sql.replace('zerofill', 'unsigned zerofill') : sql };
}

/** What a column of this type prints for a value of an exact or lossy pair, in canonical text. */
export function landed(source: ColumnType, { sql, type }: MatrixColumn, text: string): string {
  switch (type.type) {
    case 'text':
      return type.padded === true ? text + ' '.repeat((type.maxLength ?? 0) - Array.from(text).length) : text;
    case 'decimal':
      if (!/^-?\d/.test(text)) return text;
      if (source.type === 'float') return text === '-0' ? '0' : plain(text);
      // A column of NUMERIC affinity without a scale keeps the number.
      return sql === 'DECIMAL' ? text.replace(/\.0*$|(?<=\.\d*[1-9])0+$/, '') : withScale(text, type.scale);
    case 'float':
      return floatText(Number(text), type.bits);
    case 'timestamp':
      if (source.type === 'date') return text.replace(/^(\S*\d)( BC)?$/, '$1 00:00:00$2');
      return text.replace('+00', '');
    default:
      return text;
  }
}

function withoutZeros(time: string): string {
  return time.includes('.') ? time.replace(/\.?0+$/, '') : time;
}

/** With exactly `scale` digits after the point; as it is where the type has no scale. */
function withScale(text: string, scale: number | undefined): string {
  if (scale === undefined) return text;
  const [whole = '', fraction = ''] = text.split('.');
  return scale <= 0 ? whole : `${whole}.${fraction.slice(0, scale).padEnd(scale, '0')}`;
}

/** A float's shortest text without its exponent. */
function plain(text: string): string {
  const [mantissa = '', exponent = '0'] = text.split('e');
  const [whole = '', fraction = ''] = mantissa.split('.');
  const shift = Number(exponent);
  const sign = whole.startsWith('-') ? '-' : '';
  const digits = whole.replace('-', '') + fraction;
  const point = whole.replace('-', '').length + shift;
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`;
  if (point >= digits.length) return sign + digits.padEnd(point, '0');
  return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
}
