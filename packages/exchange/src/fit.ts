import type { ColumnType } from './columnType.ts';
export type Fit = { kind: 'exact' } | { kind: 'lossy'; why: string } | { kind: 'refused'; why: string };
export function fit(source: ColumnType, target: ColumnType): Fit {
  throw new Error(String([source, target]));
}
