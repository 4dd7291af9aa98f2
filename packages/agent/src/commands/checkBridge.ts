// Preflight of a bridge's ends that lie on this node: the node's own fence, the data source, its tables, keys, rights and
// types. Every problem at once, nothing changed, no row read.

import type { ColumnDescription, DataSource, SourceShape, TableDescription, TargetTable } from '@qiao/adapters';
import { type CheckBridge, CheckProblem, type ColumnShape, TableShape } from '@qiao/contract/node';
import {
  areDisjoint,
  type BridgeDefinition,
  type BridgeTable,
  columnsToRead,
  columnTypeOf,
  compileTransform,
  cursorKind,
  type Destination,
  type Hasher,
  leavingKey,
  type Problem,
  parseBridgeJson,
} from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import { declaredColumns, targetTable } from '../apply/targetTables.ts';
import { lagProblem } from '../capture/cursor.ts';
import type { Desired } from '../control/desired.ts';
import { acceptProblems, exposeProblems, type Permissions } from '../control/permissions.ts';
import { EXCHANGE } from '../data-sources/settings.ts';
import { triggerOwner } from '../data-sources/triggers.ts';
import { distinct, OF_TABLES, problemsOf } from './findings.ts';
import { tableMeant } from './tableMeant.ts';

export interface CheckBridgePorts {
  readonly nodeId: string;
  readonly permissions: Permissions;
  /** Throws DATA_SOURCE_UNKNOWN. */
  open(dataSource: string): Promise<DataSource>;
  /** Hashes under this node's key. */
  readonly hasher: Hasher;
  /** Other bridges here, for two lanes into one table. */
  desired(): Desired | undefined;
}

export interface BridgeCheck {
  readonly problems: CheckProblem[];
  readonly tables: TableShape[];
}

export async function checkBridge(command: CheckBridge, ports: CheckBridgePorts): Promise<BridgeCheck> {
  let definition: BridgeDefinition;
  try {
    definition = parseBridgeJson(command.definitionJson);
  } catch (error) {
    return { problems: problemsOf(error, '').map(contractProblem), tables: [] };
  }
  const problems: Problem[] = [];
  let tables: TableShape[] = [];
  if (command.source) {
    const source = await checkSourceEnd(definition, ports);
    problems.push(...source.problems);
    tables = source.tables;
  }
  const shapes = command.sourceTables.length > 0 ? command.sourceTables : tables;
  for (const index of command.destinations) {
    problems.push(...(await checkDestinationEnd(definition, index, shapes, command.createMissing, ports)));
  }
  return { problems: problems.map(contractProblem), tables };
}

