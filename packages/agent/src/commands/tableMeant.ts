// What a bridge meant by a column that its source does not have.

import type { TableDescription } from '@qiao/adapters';
import { type BridgeTable, didYouMean, nearestName } from '@qiao/exchange';

/**
 * The table as it was most likely meant: in the place of a column that the source does not have, which is checkSource's finding already,
 * the nearest of those that the bridge does not carry yet. One slip of a pen is one finding; its hint goes into `hints`, by label.
 */
export function tableMeant(table: BridgeTable, { columns }: TableDescription, hints: Map<string, string>): BridgeTable {
  const known = new Set(columns.map(({ name }) => name));
  const left = [...known].filter((name) => !(table.columns ?? []).includes(name));
  const meant = (names: readonly string[]) =>
    names.flatMap((name) => {
      if (known.has(name)) return [name];
      hints.set(`${table.name}.${name}`, didYouMean(name, left.length > 0 ? left : [...known]));
      return nearestName(name, left) ?? [];
    });
  return {
    ...table,
    ...(table.columns === undefined ? {} : { columns: [...new Set(meant(table.columns))] }),
    ...(table.key === undefined ? {} : { key: [...new Set(meant(table.key))] }),
  };
}
