import type { OutcomeCount } from '@qiao/contract/counts';
import type { Kind } from './kind.ts';
import type { Outcome, OutcomeCell } from './outcome.ts';
export class Matrix {
  static from(cells: Iterable<OutcomeCell>): Matrix {
    throw new Error(String(cells));
  }
  add(table: string, sent: Kind, outcome: Outcome, rows: number): void {
    throw new Error(String([table, sent, outcome, rows]));
  }
  merge(other: Matrix): void {
    throw new Error(String(other));
  }
  cells(): OutcomeCell[] {
    throw new Error();
  }
  total(table?: string, sent?: Kind): number {
    throw new Error(String([table, sent]));
  }
  openRows(): number {
    throw new Error();
  }
  contract(): OutcomeCount[] {
    throw new Error();
  }
}
