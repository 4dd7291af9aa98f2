// Where each table of a bridge lands, as the adapters want to hear it: names, key, ownership and landing out of the
// definition, columns out of what was really sent, or what the target itself has where nothing was said.

import { type DataSource, defaultJournalColumns, type TargetTable } from '@qiao/adapters';
import {
  type BridgeDefinition,
  type BridgeTable,
  type ColumnType,
  type Destination,
  leavingKey,
  leavingNames,
  parseFilter,
  QiaoError,
  type Section,
} from '@qiao/exchange';

export interface SentColumns {
  /** Names at the destination, key first when `key` is. */
  readonly columns: readonly { name: string; type: ColumnType }[];
  readonly key: readonly string[];
}

/** One table's target; `sent` says what travels. Throws DEFINITION_INVALID when the destination does not name the table. */
export function targetTable(destination: Destination, table: string, sent: SentColumns): TargetTable {
  const target = destination.tables[table];
  if (target === undefined) {
    throw new QiaoError('VERSION_REFUSED', `the bridge’s present version does not land table ${table} here`, {
      hint: 'qiao bridge show NAME  # the sender closes such a delivery with a void',
    });
  }
  return {
    table,
    ref: { ...(target.schema === undefined ? {} : { schema: target.schema }), name: target.to },
    key: sent.key,
    columns: sent.columns,
    ownership: typeof target.ownership === 'string' ? target.ownership : ownedRows(target.ownership.where),
    landing: target.landing,
    onDelete: target.onDelete,
    ...(target.markColumn === undefined ? {} : { markColumn: target.markColumn }),
    ...(target.conflict === undefined ? {} : { conflict: target.conflict }),
    journalColumns: target.journalColumns ?? defaultJournalColumns,
  };
}

function ownedRows(where: string) {
  const { filter, problem } = parseFilter(where);
  if (filter === undefined) {
    throw new QiaoError('DEFINITION_INVALID', `ownership: ${problem ?? 'the filter cannot be read'}`, {
      hint: 'qiao bridge check -f FILE',
    });
  }
  return filter;
}

/** Remembers what tables of one lane carry, so that a delivery without a table's rows still knows its key. */
export class TargetTables {
  readonly #sent = new Map<string, SentColumns>();
  readonly #described = new Map<string, SentColumns>();

  /**
   * Every table of the bridge at this destination. Asks the target only for tables whose key nobody has named yet.
   * Throws KEY_UNKNOWN when even the target has no key, VERSION_REFUSED for a section of a table the bridge does not land here.
   */
  async of(
    definition: BridgeDefinition,
    destination: Destination,
    sections: readonly Section[],
    source: DataSource,
  ): Promise<ReadonlyMap<string, TargetTable>> {
    for (const section of sections) this.#learn(section);
    const tables = new Map<string, TargetTable>();
    for (const table of definition.source.tables) {
      if (destination.tables[table.name] === undefined) continue;
      const sent = await this.#sentColumns(table, destination, source);
      tables.set(table.name, targetTable(destination, table.name, sent));
    }
    for (const { table } of sections) {
      if (!tables.has(table)) tables.set(table, targetTable(destination, table, { columns: [], key: [] }));
    }
    return tables;
  }

  #learn(section: Section): void {
    const before = this.#sent.get(section.table);
    const isWhole = section.wholeRows && section.kind !== 'delete';
    // Types are told by the target's own columns; what was sent only gives names, and a whole row names all of them.
    if (before !== undefined && !isWhole) return;
    this.#sent.set(section.table, {
      columns: section.columns.map((name) => ({ name, type: { type: 'text' } as const })),
      key: section.columns.slice(0, section.keyColumns),
    });
  }

  async #sentColumns(table: BridgeTable, destination: Destination, source: DataSource): Promise<SentColumns> {
    const learnt = this.#sent.get(table.name);
    if (learnt !== undefined) return learnt;
    const declared = declaredColumns(table);
    if (declared !== undefined) return declared;
    const held = this.#described.get(table.name);
    if (held !== undefined) return held;
    const target = destination.tables[table.name];
    const described =
      target === undefined
        ? undefined
        : await source.describe({ ...(target.schema === undefined ? {} : { schema: target.schema }), name: target.to });
    const key = leavingKey(table) ?? described?.primaryKey ?? [];
    if (key.length === 0 && target?.landing !== 'journal') {
      throw new QiaoError(
        'KEY_UNKNOWN',
        `table ${table.name} names no key in the bridge, and its target ${described === undefined ? 'does not exist' : 'has no primary key'}`,
        { hint: 'write key: [...] for the table in the bridge, or give the target a primary key' },
      );
    }
    const columns = (described?.columns ?? []).flatMap(({ name, type, generated }) =>
      generated || 'unsupported' in type ? [] : [{ name, type }],
    );
    const sent = { columns, key };
    this.#described.set(table.name, sent);
    return sent;
  }
}

/** Columns and key as the definition itself names them, as they leave; undefined when it leaves either to the source. */
export function declaredColumns(table: BridgeTable): SentColumns | undefined {
  const key = leavingKey(table);
  const names = leavingNames(table);
  if (key === undefined || names === undefined) return undefined;
  const columns = [...new Set([...key, ...names])].map((name) => ({ name, type: { type: 'text' } as const }));
  return { key, columns };
}
