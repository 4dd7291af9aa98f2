/** How SQL Server's types travel: the server writes the text (CONVERT with a style), binary floats and bytes excepted. `TYPES.md` is this file for people. */
import type { ColumnType } from '@qiao/exchange';
import type { Travel } from '../source-only/reader.ts';
import {
  asIs,
  booleanText,
  bytesText,
  dateText,
  decimalText,
  float,
  instantText,
  integerText,
  timestampText,
  timeText,
  wellFormed,
  withoutZone,
} from '../source-only/values.ts';

/** A row of sys.columns with the system type under an alias. */
export interface CatalogType {
  /** `nvarchar`. */
  readonly name: string;
  /** Bytes; -1 for max. */
  readonly maxLength: number;
  readonly precision: number;
  readonly scale: number;
  readonly collation: string | undefined;
}

const MAX = -1;
const LONGEST = 2 ** 31;
const OFFSET_LOST = 'the instant travels, the offset that it was written with does not';

/** The type as the database writes it. */
export function nativeType({ name, maxLength, precision, scale }: CatalogType): string {
  switch (name) {
    case 'decimal':
    case 'numeric':
      return `${name}(${precision},${scale})`;
    case 'time':
    case 'datetime2':
    case 'datetimeoffset':
      return `${name}(${scale})`;
    case 'char':
    case 'varchar':
    case 'binary':
    case 'varbinary':
      return `${name}(${maxLength === MAX ? 'max' : maxLength})`;
    case 'nchar':
    case 'nvarchar':
      return `${name}(${maxLength === MAX ? 'max' : maxLength / 2})`;
    default:
      return name;
  }
}

/** Undefined for a type that cannot travel. */
export function travelOf(catalog: CatalogType): Travel | undefined {
  const { name, precision, scale } = catalog;
  const native = nativeType(catalog);
  switch (name) {
    case 'bigint':
      return numbers({ type: 'integer', bits: 64 }, native, integerText);
    case 'int':
      return numbers({ type: 'integer', bits: 32 }, native, integerText);
    case 'smallint':
      return numbers({ type: 'integer', bits: 16 }, native, integerText);
    case 'tinyint':
      return numbers({ type: 'integer', bits: 8, unsigned: true }, native, integerText);
    case 'decimal':
    case 'numeric':
      return numbers({ type: 'decimal', precision, scale }, native, (value) => decimalText(value, scale));
    case 'money':
    case 'smallmoney': {
      const type: ColumnType = { type: 'decimal', precision: name === 'money' ? 19 : 10, scale: 4 };
      // Style 2: four digits behind the point, where the usual two would round.
      return {
        ...numbers(type, native, (value) => decimalText(value, 4)),
        select: (at) => `CONVERT(varchar(40), ${at}, 2)`,
      };
    }
    case 'float':
    case 'real': {
      const bits = name === 'float' ? 64 : 32;
      return {
        type: { type: 'float', bits },
        // The driver reads the bits themselves.
        select: (at) => at,
        text: float(bits),
        compared: (text, bind) => bind(bits === 32 ? Math.fround(Number(text)) : Number(text)),
        mostBytes: 25,
      };
    }
    case 'bit':
      return {
        type: { type: 'boolean' },
        select: (at) => `CASE CONVERT(tinyint, ${at}) WHEN 1 THEN 't' WHEN 0 THEN 'f' END`,
        text: booleanText,
        compared: (text, bind) => `CONVERT(bit, ${bind(text === 't' ? '1' : '0')})`,
        mostBytes: 1,
      };
    case 'date':
      return times({ type: 'date' }, native, dateText, 23);
    case 'time':
      return times({ type: 'time', digits: scale }, native, timeText, 121);
    case 'datetime':
      return times({ type: 'timestamp', digits: 3 }, native, timestampText, 121);
    case 'smalldatetime':
      return times({ type: 'timestamp', digits: 0 }, native, timestampText, 120);
    case 'datetime2':
      return times({ type: 'timestamp', digits: scale }, native, timestampText, 121);
    case 'datetimeoffset':
      return {
        type: { type: 'timestamptz', digits: scale },
        select: (at) => `CONVERT(varchar(40), SWITCHOFFSET(${at}, '+00:00'), 121)`,
        text: instantText,
        compared: (text, bind) => `CONVERT(${native}, ${bind(`${withoutZone(text)} +00:00`)}, 121)`,
        mostBytes: 40,
        loses: OFFSET_LOST,
      };
    case 'char':
    case 'varchar':
    case 'nchar':
    case 'nvarchar':
      return texts(catalog);
    case 'text':
    case 'ntext':
    case 'xml':
      return {
        type: { type: 'text' },
        select: (at) => `CONVERT(nvarchar(max), ${at})`,
        text: wellFormed,
        // Of an xml it is the size of its parsed form, which is near its text.
        size: (at) => `DATALENGTH(${at})`,
        mostBytes: LONGEST,
      };
    case 'binary':
    case 'varbinary':
    case 'image': {
      const isLong = name === 'image' || catalog.maxLength === MAX;
      return {
        type: isLong ? { type: 'bytes' } : { type: 'bytes', maxBytes: catalog.maxLength },
        select: (at) => at,
        text: bytesText,
        ...(isLong
          ? { size: (at: string) => `DATALENGTH(${at})` }
          : { compared: (text, bind) => `CONVERT(${native}, ${bind(`0x${text.slice(2)}`)}, 1)` }),
        mostBytes: isLong ? LONGEST : 2 * catalog.maxLength,
      };
    }
    case 'timestamp':
      return rowversion;
    case 'uniqueidentifier':
      return {
        type: { type: 'uuid' },
        // As it is written: three of its groups lie in other order in its bytes.
        select: (at) => `LOWER(CONVERT(char(36), ${at}))`,
        text: asIs,
        compared: (text, bind) => `CONVERT(uniqueidentifier, ${bind(text)})`,
        mostBytes: 36,
      };
    default:
      return undefined;
  }
}

