/**
 * What a scan reads and how each table leaves: tables described, transforms compiled, parents before children. Also brings
 * the digests in line with the bridge's present version.
 */
import type { DataSource, SnapshotTable, TableDescription } from '@qiao/adapters';
import {
  type BridgeDefinition,
  type BridgeTable,
  columnsToRead,
  type Hasher,
  parseId,
  QiaoError,
  type TableLayout,
} from '@qiao/exchange';
import type { DesiredBridge } from '../control/desired.ts';
import type { CaptureTable, ExchangeDatabase, TableLayouts } from '../exchange-database/index.ts';
import { type TableTransform, tableTransform } from '../transform/index.ts';
import { type PlannedCursor, planCursor } from './cursor.ts';
import { KeyEncoder } from './keys.ts';

export interface PlannedTable {
  readonly name: string;
  readonly definition: BridgeTable;
  /** With capture `cursor`. */
  readonly cursor: PlannedCursor | undefined;
  readonly read: SnapshotTable;
  readonly layout: TableLayout;
  readonly transform: TableTransform;
  readonly keys: KeyEncoder;
}

/** Digests dropped or forgotten in one transaction. */
const DROP_STEP = 20_000;

/**
 * Describes and compiles every table of the bridge; the result is in the order of inserts, parents first. Throws TABLE_MISSING,
 * KEYLESS_TABLE, TYPE_UNSUPPORTED, COLUMN_MISSING (permanent) or what the data source throws.
 */
export async function planTables(
  dataSource: DataSource,
  definition: BridgeDefinition,
  hasher: Hasher,
): Promise<PlannedTable[]> {
  const described: { name: string; description: TableDescription; planned: PlannedTable }[] = [];
  for (const table of definition.source.tables) {
    const ref = { ...(table.schema === undefined ? {} : { schema: table.schema }), name: table.name };
    const description = await dataSource.describe(ref);
    if (description === undefined) {
      throw new QiaoError(
        'TABLE_MISSING',
        `data source ${dataSource.name} has no table ${table.name} that this user may see`,
        {
          hint: `qiao agent datasource tables ${dataSource.name}`,
        },
      );
    }
    const key = table.key ?? description.primaryKey;
    if (key.length === 0) {
      throw new QiaoError('KEYLESS_TABLE', `table ${table.name} has no primary key and the bridge names no key`, {
        hint: 'name the key columns in the bridge: key: [...]',
      });
    }
    const available = description.columns.map((column) => column.name);
    const columns = columnsToRead(table, available, description.primaryKey).map((name) =>
      typed(table.name, description, name),
    );
    const transform = tableTransform(table, columns, description.primaryKey, hasher);
    const cursor = planCursor(dataSource, definition, table, description);
    const read: SnapshotTable = {
      ref,
      columns,
      keyColumns: key.length,
      ...(cursor === undefined ? {} : { cursor: { column: cursor.column, type: cursor.type } }),
    };
    const planned = {
      name: table.name,
      definition: table,
      cursor,
      read,
      layout: transform.layout,
      transform,
      keys: new KeyEncoder(transform.keyTypes),
    };
    described.push({ name: table.name, description, planned });
  }
  return parentsFirst(described);
}

function typed(table: string, description: TableDescription, name: string) {
  const column = description.columns.find((one) => one.name === name);
  if (column === undefined) {
    throw new QiaoError('COLUMN_MISSING', `table ${table} has no column ${name}`, {
      hint: 'qiao bridge check -f FILE',
    });
  }
  if ('unsupported' in column.type) {
    throw new QiaoError(
      'TYPE_UNSUPPORTED',
      `column ${name} of ${table} has type ${column.nativeType}, which cannot travel`,
      {
        hint: 'leave the column out of the bridge (columns:)',
      },
    );
  }
  return { name, type: column.type };
}

