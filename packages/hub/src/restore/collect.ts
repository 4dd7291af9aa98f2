// Owns what a restored hub learns from one node: the node itself, its peers, bridges and lanes out of the snapshot that this hub
// signed before it lost its memory, revocations, epochs and fencing tokens. Everything only rises: a node that shows an older
// snapshot, or less, changes nothing.

import type { HelloRequest, NodeKnowledge } from '@qiao/contract/control';
import { NodeSnapshot } from '@qiao/contract/node';
import type { Signed } from '@qiao/contract/signed';
import { idText, QiaoError, readMessage, sameBytes } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import { type Verifier, verifyIssued } from '@qiao/security';
import type { HubDatabase } from '../hubDatabase.ts';
import { findNode, learnSeenToken } from '../registry/nodes.ts';
import { learnBridge } from './learnBridge.ts';
import { learnNode, learnRevocations } from './learnNode.ts';

export interface CollectPorts {
  readonly store: HubDatabase;
  readonly platformId: Uint8Array;
  /** DER. */
  readonly authority: Uint8Array;
  readonly hubCertificate: Uint8Array;
  readonly verifier: Pick<Verifier, 'verify'>;
  readonly nowMs: () => number;
  /** Durable when it resolves; lower ones change nothing. */
  readonly learnEpoch: (
    laneId: string,
    senderId: string,
    epoch: { ordinal: bigint; nonce: Uint8Array },
  ) => Promise<void>;
  /** Nodes, bridges or lanes became known: routing reads them. */
  readonly changed: () => Promise<void>;
  /** Bus users whose rights ended after the backup. */
  readonly revokeBusUsers: (users: readonly string[]) => Promise<void>;
}

/** No generation, number or token past this is believed: it would leave no room above it. */
const MOST = 2n ** 50n;

/** The snapshot that a node shows, once this hub's own signature on it is proven. Throws SNAPSHOT_*, SIGNATURE_INVALID, KEY_MISMATCH. */
export function provenSnapshot(ports: CollectPorts, signed: Signed, nodeId: Uint8Array): NodeSnapshot {
  ports.verifier.verify('qiao.snapshot.v1', signed, ports.hubCertificate);
  const snapshot = readMessage(NodeSnapshot, signed.payload, 'snapshot');
  if (!sameBytes(snapshot.platformId, ports.platformId) || !sameBytes(snapshot.nodeId, nodeId)) {
    throw new QiaoError('SNAPSHOT_FOREIGN', 'the snapshot shown is of another node or platform');
  }
  if (snapshot.generation > MOST || snapshot.number > MOST) {
    throw new QiaoError('SNAPSHOT_INVALID', 'the snapshot shown has a number past 2^50');
  }
  return snapshot;
}

/**
 * Takes everything a node tells and returns what is new, one sentence each. Throws NODE_UNKNOWN when it cannot be believed that
 * this node ever joined, and what `provenSnapshot` throws.
 */
export async function collect(ports: CollectPorts, code: string, request: HelloRequest): Promise<string[]> {
  const knows = request.knows;
  if (knows === undefined) return [];
  const snapshot = knows.snapshot === undefined ? undefined : provenSnapshot(ports, knows.snapshot, request.nodeId);
  const nowMs = ports.nowMs();
  const learned: string[] = [];
  const endedUsers: string[] = [];
  await ports.store.transaction().execute(async (store) => {
    learned.push(...(await learnSelf(ports, store, code, request, knows, nowMs)));
    if (snapshot !== undefined) {
      for (const peer of snapshot.peers) {
        const node = { ...peer, title: '', natsUser: '' };
        learned.push(...(await learnNode(store, node, ports.authority, nowMs)));
      }
      // After the nodes: one that joined and was thrown out since is known now.
      const revoked = await learnRevocations(store, snapshot.revocations);
      learned.push(...revoked.sentences);
      endedUsers.push(...revoked.busUsers);
      for (const bridge of snapshot.bridges) learned.push(...(await learnBridge(store, bridge, snapshot, nowMs)));
      await store
        .updateTable('hub_state')
        .set({ highest_generation: Number(snapshot.generation), highest_number: Number(snapshot.number) })
        .where((on) =>
          on.or([
            on('highest_generation', '<', Number(snapshot.generation)),
            on.and([
              on('highest_generation', '=', Number(snapshot.generation)),
              on('highest_number', '<', Number(snapshot.number)),
            ]),
          ]),
        )
        .execute();
    }
    for (const sentence of learned) {
      await store
        .insertInto('restore_learned')
        .values({ sentence, at_ms: nowMs })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    }
  });
  crashPoint('restore.learned');
  await ports.changed();
  await learnPlaces(ports, code, request, knows);
  crashPoint('restore.learned');
  if (endedUsers.length > 0) await ports.revokeBusUsers(endedUsers);
  crashPoint('restore.usersVoided');
  await report(
    ports.store,
    code,
    learned.some((one) => one.startsWith(`node ${code} joined`)),
    nowMs,
  );
  return learned;
}

