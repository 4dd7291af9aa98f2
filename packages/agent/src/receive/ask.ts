// What a receiver tells a sender besides receipts: "send me that again" and "this cannot go on". Both are paced per lane, so
// that a sender that does not answer is asked now and then, never in a loop.

import { ControlMessage, RefusalFate } from '@qiao/contract/control';
import { idText, parseId } from '@qiao/exchange';
import type { Clock, Log } from '@qiao/runtime';
import type { ExchangeDatabase, LaneIn } from '../exchange-database/index.ts';

export interface ResendWanted {
  readonly lane: Uint8Array;
  readonly senderId: string;
  readonly epoch: bigint;
  readonly nonce: Uint8Array;
  readonly first: bigint;
  /** 0n for everything from `first` on. */
  readonly last: bigint;
  readonly reason: string;
  /** One delivery whose open rows are not known here: asked for beside the lane's gaps, when the lane is looked at anew. */
  readonly isApart?: boolean;
}

export interface DeliveryRefused {
  readonly lane: Uint8Array;
  readonly senderId: string;
  readonly epoch: bigint;
  readonly nonce: Uint8Array;
  readonly sequence: bigint;
  readonly contentHash: Uint8Array;
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly fate: RefusalFate;
  readonly highestEpoch?: bigint;
  /** With FENCED: the newest token seen. */
  readonly fencingToken?: bigint;
}

/** Its sender held the settled receipt once: it stands behind its own past, unless this is a late copy, which a sender that remembers ignores. */
export function settledBefore(
  place: Pick<DeliveryRefused, 'lane' | 'senderId' | 'epoch' | 'nonce' | 'sequence' | 'contentHash'>,
): DeliveryRefused {
  const { lane, senderId, epoch, nonce, sequence, contentHash } = place;
  return {
    lane,
    senderId,
    epoch,
    nonce,
    sequence,
    contentHash,
    code: 'SETTLED_BEFORE',
    message: `sequence ${sequence} was settled before; its sender stands behind its own past`,
    hint: '',
    fate: RefusalFate.NEW_EPOCH,
    highestEpoch: epoch,
  };
}

export interface AskPorts {
  readonly database: Pick<ExchangeDatabase, 'controlOut' | 'lanesIn'>;
  readonly clock: Clock;
  readonly log: Log;
  /** 16 random bytes. */
  newId(): Uint8Array;
  readonly onQueued: () => void;
}

export interface Asker {
  /** Asks for part of a lane again; false when the same lane was asked too short a time ago. */
  resend(wanted: ResendWanted): boolean;
  /** Says where the lane stands here; false when the same was said a short time ago. */
  sayPlace(place: Pick<LaneIn, 'lane' | 'epoch' | 'nonce' | 'appliedSequence'>, senderId: string): boolean;
  /** Refuses a delivery to its sender; false when the same refusal went out too short a time ago. */
  refuse(refused: DeliveryRefused): boolean;
}

/** What is on its way when a gap shows needs a moment; a sender republishes by itself after 30 s. */
const RESEND_EVERY_MS = 10_000;
/** The same place asked for in vain is asked for ever more rarely: a sender that is away for days must not find a day's questions. */
const RESEND_MOST_MS = 120_000;
const REFUSE_EVERY_MS = 10_000;
/** Refusals remembered for pacing; the oldest goes first. */
const REMEMBERED_REFUSALS = 1_000;

