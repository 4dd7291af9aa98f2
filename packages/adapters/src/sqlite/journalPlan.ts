/**
 * Rows that land as a journal: each one a new row with the journal's own columns (R8 of adapter.ts).
 */
import type { Kind, Outcome } from '@qiao/exchange';
import type { ApplyWork } from '../adapter.ts';
import { NOT_TOLD_FROM_NULL } from '../sectionPort.ts';
import type { TargetColumns } from './columns.ts';
import { EncodingPlan, type RowPlan, type RowRefusal, SKIPPED } from './rowPlan.ts';
import { type Connection, literal, quote } from './session.ts';
import type { StoredValue } from './values.ts';

export type Journal = Pick<ApplyWork, 'batchNo' | 'sourceDepartment' | 'appliedAtMs'>;

type Statement = ReturnType<Connection['prepare']>;

export class JournalPlan extends EncodingPlan implements RowPlan {
  readonly mayReplace = false;

  readonly #insert: Record<Kind, Statement>;

  constructor(target: TargetColumns, names: readonly string[], journal: Journal) {
    super(
      names.map((name) => target.column(name)),
      target.found.name,
    );
    const own = journalValues(target, journal);
    const insert = (operation: string) =>
      target.db.prepare(
        `INSERT OR ABORT INTO ${target.table} (${[...names, ...own.map(([name]) => name), target.target.journalColumns.operation].map(quote).join(', ')}) VALUES (${[...names.map(() => '?'), ...own.map(([, value]) => value), literal(operation)].join(', ')})`,
      );
    this.#insert = { insert: insert('I'), update: insert('U'), delete: insert('D') };
  }

  write(kind: Kind, values: StoredValue[], wholeRow: boolean): Outcome | RowRefusal {
    if (kind === 'update' && !wholeRow) return { ...NOT_TOLD_FROM_NULL, mayPass: false };
    if (this.#insert[kind].run(values).changes !== 1) return SKIPPED;
    return kind === 'insert' ? 'inserted' : kind === 'update' ? 'updated' : 'deleted';
  }

  giveUpValues(): boolean {
    return false;
  }

  isOrphan(): boolean {
    return false;
  }
}

/** The journal's own columns but the operation, as SQL literals of their column's class. */
function journalValues(target: TargetColumns, journal: Journal): [string, string][] {
  const { batchNo, sourceDepartment, appliedAt, processed } = target.target.journalColumns;
  const at = new Date(journal.appliedAtMs)
    .toISOString()
    .replace('T', ' ')
    .replace(/\.?0*Z$/, '');
  const typeOf = (name: string) => target.column(name).column.type.type;
  const processedType = typeOf(processed);
  return [
    [batchNo, literal(journal.batchNo)],
    [sourceDepartment, literal(journal.sourceDepartment)],
    [appliedAt, literal(typeOf(appliedAt) === 'timestamp' ? at : `${at}+00`)],
    [processed, processedType === 'text' ? "'0'" : '0'],
  ];
}
