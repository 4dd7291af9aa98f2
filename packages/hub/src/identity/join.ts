// Owns the one call that answers a stranger: a one-time token and public keys become a certificate and rights on the bus.
// A wrong, used or expired token gets one and the same answer; the audit knows which it was.

import { type JoinRequest, JoinResponse } from '@qiao/contract/hub';
import { NodeRole } from '@qiao/contract/node';
import { parseId, QiaoError } from '@qiao/exchange';
import { crashPoint, describeError } from '@qiao/runtime';
import { readCertificate, sameKey } from '@qiao/security';
import { appendAudit } from '../audit/audit.ts';
import type { HubDatabase } from '../hubDatabase.ts';
import {
  isBusUserOfAnother,
  JOINED_AGAIN,
  recordCertificate,
  revokeCertificates,
  wereEnded,
} from '../registry/certificates.ts';
import { findNodeById, type NodeWithDepartment } from '../registry/nodes.ts';
import { type TakenToken, takeToken } from '../registry/tokens.ts';
import type { Attempts } from './attempts.ts';
import type { IdentityPorts } from './identity.ts';

/** Public NATS user keys: a base32 text that begins with U. */
const NATS_USER = /^U[A-Z2-7]{55}$/;
const MAX_CSR_BYTES = 4_096;
const MAX_SEALING_KEY_BYTES = 256;

/**
 * Joins. `address` is where the call came from, without its port.
 * Throws TOKEN_REFUSED, TOO_MANY_ATTEMPTS, CSR_INVALID, JOIN_INVALID.
 */
export async function join(
  ports: IdentityPorts,
  attempts: Attempts,
  request: JoinRequest,
  address: string,
): Promise<JoinResponse> {
  const nowMs = ports.clock.nowMs();
  const { outcome } = await attempts.inTurn(address, nowMs, async () => {
    const looked = await ports.store
      .transaction()
      .execute((store) => takeAndJoin(ports, store, request, address, nowMs));
    return { outcome: looked, isWrong: looked.kind !== 'joined' };
  });
  if (outcome.kind !== 'joined') {
    await auditRefusedToken(ports, outcome, address, nowMs);
    throw new QiaoError('TOKEN_REFUSED', 'this token is unknown, was used before, or has expired', {
      hint: 'ask the hub for a new one: qiao node invite CODE',
    });
  }
  const { node, replacedBusUsers } = outcome;
  // The database first, then the bus: a crash between leaves a joined node without streams, which the next connect makes.
  crashPoint('join.stored');
  // Whoever calls still did so with the keys that these replace.
  ports.cut(node.code);
  // A node that shows the same bus key again keeps it: voiding it would void what was just given.
  for (const user of replacedBusUsers)
    if (user !== request.natsUser) await attempt(ports, 'revoke', () => ports.busRights.revoke(user));
  if (node.role !== 'operator') {
    const role = node.role;
    await attempt(ports, 'prepare', () => ports.busRights.prepare(node.code, role));
  }
  crashPoint('join.prepared');
  await ports.changed();
  return outcome.response;
}

type JoinOutcome =
  | {
      readonly kind: 'joined';
      readonly node: NodeWithDepartment;
      readonly response: JoinResponse;
      readonly replacedBusUsers: string[];
    }
  | Exclude<TakenToken, { kind: 'taken' }>;

async function takeAndJoin(
  ports: IdentityPorts,
  store: HubDatabase,
  request: JoinRequest,
  address: string,
  nowMs: number,
): Promise<JoinOutcome> {
  const token = await takeToken(store, request.secret, nowMs);
  if (token.kind !== 'taken') return token;
  const node = await findNodeById(store, token.nodeId);
  if (node === undefined) return { kind: 'unknown' };
  // From here an error rolls the token back: a request that could never work must not cost the invitation.
  requireKeys(node, request);
  const certificate = await ports.authority.issue({
    csr: request.csr,
    role: node.role,
    nodeId: parseId(node.id),
    code: node.code,
    hosts: node.role === 'monitor' ? ['localhost', '127.0.0.1', address] : [],
    nowMs,
  });
  const isSameKey = node.certificate !== null && sameKey(certificate, node.certificate);
  const facts = readCertificate(certificate);
  const natsUser = node.role === 'operator' ? null : request.natsUser;
  await requireGoodKeys(store, node, { certificate, natsUser, before: isSameKey ? node.fingerprint : null });
  // What was signed with a key that stays, stays good; a key that is replaced ends.
  const replacedBusUsers = isSameKey ? [] : await revokeCertificates(store, node.id, JOINED_AGAIN, nowMs);
  await recordCertificate(store, {
    certificate,
    fingerprint: facts.fingerprint,
    nodeId: node.id,
    natsUser,
    issuedAtMs: nowMs,
  });
  await store
    .updateTable('nodes')
    .set({
      status: 'joined',
      certificate,
      fingerprint: facts.fingerprint,
      certificate_ends_at_ms: facts.notAfterMs,
      sealing_key: node.role === 'agent' ? request.sealingKey : null,
      reads_format: request.readsFormat,
      nats_user: natsUser,
      joined_at_ms: nowMs,
      last_seen_at_ms: 0,
    })
    .where('id', '=', node.id)
    .execute();
  await appendAudit(store, {
    atMs: nowMs,
    actor: `node:${node.code}`,
    action: 'node.join',
    subject: node.code,
    success: true,
    detail: { address, role: node.role, fingerprint: facts.fingerprint, invitedBy: token.createdBy },
  });
  const response = await responseFor(ports, node, certificate, natsUser);
  return { kind: 'joined', node, response, replacedBusUsers };
}

