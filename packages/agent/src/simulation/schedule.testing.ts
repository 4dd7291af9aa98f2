// One simulated run: a list of steps drawn from a seed (work of the nodes, changes at the source, faults), carried out in order over
// fresh nodes, then peace until nothing moves, then the invariants. The same seed makes the same run; a run can be repeated with
// fewer steps, which is how a failing one is made small.

import { createLog, silentLog, simulateCrashes } from '@qiao/runtime';
import { SimulatedQueue } from './bus.testing.ts';
import { type Chance, createChance } from './chance.testing.ts';
import { SENDER } from './desired.testing.ts';
import { SimulatedHub } from './hub.testing.ts';
import { DatabasePool } from './image.testing.ts';
import { checkInvariants, InvariantBroken } from './invariants.testing.ts';
import { SimulatedCrash, type SimulatedNode, type World } from './node.testing.ts';
import { SimulatedReceiver } from './receiver.testing.ts';
import { restless, type Standing, standing } from './rest.testing.ts';
import { SimulatedSender } from './sender.testing.ts';
import { REFUSED } from './target.testing.ts';

/** What a step does. `pick` draws the details, so that a step means the same whichever steps went before it are left out. */
export interface Step {
  readonly kind: StepKind;
  readonly pick: number;
}

const WORK = ['change', 'capture', 'send', 'route', 'receive', 'apply', 'sendControl', 'takeControl', 'wait'] as const;
const FAULTS = [
  'crash',
  'restart',
  'loseMessage',
  'doubleMessage',
  'delayMessage',
  'wipeBus',
  'purge',
  'loseSender',
  'loseReceiver',
  'restoreSender',
  'restoreReceiver',
  'restoreTarget',
  'restoreHub',
  'clockBack',
  'losePower',
] as const;
export type FaultKind = (typeof FAULTS)[number];
type StepKind = (typeof WORK)[number] | FaultKind;

export interface Plan {
  readonly seed: number;
  readonly lanes: number;
  readonly steps: readonly Step[];
}

export interface Ran {
  readonly faults: ReadonlyMap<FaultKind, number>;
  /** Processes that died at a crash point. */
  readonly deaths: number;
  readonly deliveries: number;
  readonly rounds: number;
}

const databases = new DatabasePool();
const log = process.env.QIAO_SIMULATION_LOG === undefined ? silentLog() : createLog({ component: 'simulation' });
/** Draws power failures. */
const POWER = 0x2545f491;
/** Rounds of peace after which a run that still moves is called stuck. */
const MOST_ROUNDS = 200;

/** The steps that a seed stands for. */
export function planOf(seed: number): Plan {
  const chance = createChance(seed);
  const lanes = chance.is(0.3) ? 2 : 1;
  // A run with every fault at once shows less than one with a few: each has some of them, in its own mixture.
  const faults = FAULTS.filter((fault) => fault !== 'losePower' && chance.is(0.3));
  const share = 0.05 + chance.below(20) / 100;
  const steps = Array.from({ length: 15 + chance.below(45) }, (): Step => {
    const isFault = faults.length > 0 && chance.is(share);
    const kinds: readonly StepKind[] = isFault ? faults : WORK;
    return { kind: kinds[chance.below(kinds.length)] ?? 'wait', pick: chance.below(2 ** 31) };
  });
  return { seed, lanes, steps: withPowerFailures(steps, createChance(seed ^ POWER)) };
}

/** A chance of its own, for the plans that were drawn before there were any. */
function withPowerFailures(steps: readonly Step[], chance: Chance): readonly Step[] {
  if (!chance.is(0.3)) return steps;
  return steps.flatMap((step) =>
    chance.is(0.3) ? [step, { kind: 'losePower', pick: chance.below(2 ** 31) } as const] : [step],
  );
}

/** Carries a plan out. Throws InvariantBroken, or whatever a part threw that no part may throw. */
export async function runPlan(plan: Plan, say: (line: string) => void = () => {}): Promise<Ran> {
  using run = new Run(plan, say);
  for (const step of plan.steps) await run.step(step);
  const rounds = await run.settle();
  return { faults: run.faults, deaths: run.deaths, deliveries: run.check(), rounds };
}

class Run implements Disposable {
  readonly faults = new Map<FaultKind, number>();
  deaths = 0;
  readonly #say: (line: string) => void;
  readonly #world: World;
  readonly #hub: SimulatedHub;
  readonly #sender: SimulatedSender;
  readonly #receivers: readonly SimulatedReceiver[];
  readonly #backups = new Map<object, () => void>();
  #crashAt: { passes: number } | undefined;

