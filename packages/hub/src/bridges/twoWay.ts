// Owns the rule that rows may go in a circle only where it comes to rest: in pairs of bridges between the same two tables, or in one ring. A
// change never goes back to a table that it passed, which capture by log or trigger sees to; somewhere the target must be able to keep its row,
// and all ends must agree which row is newer. Seen over the whole platform, as ownership is: the bridge that closes the circle is refused.

import {
  type BridgeDefinition,
  type DestinationTable,
  isSameTable,
  leavingNames,
  PATH_MAX_PLACES,
  type Problem,
  type TablePlace,
} from '@qiao/exchange';

/** One table of one bridge on its way to one destination. */
export interface Flow {
  readonly bridge: string;
  readonly path: string;
  readonly capture: BridgeDefinition['source']['capture'];
  readonly from: TablePlace;
  readonly to: TablePlace;
  readonly conflict: DestinationTable['conflict'];
  /** Rows leave as they are, and all of them. */
  readonly isPlain: boolean;
  /** The bridge has no other destination. */
  readonly isAlone: boolean;
  /** Sorted; undefined where the bridge leaves them to the source. */
  readonly columns: string | undefined;
}

/** What is wrong with the circles that `definition` closes together with the other living bridges. */
export function twoWayProblems(definition: BridgeDefinition, others: readonly BridgeDefinition[]): Problem[] {
  const own = flowsOf(definition);
  const flows = [...own, ...others.filter(({ name }) => name !== definition.name).flatMap(flowsOf)];
  return own.flatMap((flow) => {
    const circle = circleOf(flow, flows);
    if (circle.length === 0) return [];
    const problem = { path: flow.path, circle: namesOf(circle) };
    const ring = ringProblem(circle, problem);
    return [
      ...(ring === undefined ? [] : [ring]),
      ...circle.flatMap((one) => echoProblem(one, problem) ?? []).slice(0, 1),
      ...conflictProblems(flow, circle, problem),
      ...columnProblems(flow, circle),
      ...schemaProblems(flow, circle, problem),
    ];
  });
}

interface Found {
  readonly path: string;
  readonly circle: string;
}

/** Every flow on some way from the flow back to its beginning; none when there is no way back. */
function circleOf(flow: Flow, flows: readonly Flow[]): Flow[] {
  const comesBack = (one: Flow, among: readonly Flow[]) =>
    reached(one, among).some(({ to }) => isSameTable(to, flow.from));
  const onward = reached(flow, flows);
  const circle = onward.filter((one) => comesBack(one, onward));
  return circle.includes(flow) ? circle : [];
}

/** Pairs may hang together like a tree, or tables form one ring: then there is one way from each to each. By two ways an older row may come last. */
function ringProblem(circle: readonly Flow[], { path, circle: names }: Found): Problem | undefined {
  const isPaired = circle.every((one) =>
    circle.some((other) => isSameTable(one.to, other.from) && isSameTable(other.to, one.from)),
  );
  const tables = circle.filter((one, index) => circle.findIndex(({ to }) => isSameTable(to, one.to)) === index);
  const isTree = isPaired && circle.length === 2 * (tables.length - 1);
  const isRing = circle.length === tables.length && circle.length > 1 && circle.length <= PATH_MAX_PLACES;
  if (isTree || isRing) return undefined;
  return {
    code: 'TWO_WAY_RING',
    path,
    message: `rows would come to a table by more than one way: ${names}`,
    hint: `let bridges go both ways between two tables each, or all of them in one ring of at most ${PATH_MAX_PLACES} tables`,
  };
}

/** What keeps the capture from knowing a row that came from where it would go. */
function echoProblem(flow: Flow, { path, circle }: Found): Problem | undefined {
  const say = (what: string, hint: string): Problem => ({
    code: 'TWO_WAY_CAPTURE',
    path,
    message: `rows go both ways by ${circle}, and bridge "${flow.bridge}" ${what}`,
    hint,
  });
  if (flow.capture !== 'log' && flow.capture !== 'trigger') {
    return say(
      `captures by ${flow.capture}`,
      'write capture: log or capture: trigger in each: changes that came from another end are known there alone',
    );
  }
  if (!flow.isPlain) {
    return say('changes or leaves out rows', 'leave where, transform, checks and onDelete: mark out of each');
  }
  if (!flow.isAlone) return say('has more destinations', 'carry the others in a bridge of their own');
  return undefined;
}

