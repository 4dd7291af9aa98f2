// Owns the rule that rows may go in a circle only where it comes to rest: in pairs of bridges between the same two tables. A change never
// goes back to the node it came from, which the capture by log sees to; somewhere the target must be able to keep its row, and both ends
// must agree which row is newer. Seen over the whole platform, as ownership is: the bridge that closes the circle is refused.

import { type BridgeDefinition, type DestinationTable, leavingNames, type Problem } from '@qiao/exchange';

/** One table of one bridge on its way to one destination. */
interface Flow {
  readonly bridge: string;
  readonly path: string;
  readonly capture: BridgeDefinition['source']['capture'];
  readonly from: Place;
  readonly to: Place;
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
    ];
  });
}

interface Place {
  readonly node: string;
  readonly dataSource: string;
  readonly schema: string | undefined;
  readonly table: string;
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

/** Pairs may hang together like a tree. Where a row comes home by another way than it went, nobody knows it again. */
function ringProblem(circle: readonly Flow[], { path, circle: names }: Found): Problem | undefined {
  const isPaired = circle.every((one) =>
    circle.some((other) => isSameTable(one.to, other.from) && isSameTable(other.to, one.from)),
  );
  const tables = circle.filter((one, index) => circle.findIndex(({ to }) => isSameTable(to, one.to)) === index);
  const isTree = circle.length === 2 * (tables.length - 1);
  if (isPaired && isTree) return undefined;
  return {
    code: 'TWO_WAY_RING',
    path,
    message: `rows would come home by another way than they went: ${names}`,
    hint: 'let bridges go both ways between two tables each, and take one pair away where they close a ring',
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
  if (flow.capture !== 'log') {
    return say(
      `captures by ${flow.capture}`,
      'write capture: log in both: changes that came from the other end are known there alone',
    );
  }
  if (!flow.isPlain) return say('changes or leaves out rows', 'leave where, transform and checks out of both');
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
      hint: 'write conflict: {newestWins: COLUMN} in both, or conflict: targetWins in one',
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

/** The flow and all that are reached from it. */
function reached(flow: Flow, among: readonly Flow[]): Flow[] {
  const found = new Set([flow]);
  for (const one of found) for (const next of among) if (isSameTable(one.to, next.from)) found.add(next);
  return [...found];
}

function flowsOf({ name, source, destinations }: BridgeDefinition): Flow[] {
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
          isPlain: table.where === undefined && table.transform.length + table.checks.length === 0,
          isAlone: destinations.length === 1,
          columns: leavingNames(table)?.toSorted().join('\n'),
        },
      ];
    }),
  );
}

/** A schema left out is the data source's standard one, which only the node knows: it may be the one that is named. */
function isSameTable(one: Place, other: Place): boolean {
  return (
    one.node === other.node &&
    one.dataSource === other.dataSource &&
    one.table === other.table &&
    (one.schema === undefined || other.schema === undefined || one.schema === other.schema)
  );
}

function namesOf(circle: readonly Flow[]): string {
  const names = [...new Set(circle.map(({ bridge }) => `"${bridge}"`))];
  return `${names.length === 1 ? 'bridge' : 'bridges'} ${names.join(', ')}`;
}