  constructor(plan: Plan, say: (line: string) => void) {
    this.#say = say;
    const lanes = Array.from({ length: plan.lanes }, (_, index) => ({
      laneId: `${index + 1}`.repeat(32),
      receiverId: 'd'.repeat(31) + String(index),
    }));
    const ids = createChance(plan.seed ^ 0x5bd1e995);
    const queues = (nodes: readonly string[]) => new Map(nodes.map((id) => [id, new SimulatedQueue()]));
    const receivers = lanes.map(({ receiverId }) => receiverId);
    const clock = {
      atMs: 1_700_000_000_000,
      setBackMs: 0,
      nowMs: () => clock.atMs - clock.setBackMs,
      elapsedMs: () => clock.atMs,
      sleep: async (ms: number) => {
        clock.atMs += ms;
      },
    };
    this.#world = {
      clock,
      chance: ids,
      lanes,
      upData: new SimulatedQueue(),
      upControl: new SimulatedQueue(),
      downData: queues(receivers),
      downControl: queues([SENDER, ...receivers]),
      limits: {
        laneBudgetBytes: ids.is(0.2) ? 300 : 1e9,
        windowCount: 1 + ids.below(6),
        inboxMaxBytes: ids.is(0.2) ? 700 : 1e6,
      },
      log,
      databases,
      powerFails: plan.steps.some(({ kind }) => kind === 'losePower'),
      newId: () => ids.bytes(16),
      highestEpoch: (laneId) => this.#hub.highestEpoch(laneId),
      giveToken: (nodeId, past) => this.#hub.giveToken(nodeId, past),
      crash: (name) => this.#passCrashPoint(name),
    };
    this.#hub = new SimulatedHub(this.#world);
    this.#sender = new SimulatedSender(this.#world);
    this.#receivers = lanes.map(({ laneId, receiverId }) => new SimulatedReceiver(receiverId, laneId, this.#world));
    for (const node of this.#nodes) this.#start(node);
    for (const thing of [this.#hub, ...this.#receivers.map(({ target }) => target)]) {
      this.#backups.set(thing, thing.backup());
    }
    simulateCrashes((name) => this.#passCrashPoint(name));
  }

  /** Those that would miss something without power. */
  get #unsynced(): readonly SimulatedNode[] {
    return this.#nodes.filter(({ isUnsynced }) => isUnsynced);
  }

  get #nodes(): readonly SimulatedNode[] {
    return [this.#sender, ...this.#receivers];
  }

  async step({ kind, pick }: Step): Promise<void> {
    const chance = createChance(pick);
    this.#say(`${kind} ${pick}`);
    if (kind === 'losePower' && this.#unsynced.length === 0) return;
    const isFault = (FAULTS as readonly string[]).includes(kind);
    if (isFault) this.faults.set(kind as FaultKind, (this.faults.get(kind as FaultKind) ?? 0) + 1);
    // Backups are taken at odd moments, so that what is restored is some past state.
    if (chance.is(0.1)) this.#backUp(chance);
    const receiver = one(this.#receivers, chance);
    const node = one(this.#nodes, chance);
    switch (kind) {
      case 'change':
        this.#change(chance);
        return;
      case 'capture':
      case 'send':
        await this.#work(this.#sender, () => (kind === 'send' ? this.#sender.send() : this.#sender.capture()));
        return;
      case 'route':
        for (let times = chance.below(6); times >= 0; times -= 1) this.#hub.route();
        return;
      case 'receive':
        await this.#work(receiver, () => receiver.receive());
        return;
      case 'apply':
        await this.#work(receiver, () => receiver.apply());
        return;
      case 'sendControl':
        await this.#work(node, () => node.sendControl());
        return;
      case 'takeControl':
        await this.#work(node, () => node.takeControl());
        return;
      case 'wait':
        this.#world.clock.atMs += chance.below(40_000);
        return;
      default:
        this.#fault(kind, chance, receiver, node);
    }
  }

  #fault(kind: FaultKind, chance: Chance, receiver: SimulatedReceiver, node: SimulatedNode): void {
    const queue = one(this.#queues, chance);
    switch (kind) {
      case 'crash':
        // The next pass of this many crash points is the last of whoever passes it.
        this.#crashAt = { passes: 1 + chance.below(8) };
        return;
      case 'restart':
        this.#start(node);
        return;
      case 'losePower': {
        const victim = one(this.#unsynced, chance);
        victim.losePower();
        this.#start(victim);
        return;
      }
      case 'loseMessage':
        queue.lose(chance);
        return;
      case 'doubleMessage':
        queue.double(chance);
        return;
      case 'delayMessage':
        queue.delay(chance);
        return;
      case 'wipeBus':
        for (const one of this.#queues) one.clear();
        return;
      case 'purge':
        this.#sender.purge();
        return;
      case 'loseSender':
        this.#sender.lose();
        this.#start(this.#sender);
        return;
      case 'loseReceiver':
        receiver.lose();
        this.#start(receiver);
        return;
      case 'restoreSender':
        this.#restore(this.#sender);
        this.#start(this.#sender);
        return;
      case 'restoreReceiver':
        this.#restore(receiver);
        this.#start(receiver);
        return;
      case 'restoreTarget':
        this.#backups.get(receiver.target)?.();
        return;
      case 'restoreHub':
        this.#backups.get(this.#hub)?.();
        // A restored hub collects what its nodes know before it routes: each says hello again.
        for (const one of this.#nodes) this.#start(one);
        return;
      case 'clockBack':
        this.#world.clock.setBackMs += chance.below(100_000);
        return;
      default:
        kind satisfies never;
    }
  }

  /** Peace: everybody works in turn until nothing moves any more. Returns the rounds it took. */
  async settle(): Promise<number> {
    this.#say('peace');
    this.#crashAt = undefined;
    let calmRounds = 0;
    for (let round = 1; round <= MOST_ROUNDS; round += 1) {
      // Calm for longer than anybody's slowest look: what was silently restored is noticed in it.
      this.#world.clock.atMs += calmRounds > 0 ? 70_000 : 11_000;
      for (const node of this.#nodes) node.learn();
      await this.#work(this.#sender, () => this.#sender.capture());
      await this.#work(this.#sender, () => this.#sender.send());
      while (this.#world.upData.length + this.#world.upControl.length > 0) this.#hub.route();
      for (const receiver of this.#receivers) {
        await this.#work(receiver, () => receiver.receive());
        await this.#work(receiver, () => receiver.apply());
      }
      for (const node of this.#nodes) await this.#work(node, () => node.sendControl());
      while (this.#world.upControl.length > 0) this.#hub.route();
      for (const node of this.#nodes) await this.#work(node, () => node.takeControl());
      calmRounds = restless(this.#standing).length === 0 ? calmRounds + 1 : 0;
      // One round finds that its look is due, the next one looks.
      if (calmRounds === 3) return round;
    }
    for (const line of standing(this.#standing)) this.#say(line);
    throw new InvariantBroken(`not at rest after ${MOST_ROUNDS} rounds: ${restless(this.#standing).join('; ')}`);
  }

  check(): number {
    return checkInvariants({
      sender: this.#sender,
      receivers: this.#receivers,
      nowMs: this.#world.clock.nowMs(),
      mayHoldForks: this.faults.has('restoreSender'),
    });
  }

  [Symbol.dispose](): void {
    simulateCrashes(undefined);
    for (const node of this.#nodes) node[Symbol.dispose]();
  }

  get #queues(): SimulatedQueue[] {
    const { upData, upControl, downData, downControl } = this.#world;
    return [upData, upControl, ...downData.values(), ...downControl.values()];
  }

  get #standing(): Standing {
    return { queues: this.#queues, sender: this.#sender, receivers: this.#receivers };
  }

  #start(node: SimulatedNode): void {
    node.start(this.#hub.giveToken(node.id, node.database.meta.fencingToken()));
    node.database.meta.setFencingToken(node.fence.token() ?? 0n);
  }

  /** A node's work, which a crash may end; whatever else fails is tried again by its supervisor, later. */
  async #work(node: SimulatedNode, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof SimulatedCrash)) throw error;
      this.deaths += 1;
      this.#say(`  ${node.id.slice(-2)} died at ${error.message}`);
      this.#start(node);
    }
  }

  #passCrashPoint(name: string): void {
    if (this.#crashAt === undefined) return;
    this.#crashAt.passes -= 1;
    if (this.#crashAt.passes > 0) return;
    this.#crashAt = undefined;
    throw new SimulatedCrash(name);
  }

  #backUp(chance: Chance): void {
    const things = [this.#sender, this.#hub, ...this.#receivers, ...this.#receivers.map(({ target }) => target)];
    const thing = one(things, chance);
    this.#backups.set(thing, thing.backup());
  }

  /** The last copy taken, or the empty file that was there before all of them. */
  #restore(node: SimulatedNode): void {
    const restore = this.#backups.get(node);
    if (restore === undefined) node.lose();
    else restore();
  }

  #change(chance: Chance): void {
    const { source } = this.#sender;
    const key = String(chance.below(6));
    const kind = chance.below(4);
    if (kind === 0) source.delete(key);
    else source.set(key, `${chance.is(0.04) ? REFUSED : 'value'}${chance.below(1_000)}`);
  }
}

function one<T>(things: readonly T[], chance: Chance): T {
  const thing = things[chance.below(things.length)];
  if (thing === undefined) throw new Error('nothing to choose from');
  return thing;
}