/** Tables in an order in which a row's parents come before it; a cycle keeps the order of the bridge. */
function parentsFirst(
  tables: readonly { name: string; description: TableDescription; planned: PlannedTable }[],
): PlannedTable[] {
  const left = new Map(tables.map((table) => [table.name, table]));
  const ordered: PlannedTable[] = [];
  while (left.size > 0) {
    const free = [...left.values()].filter(({ name, description }) =>
      description.foreignKeys.every(({ toTable }) => toTable.name === name || !left.has(toTable.name)),
    );
    const next = free.length > 0 ? free : [...left.values()].slice(0, 1);
    for (const { name, planned } of next) {
      ordered.push(planned);
      left.delete(name);
    }
  }
  return ordered;
}

/**
 * The digests' table for each planned table. Another column layout makes every row differ; another key layout drops the
 * digests and lets every lane of the bridge load anew, because old keys could not be named to the destinations. Throws
 * COLUMN_DROPPED (permanent) where the source, and no new version, took a column away.
 */
export async function alignDigests(
  database: ExchangeDatabase,
  bridge: Pick<DesiredBridge, 'bridgeId' | 'version'>,
  tables: readonly PlannedTable[],
): Promise<Map<string, CaptureTable>> {
  const bridgeId = parseId(bridge.bridgeId);
  const names = new Set(tables.map((table) => table.name));
  for (const { id, name } of database.captures.tables(bridgeId)) {
    if (!names.has(name)) await dropTable(database, id);
  }
  const layoutVersion = bridge.version;
  const aligned = new Map<string, CaptureTable>();
  for (const { name, layout: columns, keys } of tables) {
    const layout = JSON.stringify(columns.columns);
    const keyLayout = JSON.stringify([...columns.columns.slice(0, columns.keyColumns), keys.encoding]);
    const layouts = { layout, keyLayout, layoutVersion };
    let held = database.captures.table(bridgeId, name);
    if (held !== undefined) requireColumns(name, held, layouts);
    if (held !== undefined && held.keyLayout !== keyLayout) {
      database.transaction(() => reload(database, bridgeId));
      await dropTable(database, held.id);
      held = undefined;
    }
    if (held === undefined) {
      held = database.captures.addTable(bridgeId, name, layouts);
    } else if (held.layout !== layout) {
      // The layout last: a crash on the way begins again.
      while (database.digests.forgetSome(held.id, DROP_STEP) > 0) await new Promise(setImmediate);
      database.captures.setLayout(held.id, layouts);
    } else if (held.layoutVersion !== layoutVersion) {
      database.captures.setLayout(held.id, layouts);
    }
    aligned.set(name, held);
  }
  return aligned;
}

/** What has travelled and travels no more would stay at every destination as it was: only a new version may mean that. */
function requireColumns(table: string, before: TableLayouts, now: TableLayouts): void {
  if (before.layoutVersion !== now.layoutVersion) return;
  const columns = new Set(JSON.parse(now.layout) as string[]);
  const gone = (JSON.parse(before.layout) as string[]).filter((column) => !columns.has(column));
  if (gone.length === 0) return;
  throw new QiaoError(
    'COLUMN_DROPPED',
    `table ${table} has lost ${gone.join(', ')}, which the bridge carries: every destination would keep the old values`,
    {
      hint: 'put it back under its name, or say under columns: what travels from now on; then: qiao bridge deploy NAME -f FILE',
    },
  );
}

/** Forgets everything about a bridge that is captured here no more, in bounded transactions. */
export async function forgetBridge(database: ExchangeDatabase, bridgeId: Uint8Array): Promise<void> {
  for (const { id } of database.captures.tables(bridgeId)) await dropTable(database, id);
  database.captures.remove(bridgeId);
  database.logs.remove(bridgeId);
}

function reload(database: ExchangeDatabase, bridgeId: Uint8Array): void {
  for (const lane of database.lanesOut.ofBridge(bridgeId)) {
    if (lane.phase === 'streaming') database.lanesOut.setPhase(lane.lane, 'loading');
  }
}

async function dropTable(database: ExchangeDatabase, tableId: number): Promise<void> {
  while (database.digests.removeSome(tableId, DROP_STEP) > 0) await new Promise(setImmediate);
  database.captures.removeTable(tableId);
}
