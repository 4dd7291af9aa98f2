// The receiving end of a simulated run: the agent's own intake, inbox, apply, answers and questions over a database in memory,
// before a target that can be restored from a backup.

import type { DataSource } from '@qiao/adapters';
import type { ReceiptsWanted } from '@qiao/contract/control';
import { parseId } from '@qiao/exchange';
import { applyPart, forkReason } from '../apply/apply.ts';
import { MarkLooks } from '../apply/landings.ts';
import { createLaneConditions, type LaneConditions } from '../apply/laneConditions.ts';
import { createAnswers } from '../receive/answer.ts';
import { createAsker } from '../receive/ask.ts';
import { giveReceipts } from '../receive/giveReceipts.ts';
import { receivePart } from '../receive/receive.ts';
import { PLATFORM } from './desired.testing.ts';
import { deliveriesFor, ResidentPart, SimulatedNode, trust, type World } from './node.testing.ts';
import { SEAL } from './sender.testing.ts';
import { SimulatedTarget } from './target.testing.ts';

const idle = { wake: () => {}, wait: async () => {} };

export class SimulatedReceiver extends SimulatedNode {
  readonly laneId: string;
  readonly target: SimulatedTarget;
  #conditions!: LaneConditions;
  #ask!: ReturnType<typeof createAsker>;
  #apply!: ResidentPart;

  constructor(id: string, laneId: string, world: World) {
    super(id, world);
    this.laneId = laneId;
    this.target = new SimulatedTarget(id);
    this.#begin();
  }

  override start(token: bigint): void {
    super.start(token);
    this.#begin();
  }

  async receive(): Promise<void> {
    const { world, database } = this;
    await receivePart({
      isFenced: () => false,
      consume: () => deliveriesFor(this),
      nodeId: this.id,
      platformId: PLATFORM,
      desired: () => this.desired.current(),
      trust,
      database,
      answers: this.#answers(),
      ask: this.#ask,
      sealedFor: undefined,
      inboxLimits: {
        bytes: world.limits.inboxMaxBytes,
        laneBytes: world.limits.inboxMaxBytes,
        laneDeliveries: 1_000,
      },
      onDelivery: (laneId) => this.#conditions.tryNow(parseId(laneId)),
      stickFork: (lane, version, why) => this.#conditions.stick(lane, version, forkReason(why)),
      stuckForMs: (lane) => this.#conditions.stuckForMs(lane),
      wantSnapshot: idle,
      clock: world.clock,
      log: world.log,
    }).run(new AbortController().signal);
  }

  async apply(): Promise<void> {
    await this.#apply.work();
  }

  protected onReceipt(): void {}
  protected onResend(): void {}
  protected onRefusal(): void {}
  protected onReceiptsWanted(wanted: ReceiptsWanted, senderId: string): void {
    giveReceipts(wanted, senderId, { answers: this.#answers(), ask: this.#ask, database: this.database });
  }

  #answers() {
    const { world, database } = this;
    return createAnswers({
      database,
      sign: (context, payload) => this.sign(context, payload),
      renew: (_context, signed) => signed,
      clock: world.clock,
      onQueued: () => {},
    });
  }

  #applyPart(): ResidentPart {
    const { world, database } = this;
    const source = { openTarget: async () => this.target.open(world.crash) } as unknown as DataSource;
    const ports = {
      database,
      answers: this.#answers(),
      permissions: { exposes: [], accepts: [{ dataSource: 'target', table: '*' }], defaultSchema: () => undefined },
      clock: world.clock,
      log: world.log,
      nodeId: this.id,
      desired: this.desired,
      open: async () => source,
      body: {
        sealing: 'simulated',
        sealedFor: undefined,
        open: async (body: Uint8Array) => body.subarray(0, -SEAL.length),
      },
      ask: this.#ask,
      askRows: { ask: async () => {} },
      conditions: this.#conditions,
      retentionMs: Number.MAX_SAFE_INTEGER,
      looks: new MarkLooks(),
      wantSnapshot: idle,
    };
    return new ResidentPart((wakeup, signal) => applyPart('target', { ...ports, wakeup }).run(signal));
  }

  #begin(): void {
    this.#apply?.end();
    const { world } = this;
    const { clock } = world;
    this.#conditions = createLaneConditions({ database: this.database, clock, log: world.log });
    this.#ask = createAsker({
      database: this.database,
      clock,
      log: world.log,
      newId: () => world.newId(),
      onQueued: () => {},
    });
    this.#apply = this.#applyPart();
  }
}
