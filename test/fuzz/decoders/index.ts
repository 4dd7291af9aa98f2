// Every decoder that is fuzzed, by group: a group is opened only when one of it is wanted, for some start servers.

import type { Decoder } from '../decoder.ts';
import { backupDecoders } from './backups.ts';
import { certificateDecoders } from './certificates.ts';
import { controlDecoders } from './control.ts';
import { deliveryDecoders } from './deliveries.ts';
import { fileDecoders } from './files.ts';
import { logDecoders } from './logs.ts';
import { peerDecoders } from './peers.ts';
import { rowDecoders } from './rows.ts';
import { serverDecoders } from './servers.ts';
import { textDecoders } from './texts.ts';

export const GROUPS: Readonly<Record<string, () => Promise<Decoder[]>>> = {
  rows: async () => rowDecoders(),
  files: async () => fileDecoders(),
  logs: async () => logDecoders(),
  texts: async () => textDecoders(),
  deliveries: deliveryDecoders,
  control: controlDecoders,
  peers: async () => peerDecoders(),
  backups: backupDecoders,
  certificates: certificateDecoders,
  servers: serverDecoders,
};
