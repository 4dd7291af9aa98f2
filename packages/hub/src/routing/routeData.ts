// Owns the road of deliveries through the hub: taken from the bus, judged, forwarded to the receiver's down stream as the same
// bytes, then acknowledged. Whatever happens twice is forwarded twice: receivers drop duplicates for ever, so no state here
// must survive a crash but a lane's epoch.

import { type BusMessage, nodeOfSubject } from '@qiao/bus';
import { ControlMessage } from '@qiao/contract/control';
import { Signed } from '@qiao/contract/signed';
import { QiaoError, sameBytes } from '@qiao/exchange';
import { type Clock, crashPoint, describeError, type Log, type Part } from '@qiao/runtime';
import { hasNoRoom, isFinal } from './failures.ts';
import { InFlight } from './inFlight.ts';
import type { LaneBooks } from './laneBooks.ts';
import type { LookAgain } from './lookAgain.ts';
import type { RefusalBook, RefusalNote } from './refusalBook.ts';
import { contractRefusal, placeOf, type RefusalFacts } from './refusals.ts';
import type { RoutingBridge } from './routingTable.ts';
import { type Verified, type VerifyPorts, verifyDelivery } from './verifyDelivery.ts';

export interface RouteDataPorts extends Omit<VerifyPorts, 'place'> {
  readonly consume: (signal: AbortSignal) => AsyncIterable<BusMessage>;
  /** Into a node's down streams. Calls made one after the other keep their order, whether awaited or not. */
  readonly forwardData: (code: string, bytes: Uint8Array) => Promise<void>;
  readonly forwardControl: (code: string, bytes: Uint8Array) => Promise<void>;
  readonly signControl: (payload: Uint8Array) => Signed;
  readonly books: LaneBooks;
  readonly refusals: RefusalBook;
  readonly clock: Clock;
  readonly log: Log;
  /** A verified word of this node passed by. */
  readonly seen: (nodeId: string, atMs: number) => void;
  /** Where replicas share the database: asked before anything is refused that memory alone would refuse. */
  readonly lookAgain?: LookAgain;
  /** A token higher than the hub's own: given before the hub was restored. */
  readonly learnFencingToken: (nodeId: string, token: bigint) => Promise<void>;
}

/** Taken from the bus and not yet ended: bounds the router's memory. */
const LIMITS = { messages: 512, bytes: 64 * 1024 * 1024 };
/** A destination found full is not tried again within this. */
const BUSY_PAUSE_MS = 250;
const RETRY_MS = 1_000;

export function routeDataPart(ports: RouteDataPorts): Part {
  return {
    name: 'route-data',
    run: (signal) => new DataRouter(ports).run(signal),
  };
}

/** Refusals that follow from the bytes alone: a second look would find the same. */
const WHATEVER_IS_ON_DISK: ReadonlySet<RefusalFacts['code']> = new Set([
  'MESSAGE_UNREADABLE',
  'PLATFORM_UNKNOWN',
  'BODY_TAMPERED',
]);

type Genuine = Extract<Verified, { kind: 'genuine' }>;
type Refused = Extract<Verified, { kind: 'refused' }>;

class DataRouter {
  readonly #ports: RouteDataPorts;
  readonly #inFlight = new InFlight(LIMITS);
  readonly #busyUntilMs = new Map<string, number>();

  constructor(ports: RouteDataPorts) {
    this.#ports = ports;
  }

  async run(signal: AbortSignal): Promise<void> {
    try {
      for await (const message of this.#ports.consume(signal)) {
        await this.#inFlight.enter(message.data.length);
        this.#take(message, this.#ports.lookAgain);
      }
    } finally {
      // What was taken ends here, so that a restarted part never races with its former self.
      await this.#inFlight.drain();
      await this.#ports.books.flush();
    }
  }

