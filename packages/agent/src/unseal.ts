// What was sealed for this node, and for no other: bodies of deliveries, keys of comparisons, what operators send.

import { QiaoError } from '@qiao/exchange';
import { type NodeIdentity, type Sealed, sealing, sealingContext } from '@qiao/security';
import type { BodyOpener } from './apply/openBody.ts';
import { sealingKeyName } from './send/sealDelivery.ts';
import type { KeyOpener } from './verify/index.ts';

/** Opens what was sealed for this node, and is no delivery. */
export function unseal({ sealingKey }: NodeIdentity, sealed: Sealed, context: Uint8Array): Promise<Uint8Array> {
  if (sealingKey === undefined) throw new QiaoError('BODY_UNREADABLE', 'this node has no sealing key');
  return sealing.open(sealed, sealingKey.privateKey, context);
}

/** Opens bodies of deliveries that were sealed for this node. */
export function bodyOpener(identity: NodeIdentity): BodyOpener {
  const { sealingKey } = identity;
  return {
    sealing: sealing.name,
    sealedFor: sealedForOf(identity),
    open: (body, wrappedKey, header) => {
      if (sealingKey === undefined || header.epoch === undefined) {
        throw new QiaoError('BODY_UNREADABLE', 'this node has no sealing key');
      }
      const { laneId, epoch, sequence, contentHash } = header;
      const context = sealingContext({ laneId, epoch, sequence, contentHash });
      return sealing.open({ body, wrappedKey }, sealingKey.privateKey, context);
    },
  };
}

/** The name of the key that deliveries for this node are sealed for. */
export function sealedForOf({ sealingKey }: NodeIdentity): Uint8Array | undefined {
  return sealingKey === undefined ? undefined : sealingKeyName(sealingKey.publicKey);
}

/** Opens comparison keys that a lane's sender sealed for this node. */
export function keyOpener({ sealingKey }: NodeIdentity): KeyOpener {
  return {
    sealing: sealing.name,
    open: (body, wrappedKey, context) => {
      if (sealingKey === undefined) throw new QiaoError('COMPARISON_UNREADABLE', 'this node has no sealing key');
      return sealing.open({ body, wrappedKey }, sealingKey.privateKey, context);
    },
  };
}
