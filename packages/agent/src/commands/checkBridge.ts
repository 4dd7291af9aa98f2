// Preflight of a bridge's ends that lie on this node: the node's own fence, the data source, its tables, keys, rights and
// types. Every problem at once, nothing changed, no row read.

import type { DataSource, SourceShape, TableDescription, TargetTable } from '@qiao/adapters';
import { type CheckBridge, CheckProblem, TableShape } from '@qiao/contract/node';
import {
  areDisjoint,
  type BridgeDefinition,
  type BridgeTable,
  type ColumnType,
  columnsToRead,
  compileTransform,
  type Destination,
  type Problem,
  ProblemsError,
  parseBridgeJson,
  QiaoError,
} from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import { declaredColumns, renamed, targetTable } from '../apply/targetTables.ts';
import type { Desired } from '../control/desired.ts';
import { acceptProblems, exposeProblems, type Permissions } from '../control/permissions.ts';
import { EXCHANGE } from '../data-sources/settings.ts';

export interface CheckBridgePorts {
  readonly nodeId: string;
  readonly permissions: Permissions;
  /** Throws DATA_SOURCE_UNKNOWN. */
  open(dataSource: string): Promise<DataSource>;
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
    const found = await source.checkSource(
      definition.source.tables
        .filter((_table, index) => isOpen(index))
        .map((table) => ({
          table: table.name,
          ref: refOf(table),
          ...(table.key === undefined ? {} : { key: table.key }),
          ...(table.columns === undefined ? {} : { columns: table.columns }),
        })),
    );
    problems.push(...found.map((problem) => ({ ...problem, path: sourcePath(definition, problem.path) })));
    for (const [index, table] of definition.source.tables.entries()) {
      if (!isOpen(index)) continue;
      const description = await source.describe(refOf(table));
      // A missing table is checkSource's finding already.
      if (description === undefined) continue;
      try {
        tables.push(shapeOf(table, description));
      } catch (error) {
        problems.push(...problemsOf(error, `source.tables[${index}]`));
      }
    }
  } catch (error) {
    problems.push(...problemsOf(error, 'source.dataSource'));
  }
  return { problems: distinct(problems), tables };
}

/** A table as it will be carried: after renames, key first. */
function shapeOf(table: BridgeTable, description: TableDescription): TableShape {
  const byName = new Map(description.columns.map((column) => [column.name, column]));
  const available = description.columns.filter(({ type }) => !('unsupported' in type)).map(({ name }) => name);
  const read = columnsToRead(table, available, description.primaryKey).flatMap((name) => {
    const type = byName.get(name)?.type;
    return type === undefined || 'unsupported' in type ? [] : [{ name, type }];
  });
  const { layout, types } = compileTransform(table, read, description.primaryKey);
  const nullable = new Set(
    description.columns.filter((column) => column.nullable).map((column) => renamed(table, column.name)),
  );
  for (const step of table.transform) {
    if ('dictionary' in step && step.dictionary.otherwise === 'null')
      nullable.add(renamed(table, step.dictionary.column));
  }
  return TableShape.fromPartial({
    table: table.name,
    columns: layout.columns.map((name, index) => ({
      name,
      typeJson: JSON.stringify(types[index]),
      nullable: nullable.has(name),
    })),
    key: layout.columns.slice(0, layout.keyColumns),
  });
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
      const columns = shape?.columns.map(({ name, typeJson, nullable }) => ({
        name,
        type: JSON.parse(typeJson) as ColumnType,
        nullable,
      }));
      if (columns !== undefined) sourceShapes.set(table.name, { columns });
      const sent =
        columns === undefined || shape === undefined
          ? declaredColumns(table)
          : { columns: columns.map(({ name, type }) => ({ name, type })), key: shape.key };
      if (sent === undefined) unknown.add(table);
      const key = table.key?.map((column) => renamed(table, column)) ?? [];
      targets.push(targetTable(destination, table.name, sent ?? { columns: [], key }));
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
      return code !== 'COLUMN_REQUIRED' && !(code === 'KEY_NOT_UNIQUE' && table.key === undefined);
    };
    problems.push(...found.filter(isKnown).map((problem) => ({ ...problem, path: `${path}.${problem.path}` })));
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
  if (table === undefined) return `source.${path}`;
  const column = path.slice(table.name.length + 1);
  return column === '' ? `source.tables[${index}]` : `source.tables[${index}].${column}`;
}

function problemsOf(error: unknown, path: string): Problem[] {
  if (error instanceof ProblemsError && error.problems.length > 0) {
    return error.problems.map((problem) => ({
      ...problem,
      path: [path, problem.path].filter((part) => part !== '').join('.'),
    }));
  }
  if (error instanceof QiaoError) return [{ code: error.code, path, message: error.message, hint: error.hint }];
  throw error;
}

/** Two checks may find the same thing; a person reads it once. */
function distinct(problems: readonly Problem[]): Problem[] {
  const seen = new Set<string>();
  return problems.filter(({ code, path }) => {
    const key = `${code} ${path}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

function contractProblem({ code, path, message, hint, warning }: Problem): CheckProblem {
  return CheckProblem.fromPartial({ code, path, message, hint, warning: warning ?? false });
}
