// The sending end of a simulated run: the agent's own packing, sending, settling, refusals and resends over a database in memory.
// Capture is the one thing modelled: a scan compares the source with what was sent last and packs the difference in one transaction.

import type { Refusal, ResendRequest } from '@qiao/contract/control';
import type { Receipt } from '@qiao/contract/receipt';
import type { Signed } from '@qiao/contract/signed';
import type { Kind, Section } from '@qiao/exchange';
import { createReceiptAsker, type ReceiptAsker } from '../send/askReceipts.ts';
import { alignLanes, laneOfSnapshot } from '../send/lanes.ts';
import { type PackedLane, packParcel, prepareContent } from '../send/pack.ts';
import { DEFAULT_SEND_LIMITS, type SendPorts } from '../send/ports.ts';
import { purgeSettled } from '../send/purge.ts';
import { handleRefusal } from '../send/refusal.ts';
import { resendDeliveries } from '../send/resend.ts';
import { suspendOverBudget } from '../send/retention.ts';
import { sendLanePart } from '../send/sendLane.ts';
import { recordReceipt } from '../send/settle.ts';
import { BRIDGE, SENDER, TABLE } from './desired.testing.ts';
import { SimulatedNode, untilIdle, type World } from './node.testing.ts';

const RETENTION_MS = 120_000;
const LONG_AGO = { silentMs: 1_000_000, stalledMs: 1_000_000 };
export const SEAL = new Uint8Array(1);

export class SimulatedSender extends SimulatedNode {
  /** The business table: never lost. */
  readonly source = new Map<string, string>();
  /** What the destinations were sent: lies in the exchange database, and is lost with it. */
  #sent = new Map<string, string>();
  /** Of the present process. */
  #asker: ReceiptAsker | undefined;

  constructor(world: World) {
    super(SENDER, world);
  }

  override backup(): () => void {
    const restore = super.backup();
    const sent = new Map(this.#sent);
    return () => {
      restore();
      this.#sent = new Map(sent);
    };
  }

  override start(token: bigint): void {
    super.start(token);
    this.#asker = undefined;
  }

  override lose(): void {
    super.lose();
    this.#sent = new Map();
  }

  /** One finished scan. */
  async capture(): Promise<void> {
    const { ports } = this;
    const desired = this.desired.current();
    const bridge = desired?.bridges.get(BRIDGE);
    if (desired === undefined || bridge === undefined) return;
    alignLanes(ports, desired, bridge);
    const changes = await prepared(this.#changes());
    const lanes = this.database.lanesOut.all();
    const loads = lanes.some(({ phase }) => phase === 'loading') ? await this.#loads() : [];
    this.database.transaction(() => {
      const streaming = lanes
        .filter(({ phase }) => phase === 'streaming')
        .map(({ lane }) => packed(lane, false, false));
      if (changes !== undefined && streaming.length > 0) {
        packParcel(ports, desired, bridge, changes, 'change', streaming, []);
      }
      const loading = lanes.filter(({ phase }) => phase === 'loading');
      for (const [index, load] of loads.entries()) {
        const isLast = index === loads.length - 1;
        const content = load ?? empty;
        const targets = loading.map(({ lane }) => packed(lane, index === 0, isLast));
        if (targets.length > 0) packParcel(ports, desired, bridge, content, 'load', targets, []);
      }
      for (const { lane } of loading) this.database.lanesOut.setPhase(lane, 'streaming');
      this.#sent = new Map(this.source);
    });
  }

  async send(): Promise<void> {
    for (const held of this.database.lanesOut.all()) {
      const known = laneOfSnapshot(this.desired.current(), held.lane);
      if (known !== undefined) suspendOverBudget(this.ports, known, held, LONG_AGO);
    }
    this.#asker ??= createReceiptAsker(this.ports);
    for (const held of this.database.lanesOut.all()) this.#asker.ask(held);
    for (const { lane } of this.database.lanesOut.all()) {
      await untilIdle((wakeup, signal) => sendLanePart(this.ports, lane, wakeup).run(signal));
    }
  }

  purge(): void {
    purgeSettled(this.database, this.world.clock.nowMs() - RETENTION_MS);
  }

  protected onReceipt(receipt: Receipt, signed: Signed): void {
    recordReceipt(this.ports, receipt, signed);
  }

  protected onResend(request: ResendRequest): void {
    resendDeliveries(this.ports, request);
  }

  protected onReceiptsWanted(): void {}

  protected onRefusal(refusal: Refusal): void {
    handleRefusal(this.ports, refusal);
  }

  get ports(): SendPorts {
    const { world } = this;
    return {
      database: this.database,
      desired: this.desired,
      fence: this.fence,
      bus: {
        isConnected: true,
        publish: async (_subject, bytes) => {
          world.crash('simulated.publish');
          world.upData.push(bytes);
        },
      },
      dataSubject: '',
      signer: { sign: (context, payload) => this.sign(context, payload) },
      sealing: {
        name: 'simulated',
        // As a real seal: never empty, and longer than what is in it.
        seal: async (content, receiverKey) => ({ body: Buffer.concat([content, SEAL]), wrappedKey: receiverKey }),
      },
      clock: world.clock,
      log: world.log,
      newId: () => world.newId(),
      limits: {
        ...DEFAULT_SEND_LIMITS,
        retentionMs: RETENTION_MS,
        laneBudgetBytes: world.limits.laneBudgetBytes,
        windowCount: world.limits.windowCount,
      },
      onRoom: () => {},
      onQueued: () => {},
      onOutbid: (token) => {
        const next = world.giveToken(this.id, token);
        this.database.meta.setFencingToken(next);
        this.fence.give(next);
      },
    };
  }

  /** A load travels in two parcels, so that it can be cut in its middle. */
  async #loads() {
    const all = [...this.source].toSorted(([a], [b]) => (a < b ? -1 : 1));
    const half = Math.ceil(all.length / 2);
    return [
      await prepared([section('insert', all.slice(0, half))]),
      await prepared([section('insert', all.slice(half))]),
    ];
  }

  #changes(): Section[] {
    const inserts: [string, string][] = [];
    const updates: [string, string][] = [];
    for (const [key, value] of this.source) {
      const before = this.#sent.get(key);
      if (before === undefined) inserts.push([key, value]);
      else if (before !== value) updates.push([key, value]);
    }
    const deletes = [...this.#sent.keys()].filter((key) => !this.source.has(key)).map((key): [string] => [key]);
    return [section('delete', deletes), section('insert', inserts), section('update', updates)];
  }

  /** Nothing is left to capture. */
  get isCaptured(): boolean {
    return this.#changes().every(({ rowCount }) => rowCount === 0);
  }
}

function section(kind: Kind, rows: readonly (readonly string[])[]): Section {
  return {
    table: TABLE,
    kind,
    columns: kind === 'delete' ? ['id'] : ['id', 'value'],
    keyColumns: 1,
    rowCount: rows.length,
    rows: Buffer.from(rows.map((fields) => `${fields.join('\t')}\n`).join('')),
    wholeRows: kind !== 'delete',
  };
}

const empty = await prepareContent([], 'none');

async function prepared(sections: readonly Section[]) {
  const filled = sections.filter(({ rowCount }) => rowCount > 0);
  return filled.length === 0 ? undefined : prepareContent(filled, 'none');
}

function packed(lane: Uint8Array, loadBegins: boolean, loadEnds: boolean): PackedLane {
  return { lane, loadBegins, loadEnds, allowedDeletes: 0n, incompleteTables: [] };
}
