/** For tests only: lands one delivery in a share, in a process that a crash point kills (QIAO_CRASH_AT). */
import { join } from 'node:path';
import { defaultJournalColumns } from '../adapter.ts';
import { Lane, section } from '../contract-suite/fixture.ts';
import { openFiles } from './dataSource.ts';

const text = { type: 'text' } as const;
const names = ['id', 'name', 'amount', 'good', 'more'];
const root = process.argv[2] ?? '';
const source = openFiles({
  name: 'share',
  adapter: 'files',
  directory: join(root, 'share'),
  ledger: join(root, 'ledger.db'),
  settledAfterMs: 0,
  tables: {
    t: {
      nature: 'target',
      format: 'csv',
      encoding: 'utf-8',
      csv: { delimiter: ',', header: true, null: '' },
      columns: names.map((name) => ({ name, type: text })),
      key: [],
    },
  },
});
const target = await source.openTarget();
await target.prepare();
const lane = new Lane([
  {
    table: 't',
    ref: { name: 't' },
    key: ['id'],
    columns: names.map((name) => ({ name, type: text })),
    ownership: 'none',
    landing: 'journal',
    onDelete: 'delete',
    journalColumns: defaultJournalColumns,
  },
]);
await target.apply(lane.opening());
const row = ['9007199254740993', '张"三,\n', '12.50', 't', '{"a": [1.0]}'];
await target.apply(lane.next([section('t', 'insert', names, [row])]));