function conflictProblems(flow: Flow, circle: readonly Flow[], found: Found): Problem[] {
  const yielding = circle.filter(({ conflict }) => conflict === undefined);
  if (!yielding.includes(flow) || circleOf(flow, yielding).length === 0) return [];
  return [
    {
      code: 'TWO_WAY_CONFLICT',
      path: `${flow.path}.conflict`,
      message: `rows go both ways by ${found.circle}, and the source wins in each: after two edits at once every end would have the other's row`,
      hint: 'write conflict: {newestWins: COLUMN} in each, or conflict: targetWins in one',
    },
  ];
}

/** A row is known by its columns, and rows of one time are told apart by them in the order of their names. */
function columnProblems(flow: Flow, circle: readonly Flow[]): Problem[] {
  const { conflict, columns } = flow;
  const other = circle.find(
    (one) =>
      (one.columns !== undefined && columns !== undefined && one.columns !== columns) ||
      (typeof one.conflict === 'object' &&
        typeof conflict === 'object' &&
        one.conflict.newestWins !== conflict.newestWins),
  );
  if (other === undefined) return [];
  return [
    {
      code: 'TWO_WAY_COLUMNS',
      path: `${flow.path}.conflict`,
      message: `bridge "${other.bridge}" of the same circle goes by other columns, so that its ends may never agree`,
      hint: 'let the same columns travel both ways under the same names, and name one and the same in newestWins',
    },
  ];
}

/** Where a schema is left out nobody but the node knows whether it is the one that is named elsewhere: then what comes home is another table's. */
function schemaProblems(flow: Flow, circle: readonly Flow[], { path, circle: names }: Found): Problem[] {
  const places = circle.flatMap(({ from, to }) => [from, to]);
  const own = [flow.from, flow.to];
  const isGuessed = own.some((one) =>
    places.some((other) => isSameTable(one, other) && (one.schema === undefined) !== (other.schema === undefined)),
  );
  if (!isGuessed) return [];
  return [
    {
      code: 'TWO_WAY_SCHEMA',
      path,
      message: `rows go in a circle by ${names}, if a schema that is left out is the one that is named`,
      hint: 'write the schema of each of these tables, or of none, in all bridges of the circle',
    },
  ];
}

/** The flow and all that are reached from it. */
function reached(flow: Flow, among: readonly Flow[]): Flow[] {
  const found = new Set([flow]);
  for (const one of found) for (const next of among) if (isSameTable(one.to, next.from)) found.add(next);
  return [...found];
}

/** Every table of the bridge, to every destination that keeps its rows. */
export function flowsOf({ name, source, destinations }: BridgeDefinition): Flow[] {
  return destinations.flatMap(({ node, dataSource, tables }, index) =>
    source.tables.flatMap((table) => {
      const target = tables[table.name];
      // A journal keeps changes, not rows.
      if (target === undefined || target.landing === 'journal') return [];
      return [
        {
          bridge: name,
          path: `destinations[${index}].tables.${table.name}`,
          capture: source.capture,
          from: { node: source.node, dataSource: source.dataSource, schema: table.schema, table: table.name },
          to: { node, dataSource, schema: target.schema, table: target.to },
          conflict: target.conflict,
          isPlain:
            table.where === undefined &&
            table.transform.length + table.checks.length === 0 &&
            target.onDelete === 'delete',
          isAlone: destinations.length === 1,
          columns: leavingNames(table)?.toSorted().join('\n'),
        },
      ];
    }),
  );
}

function namesOf(circle: readonly Flow[]): string {
  const names = [...new Set(circle.map(({ bridge }) => `"${bridge}"`))];
  return `${names.length === 1 ? 'bridge' : 'bridges'} ${names.join(', ')}`;
}
