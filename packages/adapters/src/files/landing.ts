/**
 * Rows of a delivery as the content of files, one for each table: the journal's columns, then those that the table declares. Rows that the
 * table or its encoding cannot hold are isolated (R3 of adapter.ts), and later ones of their key wait behind them.
 */
import {
  type ColumnType,
  checkValue,
  type Kind,
  Matrix,
  type Outcome,
  QiaoError,
  type Section,
  splitRow,
} from '@qiao/exchange';
import type { ApplyWork, FilesTable, QuarantinedRow, TableRef, TargetTable } from '../adapter.ts';
import { linesOf } from '../lines.ts';
import { MOST_ISOLATED } from '../mark.ts';
import { tableOf } from './describe.ts';
import { type TextWriter, writerOf } from './encodings.ts';
import { csvWriter, jsonWriter, type RowWriter, type Value } from './rowWriters.ts';
import { MOST_ROWS, sheetWriter } from './sheet.ts';
import { canonical } from './values.ts';

export interface Landed {
  readonly matrix: Matrix;
  readonly isolated: readonly QuarantinedRow[];
  /** Content by name of the target table, of XLSX that of its sheet; only tables that rows landed in. */
  readonly contents: ReadonlyMap<string, Buffer>;
}

type Journal = Pick<ApplyWork, 'batchNo' | 'sourceDepartment' | 'appliedAtMs' | 'mostIsolated'>;

interface Refused {
  readonly code: string;
  readonly reason: string;
  readonly outcome: 'quarantined' | 'held';
}

const OPERATIONS: Readonly<Record<Kind, { letter: string; outcome: Outcome }>> = {
  insert: { letter: 'I', outcome: 'inserted' },
  update: { letter: 'U', outcome: 'updated' },
  delete: { letter: 'D', outcome: 'deleted' },
};
const BEHIND: Refused = { outcome: 'held', code: 'HELD', reason: 'an earlier change of the same key is open' };

/** Throws TARGET_SCHEMA, QUARANTINE_LIMIT, DELIVERY_INVALID. */
export function landRows(
  declared: Readonly<Record<string, FilesTable>>,
  tables: ReadonlyMap<string, TargetTable>,
  sections: readonly Section[],
  journal: Journal,
): Landed {
  const matrix = new Matrix();
  const isolated: QuarantinedRow[] = [];
  const files = new Map<string, TableFile>();
  const { mostIsolated = MOST_ISOLATED } = journal;
  for (const [at, section] of sections.entries()) {
    const target = tables.get(section.table);
    if (target === undefined) throw schemaError(`table ${section.table} has no target`);
    const name = target.ref.name;
    const file = files.get(name) ?? new TableFile(declaredTarget(declared, target.ref), target, journal);
    files.set(name, file);
    let index = 0;
    for (const line of linesOf(Buffer.from(section.rows))) {
      const refused = file.add(section, line.toString('utf8', 0, line.length - 1));
      matrix.add(section.table, section.kind, refused?.outcome ?? OPERATIONS[section.kind].outcome, 1);
      if (refused !== undefined) {
        if (isolated.length >= mostIsolated) throw tooMany(mostIsolated);
        isolated.push({ table: section.table, kind: section.kind, section: at, index, line, ...refused });
      }
      index++;
    }
  }
  const contents = [...files].flatMap(([name, file]) => (file.rows === 0 ? [] : [[name, file.content] as const]));
  return { matrix, isolated, contents: new Map(contents) };
}

/** The declaration of a table that rows land in. Throws TARGET_SCHEMA. */
export function declaredTarget(declared: Readonly<Record<string, FilesTable>>, ref: TableRef): FilesTable {
  const definition = tableOf(declared, ref);
  if (definition?.nature !== 'target') throw schemaError(`agent.yaml declares no table ${ref.name} of nature target`);
  return definition;
}

class TableFile {
  readonly #definition: FilesTable;
  readonly #rows: RowWriter;
  readonly #write: TextWriter;
  /** Texts of the journal's own columns but the operation. */
  readonly #journal: readonly string[];
  readonly #chunks: Buffer[] = [];
  readonly #isolatedKeys = new Set<string>();
  #section: Section | undefined;
  #places: readonly number[] = [];
  rows = 0;

  constructor(definition: FilesTable, target: TargetTable, journal: Journal) {
    this.#definition = definition;
    this.#write = writerOf(definition);
    const { operation, batchNo, sourceDepartment, appliedAt } = target.journalColumns;
    if (target.landing !== 'journal') throw schemaError(`${target.ref.name} is a table of files: it takes a journal`);
    this.#journal = [journal.batchNo, journal.sourceDepartment, instant(journal.appliedAtMs)];
    this.#rows = rowWriter(definition, [operation, batchNo, sourceDepartment, appliedAt]);
    const isWritten = this.#push(this.#rows.head);
    if (!isWritten)
      throw schemaError(`the header of ${target.ref.name} has characters that ${definition.encoding} does not have`);
  }