async function checkSourceEnd(
  definition: BridgeDefinition,
  ports: CheckBridgePorts,
): Promise<{ problems: Problem[]; tables: TableShape[] }> {
  const problems = exposeProblems(definition, ports.permissions);
  // What the node's file does not let out is not looked at: which tables and columns there are is the department's business.
  const denied = new Set(problems.map(({ path }) => path.replace(/\]\..*$/, ']')));
  const isOpen = (index: number) => !denied.has(`source.tables[${index}]`);
  const tables: TableShape[] = [];
  if (definition.source.tables.every((_table, index) => !isOpen(index))) return { problems, tables };
  try {
    const source = await ports.open(definition.source.dataSource);
    if (definition.source.capture === 'cursor' && source.remainsOpen === undefined) {
      const message = `data source ${source.name} (${source.adapter}) is not read by a cursor in this version`;
      problems.push({ code: 'CAPTURE_NOT_AVAILABLE', path: 'source.capture', message, hint: 'write capture: compare' });
    }
    if (definition.source.capture === 'log' && source.log === undefined) {
      const message = `the log of data source ${source.name} (${source.adapter}) is not read in this version`;
      problems.push({ code: 'CAPTURE_NOT_AVAILABLE', path: 'source.capture', message, hint: 'write capture: compare' });
    }
    const found = await source.checkSource(
      definition.source.tables
        .filter((_table, index) => isOpen(index))
        .map((table) => ({
          table: table.name,
          ref: refOf(table),
          ...(table.key === undefined ? {} : { key: table.key }),
          ...(table.columns === undefined ? {} : { columns: table.columns }),
          ...(table.cursor === undefined ? {} : { cursor: table.cursor.column }),
          ...(definition.source.capture === 'log' ? { log: true } : {}),
        })),
    );
    const hints = new Map<string, string>();
    for (const [index, table] of definition.source.tables.entries()) {
      if (!isOpen(index)) continue;
      const description = await source.describe(refOf(table));
      if (definition.source.capture === 'trigger' && description !== undefined) {
        problems.push(...(await triggerProblems(source, ports.nodeId, definition, table, `source.tables[${index}]`)));
      }
      // A missing table is checkSource's finding already.
      if (description === undefined) continue;
      problems.push(...cursorProblems(table, description, `source.tables[${index}].cursor`, ports.desired()?.timeZone));
      try {
        tables.push(shapeOf(tableMeant(table, description, hints), description, source.adapter, ports.hasher));
      } catch (error) {
        problems.push(...problemsOf(error, `source.tables[${index}]`));
      }
    }
    for (const { path, ...problem } of found) {
      const hint = problem.code === 'COLUMN_MISSING' ? hints.get(path) : undefined;
      problems.push({ ...problem, path: sourcePath(definition, path), hint: hint ?? problem.hint });
    }
  } catch (error) {
    problems.push(...problemsOf(error, 'source.dataSource'));
  }
  if (definition.source.capture === 'cursor') problems.push(NO_DELETES);
  return { problems: distinct(problems), tables };
}

/** What keeps the table's changes from being noted, and those that no trigger sees. */
async function triggerProblems(
  { triggers, adapter }: DataSource,
  nodeId: string,
  { name, source }: BridgeDefinition,
  table: BridgeTable,
  path: string,
): Promise<Problem[]> {
  if (triggers === undefined) {
    const message = `${adapter} has no triggers`;
    return [{ code: 'CAPTURE_NOT_AVAILABLE', path: 'source.capture', message, hint: 'write capture: compare' }];
  }
  try {
    const owner = triggerOwner(nodeId, source.dataSource);
    const plan = await triggers.plan({ table: table.name, ref: refOf(table), key: table.key, owner });
    const state = await triggers.state(plan);
    const blind = plan.blind.map((problem) => ({ ...problem, path }));
    if (state.kind === 'ready') return blind;
    const hint = `on node ${source.node}: qiao agent triggers show --file ${name}.yaml, then install`;
    return [{ code: state.code, path, message: state.message, hint }, ...blind];
  } catch (error) {
    return problemsOf(error, path).filter(({ code }) => !OF_TABLES.has(code));
  }
}

const NO_DELETES: Problem = {
  code: 'CURSOR_NO_DELETES',
  path: 'source.capture',
  message: 'capture cursor brings new and updated rows only: rows deleted at the source stay at the destinations',
  hint: 'remove them from time to time by qiao bridge resync NAME, or write capture: compare',
  warning: true,
};

/** What the bridge says of a cursor, held against its column; what the database says of it is checkSource's finding. */
function cursorProblems(
  { cursor }: BridgeTable,
  { columns }: TableDescription,
  path: string,
  platformZone: string | undefined,
): Problem[] {
  const column = columns.find(({ name }) => name === cursor?.column);
  if (cursor === undefined || column === undefined || 'unsupported' in column.type) return [];
  const kind = cursorKind(column.type);
  const problem = kind === undefined ? undefined : lagProblem(cursor, kind);
  const problems: Problem[] = [];
  if (problem !== undefined) {
    problems.push({
      code: 'CURSOR_LAG',
      path: `${path}.lag`,
      message: `found ${problem}`,
      hint: 'correct lag:, or leave it out',
    });
  }
  const isWithoutZone = kind === 'time' && column.type.type !== 'timestamptz';
  if (isWithoutZone && cursor.timeZone === undefined && platformZone !== 'UTC') {
    problems.push({
      code: 'CURSOR_ZONE',
      path: `${path}.timeZone`,
      message: `column ${column.name} keeps no time zone: each scan reads again as many hours as UTC and ${platformZone ?? 'the platform’s zone'} are apart`,
      hint: `write timeZone: ${platformZone ?? 'ZONE'}, or UTC, whichever the column is written in`,
      warning: true,
    });
  }
  return problems;
}

