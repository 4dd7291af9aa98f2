/** What sending needs from the rest of the agent, as small ports, and what it offers in return. */
import type { LaneEpoch, Refusal, ResendRequest } from '@qiao/contract/control';
import type { ServiceState } from '@qiao/contract/node';
import type { Receipt } from '@qiao/contract/receipt';
import type { Signed } from '@qiao/contract/signed';
import type { Clock, Log, Part } from '@qiao/runtime';
import type { DesiredState } from '../control/desired.ts';
import type { Fence } from '../control/fence.ts';
import type { ExchangeDatabase } from '../exchange-database/index.ts';

export interface SendSigner {
  sign(context: 'qiao.delivery.v1' | 'qiao.statement.v1' | 'qiao.settlement.v1', payload: Uint8Array): Signed;
}

/** Seals a body for one receiver, bound to its place in the lane. */
export interface BodySealing {
  readonly name: string;
  seal(
    content: Uint8Array,
    receiverPublicKey: Uint8Array,
    context: Uint8Array,
  ): Promise<{ body: Uint8Array; wrappedKey: Uint8Array }>;
}

export interface SendBus {
  publish(subject: string, bytes: Uint8Array, options?: { messageId?: string; timeoutMs?: number }): Promise<void>;
  readonly isConnected: boolean;
}

export interface SendLimits {
  /** First pause without a receipt before a delivery is published again; it doubles up to `resendMostMs`. */
  readonly resendAfterMs: number;
  readonly resendMostMs: number;
  /** Deliveries of one lane on the bus without a receipt, however small. */
  readonly windowCount: number;
  /** How long a settled parcel stays, for a target that is restored from a backup. */
  readonly retentionMs: number;
  /** A lane whose unreceipted bytes go past this is suspended: its bodies are given up and it loads anew when it answers. */
  readonly laneBudgetBytes: number;
  /** … or whose oldest rows wait longer than this. A bridge's own limits.retention goes before both. */
  readonly laneBudgetDays: number;
}

export const DEFAULT_SEND_LIMITS: SendLimits = {
  resendAfterMs: 30_000,
  resendMostMs: 600_000,
  windowCount: 512,
  retentionMs: 24 * 60 * 60 * 1000,
  laneBudgetBytes: 8 * 1024 * 1024 * 1024,
  laneBudgetDays: 30,
};

export interface SendPorts {
  readonly database: ExchangeDatabase;
  readonly desired: Pick<DesiredState, 'current' | 'onChange'>;
  readonly fence: Fence;
  readonly bus: SendBus;
  /** `qiao.up.<platform>.<node>.data` */
  readonly dataSubject: string;
  readonly signer: SendSigner;
  readonly sealing: BodySealing;
  readonly clock: Clock;
  readonly log: Log;
  /** 16 random bytes. */
  newId(): Uint8Array;
  readonly limits: SendLimits;
  /** Called when receipts freed room: capture may look. */
  onRoom(): void;
  /** A control message waits in the outgoing queue. */
  onQueued(): void;
  /** A receiver has seen this newer fencing token of ours: a hub restored from a backup gave us an older one. */
  onOutbid(token: bigint): void;
}

/**
 * recorded: new. known: this revision, or a newer one, was held. unknownDelivery: no such delivery (any more). fork: the
 * receiver applied another content at this place; the lane is stuck now.
 */
export type ReceiptRecord = 'recorded' | 'known' | 'unknownDelivery' | 'fork';

/**
 * resending: that many will be published again. reopened: the bodies are gone, the lane begins a new epoch with a load. known: the
 * bus brought a request again that was taken before, or both ends stand where they should. asked: the receiver is asked whether it has the newest
 * settled delivery. forked: this end is an old copy of itself.
 */
export type ResendAnswer =
  | { readonly kind: 'resending'; readonly deliveries: number }
  | { readonly kind: 'reopened' }
  | { readonly kind: 'otherEpoch' }
  | { readonly kind: 'known' }
  | { readonly kind: 'asked' }
  | { readonly kind: 'forked' }
  | { readonly kind: 'unknownLane' };

/** What was done about a refusal. ignored: it is about something that is over. */
export type RefusalAnswer = 'later' | 'voided' | 'closed' | 'stuck' | 'reopened' | 'ignored';

export interface SendService {
  /** Sending (one loop per lane inside) and purging. */
  readonly parts: readonly Part[];
  /** One entry per lane that begins here, for the heartbeat. */
  states(): ServiceState[];
  /** There may be something to send: on a packed parcel, a new snapshot, a bus that came back. */
  wake(): void;
  /** Takes a receipt whose signature and receiver were verified. */
  recordReceipt(receipt: Receipt, signed: Signed): ReceiptRecord;
  /** A verified request of the lane's receiver. */
  resendDeliveries(request: ResendRequest): ResendAnswer;
  /** A verified refusal by the hub or the lane's receiver. Writes it into the books. */
  handleRefusal(refusal: Refusal): RefusalAnswer;
  /** Lanes this node sends on, for the hello. */
  sending(): LaneEpoch[];
}
