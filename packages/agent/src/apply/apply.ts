// Applies what waits in the inbox, and carries out what was decided about rows that wait, one part per data source: its lanes take turns on one target connection, in sequence each,
// and the body of the next delivery is opened while one is being applied. Lanes of different data sources run side by side.
// This part claims lanes; how one delivery lands is applyDelivery.ts, where a lane stands is recover.ts.

import type { DataSource, Target } from '@qiao/adapters';
import { RefusalFate } from '@qiao/contract/control';
import type { DeliveryHeader } from '@qiao/contract/delivery';
import { idText, parseId, QiaoError } from '@qiao/exchange';
import { crashPoint, describeError, type Part, type Wakeup } from '@qiao/runtime';
import { forgetKept, isPast } from '../cleaning/cleaning.ts';
import { type DesiredBridge, type DesiredLane, type DesiredState, isOver } from '../control/desired.ts';
import type { ExchangeDatabase, InboxDelivery } from '../exchange-database/index.ts';
import { type Asker, settledBefore } from '../receive/ask.ts';
import type { RowAsker } from '../receive/askRows.ts';
import { type ApplyDeliveryPorts, applyDelivery, type Landing } from './applyDelivery.ts';
import { Arrivals, waysOn } from './arrivals.ts';
import type { MarkLooks } from './landings.ts';
import { type LaneConditions, reasonOf } from './laneConditions.ts';
import { nextStep } from './nextDelivery.ts';
import { OpenAhead } from './openAhead.ts';
import type { BodyOpener } from './openBody.ts';
import { recoverLane } from './recover.ts';
import { SettleLanes } from './settleLanes.ts';
import { TargetTables } from './targetTables.ts';
import { definitionFor } from './versions.ts';

export interface ApplyPorts extends ApplyDeliveryPorts {
  readonly database: ApplyDeliveryPorts['database'] &
    Pick<ExchangeDatabase, 'bridgeVersions' | 'arrivals' | 'captures' | 'digests' | 'sendBacks'>;
  readonly nodeId: string;
  readonly desired: Pick<DesiredState, 'current'>;
  open(dataSource: string): Promise<DataSource>;
  readonly body: BodyOpener;
  readonly ask: Asker;
  readonly askRows: RowAsker;
  readonly conditions: LaneConditions;
  /** Woken when a delivery is complete or the snapshot changed. One per data source. */
  readonly wakeup: Wakeup;
  /** How long a lane that is over keeps its mark in the target, milliseconds. */
  readonly retentionMs: number;
  readonly wantSnapshot: Wakeup;
  readonly looks: MarkLooks;
}

const POLL_MS = 1_000;
/** A gap that shows while messages are under way closes by itself; it is asked for when it stays this long. */
const GAP_PATIENCE_MS = 1_000;
/** How often lanes that are over are looked for. */
const FORGET_EVERY_MS = 60_000;
/** An idle lane's mark is looked at this often: a target restored from a backup meanwhile says nothing by itself. */
const LOOK_AT_MARK_MS = 60_000;

interface LaneClaim {
  readonly bridge: DesiredBridge;
  readonly lane: DesiredLane;
  readonly laneId: Uint8Array;
}

/** A delivery to apply, or decisions about rows to carry out: a person who settles rows never waits for the whole inbox. */
type Claim = (LaneClaim & { readonly kind: 'apply'; readonly delivery: InboxDelivery }) | SettleClaim;
type SettleClaim = LaneClaim & { readonly kind: 'settle' };
type ApplyClaim = Extract<Claim, { kind: 'apply' }>;

/** The apply part of one data source. */
export function applyPart(dataSource: string, ports: ApplyPorts): Part {
  return {
    name: `apply:${dataSource}`,
    async run(signal) {
      while (!signal.aborted && lanesInto(dataSource, ports).length === 0 && !hasGoneLanes(ports)) {
        await ports.wakeup.wait(POLL_MS, signal);
      }
      if (signal.aborted) return;
      let target: Target | undefined;
      try {
        const source = await ports.open(dataSource);
        target = await source.openTarget();
        const { targetId } = await target.prepare();
        crashPoint('apply.prepared');
        await new Worker(dataSource, source, target, targetId, ports).run(signal);
      } catch (error) {
        showOnEveryLane(dataSource, error, ports);
        throw error;
      } finally {
        await target?.close().catch(() => {});
      }
    },
  };
}