/** Keys whose rights a person ended come back nowhere, and nobody bears the bus key of another: ending the one would end the other. */
async function requireGoodKeys(
  store: HubDatabase,
  node: NodeWithDepartment,
  keys: Parameters<typeof wereEnded>[1],
): Promise<void> {
  const { natsUser } = keys;
  const hint = 'make new ones: qiao agent join --again --new-keys --token TOKEN';
  if (await wereEnded(store, keys)) {
    throw new QiaoError('JOIN_INVALID', `the keys shown for "${node.code}" were revoked and may not come back`, {
      hint,
    });
  }
  if (natsUser !== null && (await isBusUserOfAnother(store, node.id, natsUser))) {
    throw new QiaoError('JOIN_INVALID', `the bus key shown for "${node.code}" is that of another node`, { hint });
  }
}

function requireKeys(node: NodeWithDepartment, request: JoinRequest): void {
  const wrong = (what: string) =>
    new QiaoError('JOIN_INVALID', `the request of ${node.role} "${node.code}" ${what}`, {
      hint: `join with the command for its role: qiao ${node.role} join`,
    });
  if (request.csr.length === 0 || request.csr.length > MAX_CSR_BYTES) {
    throw wrong(`carries a signing request of ${request.csr.length} bytes, expected 1 to ${MAX_CSR_BYTES}`);
  }
  if (node.role !== 'operator' && !NATS_USER.test(request.natsUser)) throw wrong('carries no public NATS user key');
  const sealingBytes = request.sealingKey.length;
  if (node.role === 'agent' && (sealingBytes === 0 || sealingBytes > MAX_SEALING_KEY_BYTES)) {
    throw wrong(`carries a sealing key of ${sealingBytes} bytes, expected 1 to ${MAX_SEALING_KEY_BYTES}`);
  }
}

async function responseFor(
  ports: IdentityPorts,
  node: NodeWithDepartment,
  certificate: Uint8Array,
  natsUser: string | null,
): Promise<JoinResponse> {
  const onBus = node.role !== 'operator' && natsUser !== null;
  return JoinResponse.fromPartial({
    platformId: ports.platform.id,
    platformCode: ports.platform.code,
    platformTitle: ports.platform.title,
    timeZone: ports.platform.timeZone,
    nodeId: parseId(node.id),
    nodeCode: node.code,
    role: contractRole(node.role),
    departmentCode: node.department_code,
    departmentTitle: node.department_title,
    certificate,
    authority: ports.authority.certificateDer,
    hubCertificate: ports.hubCertificate,
    natsJwt: onBus ? await ports.busRights.userJwt(natsUser, node.role as 'agent' | 'monitor', node.code) : '',
    natsUrls: onBus ? [...ports.busUrls()] : [],
    hubAddress: ports.hubAddress,
  });
}

export function contractRole(role: 'agent' | 'monitor' | 'operator'): NodeRole {
  switch (role) {
    case 'agent':
      return NodeRole.AGENT;
    case 'monitor':
      return NodeRole.MONITOR;
    case 'operator':
      return NodeRole.OPERATOR;
    default:
      return role satisfies never;
  }
}

async function auditRefusedToken(
  ports: IdentityPorts,
  token: Exclude<TakenToken, { kind: 'taken' }>,
  address: string,
  nowMs: number,
): Promise<void> {
  await ports.store.transaction().execute(async (store) => {
    const node = token.kind === 'unknown' ? undefined : await findNodeById(store, token.nodeId);
    await appendAudit(store, {
      atMs: nowMs,
      actor: 'stranger',
      action: 'node.join',
      subject: node?.code ?? '',
      success: false,
      detail: { address, token: token.kind },
    });
  });
}

async function attempt(ports: IdentityPorts, what: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    ports.log.warn(
      { what, err: describeError(error) },
      'the bus did not take a change of rights, repeated at the next connect',
    );
  }
}
