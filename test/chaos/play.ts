// One seed being played: its plan, the stage, what happened so far, and which destinations its bridges have now.

import type { Capture, ChangeKind } from './changes.ts';
import type { FaultKind } from './faultPlan.ts';
import type { BridgePlan, DestinationPlan, SeedPlan } from './plan.ts';
import type { Stage } from './stage.ts';
import type { Timeline } from './timeline.ts';

export class Play {
  readonly stage: Stage;
  readonly plan: SeedPlan;
  readonly timeline: Timeline;
  /** Faults that really began, by kind. */
  readonly injected = new Map<FaultKind, number>();
  /** Changes that the sources committed, or rolled back, by capture and kind. */
  readonly changes = new Map<`${Capture} ${ChangeKind}`, number>();
  /** From the last heal until everything was at rest. */
  restMs: number | undefined;
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #ended = new Set<string>();
  readonly #destinations: Map<string, readonly DestinationPlan[]>;

  constructor(stage: Stage, plan: SeedPlan, timeline: Timeline) {
    this.stage = stage;
    this.plan = plan;
    this.timeline = timeline;
    this.#destinations = new Map(plan.bridges.map(({ name, destinations }) => [name, destinations]));
  }

  bridge(name: string): BridgePlan {
    const found = this.plan.bridges.find((bridge) => bridge.name === name);
    if (found === undefined) throw new Error(`no bridge ${name} in this seed`);
    return found;
  }

  /** Destinations bound now. */
  destinations(bridge: string): readonly DestinationPlan[] {
    return this.#destinations.get(bridge) ?? [];
  }

  setDestinations(bridge: string, destinations: readonly DestinationPlan[]): void {
    const ended = this.destinations(bridge).filter((one) => !destinations.includes(one));
    for (const { node } of ended) this.#ended.add(`${bridge} ${node}`);
    this.#destinations.set(bridge, destinations);
  }

  /** The bridge ended here before and was bound again: its load came over rows that were there. */
  wasBoundAgain(bridge: string, { node }: DestinationPlan): boolean {
    return this.#ended.has(`${bridge} ${node}`);
  }

  /** An operator changes a bridge one step after another. */
  async inTurn<T>(bridge: string, act: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(bridge) ?? Promise.resolve()).then(act);
    this.#turns.set(
      bridge,
      turn.catch(() => undefined),
    );
    return turn;
  }

  countChange(capture: Capture, kind: ChangeKind): void {
    const what = `${capture} ${kind}` as const;
    this.changes.set(what, (this.changes.get(what) ?? 0) + 1);
  }

  count(kind: FaultKind): void {
    this.injected.set(kind, (this.injected.get(kind) ?? 0) + 1);
  }
}
