// The department's own fence: what may leave this node (`exposes`) and what may be written on it (`accepts`). Denied unless
// a rule of agent.yaml names it; no configuration of the hub gets past this file.

import { OWN_PREFIX } from '@qiao/adapters';
import {
  type BridgeDefinition,
  type BridgeTable,
  type Destination,
  filterColumns,
  leavingNames,
  type Problem,
  parseFilter,
} from '@qiao/exchange';

/** One rule of `exposes:` or `accepts:`. */
export interface PermissionRule {
  readonly dataSource: string;
  /** The data source's default schema when left out. */
  readonly schema?: string | undefined;
  /** A table's name, or `*` for every table of the schema. */
  readonly table: string;
  /** Columns by name; every column when left out or `*`. */
  readonly columns?: '*' | readonly string[] | undefined;
}

export interface Permissions {
  readonly exposes: readonly PermissionRule[];
  readonly accepts: readonly PermissionRule[];
  /** Schema that a data source's tables lie in when nobody names one; undefined where there are no schemas. */
  defaultSchema(dataSource: string): string | undefined;
}

/** What of a bridge's source end the node's file does not let out; every problem at once. */
export function exposeProblems(definition: BridgeDefinition, permissions: Permissions): Problem[] {
  const { dataSource } = definition.source;
  return definition.source.tables.flatMap((table, index) => {
    const path = `source.tables[${index}]`;
    const rules = rulesFor(permissions.exposes, permissions, dataSource, table.schema, table.name);
    if (rules.length === 0) return [notNamed('EXPOSE_DENIED', path, 'exposes', dataSource, table.schema, table.name)];
    const read = columnsRead(table);
    const problems = columnProblems(
      'EXPOSE_DENIED',
      `${path}.columns`,
      'exposes',
      rules,
      read.named,
      read.all,
      table.name,
    );
    // The source's primary key would travel, whatever it is: an identity number as likely as not.
    if (problems.length === 0 && table.key === undefined && allowedColumns(rules) !== '*') {
      problems.push({
        code: 'EXPOSE_DENIED',
        path: `${path}.key`,
        message: `the bridge leaves the key of ${table.name} to the database, but this node's exposes names single columns`,
        hint: 'write key: [...] for the table in the bridge',
      });
    }
    return problems;
  });
}

/** What of one destination the node's file does not let in; every problem at once. */
export function acceptProblems(
  definition: BridgeDefinition,
  destinationIndex: number,
  permissions: Permissions,
): Problem[] {
  const destination = definition.destinations[destinationIndex];
  if (destination === undefined) return [];
  return Object.entries(destination.tables).flatMap(([source, target]) => {
    const path = `destinations[${destinationIndex}].tables.${source}`;
    // Names compare without case in SQLite; the marks of every lane lie in these tables.
    if (target.to.toLowerCase().startsWith(OWN_PREFIX)) return [ownTable(path, target.to)];
    const rules = rulesFor(permissions.accepts, permissions, destination.dataSource, target.schema, target.to);
    if (rules.length === 0) {
      return [notNamed('ACCEPT_DENIED', path, 'accepts', destination.dataSource, target.schema, target.to)];
    }
    const table = definition.source.tables.find((one) => one.name === source);
    const declared = table === undefined ? undefined : leavingNames(table);
    const filter = typeof target.ownership === 'string' ? undefined : parseFilter(target.ownership.where).filter;
    // Written by the landing, or read to find what may be deleted.
    const own = [
      ...(target.markColumn === undefined ? [] : [target.markColumn]),
      ...Object.values(target.journalColumns ?? {}),
      ...(filter === undefined ? [] : filterColumns(filter)),
    ];
    // Without declared columns the check waits for the rows: acceptedColumns below looks at every section before it is applied.
    return columnProblems('ACCEPT_DENIED', path, 'accepts', rules, [...(declared ?? []), ...own], false, target.to);
  });
}

/** Columns of a section that no rule lets into the target table; empty when all may be written. */
export function refusedColumns(
  destination: Destination,
  source: string,
  columns: readonly string[],
  permissions: Permissions,
): string[] {
  // A sender chooses the name: `constructor` is no table of the bridge.
  const target = Object.hasOwn(destination.tables, source) ? destination.tables[source] : undefined;
  if (target === undefined) return [...columns];
  const rules = rulesFor(permissions.accepts, permissions, destination.dataSource, target.schema, target.to);
  const allowed = allowedColumns(rules);
  return allowed === '*' ? [] : columns.filter((column) => !allowed.has(column));
}

function rulesFor(
  rules: readonly PermissionRule[],
  permissions: Permissions,
  dataSource: string,
  schema: string | undefined,
  table: string,
): PermissionRule[] {
  const standard = permissions.defaultSchema(dataSource);
  return rules.filter(
    (rule) =>
      rule.dataSource === dataSource &&
      (rule.schema ?? standard) === (schema ?? standard) &&
      (rule.table === '*' || rule.table === table),
  );
}

function allowedColumns(rules: readonly PermissionRule[]): '*' | ReadonlySet<string> {
  const names = new Set<string>();
  for (const { columns } of rules) {
    if (columns === undefined || columns === '*') return '*';
    for (const column of columns) names.add(column);
  }
  return names;
}

function columnProblems(
  code: string,
  path: string,
  list: 'exposes' | 'accepts',
  rules: readonly PermissionRule[],
  named: readonly string[],
  all: boolean,
  table: string,
): Problem[] {
  const allowed = allowedColumns(rules);
  if (allowed === '*') return [];
  if (all) {
    return [
      {
        code,
        path,
        message: `the bridge takes every column of ${table}, but this node's ${list} names only ${allowed.size} of them`,
        hint: `list the columns in the bridge, or write columns: '*' in ${list} of agent.yaml`,
      },
    ];
  }
  const denied = named.filter((column) => !allowed.has(column));
  if (denied.length === 0) return [];
  return [
    {
      code,
      path,
      message: `column(s) ${denied.join(', ')} of ${table} are not named in this node's ${list}`,
      hint: `add them to ${list} in agent.yaml, or leave them out of the bridge`,
    },
  ];
}

/** Every source column a bridge looks at: a filter tells something of the columns it reads, so those must be exposed too. */
function columnsRead(table: BridgeTable): { named: string[]; all: boolean } {
  const filter = table.where === undefined ? undefined : parseFilter(table.where).filter;
  const named = new Set([...(table.key ?? []), ...(table.columns ?? [])]);
  for (const column of filter === undefined ? [] : filterColumns(filter)) named.add(column);
  return { named: [...named], all: table.columns === undefined };
}

function ownTable(path: string, table: string): Problem {
  return {
    code: 'ACCEPT_DENIED',
    path,
    message: `${table} is a name that Qiao keeps for its own tables`,
    hint: `name a table that does not begin with ${OWN_PREFIX}`,
  };
}

function notNamed(
  code: string,
  path: string,
  list: 'exposes' | 'accepts',
  dataSource: string,
  schema: string | undefined,
  table: string,
): Problem {
  const label = schema === undefined ? table : `${schema}.${table}`;
  return {
    code,
    path,
    message: `${label} of data source ${dataSource} is not named in this node's ${list}`,
    hint: `add {dataSource: ${dataSource}, table: ${table}} to ${list} in agent.yaml and start the agent again`,
  };
}
