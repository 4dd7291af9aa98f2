// A receiver asks for whole rows: their digests are forgotten, so that the next scan finds them different and sends them whole. A key that no
// digest names gets one: the scan then finds that the source has no such row, and says so by a delete.

import { idText, QiaoError, type Section } from '@qiao/exchange';
import type { ExchangeDatabase } from '../exchange-database/index.ts';
import { KeyEncoder } from './keys.ts';

/** In place of the digest of a row that a destination asked for: no row has it. */
export const WANTED = '?';
/** Rows of one request, as the contract says. */
const ROWS_MAX = 1_000;

/**
 * Makes the rows travel whole with the next scan; returns how many keys were named. What is asked under another version of the bridge, for a
 * table or a key that it has not now, is passed over. One transaction. Throws ROWS_WANTED_INVALID, also where nothing else is left.
 */
export function wantRows(
  database: Pick<ExchangeDatabase, 'captures' | 'cursors' | 'digests' | 'logs' | 'transaction' | 'triggers'>,
  bridge: Uint8Array,
  sections: readonly Section[],
): number {
  const asked = sections.reduce((sum, { rowCount }) => sum + rowCount, 0);
  if (asked > ROWS_MAX) throw invalid(`${asked} keys at once; expected at most ${ROWS_MAX}`);
  return database.transaction(() => {
    let rows = 0;
    let passedOver: QiaoError | undefined;
    for (const section of sections) {
      const table = database.captures.table(bridge, section.table);
      if (table === undefined) {
        passedOver = invalid(`a table that bridge ${idText(bridge)} does not capture`);
        continue;
      }
      const layout = JSON.parse(table.keyLayout) as string[];
      const encoding = layout.pop() ?? '';
      if (section.kind !== 'delete' || JSON.stringify(layout) !== JSON.stringify(section.columns)) {
        passedOver = invalid(`another key of ${section.table} than (${layout.join(', ')})`);
        continue;
      }
      // They may lie below the position of a cursor: the next scan reads the whole table.
      database.cursors.forget(table.id);
      database.logs.owe(bridge, { code: 'LOG_ROWS', message: 'a destination asks for whole rows' });
      const keys = KeyEncoder.ofEncoding(encoding);
      const lines = Buffer.from(section.rows);
      const wanted = new Set<string>();
      for (let start = 0; start < lines.length; rows++) {
        const end = lines.indexOf(0x0a, start);
        wanted.add(keys.encode(lines, start, end));
        database.triggers.want(table.id, lines.toString('utf8', start, end));
        start = end + 1;
      }
      const known = database.digests.getMany(table.id, [...wanted]).size;
      database.captures.countDigests(table.id, wanted.size - known);
      // The destinations count as holding a version of them: what travels is an update, or a delete.
      database.digests.put(
        table.id,
        [...wanted].map((key) => ({ key, digest: WANTED, sent: true })),
      );
    }
    if (rows === 0 && passedOver !== undefined) throw passedOver;
    return rows;
  });
}

function invalid(found: string): QiaoError {
  return new QiaoError('ROWS_WANTED_INVALID', `a receiver asks for rows under ${found}`, {
    hint: 'compare the versions of the bridge at both ends: qiao bridge show NAME',
  });
}
