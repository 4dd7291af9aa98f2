export { type Arrival, GONE, type Pages, type Word } from './arrivals.ts';
export * from './books.ts';
export * from './captures.ts';
export * from './controlOut.ts';
export type { CursorState, CursorTrouble } from './cursors.ts';
export { type ExchangeDatabase, openExchangeDatabase } from './database.ts';
export {
  type Answer,
  type BusState,
  type DeliveryOut,
  type DeliveryRole,
  type NewDelivery,
} from './deliveriesOut.ts';
export type { DigestRun } from './digestRuns.ts';
export { type DigestChange, type DigestRow } from './digests.ts';
export { type InboxDelivery, type Received, type ReceivedPart } from './inbox.ts';
export * from './jobs.ts';
export type { LanePlace, StuckReason } from './lanePlace.ts';
export * from './lanesIn.ts';
export * from './lanesOut.ts';
export type { HeldPosition, LogOwes, LogPart, LogState } from './logs.ts';
export { type Compression, type NewParcel, type Parcel, type ParcelOrigin } from './parcels.ts';
export {
  type Followed,
  type KeptRow,
  type KeyWaits,
  type OpenKeys,
  type QuarantineRow,
  type RowDecision,
  type RowFate,
  type WaitingPlace,
} from './quarantine.ts';
export { type ReceiptIn } from './receiptsIn.ts';
export { type ReceiptOut } from './receiptsOut.ts';
export { type Decision, type RowSelection } from './rowDecisions.ts';
export { type Edits } from './rowLines.ts';
export { beforeEpoch, type RowAt } from './rowPlace.ts';
export type { EntryCounts, NotedKey, TriggerReading } from './triggers.ts';
