/** Ranges of numbers, dates and times, compared exactly: no value passes through a binary number but binary numbers themselves. */
import { type ColumnType, typeText } from '../columnType.ts';
import { comparable, compareValues, literalProblem } from '../compareValues.ts';

/** Both are inside. */
export interface Bounds {
  least?: string;
  most?: string;
}

/** A string says what column or bound is expected. */
export function compileRange(
  { least, most }: Bounds,
  type: ColumnType,
): ((value: string | null) => 'RANGE_OUTSIDE' | undefined) | string {
  switch (type.type) {
    case 'integer':
    case 'decimal':
    case 'float':
    case 'date':
    case 'time':
    case 'timestamp':
    case 'timestamptz':
      break;
    case 'text':
    case 'boolean':
    case 'bytes':
    case 'uuid':
    case 'json':
    case 'native':
      return `a column of numbers, dates or times, found ${typeText(type)}; write cast: before`;
    default:
      return type satisfies never;
  }
  for (const bound of [least, most]) {
    const problem = bound === undefined ? undefined : literalProblem(type, bound);
    if (problem !== undefined) return `bounds of ${typeText(type)}: ${problem}, found ${bound}`;
  }
  const low = least === undefined ? undefined : comparable(type, least);
  const high = most === undefined ? undefined : comparable(type, most);
  return (text) => {
    if (text === null) return undefined;
    const value = comparable(type, text);
    const isInside =
      (low === undefined || compareValues(value, low) >= 0) && (high === undefined || compareValues(value, high) <= 0);
    return isInside ? undefined : 'RANGE_OUTSIDE';
  };
}
