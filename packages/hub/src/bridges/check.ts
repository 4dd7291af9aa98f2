// Owns the preflight of a bridge across its ends: what the hub can know by itself (nodes, ownership), then the source end,
// whose column types go to every destination end at once. All problems come back together; nothing is stored or started.

import type { CheckBridge, Command, CommandResult, TableShape } from '@qiao/contract/node';
import {
  type BridgeDefinition,
  bridgeJson,
  type ColumnType,
  columnTypeOf,
  type Problem,
  QiaoError,
} from '@qiao/exchange';
import type { HubDatabase, NodeRow } from '../hubDatabase.ts';
import { ownershipProblems, type TypeOf } from './ownership.ts';
import { twoWayProblems } from './twoWay.ts';
import { isBlocking, otherDefinitions } from './versions.ts';

export interface CheckPorts {
  /** Asks one node; throws a QiaoError when it does not answer. */
  command(node: NodeRow, operator: string, command: NonNullable<Command['command']>): Promise<CommandResult>;
}

export interface CheckOptions {
  readonly operator: string;
  /** Only these destinations are asked; all when left out. */
  readonly destinations?: readonly number[];
  /** At deployment: exchange tables that are missing are made, once every end has passed. */
  readonly createMissing?: boolean;
}

export interface CheckResult {
  readonly problems: Problem[];
  readonly tables: TableShape[];
}

/** What the hub knows without asking anybody. */
export async function checkAtHub(store: HubDatabase, definition: BridgeDefinition): Promise<Problem[]> {
  const nodes = await nodesByCode(store);
  return [
    ...nodeProblems(definition, nodes),
    ...problemsAcross(definition, await otherDefinitions(store, definition.name)),
  ];
}

/** What no bridge shows by itself: tables that several write, and rows that go in a circle. */
export function problemsAcross(
  definition: BridgeDefinition,
  others: readonly BridgeDefinition[],
  typeOf?: TypeOf,
): Problem[] {
  return [...ownershipProblems(definition, others, typeOf), ...twoWayProblems(definition, others)];
}

/** Checks at the hub and at every end. */
export async function checkEverywhere(
  store: HubDatabase,
  ports: CheckPorts,
  definition: BridgeDefinition,
  options: CheckOptions,
): Promise<CheckResult> {
  const nodes = await nodesByCode(store);
  const problems = nodeProblems(definition, nodes);
  const definitionJson = bridgeJson(definition);
  const ask = async (code: string, path: string, check: Partial<CheckBridge>) => {
    const node = nodes.get(code);
    if (node === undefined || node.status === 'revoked' || node.role !== 'agent') return undefined;
    const answer = await askNode(ports, node, path, options.operator, {
      definitionJson,
      source: false,
      destinations: [],
      sourceTables: [],
      createMissing: false,
      ...check,
    });
    problems.push(...answer.problems);
    return answer.tables;
  };

  const tables = (await ask(definition.source.node, 'source', { source: true })) ?? [];
  const wanted = options.destinations ?? definition.destinations.map((_, index) => index);
  const byNode = Map.groupBy(wanted, (index) => definition.destinations[index]?.node ?? '');
  await Promise.all(
    [...byNode].map(([code, destinations]) =>
      ask(code, `destinations[${destinations[0]}]`, { destinations, sourceTables: tables }),
    ),
  );
  const types = typesOf(tables);
  problems.push(...types.problems);
  const overlaps = problemsAcross(definition, await otherDefinitions(store, definition.name), types.typeOf);
  if (options.createMissing === true && ![...problems, ...overlaps].some(isBlocking)) {
    const made = wanted.filter((index) => definition.destinations[index]?.dataSource === 'exchange');
    const warnings = problems.splice(0).filter(({ code }) => code !== 'TABLE_WILL_BE_MADE');
    await Promise.all(
      [...Map.groupBy(made, (index) => definition.destinations[index]?.node ?? '')].map(([code, destinations]) =>
        ask(code, `destinations[${destinations[0]}]`, { destinations, sourceTables: tables, createMissing: true }),
      ),
    );
    problems.push(
      ...warnings.filter((one) => !problems.some(({ code, path }) => code === one.code && path === one.path)),
    );
  }
  // Destinations know overlaps with what is deployed to them already; a person reads one finding once.
  const known = new Set(overlaps.map(({ path }) => path.replace(/\.ownership$/, '')));
  return {
    problems: [
      ...problems.filter(
        ({ code, path }) => code !== 'OWNERSHIP_OVERLAP' || !known.has(path.replace(/\.ownership$/, '')),
      ),
      ...overlaps,
    ],
    tables,
  };
}