/** A table as it will be carried: after its transforms, key first. */
function shapeOf(table: BridgeTable, description: TableDescription, adapter: string, hasher: Hasher): TableShape {
  const byName = new Map(description.columns.map((column) => [column.name, column]));
  const available = description.columns.filter(({ type }) => !('unsupported' in type)).map(({ name }) => name);
  const read = columnsToRead(table, available, description.primaryKey).flatMap((name) => {
    const type = byName.get(name)?.type;
    if (type === undefined || 'unsupported' in type) return [];
    return [{ name, type, nullable: byName.get(name)?.nullable === true }];
  });
  const { layout, types, nullable, unaltered } = compileTransform(table, read, description.primaryKey, hasher);
  return TableShape.fromPartial({
    table: table.name,
    columns: layout.columns.map((name, index) => ({
      name,
      typeJson: JSON.stringify(types[index]),
      nullable: nullable[index] === true,
      ...storedAs(adapter, byName.get(unaltered[index] ?? '')),
    })),
    key: layout.columns.slice(0, layout.keyColumns),
  });
}

function storedAs(adapter: string, column: ColumnDescription | undefined): Pick<ColumnShape, 'adapter' | 'nativeType'> {
  return column === undefined ? { adapter: '', nativeType: '' } : { adapter, nativeType: column.nativeType };
}

async function checkDestinationEnd(
  definition: BridgeDefinition,
  index: number,
  shapes: readonly TableShape[],
  createMissing: boolean,
  ports: CheckBridgePorts,
): Promise<Problem[]> {
  const path = `destinations[${index}]`;
  const destination = definition.destinations[index];
  if (destination === undefined) {
    return [
      {
        code: 'DESTINATION_UNKNOWN',
        path,
        message: `the bridge has ${definition.destinations.length} destination(s)`,
        hint: 'qiao bridge show NAME',
      },
    ];
  }
  const problems = acceptProblems(definition, index, ports.permissions);
  const denied = new Set(problems.map((problem) => problem.path));
  const isOpen = (table: string) => !denied.has(`${path}.tables.${table}`);
  problems.push(...overlaps(definition, destination, path, ports));
  if (Object.keys(destination.tables).every((table) => !isOpen(table))) return distinct(problems);
  try {
    const source = await ports.open(destination.dataSource);
    const targets: TargetTable[] = [];
    const sourceShapes = new Map<string, SourceShape>();
    const unknown = new Set<BridgeTable>();
    for (const table of definition.source.tables) {
      // As at the source: what the node's file does not let in is not looked at.
      if (destination.tables[table.name] === undefined || !isOpen(table.name)) continue;
      const shape = shapes.find((one) => one.table === table.name);
      const columns = shape?.columns.map(({ name, typeJson, nullable, adapter, nativeType }) => ({
        name,
        type: columnTypeOf(typeJson),
        nullable,
        stored: adapter === '' ? undefined : { adapter, nativeType },
      }));
      if (columns !== undefined) sourceShapes.set(table.name, { columns });
      const sent =
        columns === undefined || shape === undefined
          ? declaredColumns(table)
          : { columns: columns.map(({ name, type }) => ({ name, type })), key: shape.key };
      if (sent === undefined) unknown.add(table);
      targets.push(targetTable(destination, table.name, sent ?? { columns: [], key: leavingKey(table) ?? [] }));
    }
    const absent = destination.dataSource === EXCHANGE ? await absentTables(source, targets) : [];
    const found = await source.checkTarget(
      targets.filter((target) => !absent.includes(target)),
      sourceShapes,
    );
    // A source that could not be asked is a problem of its own: nothing is said to be missing in what it would send.
    const isKnown = ({ code, path: label }: Problem) => {
      const table = definition.source.tables[tableIndex(definition, label)];
      if (table === undefined || !unknown.has(table)) return true;
      return (
        code !== 'COLUMN_REQUIRED' &&
        code !== 'CONFLICT_COLUMN_MISSING' &&
        !(code === 'KEY_NOT_UNIQUE' && table.key === undefined)
      );
    };
    problems.push(
      ...found.filter(isKnown).map((problem) => ({ ...problem, path: `${path}.${problem.path || 'dataSource'}` })),
    );
    const isBlocked = problems.some(({ warning }) => warning !== true);
    for (const target of absent) {
      if (createMissing && !isBlocked) {
        await source.createTable(target);
        crashPoint('table.created');
      } else problems.push(willBeMade(target, path));
    }
  } catch (error) {
    problems.push(...problemsOf(error, path));
  }
  return distinct(problems);
}