class Worker {
  readonly #dataSource: string;
  readonly #source: DataSource;
  readonly #target: Target;
  readonly #targetId: string;
  readonly #ports: ApplyPorts;
  /** Lanes whose mark was looked at on this connection; false: the lane stopped there. */
  readonly #recovered = new Map<string, boolean>();
  readonly #lookedAtMs = new Map<string, number>();
  /** Lanes whose senders were told where they stand. */
  readonly #said = new Set<string>();
  readonly #tables = new Map<string, { version: number; tables: TargetTables }>();
  readonly #gapSinceMs = new Map<string, number>();
  readonly #ahead: OpenAhead;
  readonly #settleLanes: SettleLanes;
  #turn = 0;
  #forgetAtMs = 0;

  constructor(dataSource: string, source: DataSource, target: Target, targetId: string, ports: ApplyPorts) {
    this.#dataSource = dataSource;
    this.#source = source;
    this.#target = target;
    this.#targetId = targetId;
    this.#ports = ports;
    this.#ahead = new OpenAhead(ports);
    this.#settleLanes = new SettleLanes(ports);
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#forgetGone();
      const claim = await this.#claim();
      if (claim === undefined) {
        await this.#ports.wakeup.wait(POLL_MS, signal);
        continue;
      }
      if (claim.kind === 'settle') await this.#settleClaimed(claim);
      else await this.#applyClaimed(claim);
    }
  }

  /** Lanes that were forgotten here leave the target too: first the mark, then the row that remembers where it is. */
  async #forgetGone(): Promise<void> {
    const { database, clock, retentionMs } = this.#ports;
    const nowMs = clock.nowMs();
    if (clock.elapsedMs() < this.#forgetAtMs) return;
    this.#forgetAtMs = clock.elapsedMs() + Math.min(FORGET_EVERY_MS, Math.max(retentionMs, POLL_MS));
    for (const lane of database.lanesIn.all()) {
      if (lane.goneAtMs === 0 || lane.targetId !== this.#targetId || !isPast(lane.goneAtMs, retentionMs, nowMs))
        continue;
      // What cleaning closes in the books goes first.
      if (database.receiptsOut.openOf(lane.lane).length > 0) continue;
      await this.#target.forgetLane(idText(lane.lane));
      crashPoint('apply.laneForgotten');
      // All of it at once: nobody looks for what a lane without a row has left.
      database.transaction(() => {
        forgetKept(database, lane.lane);
        database.lanesIn.remove(lane.lane);
      });
    }
  }

  /** The next lane in turn that has something to do. */
  async #claim(): Promise<Claim | undefined> {
    if (this.#ports.looks.take(this.#dataSource)) this.#recovered.clear();
    const lanes = lanesInto(this.#dataSource, this.#ports);
    for (let step = 0; step < lanes.length; step += 1) {
      const entry = lanes[(this.#turn + step) % lanes.length];
      if (entry === undefined) continue;
      const claim = await this.#claimLane(entry.bridge, entry.lane);
      if (claim !== undefined) {
        this.#turn = (this.#turn + step + 1) % lanes.length;
        return claim;
      }
    }
    return undefined;
  }

  async #claimLane(bridge: DesiredBridge, lane: DesiredLane): Promise<Claim | undefined> {
    const { database, conditions, ask, clock } = this.#ports;
    const laneId = parseId(lane.laneId);
    if (!this.#recovered.has(lane.laneId)) {
      const end = {
        lane: laneId,
        bridge: parseId(bridge.bridgeId),
        senderId: lane.senderId,
        sender: parseId(lane.senderId),
        bridgeVersion: bridge.version,
        isOver: isOver(bridge, lane),
      };
      this.#recovered.set(lane.laneId, await recoverLane(this.#target, this.#targetId, end, this.#ports));
      this.#lookedAtMs.set(lane.laneId, clock.elapsedMs());
    }
    const state = database.lanesIn.get(laneId);
    const isHere = this.#recovered.get(lane.laneId) === true && state !== undefined && !conditions.isStopped(state);
    if (isHere && !this.#said.has(lane.laneId)) {
      // Where this end was put back together with its target, only the sender knows what was here.
      this.#said.add(lane.laneId);
      ask.sayPlace(state, lane.senderId);
    }
    if (isHere && this.#settleLanes.isDue(lane.laneId)) return { kind: 'settle', bridge, lane, laneId };
    const sender = this.#ports.desired.current()?.peers.get(lane.senderId);
    if (isHere && sender !== undefined && database.quarantine.hasCode(laneId, 'MISSING_BASE')) {
      await this.#ports.askRows.ask(state, sender);
    }
    if (state === undefined || !conditions.mayTry(state, bridge.version)) return undefined;
    const onlyNewEpoch = conditions.isStopped(state) || this.#recovered.get(lane.laneId) === false;
    const step = nextStep(state, database.inbox, onlyNewEpoch);
    if (step.kind !== 'missing') this.#gapSinceMs.delete(lane.laneId);
    switch (step.kind) {
      case 'apply':
        return { kind: 'apply', bridge, lane, laneId, delivery: step.delivery };
      case 'missing': {
        const sinceMs = this.#gapSinceMs.get(lane.laneId) ?? clock.elapsedMs();
        this.#gapSinceMs.set(lane.laneId, sinceMs);
        if (clock.elapsedMs() - sinceMs < GAP_PATIENCE_MS) return undefined;
        const { epoch, nonce, first, last } = step;
        ask.resend({ lane: laneId, senderId: lane.senderId, epoch, nonce, first, last, reason: 'gap' });
        return undefined;
      }
      case 'wait':
        // The target answers, and nothing is left that could fail: what stopped the lane is over.
        if (!onlyNewEpoch && database.inbox.waiting(laneId).deliveries === 0) conditions.clear(state);
        if (clock.elapsedMs() - (this.#lookedAtMs.get(lane.laneId) ?? 0) > LOOK_AT_MARK_MS) {
          this.#recovered.delete(lane.laneId);
        }
        return undefined;
      default:
        return step satisfies never;
    }
  }

  /** A target that went away ends this attempt; anything else is shown at the lane and tried again after a pause. */
  async #settleClaimed({ bridge, lane, laneId }: SettleClaim): Promise<void> {
    const { conditions, log } = this.#ports;
    try {
      // Room came free: a lane that stopped for the number of its open rows looks again at once.
      if (await this.#settleLanes.settle(this.#landing({ bridge, lane }))) conditions.tryNow(laneId);
    } catch (error) {
      if (!(error instanceof QiaoError) || error.code === 'TARGET_UNAVAILABLE' || error.fate === 'ambiguous')
        throw error;
      log.warn({ lane: lane.laneId, err: describeError(error) }, 'rows could not be settled, trying again');
    }
  }

  async #applyClaimed(claim: ApplyClaim): Promise<void> {
    const { conditions } = this.#ports;
    const { bridge, lane, laneId } = claim;
    try {
      const opened = await this.#ahead.take(claim.delivery);
      const landing = this.#landing(claim, opened.header);
      this.#ahead.openBehind(claim.delivery);
      const applied = await applyDelivery(opened, landing, this.#ports);
      switch (applied.kind) {
        case 'answered':
          if (opened.header.role?.$case === 'opening') this.#recovered.set(lane.laneId, true);
          conditions.progress(laneId);
          this.#settleLanes.landed();
          return;
        case 'settledBefore':
          this.#ports.ask.refuse(settledBefore({ ...claim.delivery, lane: laneId, senderId: lane.senderId }));
          return;
        case 'lookAgain':
          this.#ports.log.warn({ lane: lane.laneId, why: applied.why }, 'the mark stands elsewhere than remembered');
          this.#recovered.delete(lane.laneId);
          return;
        case 'fork':
          conditions.stick(laneId, bridge.version, forkReason(applied.why));
          this.#ports.database.inbox.remove(claim.delivery);
          return;
        case 'guard':
          conditions.stick(laneId, bridge.version, {
            code: 'DELETE_GUARD',
            message: `the end of the load would remove ${applied.rows} of ${applied.of} rows of ${applied.table}`,
            hint: `if that is right: qiao bridge run ${bridge.name} --allow-deletes ${applied.rows}`,
          });
          return;
        default:
          applied satisfies never;
      }
    } catch (error) {
      this.#failed(claim, error);
    }
  }

  /** A lane's own failure stops that lane; a target that went away ends this attempt for all of them. */
  #failed({ bridge, lane, laneId, delivery }: ApplyClaim, error: unknown): void {
    const { conditions, ask, database } = this.#ports;
    this.#ahead.forget();
    if (error instanceof QiaoError && error.code === 'VERSION_AHEAD') this.#ports.wantSnapshot.wake();
    if (!(error instanceof QiaoError) || error.fate !== 'permanent') {
      conditions.retryLater(laneId, error);
      // The connection may be broken in the middle of anything: the supervisor opens a new one.
      if (!(error instanceof QiaoError) || error.code === 'TARGET_UNAVAILABLE' || error.fate === 'ambiguous')
        throw error;
      return;
    }
    // A body for this node's old key is nobody's fault and no stop: it comes again.
    if (error.code !== 'KEY_UNKNOWN') conditions.stick(laneId, bridge.version, reasonOf(error));
    const fate = fateOf(error.code);
    if (fate === undefined) return;
    if (fate === RefusalFate.RESEND) database.inbox.remove(delivery);
    ask.refuse({
      lane: laneId,
      senderId: lane.senderId,
      epoch: delivery.epoch,
      nonce: delivery.nonce,
      sequence: delivery.sequence,
      contentHash: delivery.contentHash,
      code: error.code,
      message: error.message,
      hint: error.hint,
      fate,
    });
  }

  #landing({ bridge, lane }: Pick<LaneClaim, 'bridge' | 'lane'>, header?: DeliveryHeader): Landing {
    // Rows that are tried again land as the bridge is now: a person may have mended it for them.
    const version = header?.bridgeVersion ?? bridge.version;
    // Openings and voids bring no rows: they mean the same under every version.
    const isRows = header?.role?.$case === 'rows';
    const { definition, destination } = isRows
      ? definitionFor(bridge, lane, version, this.#ports.database.bridgeVersions)
      : { definition: bridge.definition, destination: lane.destination };
    const held = this.#tables.get(lane.laneId);
    // What a table carries is learnt anew with each version of the bridge.
    const tables = held?.version === version ? held.tables : new TargetTables();
    this.#tables.set(lane.laneId, { version, tables });
    const desired = this.#ports.desired.current();
    const ways = waysOn(desired, { definition }, { ...lane, destination });
    return {
      target: this.#target,
      targetId: this.#targetId,
      source: this.#source,
      bridge: { ...bridge, definition },
      lane: { ...lane, destination },
      sender: desired?.peers.get(lane.senderId),
      tables,
      arrivals: ways.size === 0 ? undefined : new Arrivals(ways, this.#ports.database),
    };
  }
}

function lanesInto(dataSource: string, ports: ApplyPorts): { bridge: DesiredBridge; lane: DesiredLane }[] {
  const found: { bridge: DesiredBridge; lane: DesiredLane }[] = [];
  for (const bridge of ports.desired.current()?.bridges.values() ?? []) {
    for (const lane of bridge.lanes) {
      if (lane.receiverId === ports.nodeId && lane.destination?.dataSource === dataSource) found.push({ bridge, lane });
    }
  }
  return found;
}

/** Lanes that are over and still have a mark somewhere: the target that knows their id is looked for. */
function hasGoneLanes({ database, clock, retentionMs }: ApplyPorts): boolean {
  return database.lanesIn
    .all()
    .some(
      ({ goneAtMs, targetId }) =>
        goneAtMs > 0 && targetId !== undefined && isPast(goneAtMs, retentionMs, clock.nowMs()),
    );
}

/** What keeps a data source from being opened is every lane's failure. */
function showOnEveryLane(dataSource: string, error: unknown, ports: ApplyPorts): void {
  const isPermanent = error instanceof QiaoError && error.fate === 'permanent';
  for (const { bridge, lane } of lanesInto(dataSource, ports)) {
    if (isOver(bridge, lane)) continue;
    const laneId = parseId(lane.laneId);
    ports.database.lanesIn.ensure(laneId, parseId(bridge.bridgeId), parseId(lane.senderId));
    if (isPermanent) ports.conditions.stick(laneId, bridge.version, reasonOf(error));
    else ports.conditions.showFailure(laneId, error);
  }
}

/** Failures of the delivery itself, that its sender can do something about. The others are this node's own. */
function fateOf(code: string): RefusalFate | undefined {
  switch (code) {
    case 'KEY_UNKNOWN':
    case 'BODY_UNREADABLE':
    case 'CONTENT_HASH_MISMATCH':
    case 'CONTENT_INVALID':
    case 'COUNTS_MISMATCH':
      return RefusalFate.RESEND;
    case 'VERSION_REFUSED':
      return RefusalFate.VOID;
    default:
      return undefined;
  }
}

export function forkReason(why: string) {
  return {
    code: 'FORK',
    message: `two histories of this lane met: ${why}`,
    hint: 'was a node cloned or restored from a backup? the sender opens a new epoch; compare with: qiao node list',
  };
}
