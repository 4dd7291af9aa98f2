// What both ends of a lane have in a simulated run: a real exchange database in memory, a fencing token of the present start, a
// snapshot, and the parts that carry control messages. Durable is what lies in the database; everything else is made anew at
// each start, as a killed process leaves it.

import type { ReceiptsWanted, Refusal } from '@qiao/contract/control';
import type { Receipt } from '@qiao/contract/receipt';
import type { Signed } from '@qiao/contract/signed';
import { parseId, QiaoError } from '@qiao/exchange';
import type { Clock, Log, Wakeup } from '@qiao/runtime';
import { type ControlPorts, controlPart } from '../control/consume.ts';
import { createDesiredState } from '../control/desired.ts';
import { createFence, type FenceHolder } from '../control/fence.ts';
import { outgoingControlPart } from '../control/outgoing.ts';
import type { Trust } from '../control/trust.ts';
import type { ExchangeDatabase } from '../exchange-database/index.ts';
import type { SimulatedQueue } from './bus.testing.ts';
import type { Chance } from './chance.testing.ts';
import { desiredOf } from './desired.testing.ts';
import { backup, type DatabasePool, Unsynced } from './image.testing.ts';

export const HUB = 'a'.repeat(32);
/** Deliveries and control messages that one step takes from the bus at most. */
const TAKEN_AT_ONCE = 6;

/** A process that dies in the middle of what it does: thrown at a crash point, caught by whoever runs the schedule. */
export class SimulatedCrash extends Error {}

export interface LaneSpot {
  readonly laneId: string;
  readonly receiverId: string;
}

/** What everybody in a run shares. */
export interface World {
  /** `atMs` only goes on; what the nodes take for the time is that, less what it was set back. */
  readonly clock: Clock & { atMs: number; setBackMs: number };
  readonly chance: Chance;
  readonly lanes: readonly LaneSpot[];
  readonly upData: SimulatedQueue;
  readonly upControl: SimulatedQueue;
  readonly downData: ReadonlyMap<string, SimulatedQueue>;
  readonly downControl: ReadonlyMap<string, SimulatedQueue>;
  readonly limits: { readonly laneBudgetBytes: number; readonly windowCount: number; readonly inboxMaxBytes: number };
  readonly log: Log;
  readonly databases: DatabasePool;
  /** Whether machines lose their power in this run: to be ready for it costs time. */
  readonly powerFails: boolean;
  newId(): Uint8Array;
  /** What the hub says a lane's highest epoch is. */
  highestEpoch(laneId: string): bigint;
  /** The hub's next token for a node, past one that a receiver has seen. */
  giveToken(nodeId: string, past: bigint): bigint;
  /** Called at each crash point; may throw SimulatedCrash. */
  crash(name: string): void;
}

export abstract class SimulatedNode implements Disposable {
  readonly id: string;
  readonly world: World;
  readonly database: ExchangeDatabase;
  readonly #unsynced: Unsynced | undefined;
  fence: FenceHolder = createFence();
  desired = createDesiredState();
  #number = 0n;

  constructor(id: string, world: World) {
    this.id = id;
    this.world = world;
    this.database = world.databases.take();
    this.#unsynced = world.powerFails ? new Unsynced(this.database) : undefined;
  }

  /** A new process over what is on disk: the hub gives it a token and its snapshot. */
  start(token: bigint): void {
    this.fence = createFence();
    this.fence.give(token);
    this.desired = createDesiredState();
    this.learn();
  }

