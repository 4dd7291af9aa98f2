/**
 * A directory of files as a data source: each declared table is a folder of it. Ties describing, checking, reading and landing together and
 * closes what was opened through it.
 */
import { readdir } from 'node:fs/promises';
import { type Problem, QiaoError } from '@qiao/exchange';
import type {
  DataSource,
  DataSourceConfig,
  Probe,
  SnapshotOptions,
  SourceShape,
  SourceSnapshot,
  SourceTable,
  TableDescription,
  TableRef,
  Target,
  TargetTable,
} from '../adapter.ts';
import { checkSource } from './check.ts';
import { checkTarget } from './checkTarget.ts';
import { descriptionOf, tableOf } from './describe.ts';
import { folderOf, Settling, unreachable } from './folder.ts';
import { Ledger } from './ledger.ts';
import { FilesSnapshot } from './source.ts';
import { FilesTarget, Turn } from './target.ts';

export type FilesConfig = Extract<DataSourceConfig, { adapter: 'files' }>;

/** Opens nothing yet: `probe` tells whether the directory is there. */
export function openFiles(config: FilesConfig): DataSource {
  return new FilesDataSource(config);
}

class FilesDataSource implements DataSource {
  readonly name: string;
  readonly adapter = 'files';
  readonly #config: FilesConfig;
  readonly #settling: Settling;
  readonly #turn = new Turn();
  #ledger: Ledger | undefined;

  constructor(config: FilesConfig) {
    this.name = config.name;
    this.#config = config;
    this.#settling = new Settling(config.settledAfterMs);
  }

  async probe(): Promise<Probe> {
    const { directory, tables } = this.#config;
    try {
      for (const [name, definition] of Object.entries(tables)) await folderOf(directory, name, definition);
      await readdir(directory);
      return { reachable: true, version: `${Object.keys(tables).length} table(s) of files` };
    } catch (error) {
      const { code, message, hint } = unreachable(directory, error);
      return { reachable: false, code, message, hint };
    }
  }

  async tables(): Promise<TableRef[]> {
    return Object.keys(this.#config.tables).map((name) => ({ name }));
  }

  async describe(ref: TableRef): Promise<TableDescription | undefined> {
    const definition = tableOf(this.#config.tables, ref);
    if (definition === undefined) return undefined;
    return descriptionOf(ref.name, definition, async () => {
      const entries = await readdir(await folderOf(this.#config.directory, ref.name, definition));
      return entries.length === 0;
    });
  }

  checkSource(tables: readonly SourceTable[]): Promise<Problem[]> {
    return checkSource(this.#config.directory, this.#config.tables, tables);
  }

  checkTarget(tables: readonly TargetTable[], shapes: ReadonlyMap<string, SourceShape>): Promise<Problem[]> {
    return checkTarget(this.#config.directory, this.#config.tables, tables, shapes);
  }

  async snapshot(options: SnapshotOptions): Promise<SourceSnapshot> {
    const { directory, tables } = this.#config;
    return new FilesSnapshot(
      { directory, tables, settling: this.#settling, ledger: () => this.#openLedger() },
      options,
    );
  }

  /** The numbers of drops come from one ledger: nothing is numbered before what was read and comes after it. */
  async remainsOpen(): Promise<undefined> {
    return undefined;
  }

  async openTarget(): Promise<Target> {
    return new FilesTarget(this.#config.directory, this.#config.tables, this.#turn);
  }

  async createTable({ ref }: TargetTable): Promise<void> {
    if (tableOf(this.#config.tables, ref) !== undefined) return;
    throw new QiaoError('TABLE_MISSING', `agent.yaml declares no table ${ref.name} of this data source`, {
      hint: 'declare it under tables: of the data source',
    });
  }

  async close(): Promise<void> {
    this.#ledger?.close();
    this.#ledger = undefined;
  }

  #openLedger(): Ledger {
    this.#ledger ??= new Ledger(this.#config.ledger);
    return this.#ledger;
  }
}