/** Its eight bytes as the number that they count up: so it has an order that every database shares. */
const rowversion: Travel = {
  type: { type: 'integer', bits: 64 },
  select: (at) => `CONVERT(varchar(20), CONVERT(bigint, ${at}))`,
  text: integerText,
  compared: (text, bind) => `CONVERT(binary(8), CONVERT(bigint, ${bind(text)}))`,
  mostBytes: 20,
};

function numbers(type: ColumnType, native: string, text: Travel['text']): Travel {
  return {
    type,
    select: (at) => `CONVERT(varchar(40), ${at})`,
    text,
    compared: (value, bind) => `CONVERT(${native}, ${bind(value)})`,
    mostBytes: 40,
  };
}

function times(type: ColumnType, native: string, text: Travel['text'], style: number): Travel {
  return {
    type,
    select: (at) => `CONVERT(varchar(40), ${at}, ${style})`,
    text,
    compared: (value, bind) => `CONVERT(${native}, ${bind(value)}, ${style})`,
    mostBytes: 40,
  };
}

/** As UTF-16, which holds every character of every code page. */
function texts({ name, maxLength, collation }: CatalogType): Travel {
  const isWide = name.startsWith('n');
  const isPadded = !name.includes('var');
  const isLong = maxLength === MAX;
  const length = isWide ? maxLength / 2 : maxLength;
  return {
    type: { type: 'text', ...(isLong ? {} : { maxLength: length }), ...(isPadded ? { padded: true } : {}) },
    select: (at) => `CONVERT(nvarchar(${isLong || length > 4_000 ? 'max' : 4_000}), ${at})`,
    text: wellFormed,
    ...(isLong
      ? { size: (at: string) => `DATALENGTH(${at})${isWide ? ' / 2' : ''}` }
      : // In the column's own type and collation: else an index would not serve.
        {
          compared: (text, bind) =>
            `CONVERT(${isWide ? 'nvarchar(4000)' : 'varchar(8000)'}, ${bind(text)}) COLLATE ${collation ?? 'DATABASE_DEFAULT'}`,
        }),
    mostBytes: isLong ? LONGEST : 4 * length,
  };
}