  /** Judges at once, in arrival order; goes on in the order of its lane. */
  #take(message: BusMessage, lookAgain: LookAgain | undefined): void {
    const { books, clock } = this.#ports;
    const nowMs = clock.nowMs();
    const fromCode = nodeOfSubject(message.subject);
    let verified: Verified;
    try {
      verified = verifyDelivery({ ...this.#ports, place: (lane) => books.place(lane) }, fromCode, message.data, nowMs);
    } catch (cause) {
      // Judging is pure: the same bytes would fail the same way for ever.
      const failure = new QiaoError('JUDGING_FAILED', 'the hub could not judge the delivery; its log says why', {
        cause,
      });
      void this.#end(message, () => this.#fail(message, failure, 'a delivery could not be judged'));
      return;
    }
    if (verified.kind === 'refused') {
      const refused = verified;
      if (lookAgain === undefined || WHATEVER_IS_ON_DISK.has(refused.facts.code)) {
        void this.#end(message, () => this.#refuse(message, fromCode, refused));
        return;
      }
      lookAgain().then(
        () => this.#take(message, undefined),
        (error: unknown) => void this.#end(message, () => Promise.reject(error)),
      );
      return;
    }
    const genuine = verified;
    this.#ports.seen(genuine.sender.id, nowMs);
    this.#inFlight.inOrder(genuine.lane.id, async () => {
      const forwarded = await this.#forward(message, fromCode, genuine);
      // The acknowledgement is awaited beside the lane's order, or a lane would carry one message per round trip.
      void this.#end(message, () => forwarded.done);
    });
  }

  /** Resolves when the message is handed to the bus in its place; `done` when it was acknowledged there and ended here. */
  async #forward(message: BusMessage, fromCode: string, genuine: Genuine): Promise<{ done: Promise<void> }> {
    const { books, clock } = this.#ports;
    const { header, lane, receiver } = genuine;
    const epoch = header.epoch ?? { ordinal: 0n, nonce: new Uint8Array() };
    try {
      if (genuine.isNewEpoch) {
        await books.openEpoch(lane.id, epoch.ordinal, epoch.nonce);
        crashPoint('route.learned');
      }
      const { table } = this.#ports;
      if (header.fencingToken > table.fencing(genuine.sender.id).token) {
        await this.#ports.learnFencingToken(genuine.sender.id, header.fencingToken);
        crashPoint('route.learned');
      }
    } catch (error) {
      return { done: this.#fail(message, error, 'an epoch could not be written down', genuine) };
    }
    const place = books.place(lane.id);
    if (genuine.isNewEpoch && place.nonce !== undefined && !sameBytes(place.nonce, epoch.nonce)) {
      // Two messages opened the same ordinal at once; the first on disk is the lane's.
      const facts: RefusalFacts = {
        code: 'EPOCH_TOO_LOW',
        message: `another epoch ${epoch.ordinal} of the lane was opened first`,
        place: placeOf(header),
        highestEpoch: place.highestEpoch,
      };
      return { done: this.#refuse(message, fromCode, { ...genuine, kind: 'refused', facts }) };
    }
    if ((this.#busyUntilMs.get(receiver.code) ?? 0) > clock.elapsedMs()) {
      return { done: this.#refuseBusy(message, fromCode, genuine) };
    }
    return { done: this.#publish(message, fromCode, genuine) };
  }

  async #publish(message: BusMessage, fromCode: string, genuine: Genuine): Promise<void> {
    const { books, clock } = this.#ports;
    const { header, lane, receiver, part } = genuine;
    try {
      await this.#ports.forwardData(receiver.code, message.data);
    } catch (error) {
      if (hasNoRoom(error)) {
        this.#busyUntilMs.set(receiver.code, clock.elapsedMs() + BUSY_PAUSE_MS);
        return await this.#refuseBusy(message, fromCode, genuine);
      }
      return await this.#fail(message, error, 'a delivery could not be forwarded', genuine);
    }
    // Down first, then the acknowledgement up: a crash between leaves a duplicate that the receiver drops, never a hole.
    crashPoint('route.forwarded');
    message.ack();
    if (part === 0) books.countRouted(lane.id, header.epoch?.ordinal ?? 0n, header.sequence);
  }

  async #refuseBusy(message: BusMessage, fromCode: string, genuine: Genuine): Promise<void> {
    const { bridge, lane, header, receiver } = genuine;
    const facts: RefusalFacts = {
      code: 'DESTINATION_BUSY',
      message: `the share of "${receiver.code}" on the bus has no room`,
      place: placeOf(header),
    };
    await this.#refuse(message, fromCode, { kind: 'refused', facts, bridge, lane });
  }

  /** Written down, then told, then off the bus: after a crash between it is refused again, which the sender understands. */
  async #refuse(message: BusMessage, fromCode: string, { facts, bridge, lane }: Refused): Promise<void> {
    const { table, books } = this.#ports;
    await this.#record(fromCode, facts, bridge);
    crashPoint('route.refusalRecorded');
    const sender = table.nodeByCode(fromCode);
    if (sender?.isJoined === true) {
      try {
        await this.#ports.forwardControl(fromCode, this.#refusalBytes(sender.idBytes, facts));
      } catch (error) {
        // A sender that does not read is not waited for: its own timer sends again what it holds.
        if (!hasNoRoom(error) && !isFinal(error)) throw error;
        this.#ports.log.warn({ from: message.subject, err: describeError(error) }, 'a refusal could not be told');
      }
    }
    crashPoint('route.refusalTold');
    if (lane !== undefined) books.countRefused(lane.id);
    message.ack();
  }

  #record(
    fromCode: string,
    { code, message, place }: Pick<RefusalNote, 'code' | 'message'> & Pick<RefusalFacts, 'place'>,
    bridge: RoutingBridge | undefined,
  ): Promise<void> {
    return this.#ports.refusals.record({
      atMs: this.#ports.clock.nowMs(),
      fromNode: fromCode,
      bridge: bridge?.name ?? '',
      laneId: Buffer.from(place?.laneId ?? []).toString('hex'),
      epoch: place?.epoch?.ordinal ?? 0n,
      sequence: place?.sequence ?? 0n,
      code,
      message,
    });
  }

  #refusalBytes(toNodeId: Uint8Array, facts: RefusalFacts): Uint8Array {
    const body = { $case: 'refusal' as const, value: contractRefusal(facts) };
    return Signed.encode(this.#ports.signControl(ControlMessage.encode({ toNodeId, body }).finish())).finish();
  }

  /** What would fail for ever is written down and ended; everything else is tried again. */
  async #fail(message: BusMessage, error: unknown, sentence: string, of?: Pick<Genuine, 'header' | 'bridge'>) {
    const { log } = this.#ports;
    const isLast = isFinal(error);
    log.warn({ from: message.subject, err: describeError(error), isLast }, sentence);
    if (!isLast) return message.retryLater(RETRY_MS);
    const note = { code: error.code, message: error.message, place: of && placeOf(of.header) };
    await this.#record(nodeOfSubject(message.subject), note, of?.bridge);
    crashPoint('route.refusalRecorded');
    message.ack();
  }

  async #end(message: BusMessage, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.#ports.log.warn({ from: message.subject, err: describeError(error) }, 'a delivery is tried again');
      message.retryLater(RETRY_MS);
    } finally {
      this.#inFlight.leave(message.data.length);
    }
  }
}
