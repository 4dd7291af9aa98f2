export {
  type BodySealing,
  DEFAULT_SEND_LIMITS,
  type ReceiptRecord,
  type RefusalAnswer,
  type ResendAnswer,
  type SendBus,
  type SendLimits,
  type SendPorts,
  type SendService,
  type SendSigner,
} from './ports.ts';
export { createSendParts } from './send.ts';
