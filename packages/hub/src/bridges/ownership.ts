// Owns the rule that two lanes into one table own disjoint rows, seen over the whole platform: each node checks its own lanes
// again, but only the hub sees bridges that are stored and not yet deployed.

import {
  areDisjoint,
  type BridgeDefinition,
  type ColumnType,
  type DestinationTable,
  type Problem,
} from '@qiao/exchange';

/** What another bridge, or another table of the same one, writes. */
interface Landing {
  readonly bridge: string;
  readonly path: string;
  readonly node: string;
  readonly dataSource: string;
  readonly sourceTable: string;
  readonly target: DestinationTable;
}

export type TypeOf = (sourceTable: string, column: string) => ColumnType | undefined;

/** Every overlap of `definition` with itself and with the other living bridges. `typeOf` makes more ranges provable. */
export function ownershipProblems(
  definition: BridgeDefinition,
  others: readonly BridgeDefinition[],
  typeOf: TypeOf = () => undefined,
): Problem[] {
  const own = landingsOf(definition);
  const foreign = others.filter((other) => other.name !== definition.name).flatMap(landingsOf);
  const problems: Problem[] = [];
  for (const [index, landing] of own.entries()) {
    for (const other of [...own.slice(index + 1), ...foreign]) {
      if (!isSameTable(landing, other)) continue;
      const columnType = (column: string) => typeOf(landing.sourceTable, column);
      if (areDisjoint(landing.target.ownership, other.target.ownership, columnType)) continue;
      problems.push({
        code: 'OWNERSHIP_OVERLAP',
        path: landing.path,
        message:
          `${landing.node}/${landing.dataSource}/${landing.target.to} is also written by bridge "${other.bridge}" ` +
          `(its table ${other.sourceTable}), and the rows the two own are not provably apart`,
        hint: 'write ownership: {where: …} on one same column in both, or ownership: none in one of them',
      });
    }
  }
  return problems;
}

function landingsOf(definition: BridgeDefinition): Landing[] {
  return definition.destinations.flatMap(({ node, dataSource, tables }, index) =>
    Object.entries(tables).map(([sourceTable, target]) => ({
      bridge: definition.name,
      path: `destinations[${index}].tables.${sourceTable}.ownership`,
      node,
      dataSource,
      sourceTable,
      target,
    })),
  );
}

/** A schema left out is the data source's standard one, which only the node knows: it may be the one that is named. */
function isSameTable(one: Landing, other: Landing): boolean {
  return (
    one.node === other.node &&
    one.dataSource === other.dataSource &&
    one.target.to === other.target.to &&
    (one.target.schema === undefined || other.target.schema === undefined || one.target.schema === other.target.schema)
  );
}