async function learnSelf(
  ports: CollectPorts,
  store: HubDatabase,
  code: string,
  request: HelloRequest,
  knows: NodeKnowledge,
  nowMs: number,
): Promise<string[]> {
  if (knows.certificate.length === 0) return [];
  const facts = verifyIssued(knows.certificate, ports.authority, nowMs);
  // The bus lets a node publish only under the code in its user JWT, so the subject proves the code.
  if (facts.code !== code || !sameBytes(facts.nodeId, request.nodeId) || facts.role !== 'agent') {
    throw new QiaoError(
      'NODE_MISMATCH',
      `the hello of "${code}" carries the certificate of ${facts.role} ${facts.code}`,
    );
  }
  const { certificate, sealingKey, natsUser, departmentCode, departmentTitle } = knows;
  return await learnNode(
    store,
    {
      nodeId: request.nodeId,
      code,
      title: knows.nodeTitle.slice(0, 200),
      departmentCode,
      departmentTitle: departmentTitle.slice(0, 200),
      certificate,
      sealingKey,
      natsUser,
      readsFormat: Math.max(1, request.readsFormat),
      fencingToken: knows.fencingToken,
    },
    ports.authority,
    nowMs,
  );
}

/** Epochs and tokens, from both ends of each lane: a sender that lost its own memory is known by its receivers. */
async function learnPlaces(
  ports: CollectPorts,
  code: string,
  request: HelloRequest,
  knows: NodeKnowledge,
): Promise<void> {
  const node = await findNode(ports.store, code);
  if (node === undefined) return;
  for (const { laneId, epoch } of request.sending.slice(0, 10_000)) {
    if (laneId.length !== 16 || !isPlace(epoch)) continue;
    await ports.learnEpoch(idText(laneId), node.id, epoch);
  }
  for (const { laneId, epoch, senderFencingToken } of knows.receiving.slice(0, 10_000)) {
    if (laneId.length !== 16) continue;
    const lane = await ports.store
      .selectFrom('lanes')
      .select(['sender_id', 'receiver_id'])
      .where('id', '=', idText(laneId))
      .executeTakeFirst();
    if (lane === undefined || lane.receiver_id !== node.id) continue;
    if (isPlace(epoch) && epoch.ordinal > 0n) await ports.learnEpoch(idText(laneId), lane.sender_id, epoch);
    await learnSeenToken(ports.store, lane.sender_id, senderFencingToken);
  }
}

function isPlace(epoch: { ordinal: bigint; nonce: Uint8Array } | undefined): epoch is {
  ordinal: bigint;
  nonce: Uint8Array;
} {
  return epoch !== undefined && epoch.nonce.length === 16 && epoch.ordinal < MOST;
}

async function report(store: HubDatabase, code: string, isNew: boolean, nowMs: number): Promise<void> {
  const node = await findNode(store, code);
  if (node === undefined)
    throw new QiaoError('NODE_UNKNOWN', `no node has the code "${code}"`, { hint: 'qiao node list' });
  await store
    .insertInto('restore_report')
    .values({ node_id: node.id, at_ms: nowMs, joined_after: isNew ? 1 : 0 })
    .onConflict((conflict) => conflict.column('node_id').doUpdateSet({ at_ms: nowMs }))
    .execute();
}