export async function nodesByCode(store: HubDatabase): Promise<Map<string, NodeRow>> {
  const nodes = await store.selectFrom('nodes').selectAll().execute();
  return new Map(nodes.map((node) => [node.code, node]));
}

function nodeProblems(definition: BridgeDefinition, nodes: ReadonlyMap<string, NodeRow>): Problem[] {
  const ends = [
    { path: 'source.node', code: definition.source.node },
    ...definition.destinations.map(({ node }, index) => ({ path: `destinations[${index}].node`, code: node })),
  ];
  return ends.flatMap(({ path, code }) => {
    const node = nodes.get(code);
    if (node === undefined) {
      return [
        {
          code: 'NODE_UNKNOWN',
          path,
          message: `no node has the code "${code}"`,
          hint: `qiao node list; or qiao node invite ${code}`,
        },
      ];
    }
    if (node.role !== 'agent') {
      return [
        {
          code: 'NODE_NOT_AN_AGENT',
          path,
          message: `"${code}" is the ${node.role}; only agents exchange`,
          hint: 'qiao node list',
        },
      ];
    }
    if (node.status === 'revoked') {
      return [
        { code: 'NODE_REVOKED', path, message: `the rights of "${code}" were ended`, hint: `qiao node invite ${code}` },
      ];
    }
    return [];
  });
}

async function askNode(
  ports: CheckPorts,
  node: NodeRow,
  path: string,
  operator: string,
  check: CheckBridge,
): Promise<CheckResult> {
  if (node.status !== 'joined') {
    const message = `"${node.code}" was invited but has not joined, so its end cannot be checked`;
    return {
      problems: [{ code: 'NODE_NOT_JOINED', path, message, hint: 'qiao agent join --token TOKEN  # at the node' }],
      tables: [],
    };
  }
  try {
    const result = await ports.command(node, operator, { $case: 'checkBridge', value: check });
    return { problems: result.problems.map((problem) => ({ ...problem })), tables: result.tables };
  } catch (error) {
    if (!(error instanceof QiaoError)) throw error;
    const message = `"${node.code}" did not answer the check: ${error.message}`;
    return { problems: [{ code: 'NODE_UNREACHABLE', path, message, hint: `qiao node show ${node.code}` }], tables: [] };
  }
}

function typesOf(tables: readonly TableShape[]) {
  const types = new Map<string, ColumnType>();
  const problems: Problem[] = [];
  for (const { table, columns } of tables) {
    for (const { name, typeJson } of columns) {
      try {
        types.set(`${table}\0${name}`, columnTypeOf(typeJson));
      } catch (error) {
        if (!(error instanceof QiaoError)) throw error;
        problems.push(typeProblem(table, name));
      }
    }
  }
  return { problems, typeOf: (table: string, column: string) => types.get(`${table}\0${column}`) };
}

function typeProblem(table: string, column: string): Problem {
  return {
    code: 'COLUMN_TYPE_UNREADABLE',
    path: 'source',
    message: `the type of ${table}.${column} that the source tells cannot be read`,
    hint: 'compare the versions of hub and agent: qiao node list',
  };
}