export function createAsker({ database, clock, log, newId, onQueued }: AskPorts): Asker {
  const refusedAtMs = new Map<string, number>();
  /** What each lane was last asked for, and how often. */
  const askedFor = new Map<string, { readonly place: string; readonly times: number }>();
  /** Where each lane was said to stand. */
  const said = new Map<string, { readonly place: string; readonly atMs: number }>();
  return {
    resend({ lane, senderId, epoch, nonce, first, last, reason, isApart = false }) {
      const nowMs = clock.nowMs();
      const askedMs = database.lanesIn.get(lane)?.resendAskedMs ?? 0;
      const id = idText(lane);
      const place = `${epoch}:${first}`;
      const before = askedFor.get(id);
      const times = before?.place === place ? before.times : 0;
      const pauseMs = Math.min(RESEND_EVERY_MS * 2 ** Math.max(0, times - 1), RESEND_MOST_MS);
      // A clock that was set back must not silence the lane until it caught up.
      if (!isApart && askedMs <= nowMs && nowMs - askedMs < pauseMs) return false;
      if (!isApart) askedFor.set(id, { place, times: times + 1 });
      const message = ControlMessage.fromPartial({
        toNodeId: parseId(senderId),
        body: {
          $case: 'resend',
          value: {
            laneId: lane,
            epoch: { ordinal: epoch, nonce },
            firstSequence: first,
            lastSequence: last,
            reason,
            requestId: newId(),
            isPlace: false,
          },
        },
      });
      if (!isApart) database.lanesIn.setResendAsked(lane, nowMs);
      database.controlOut.add(
        ControlMessage.encode(message).finish(),
        nowMs,
        isApart ? `resend:${id}:${epoch}:${first}` : `resend:${id}`,
      );
      log.info(
        { lane: idText(lane), epoch: String(epoch), first: String(first), last: String(last), reason },
        'asked again',
      );
      onQueued();
      return true;
    },
    sayPlace({ lane, epoch, nonce, appliedSequence }, senderId) {
      const id = idText(lane);
      const place = `${epoch}:${appliedSequence}`;
      const before = said.get(id);
      const elapsedMs = clock.elapsedMs();
      if (before?.place === place && elapsedMs - before.atMs < RESEND_MOST_MS) return false;
      said.set(id, { place, atMs: elapsedMs });
      const value = {
        laneId: lane,
        epoch: { ordinal: epoch, nonce },
        firstSequence: appliedSequence + 1n,
        lastSequence: 0n,
        reason: 'place',
        requestId: newId(),
        isPlace: true,
      };
      const message = ControlMessage.encode({ toNodeId: parseId(senderId), body: { $case: 'resend', value } }).finish();
      database.controlOut.add(message, clock.nowMs(), `place:${id}`);
      onQueued();
      return true;
    },
    refuse(refused) {
      const nowMs = clock.nowMs();
      const elapsedMs = clock.elapsedMs();
      const key = `${idText(refused.lane)}:${refused.epoch}:${refused.sequence}:${refused.code}`;
      const beforeMs = refusedAtMs.get(key);
      if (beforeMs !== undefined && elapsedMs - beforeMs < REFUSE_EVERY_MS) return false;
      refusedAtMs.delete(key);
      refusedAtMs.set(key, elapsedMs);
      if (refusedAtMs.size > REMEMBERED_REFUSALS) {
        const [oldest] = refusedAtMs.keys();
        if (oldest !== undefined) refusedAtMs.delete(oldest);
      }
      const message = ControlMessage.fromPartial({
        toNodeId: parseId(refused.senderId),
        body: {
          $case: 'refusal',
          value: {
            laneId: refused.lane,
            epoch: { ordinal: refused.epoch, nonce: refused.nonce },
            sequence: refused.sequence,
            code: refused.code.slice(0, 64),
            message: refused.message.slice(0, 1_000),
            hint: refused.hint.slice(0, 200),
            fate: refused.fate,
            highestEpoch: refused.highestEpoch ?? 0n,
            contentHash: refused.contentHash,
            fencingToken: refused.fencingToken ?? 0n,
          },
        },
      });
      database.controlOut.add(ControlMessage.encode(message).finish(), nowMs, `refusal:${key}`);
      log.warn(
        { lane: idText(refused.lane), sequence: String(refused.sequence), code: refused.code, detail: refused.message },
        'delivery refused',
      );
      onQueued();
      return true;
    },
  };
}
