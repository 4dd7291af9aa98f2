// What one seed does, wholly decided by its number: bridges between departments, a workload of transactions, and faults with their
// moments. Nothing here looks at a clock or at a running system, so that a seed means the same on every machine.

import { seededRandom } from '@qiao/testkit';
import type { Capture } from './changes.ts';
import {
  ADAPTERS,
  CITIES,
  LANDINGS,
  type LandingName,
  NODES,
  type NodeCode,
  SOURCES,
  type SourceName,
} from './departments.ts';
import { Dice } from './dice.ts';
import { type Fault, type FaultKind, planFault } from './faultPlan.ts';
import { planWorkload, type Workload } from './workload.ts';

export type Shape = 'oneWay' | 'fanOut' | 'manyToOne' | 'journal';

export interface DestinationPlan {
  readonly node: NodeCode;
  readonly dataSource: LandingName;
  readonly table: string;
}

export interface BridgePlan {
  readonly name: string;
  readonly shape: Shape;
  readonly from: { readonly node: NodeCode; readonly dataSource: SourceName };
  readonly capture: Capture;
  readonly table: string;
  /** Rows of this city alone travel, and the lane owns those alone at the target. */
  readonly city: string | undefined;
  readonly destinations: readonly DestinationPlan[];
  /** Where a binding fault may add a destination; its table is made beforehand. */
  readonly spare: DestinationPlan | undefined;
  readonly workload: Workload;
}

export interface PlannedFault {
  /** Its number within the seed: how the shrinker and the timeline name it. */
  readonly number: number;
  /** From the moment the bridges were started, milliseconds. */
  readonly atMs: number;
  /** Until it is healed. */
  readonly forMs: number;
  readonly fault: Fault;
}

export interface SeedPlan {
  readonly seed: number;
  readonly bridges: readonly BridgePlan[];
  readonly faults: readonly PlannedFault[];
  /** The workload and every fault begin within this. */
  readonly lengthMs: number;
}

const SHAPES: readonly [Shape, number][] = [
  ['oneWay', 3],
  ['fanOut', 3],
  ['manyToOne', 2],
  ['journal', 2],
];
const CAPTURES: Readonly<Record<SourceName, readonly [Capture, number][]>> = {
  pg: [
    ['compare', 2],
    ['cursor', 1],
    ['trigger', 1],
    ['log', 2],
  ],
  lite: [
    ['compare', 2],
    ['cursor', 1],
    ['trigger', 1],
  ],
  my: [
    ['compare', 2],
    ['cursor', 1],
    ['trigger', 1],
    ['log', 2],
  ],
};
const LENGTH_MS = 1_500;

/** The plan of a seed. `kinds` restricts the faults to some, for a hunt after one. */
export function planSeed(seed: number, kinds?: ReadonlySet<FaultKind>): SeedPlan {
  const dice = new Dice(seededRandom(seed));
  const flows = dice.between(1, 2);
  const bridges: BridgePlan[] = [];
  for (let flow = 0; flow < flows; flow += 1) {
    bridges.push(...planFlow(dice, `s${seed}-${'abcd'[flow]}`, `s${seed}${'abcd'[flow]}`));
  }
  const faults: PlannedFault[] = [];
  const count = dice.between(1, 5);
  for (let number = 0; number < count; number += 1) {
    const atMs = dice.between(0, LENGTH_MS);
    faults.push({ number, atMs, forMs: dice.between(50, 1_000), fault: planFault(dice, bridges, kinds) });
  }
  return { seed, bridges, faults, lengthMs: LENGTH_MS };
}

function planFlow(dice: Dice, name: string, table: string): BridgePlan[] {
  const shape = dice.weighted(SHAPES);
  const [first, second, third] = dice.shuffled(NODES) as [NodeCode, NodeCode, NodeCode];
  const landing = (node: NodeCode): DestinationPlan => ({
    node,
    dataSource: dice.pick(LANDINGS),
    table: `${table}_in`,
  });
  const from = (node: NodeCode) => ({ node, dataSource: dice.pick(SOURCES) });
  const bridge = (
    suffix: string,
    facts: Omit<BridgePlan, 'name' | 'table' | 'workload' | 'shape' | 'capture'>,
    capture = dice.weighted(CAPTURES[facts.from.dataSource]),
  ): BridgePlan => ({
    name: `${name}${suffix}`,
    shape,
    table: `${table}${suffix}`,
    capture,
    ...facts,
    workload: planWorkload(dice, {
      table: `${table}${suffix}`,
      adapter: ADAPTERS[facts.from.dataSource],
      city: facts.city,
      capture,
      lengthMs: LENGTH_MS,
      mayRefuse: dice.chance(0.2),
      firstKey: facts.city === CITIES[1] ? 100_001 : 1,
    }),
  });
  switch (shape) {
    case 'oneWay':
      return [
        bridge('', { from: from(first), city: undefined, destinations: [landing(second)], spare: landing(third) }),
      ];
    case 'fanOut':
      return [
        bridge('', {
          from: from(first),
          city: undefined,
          destinations: [landing(second), landing(third)],
          spare: undefined,
        }),
      ];
    case 'manyToOne': {
      const into = landing(third);
      return [first, second].map((node, index) =>
        bridge(index === 0 ? 'x' : 'y', {
          from: from(node),
          city: CITIES[index],
          destinations: [into],
          spare: undefined,
        }),
      );
    }
    case 'journal':
      return [bridge('', { from: from(first), city: undefined, destinations: [landing(second)], spare: undefined })];
    default:
      return shape satisfies never;
  }
}
