/** Logical types. */
export type ColumnType =
  | { type: 'integer'; bits: 16 | 32 | 64; unsigned?: boolean }
  | { type: 'decimal'; precision?: number; scale?: number }
  | { type: 'float'; bits: 32 | 64 }
  | { type: 'boolean' }
  | { type: 'text'; maxLength?: number; padded?: boolean }
  | { type: 'bytes'; maxBytes?: number }
  | { type: 'date' }
  | { type: 'time'; digits: number }
  | { type: 'timestamp'; digits: number }
  | { type: 'timestamptz'; digits: number }
  | { type: 'uuid' }
  | { type: 'json' }
  | { type: 'native'; system: 'postgres'; name: string };
