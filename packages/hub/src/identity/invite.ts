// Owns the making of invitations: which codes may be invited, by whom, for how long, and what the department must open in
// its network for it. The token leaves this file once and is stored as a hash.

import type { Invitation, InviteRequest, NetworkOpening } from '@qiao/contract/hub';
import { NodeRole } from '@qiao/contract/node';
import { CODE, type Problem, ProblemsError, QiaoError } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import { makeToken } from '@qiao/security';
import { appendAudit } from '../audit/audit.ts';
import type { HubDatabase, NodeRoleName, NodeRow } from '../hubDatabase.ts';
import { ensureDepartment, findNode, insertNode, isTitle } from '../registry/nodes.ts';
import { storeToken } from '../registry/tokens.ts';
import type { IdentityPorts } from './identity.ts';

const DAY_S = 86_400;
const MAX_EXPIRY_S = 604_800;
/** Codes that mean something else on the bus. */
const RESERVED_CODES = new Set(['hub']);

/**
 * Invites a node, the monitor or an operator; a revoked one is invited again under its old identity.
 * Throws INVITATION_INVALID (every problem at once), NODE_EXISTS, ROLE_CHANGED.
 */
export async function invite(ports: IdentityPorts, request: InviteRequest, actor: string): Promise<Invitation> {
  const role = roleOf(request.role);
  const problems = invitationProblems(request, role);
  if (role === undefined || problems.length > 0) throw new ProblemsError(problems, { code: 'INVITATION_INVALID' });

  const nowMs = ports.clock.nowMs();
  const expiresAtMs = nowMs + (request.expiresInS === 0 ? DAY_S : request.expiresInS) * 1_000;
  const secret = ports.random(32);
  const nodeCode = request.nodeCode;
  const [departmentCode, departmentTitle] =
    request.departmentCode === ''
      ? [ports.platform.code, ports.platform.title]
      : [request.departmentCode, request.departmentTitle];

  await ports.store.transaction().execute(async (store) => {
    const known = await findNode(store, nodeCode);
    const id = known?.id ?? Buffer.from(ports.random(16)).toString('hex');
    if (known === undefined) {
      await insertNode(store, { id, code: nodeCode, title: request.nodeTitle, departmentCode, departmentTitle, role });
    } else {
      requireInvitable(known, role, nowMs);
      await ensureDepartment(store, departmentCode, departmentTitle);
      await reinvite(store, known, request.nodeTitle, departmentCode);
    }
    await storeToken(store, { secret, nodeId: id, createdBy: actor, nowMs, expiresAtMs });
    await appendAudit(store, {
      atMs: nowMs,
      actor,
      action: 'node.invite',
      subject: nodeCode,
      success: true,
      detail: { role, department: departmentCode, expiresAtMs },
    });
  });
  crashPoint('invite.stored');
  await ports.changed();

  const token = makeToken({
    hubAddress: ports.hubAddress,
    secret,
    authorityFingerprint: ports.authority.fingerprint,
    platformCode: ports.platform.code,
    nodeCode,
  });
  return {
    token,
    expiresAtMs: BigInt(expiresAtMs),
    openings: openingsFor(role, nodeCode, ports.hubAddress, ports.busUrls()),
  };
}

function roleOf(role: NodeRole): NodeRoleName | undefined {
  switch (role) {
    case NodeRole.AGENT:
      return 'agent';
    case NodeRole.MONITOR:
      return 'monitor';
    case NodeRole.OPERATOR:
      return 'operator';
    default:
      return undefined;
  }
}

