// What this node can tell a hub that was restored from a backup: the snapshot that the hub itself signed, who this node is, and where
// its lanes stand at both ends.

import { NodeKnowledge } from '@qiao/contract/control';
import { Signed } from '@qiao/contract/signed';
import { CODE } from '@qiao/exchange';
import type { ExchangeDatabase } from '../exchange-database/index.ts';
import type { Desired } from './desired.ts';

export interface KnowledgePorts {
  readonly database: Pick<ExchangeDatabase, 'meta' | 'lanesIn'>;
  readonly desired: () => Pick<Desired, 'generation' | 'number'> | undefined;
  readonly identity: () => {
    readonly certificate: Uint8Array;
    readonly sealingKey?: { readonly publicKey: Uint8Array } | undefined;
    readonly departmentCode: string;
    readonly departmentTitle: string;
  };
  /** Public NATS user key. */
  readonly natsUser: string;
}

/** With `everything`, all of it; otherwise what fits into every hello. */
export function knowledgeOf(ports: KnowledgePorts, everything: boolean): NodeKnowledge {
  const desired = ports.desired();
  const always = {
    generation: desired?.generation ?? 0n,
    number: desired?.number ?? 0n,
    fencingToken: ports.database.meta.fencingToken(),
  };
  if (!everything) return NodeKnowledge.fromPartial(always);
  const { certificate, sealingKey, departmentCode, departmentTitle } = ports.identity();
  const cached = ports.database.meta.snapshot();
  return NodeKnowledge.fromPartial({
    ...always,
    ...(cached === undefined ? {} : { snapshot: Signed.decode(cached) }),
    certificate,
    sealingKey: sealingKey?.publicKey ?? new Uint8Array(),
    natsUser: ports.natsUser,
    departmentCode: CODE.test(departmentCode) ? departmentCode : '',
    departmentTitle,
    receiving: ports.database.lanesIn.all().map(({ lane, epoch, nonce, fencingToken }) => ({
      laneId: lane,
      ...(nonce.length === 16 ? { epoch: { ordinal: epoch, nonce } } : {}),
      senderFencingToken: fencingToken,
    })),
  });
}
