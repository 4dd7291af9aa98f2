/**
 * The receipt's matrix: rows by table, sent kind and outcome. Whether it balances is for reconcile.ts to say.
 */
import type { OutcomeCount } from '@qiao/contract/counts';
import { safeCount } from './counts.ts';
import { QiaoError } from './errors.ts';
import { contractKind, KINDS, type Kind, kindOf } from './kind.ts';
import { contractOutcome, isOpen, OUTCOMES, type Outcome, type OutcomeCell, outcomeOf } from './outcome.ts';

/** Counts rows; cells of zero do not exist, and no cell is ever below zero. */
export class Matrix {
  readonly #tables = new Map<string, Map<string, OutcomeCell>>();

  static from(cells: Iterable<OutcomeCell>): Matrix {
    const matrix = new Matrix();
    for (const { table, sent, outcome, rows } of cells) matrix.add(table, sent, outcome, rows);
    return matrix;
  }

  /** Reads the cells of a receipt. Throws KIND_UNKNOWN, OUTCOME_UNKNOWN, COUNT_TOO_LARGE. */
  static ofContract(counts: readonly OutcomeCount[]): Matrix {
    return Matrix.from(
      counts.map(({ table, sent, outcome, rows }) => ({
        table,
        sent: kindOf(sent),
        outcome: outcomeOf(outcome),
        rows: safeCount(rows),
      })),
    );
  }

  /** Adds rows to a cell; a negative number takes rows away, when a row moves. Throws MATRIX_INVALID below zero. */
  add(table: string, sent: Kind, outcome: Outcome, rows: number): void {
    if (!Number.isSafeInteger(rows)) throw invalid(`${rows} rows`);
    const cells = this.#tables.get(table) ?? new Map<string, OutcomeCell>();
    const key = `${sent} ${outcome}`;
    const before = cells.get(key)?.rows ?? 0;
    const after = before + rows;
    if (after < 0 || !Number.isSafeInteger(after)) throw invalid(`${after} rows of ${sent} ${outcome}`);
    if (after === 0) cells.delete(key);
    else cells.set(key, { table, sent, outcome, rows: after });
    if (cells.size === 0) this.#tables.delete(table);
    else this.#tables.set(table, cells);
  }

  /** Adds every cell of another matrix. */
  merge(other: Matrix): void {
    for (const { table, sent, outcome, rows } of other.cells()) this.add(table, sent, outcome, rows);
  }

  /** The cells by table (code units), then kind, then outcome in the order of the books. */
  cells(): OutcomeCell[] {
    const cells = [...this.#tables.values()].flatMap((table) => [...table.values()].map((cell) => ({ ...cell })));
    return cells.sort(
      (a, b) =>
        (a.table < b.table ? -1 : a.table > b.table ? 1 : 0) ||
        KINDS.indexOf(a.sent) - KINDS.indexOf(b.sent) ||
        OUTCOMES.indexOf(a.outcome) - OUTCOMES.indexOf(b.outcome),
    );
  }

  /** Rows of everything, of a table, or of a table and a sent kind. */
  total(table?: string, sent?: Kind): number {
    return this.#sum(
      (cell) => (table === undefined || cell.table === table) && (sent === undefined || cell.sent === sent),
    );
  }

  /** Rows that wait. */
  openRows(): number {
    return this.#sum((cell) => isOpen(cell.outcome));
  }

  /** The cells for a receipt. */
  contract(): OutcomeCount[] {
    return this.cells().map(({ table, sent, outcome, rows }) => ({
      table,
      sent: contractKind(sent),
      outcome: contractOutcome(outcome),
      rows: BigInt(rows),
    }));
  }

  #sum(wanted: (cell: OutcomeCell) => boolean): number {
    let rows = 0;
    for (const cells of this.#tables.values()) {
      for (const cell of cells.values()) if (wanted(cell)) rows += cell.rows;
    }
    return rows;
  }
}

function invalid(found: string): QiaoError {
  return new QiaoError('MATRIX_INVALID', `Found ${found} in a receipt's matrix; expected whole numbers from 0.`);
}
