export * from './books.ts';
export * from './captures.ts';
export * from './controlOut.ts';
export { type ExchangeDatabase, openExchangeDatabase } from './database.ts';
export {
  type Answer,
  type BusState,
  type DeliveryOut,
  DeliveryOutStore,
  type DeliveryRole,
  type NewDelivery,
} from './deliveriesOut.ts';
export { type DigestChange, type DigestRow, DigestStore } from './digests.ts';
export { type InboxDelivery, InboxStore, type Received, type ReceivedPart } from './inbox.ts';
export type { LanePlace, StuckReason } from './lanePlace.ts';
export * from './lanesIn.ts';
export * from './lanesOut.ts';
export { MetaStore } from './meta.ts';
export { type Compression, type NewParcel, type Parcel, type ParcelOrigin, ParcelStore } from './parcels.ts';
export { type QuarantinedDeliveryRow, type QuarantineRow, QuarantineStore } from './quarantine.ts';
export { type ReceiptIn, ReceiptInStore } from './receiptsIn.ts';
export { type ReceiptOut, ReceiptOutStore } from './receiptsOut.ts';
