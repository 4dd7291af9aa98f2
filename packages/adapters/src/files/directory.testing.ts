/** A department's share for tests: a directory of its own, and data sources over it. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseTypeText, splitRow } from '@qiao/exchange';
import type { DataSource, FilesTable, RefusedRows, SnapshotTable } from '../adapter.ts';
import { openFiles } from './dataSource.ts';

/** A declared table in few words; types by their text. */
export function table(
  nature: FilesTable['nature'],
  columns: Readonly<Record<string, string>>,
  changes: Partial<FilesTable> = {},
): FilesTable {
  const typed = Object.entries(columns).map(([name, text]) => {
    const type = parseTypeText(text);
    if (type === undefined) throw new Error(`${text} is no type`);
    return { name, type };
  });
  return {
    nature,
    format: 'csv',
    encoding: 'utf-8',
    csv: { delimiter: ',', header: true, null: '' },
    columns: typed,
    key: nature === 'state' ? typed.slice(0, 1).map(({ name }) => name) : [],
    ...changes,
  };
}

export class Share implements AsyncDisposable {
  readonly root = mkdtempSync(join(tmpdir(), 'qiao-files-'));
  readonly directory = join(this.root, 'share');
  readonly #open: DataSource[] = [];

  constructor() {
    mkdirSync(this.directory);
  }

  /** As an agent that starts: nothing is remembered but what is on disk. */
  open(tables: Readonly<Record<string, FilesTable>>, settledAfterMs = 0): DataSource {
    const source = openFiles({
      name: 'share',
      adapter: 'files',
      directory: this.directory,
      ledger: join(this.root, 'agent/files/share.db'),
      settledAfterMs,
      tables,
    });
    for (const [name, { folder = name }] of Object.entries(tables)) {
      mkdirSync(join(this.directory, folder), { recursive: true });
    }
    this.#open.push(source);
    return source;
  }

  write(file: string, content: string | Uint8Array): void {
    const path = join(this.directory, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const source of this.#open) await source.close();
    rmSync(this.root, { recursive: true });
  }
}

export interface Reading {
  readonly rows: (string | null)[][];
  readonly refused: RefusedRows[];
  /** What the reading ended with, when it failed. */
  readonly failure?: { readonly code: string; readonly message: string };
}

/** Reads a table whole, or from a value of its cursor on. */
export async function read(
  source: DataSource,
  name: string,
  { columns, since, maxMs = 60_000, keys }: { columns?: string[]; since?: string; maxMs?: number; keys?: Buffer } = {},
): Promise<Reading> {
  await using snapshot = await source.snapshot({ signal: new AbortController().signal, maxMs });
  const wanted = await wantedOf(source, name, columns);
  const cursor = since === undefined ? {} : { cursor: { column: 'qiao_file_no', type: NUMBER, since } };
  const rows: (string | null)[][] = [];
  const refused: RefusedRows[] = [];
  try {
    for await (const chunk of snapshot.rows({ ...wanted, ...cursor, ...(keys && { keys }) })) {
      const lines = chunk.rows.toString().split('\n').slice(0, -1);
      if (chunk.rowCount !== lines.length)
        throw new Error(`a chunk says ${chunk.rowCount} rows, and has ${lines.length}`);
      rows.push(...lines.map((line) => splitRow(line)));
      refused.push(...(chunk.refused ?? []));
    }
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return { rows, refused, failure: { code, message } };
  }
  return { rows, refused };
}

const NUMBER = { type: 'integer', bits: 64 } as const;

export async function wantedOf(source: DataSource, name: string, columns?: readonly string[]): Promise<SnapshotTable> {
  const description = await source.describe({ name });
  if (description === undefined) throw new Error(`there is no table ${name}`);
  const key = description.primaryKey;
  const others = columns ?? description.columns.map((column) => column.name);
  const names = [...key, ...others.filter((one) => !key.includes(one))];
  return {
    ref: { name },
    keyColumns: key.length,
    columns: names.map((one) => {
      const type = description.columns.find((column) => column.name === one)?.type;
      if (type === undefined || 'unsupported' in type) throw new Error(`there is no column ${one}`);
      return { name: one, type };
    }),
  };
}
