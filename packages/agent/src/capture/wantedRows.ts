// A receiver asks for whole rows: their digests are forgotten, so that the next scan finds them different and sends them whole. A key that no
// digest names gets one: the scan then finds that the source has no such row, and says so by a delete.

import { idText, QiaoError, type Section } from '@qiao/exchange';
import type { ExchangeDatabase } from '../exchange-database/index.ts';
import { KeyEncoder } from './keys.ts';

/** Makes the rows travel whole with the next scan; returns how many keys were named. One transaction. Throws ROWS_WANTED_INVALID. */
export function wantRows(
  database: Pick<ExchangeDatabase, 'captures' | 'digests' | 'transaction'>,
  bridge: Uint8Array,
  sections: readonly Section[],
): number {
  return database.transaction(() => {
    let rows = 0;
    for (const section of sections) {
      const table = database.captures.table(bridge, section.table);
      if (table === undefined) throw invalid(`table ${section.table}, which bridge ${idText(bridge)} does not capture`);
      const layout = JSON.parse(table.keyLayout) as string[];
      const encoding = layout.pop() ?? '';
      if (section.kind !== 'delete' || JSON.stringify(layout) !== JSON.stringify(section.columns)) {
        throw invalid(`the key (${section.columns.join(', ')}) of ${section.table}; expected (${layout.join(', ')})`);
      }
      const keys = KeyEncoder.ofEncoding(encoding);
      const lines = Buffer.from(section.rows);
      for (let start = 0; start < lines.length; ) {
        const end = lines.indexOf(0x0a, start);
        const key = keys.encode(lines, start, end);
        if (database.digests.get(table.id, key) === undefined) database.captures.countDigests(table.id, 1);
        // The destinations count as holding a version of it: what travels is an update, or a delete.
        database.digests.put(table.id, [{ key, digest: '', sent: true }]);
        rows += 1;
        start = end + 1;
      }
    }
    return rows;
  });
}

function invalid(found: string): QiaoError {
  return new QiaoError('ROWS_WANTED_INVALID', `a receiver asks for rows under ${found}`, {
    hint: 'compare the versions of the bridge at both ends: qiao bridge show NAME',
  });
}