  get content(): Buffer {
    return Buffer.concat([...this.#chunks, Buffer.from(this.#rows.tail)]);
  }

  /** Why the row does not land; undefined when it did. */
  add(section: Section, line: string): Refused | undefined {
    const key = line.split('\t', section.keyColumns).join('\t');
    if (section.keyColumns > 0 && this.#isolatedKeys.has(key)) return BEHIND;
    const refused = this.#add(section, splitRow(line));
    if (refused === undefined) this.rows++;
    else if (section.keyColumns > 0) this.#isolatedKeys.add(key);
    return refused;
  }

  #add(section: Section, fields: readonly (string | null)[]): Refused | undefined {
    const { kind, columns, wholeRows, table } = section;
    if (fields.length !== columns.length) {
      throw new QiaoError(
        'DELIVERY_INVALID',
        `${table}: a line has ${fields.length} fields, its section ${columns.length} columns`,
      );
    }
    const { columns: declared, format } = this.#definition;
    const places = this.#placesOf(section);
    const values: Value[] = [];
    for (const [index, { name, type }] of declared.entries()) {
      const field = fields[places[index] as number];
      if (typeof field !== 'string') {
        values.push(field);
        continue;
      }
      const value = landingText(type, field);
      values.push(value);
      const why = checkValue(type, value) ?? this.#rows.refusal(type, value);
      if (why !== undefined) return invalid(`column ${name}: ${why}`);
    }
    if (!this.#rows.tellsUnsent && kind === 'update' && !wholeRows) {
      return {
        outcome: 'held',
        code: 'MISSING_BASE',
        reason: `columns that were not sent cannot be told from empty ones in ${format}`,
      };
    }
    if (format === 'xlsx' && this.rows >= MOST_ROWS - 1) return invalid(`a sheet has ${MOST_ROWS} rows at most`);
    return this.#push(this.#rows.row([OPERATIONS[kind].letter, ...this.#journal], values))
      ? undefined
      : invalid(`a character that ${this.#definition.encoding} does not have`);
  }

  /** Where the declared columns stand in the section's lines; -1: it does not bring them. */
  #placesOf(section: Section): readonly number[] {
    if (this.#section === section) return this.#places;
    const declared = this.#definition.columns.map(({ name }) => name);
    const unknown = section.columns.find((name) => !declared.includes(name));
    if (unknown !== undefined) throw schemaError(`agent.yaml declares no column ${unknown} for ${section.table}`);
    this.#section = section;
    this.#places = declared.map((name) => section.columns.indexOf(name));
    return this.#places;
  }

  #push(line: string): boolean {
    const bytes = this.#write(line);
    if (bytes !== undefined) this.#chunks.push(bytes);
    return bytes !== undefined;
  }
}

function rowWriter(definition: FilesTable, own: readonly string[]): RowWriter {
  const columns = { own, declared: definition.columns };
  switch (definition.format) {
    case 'csv':
      return csvWriter(definition.csv, columns);
    case 'jsonl':
      return jsonWriter(columns);
    case 'xlsx':
      return sheetWriter(definition.csv.header, columns);
  }
}

/** What `fit` calls exact, or the operator agreed to: a date is its midnight, a time without its zone is in UTC. */
function landingText(type: ColumnType, text: string): string {
  if (type.type !== 'timestamp') return canonical(type, text) ?? text;
  if (/^\d{4}-\d\d-\d\d$/.test(text)) return `${text} 00:00:00`;
  return text.endsWith('+00') ? text.slice(0, -3) : text;
}

function instant(ms: number): string {
  const text = new Date(ms).toISOString().replace('T', ' ');
  return `${text.replace(/\.?0*Z$/, '')}+00`;
}

function invalid(reason: string): Refused {
  return { outcome: 'quarantined', code: 'VALUE_INVALID', reason };
}

function tooMany(most: number): QiaoError {
  return new QiaoError('QUARANTINE_LIMIT', `more than ${most} rows of one delivery are refused`, {
    hint: 'this is rather a difference of the tables than of rows: qiao bridge check -f FILE, then start the bridge again',
  });
}

function schemaError(found: string): QiaoError {
  return new QiaoError('TARGET_SCHEMA', found, {
    hint: 'the target no longer is what the bridge was checked against: qiao bridge check -f FILE',
  });
}
