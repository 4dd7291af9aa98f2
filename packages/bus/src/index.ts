export type {
  Bus,
  BusAddress,
  BusCredentials,
  BusMessage,
  BusStatus,
  BusTls,
  ConsumeOptions,
  PublishOptions,
  RequestHandler,
  RespondOptions,
} from './bus.ts';
export { BusAccounts, type BusUser, busUserKeyOf, createBusUserKey, type ServerAuthConfig } from './busAccounts.ts';
export {
  BusAdministration,
  type BusAdministrationOptions,
  type BusNode,
  type BusSizes,
  type ShareUse,
} from './busAdministration.ts';
export { type ConnectBusOptions, connectBus } from './connectBus.ts';
export { type BusLine, consumers, inboxPrefix, nodeOfSubject, streams, subjects, type TelemetryKind } from './names.ts';
export { type NatsServerOptions, type NatsServerPart, natsServerPart } from './natsServerPart.ts';
export { type BusPermissions, type BusRole, permissionsOf } from './permissions.ts';