  /** The hub's present snapshot. */
  learn(): void {
    this.#number += 1n;
    this.desired.replace(desiredOf(this.id, this.#number, this.world));
  }

  /** A copy of the database as it is now; calling the result puts it back. */
  backup(): () => void {
    return backup(this.database);
  }

  /** Something was written that the disk does not have yet. */
  get isUnsynced(): boolean {
    return this.#unsynced?.isAny === true;
  }

  /** The machine is without power: what its disk was not waited for is gone. */
  losePower(): void {
    this.#unsynced?.lose();
  }

  [Symbol.dispose](): void {
    this.#unsynced?.[Symbol.dispose]();
    this.world.databases.giveBack(this.database);
  }

  /** The disk is gone. */
  lose(): void {
    this.world.databases.clear(this.database);
  }

  async sendControl(): Promise<void> {
    await untilIdle((wakeup, signal) =>
      outgoingControlPart({
        database: this.database,
        fence: this.fence,
        signer: { sign: (context, payload) => this.sign(context, payload) },
        publish: async (bytes) => this.world.upControl.push(bytes),
        wakeup,
      }).run(signal),
    );
  }

  async takeControl(): Promise<void> {
    const queue = this.world.downControl.get(this.id);
    const ports: ControlPorts = {
      isFenced: () => this.fence.isLost,
      consume: () => queue?.consume(TAKEN_AT_ONCE) ?? nothing(),
      nodeId: this.id,
      hubCertificate: parseId(HUB),
      desired: this.desired,
      trust,
      door: { take: () => {}, loadCached: () => false } as unknown as ControlPorts['door'],
      onReceipt: (receipt, signed) => this.onReceipt(receipt, signed),
      onResend: (request) => this.onResend(request),
      onReceiptsWanted: (wanted, senderId) => this.onReceiptsWanted(wanted, senderId),
      onRefusal: (refusal) => this.onRefusal(refusal),
      onRowsWanted: async () => {},
      onBooksThrough: () => {},
      // Comparisons are no part of the simulation: they move no lane.
      onVerifyRequest: () => undefined,
      onVerifyAnswer: () => undefined,
      log: this.world.log,
    };
    await controlPart(ports).run(new AbortController().signal);
  }

  sign(context: string, payload: Uint8Array): Signed {
    return { payload, suite: 'simulated', keyId: parseId(this.id), signature: Buffer.from(context) };
  }

  protected abstract onReceipt(receipt: Receipt, signed: Signed): void;
  protected abstract onResend(request: Parameters<ControlPorts['onResend']>[0]): void;
  protected abstract onRefusal(refusal: Refusal): void;
  protected abstract onReceiptsWanted(wanted: ReceiptsWanted, senderId: string): void;
}

/** Signatures that nobody forges here: the context must be the right one, and the key that of the certificate. */
export const trust: Trust = {
  checkPeer: () => {},
  checkMonitor: () => {},
  checkSigned(context, signed, certificate) {
    const isRight =
      Buffer.from(signed.signature).toString() === context && Buffer.compare(signed.keyId, certificate) === 0;
    if (!isRight) throw new QiaoError('SIGNATURE_INVALID', `no signature for ${context}`);
  },
};

/** A reason that is at hand: without one, each end would make an error with its stack. */
const IDLE = Symbol('idle');

/** Runs a part until it has nothing more to do: its first wait ends it. */
export async function untilIdle(run: (wakeup: Wakeup, signal: AbortSignal) => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const wakeup: Wakeup = { wake: () => {}, wait: async () => stop.abort(IDLE) };
  await run(wakeup, stop.signal);
}

/** A part that stays between the steps, with what it remembers: each step lets it work until it waits again. */
export class ResidentPart {
  readonly #run: (wakeup: Wakeup, signal: AbortSignal) => Promise<void>;
  readonly #stop = new AbortController();
  #idle = Promise.withResolvers<void>();
  #go = Promise.withResolvers<void>();
  #done: Promise<void> | undefined;

  constructor(run: (wakeup: Wakeup, signal: AbortSignal) => Promise<void>) {
    this.#run = run;
  }

  /** Throws what the part threw; it begins anew with the next step, as its supervisor would have it. */
  async work(): Promise<void> {
    this.#idle = Promise.withResolvers<void>();
    if (this.#done === undefined) {
      const wakeup: Wakeup = {
        wake: () => {},
        wait: () => {
          this.#go = Promise.withResolvers<void>();
          this.#idle.resolve();
          return this.#go.promise;
        },
      };
      this.#done = this.#run(wakeup, this.#stop.signal);
    } else this.#go.resolve();
    try {
      await Promise.race([this.#idle.promise, this.#done]);
    } catch (error) {
      this.#done = undefined;
      throw error;
    }
  }

  /** Its process is gone. */
  end(): void {
    this.#stop.abort(IDLE);
    this.#go.resolve();
  }
}

/** Deliveries a receiver takes from the bus in one step. */
export function deliveriesFor(node: SimulatedNode) {
  return node.world.downData.get(node.id)?.consume(TAKEN_AT_ONCE) ?? nothing();
}

async function* nothing(): AsyncGenerator<never> {}
