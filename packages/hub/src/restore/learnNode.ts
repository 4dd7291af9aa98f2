// Owns taking in a node that a restored hub does not know, or knows with an older certificate, and rights that were ended after the
// backup. What is believed is what this platform's own authority or hub has signed.

import type { Revocation } from '@qiao/contract/node';
import { CODE, idText } from '@qiao/exchange';
import { readCertificate, verifyIssued } from '@qiao/security';
import type { HubDatabase, NodeRow } from '../hubDatabase.ts';
import { isBusUserOfAnother, keyName, recordCertificate } from '../registry/certificates.ts';
import { findNodeById, insertNode, learnFencingToken } from '../registry/nodes.ts';

export interface LearnedNode {
  readonly nodeId: Uint8Array;
  readonly code: string;
  readonly title: string;
  readonly departmentCode: string;
  readonly departmentTitle: string;
  /** DER. */
  readonly certificate: Uint8Array;
  readonly sealingKey: Uint8Array;
  /** Empty when the teller does not know it. */
  readonly natsUser: string;
  readonly readsFormat: number;
  readonly fencingToken: bigint;
}

const MOST_TOKEN = 2n ** 50n;

/** Takes a node in; returns what is new. A certificate that the authority did not issue to it changes nothing. */
export async function learnNode(
  store: HubDatabase,
  told: LearnedNode,
  authority: Uint8Array,
  nowMs: number,
): Promise<string[]> {
  const facts = issuedTo(told, authority, nowMs);
  if (facts === undefined) return [];
  const id = idText(told.nodeId);
  // What it says of its bus key is unproven: that of another node stays that one's.
  const isOfAnother = told.natsUser !== '' && (await isBusUserOfAnother(store, id, told.natsUser));
  const node = isOfAnother ? { ...told, natsUser: '' } : told;
  const known = await findNodeById(store, id);
  const given = await store
    .selectFrom('certificates')
    .select(['fingerprint', 'revoked_at_ms'])
    .where('fingerprint', 'in', [facts.fingerprint, facts.twinFingerprint])
    .executeTakeFirst();
  // The same certificate written another way: nobody was ever given it like that.
  if (given?.fingerprint === facts.twinFingerprint) return [];
  const learned: string[] = [];
  if (known === undefined) {
    await insertNode(store, { ...node, id, role: 'agent' });
    learned.push(`node ${node.code} joined after the backup`);
  } else if (given === undefined && known.fingerprint !== null) {
    learned.push(`node ${node.code} was given another certificate after the backup`);
  }
  if (given === undefined) {
    await recordCertificate(store, {
      certificate: node.certificate,
      fingerprint: facts.fingerprint,
      nodeId: id,
      natsUser: node.natsUser === '' ? null : node.natsUser,
      issuedAtMs: facts.notBeforeMs,
    });
  }
  const isNewer = facts.notBeforeMs > (known?.joined_at_ms ?? 0) || known?.status !== 'joined';
  if (given?.revoked_at_ms == null && (known === undefined || (given === undefined && isNewer))) {
    await store
      .updateTable('nodes')
      .set({
        status: 'joined',
        certificate: node.certificate,
        fingerprint: facts.fingerprint,
        certificate_ends_at_ms: facts.notAfterMs,
        reads_format: node.readsFormat,
        joined_at_ms: facts.notBeforeMs,
        ...(node.sealingKey.length > 0 ? { sealing_key: node.sealingKey } : {}),
        ...(node.natsUser === '' ? {} : { nats_user: node.natsUser }),
      })
      .where('id', '=', id)
      .execute();
  }
  if (node.natsUser !== '') {
    // A peer told of the node before it spoke for itself.
    await store
      .updateTable('certificates')
      .set({ nats_user: node.natsUser })
      .where('fingerprint', '=', facts.fingerprint)
      .where('nats_user', 'is', null)
      .execute();
    await store
      .updateTable('nodes')
      .set({ nats_user: node.natsUser })
      .where('id', '=', id)
      .where('nats_user', 'is', null)
      .execute();
  }
  if (node.fencingToken < MOST_TOKEN) await learnFencingToken(store, id, Number(node.fencingToken));
  return learned;
}

function issuedTo(node: LearnedNode, authority: Uint8Array, nowMs: number) {
  if (node.nodeId.length !== 16 || !CODE.test(node.code) || !CODE.test(node.departmentCode)) return undefined;
  try {
    // One that has ended since says as well who it was.
    const facts = verifyIssued(
      node.certificate,
      authority,
      Math.min(nowMs, readCertificate(node.certificate).notAfterMs),
    );
    return facts.code === node.code && idText(facts.nodeId) === idText(node.nodeId) && facts.role === 'agent'
      ? facts
      : undefined;
  } catch {
    return undefined;
  }
}

/** Ends again what this hub ended after the backup; returns what is new and the bus users to be cut. */
export async function learnRevocations(
  store: HubDatabase,
  revocations: readonly Revocation[],
): Promise<{ sentences: string[]; busUsers: string[] }> {
  const sentences: string[] = [];
  const busUsers = new Set<string>();
  for (const { fingerprint, nodeId, natsUser, revokedAtMs } of revocations.slice(0, 1_024)) {
    if (fingerprint.length !== 32 || nodeId.length !== 16) continue;
    const print = Buffer.from(fingerprint).toString('hex');
    // Whatever is known of the node: one that nobody told of yet is kept from the bus before it speaks, and a hub that died after
    // it had written what it learned keeps it from there at the next telling.
    if (natsUser !== '') busUsers.add(natsUser);
    const known = await store
      .selectFrom('certificates')
      .select('revoked_at_ms')
      .where('fingerprint', '=', print)
      .executeTakeFirst();
    if (known !== undefined && known.revoked_at_ms !== null) continue;
    const node = await findNodeById(store, idText(nodeId));
    if (node === undefined) continue;
    const ended = { revoked_at_ms: Number(revokedAtMs), reason: 'ended after the backup' };
    await store
      .insertInto('certificates')
      .values({
        fingerprint: print,
        key_sha256: node.fingerprint === print && node.certificate !== null ? keyName(node.certificate) : null,
        node_id: node.id,
        nats_user: natsUser === '' ? null : natsUser,
        issued_at_ms: Number(revokedAtMs),
        ...ended,
      })
      .onConflict((conflict) => conflict.column('fingerprint').doUpdateSet(ended))
      .execute();
    if (isPresent(node, print)) {
      await store
        .updateTable('certificates')
        .set(ended)
        .where('fingerprint', '=', node.fingerprint)
        .where('revoked_at_ms', 'is', null)
        .execute();
      await store.updateTable('nodes').set({ status: 'revoked' }).where('id', '=', node.id).execute();
      sentences.push(`the rights of ${node.code} were ended after the backup`);
    }
  }
  // A node that joined again may have kept its bus user.
  const good = await store
    .selectFrom('certificates')
    .select('nats_user')
    .where('revoked_at_ms', 'is', null)
    .where('nats_user', 'in', [...busUsers, ''])
    .execute();
  for (const row of good) busUsers.delete(row.nats_user ?? '');
  return { sentences, busUsers: [...busUsers] };
}

/** Whether the fingerprint is of the certificate that the node goes by, whichever way that is written. */
function isPresent({ fingerprint, certificate }: NodeRow, print: string): boolean {
  return fingerprint === print || (certificate !== null && readCertificate(certificate).twinFingerprint === print);
}
