/** The books of a delivery while it lands: every row counted once, isolated rows kept with their place. */
import { Matrix, type Outcome, QiaoError, type Section } from '@qiao/exchange';
import type { QuarantinedRow } from './adapter.ts';
import { MOST_ISOLATED } from './mark.ts';
import { Lines } from './sectionLines.ts';
import type { Landed, LandedSections, SectionPort } from './sectionPort.ts';

/** Counts what landed, and collects isolated rows with their place in the delivery. */
export class Tally {
  readonly #sections: readonly Section[];
  readonly #mostIsolated: number;
  readonly #matrix = new Matrix();
  readonly #rows: QuarantinedRow[] = [];
  readonly #lines = new Map<number, Lines>();

  constructor({ sections, mostIsolated = MOST_ISOLATED }: Pick<SectionPort, 'sections' | 'mostIsolated'>) {
    this.#sections = sections;
    this.#mostIsolated = mostIsolated;
  }

  get isolated(): number {
    return this.#rows.length;
  }

  add(index: number, from: number, landed: Landed): void {
    const section = this.#sections[index] as Section;
    const add = (outcome: Outcome, rows: number) => {
      if (rows !== 0) this.#matrix.add(section.table, section.kind, outcome, rows);
    };
    for (const [outcome, rows] of landed.counts) {
      if (rows < 0) {
        throw new QiaoError('TARGET_BUSY', 'another session changed the same rows while they were counted', {
          fate: 'transient',
          hint: 'it is tried again; find out who else writes into the table if it stays',
        });
      }
      add(outcome, rows);
    }
    for (const line of landed.isolated) {
      if (this.#rows.length >= this.#mostIsolated) throw tooMany(this.#mostIsolated);
      let lines = this.#lines.get(index);
      if (lines === undefined) this.#lines.set(index, (lines = new Lines(section)));
      add(line.outcome, 1);
      this.#rows.push({
        table: section.table,
        kind: section.kind,
        section: index,
        ...line,
        index: from + line.index,
        line: lines.piece(from + line.index, from + line.index + 1).rows,
      });
    }
  }

  result(): LandedSections {
    return { matrix: this.#matrix, isolated: this.#rows.sort((a, b) => a.section - b.section || a.index - b.index) };
  }
}

export function tooMany(most: number): QiaoError {
  return new QiaoError('QUARANTINE_LIMIT', `more than ${most} rows of one delivery are refused`, {
    hint: 'this is rather a difference of the tables than of rows: qiao bridge check -f FILE, then start the bridge again',
  });
}