/** Adapters name a table by its label, `<label>` or `<label>.<column>`. */
function tableIndex(definition: BridgeDefinition, path: string): number {
  return definition.source.tables.findIndex(({ name }) => path === name || path.startsWith(`${name}.`));
}

/** The exchange tables are the node's own, so those that a bridge needs are made for it, with exactly the columns that travel. */
async function absentTables(source: DataSource, targets: readonly TargetTable[]): Promise<TargetTable[]> {
  const described = await Promise.all(targets.map(({ ref }) => source.describe(ref)));
  return targets.filter((target, index) => described[index] === undefined && target.columns.length > 0);
}

function willBeMade({ table, ref }: TargetTable, path: string): Problem {
  return {
    code: 'TABLE_WILL_BE_MADE',
    path: `${path}.${table}`,
    message: `the exchange table ${ref.name} does not exist yet; deploying the bridge makes it`,
    hint: 'nothing to do, or make it yourself with other columns before you deploy',
    warning: true,
  };
}

/** Two lanes into one table must own rows that are provably disjoint, or one would remove what the other brought. */
function overlaps(
  definition: BridgeDefinition,
  destination: Destination,
  path: string,
  ports: CheckBridgePorts,
): Problem[] {
  const problems: Problem[] = [];
  for (const bridge of ports.desired()?.bridges.values() ?? []) {
    if (bridge.name === definition.name) continue;
    for (const lane of bridge.lanes) {
      const other = lane.destination;
      if (lane.receiverId !== ports.nodeId || lane.ended || other?.dataSource !== destination.dataSource) continue;
      for (const [source, target] of Object.entries(destination.tables)) {
        for (const theirs of Object.values(other.tables)) {
          const isSame =
            theirs.to === target.to && schemaOf(theirs, ports, other) === schemaOf(target, ports, destination);
          if (!isSame || theirs.ownership === 'none' || target.ownership === 'none') continue;
          if (areDisjoint(theirs.ownership, target.ownership)) continue;
          problems.push({
            code: 'OWNERSHIP_OVERLAP',
            path: `${path}.tables.${source}`,
            message: `bridge ${bridge.name} writes ${target.to} too, and the rows that the two own are not provably apart`,
            hint: 'write ownership: {where: …} on one same column in both bridges, or ownership: none',
          });
        }
      }
    }
  }
  return problems;
}

function schemaOf(target: { schema?: string }, ports: CheckBridgePorts, destination: Destination): string | undefined {
  return target.schema ?? ports.permissions.defaultSchema(destination.dataSource);
}

function refOf(table: BridgeTable) {
  return { ...(table.schema === undefined ? {} : { schema: table.schema }), name: table.name };
}

/** People read the definition, not labels. */
function sourcePath(definition: BridgeDefinition, path: string): string {
  const index = tableIndex(definition, path);
  const table = definition.source.tables[index];
  if (table === undefined) return `source.${path || 'dataSource'}`;
  const column = path.slice(table.name.length + 1);
  return column === '' ? `source.tables[${index}]` : `source.tables[${index}].${column}`;
}

function contractProblem({ code, path, message, hint, warning }: Problem): CheckProblem {
  return CheckProblem.fromPartial({ code, path, message, hint, warning: warning ?? false });
}
