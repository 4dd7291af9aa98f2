import type { ColumnType } from './columnType.ts';
/** Undefined when the canonical text fits the type, else why not. */
export function checkValue(type: ColumnType, text: string): string | undefined {
  throw new Error(String([type, text]));
}
/** A binary float as PostgreSQL prints it (shortest round trip). */
export function floatText(value: number, bits: 32 | 64): string {
  throw new Error(String([value, bits]));
}