function invitationProblems(request: InviteRequest, role: NodeRoleName | undefined): Problem[] {
  const problems: Problem[] = [];
  const hint = 'qiao node invite CODE --department CODE --department-title TITLE';
  const codeHint = 'a code is a lower-case letter, then up to 31 of a-z 0-9 -';
  if (!CODE.test(request.nodeCode)) {
    problems.push({
      code: 'BAD_CODE',
      path: 'nodeCode',
      message: `found ${quoted(request.nodeCode)}, expected a code`,
      hint: codeHint,
    });
  }
  if (RESERVED_CODES.has(request.nodeCode)) {
    problems.push({
      code: 'CODE_RESERVED',
      path: 'nodeCode',
      message: `"${request.nodeCode}" is reserved`,
      hint: 'choose another code',
    });
  }
  if (role === undefined) {
    problems.push({
      code: 'ROLE_UNKNOWN',
      path: 'role',
      message: 'expected agent, monitor or operator',
      hint: `${hint} --role agent`,
    });
  }
  if (request.departmentCode === '' ? role === 'agent' : !CODE.test(request.departmentCode)) {
    problems.push({
      code: 'BAD_CODE',
      path: 'departmentCode',
      message: `found ${quoted(request.departmentCode)}, expected a code`,
      hint,
    });
  }
  for (const [path, title] of [
    ['nodeTitle', request.nodeTitle],
    ['departmentTitle', request.departmentTitle],
  ] as const) {
    if (title.length <= 200) continue;
    problems.push({
      code: 'TITLE_TOO_LONG',
      path,
      message: `found ${title.length} characters, expected at most 200`,
      hint,
    });
  }
  if (request.expiresInS > MAX_EXPIRY_S) {
    problems.push({
      code: 'EXPIRY_TOO_LONG',
      path: 'expiresInS',
      message: `found ${request.expiresInS} s, expected at most ${MAX_EXPIRY_S} (seven days)`,
      hint: 'invite later, or invite again',
    });
  }
  return problems;
}

/** A node that works keeps its keys: only one that never spoke, was revoked, or let its certificate end may be invited again. */
function requireInvitable(node: NodeRow, role: NodeRoleName, nowMs: number): void {
  if (node.role !== role) {
    throw new QiaoError('ROLE_CHANGED', `"${node.code}" was invited as ${node.role}, not as ${role}`, {
      hint: 'choose another code',
    });
  }
  const hasEnded = node.certificate_ends_at_ms !== null && node.certificate_ends_at_ms < nowMs;
  if (node.status === 'joined' && node.last_seen_at_ms > 0 && !hasEnded) {
    throw new QiaoError('NODE_EXISTS', `"${node.code}" has joined and is in use`, {
      hint: `qiao node revoke ${node.code}  # first, when its keys are lost or stolen; then invite it again`,
    });
  }
}

async function reinvite(store: HubDatabase, node: NodeRow, title: string, departmentCode: string): Promise<void> {
  await store
    .updateTable('nodes')
    .set({
      status: node.status === 'joined' ? 'joined' : 'invited',
      department_code: departmentCode,
      ...(isTitle(title, node.code) ? { title } : {}),
    })
    .where('id', '=', node.id)
    .execute();
}

function openingsFor(
  role: NodeRoleName,
  nodeCode: string,
  hubAddress: string,
  busUrls: readonly string[],
): NetworkOpening[] {
  const openings: NetworkOpening[] = hubAddress.split(',').map((address) => ({
    from: nodeCode,
    ...hostAndPort(address),
    protocol: 'TCP (TLS)',
    purpose: role === 'operator' ? '管理命令 / commands to the hub' : '入网登记 / joining',
  }));
  if (role === 'operator') return openings;
  for (const url of busUrls) {
    openings.push({
      from: nodeCode,
      ...hostAndPort(url),
      protocol: 'TCP (TLS)',
      purpose: '数据交换 / exchange (outbound only)',
    });
  }
  return openings;
}

function hostAndPort(address: string): { toHost: string; toPort: number } {
  const bare = address.replace(/^[a-z]+:\/\//, '');
  const colon = bare.lastIndexOf(':');
  return { toHost: bare.slice(0, colon).replace(/^\[|\]$/g, ''), toPort: Number(bare.slice(colon + 1)) };
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 64));
}
