// Owns the end of a node's rights: its certificates, invitations and bus users end in one transaction, then the live
// connection is cut. Its lanes stay, so that the same node may be invited again under new keys and go on.

import { QiaoError } from '@qiao/exchange';
import { crashPoint, describeError } from '@qiao/runtime';
import { appendAudit } from '../audit/audit.ts';
import { revokeCertificates } from '../registry/certificates.ts';
import { getNode, type NodeWithDepartment } from '../registry/nodes.ts';
import { dropOpenTokens } from '../registry/tokens.ts';
import type { IdentityPorts } from './identity.ts';

/** Revokes. Throws NODE_UNKNOWN, NODE_REVOKED, LAST_OPERATOR, REASON_MISSING. */
export async function revoke(
  ports: IdentityPorts,
  code: string,
  reason: string,
  actor: string,
): Promise<NodeWithDepartment> {
  if (reason.trim() === '' || reason.length > 500) {
    throw new QiaoError('REASON_MISSING', `found a reason of ${reason.length} characters, expected 1 to 500`, {
      hint: `qiao node revoke ${code} --reason "why"`,
    });
  }
  const nowMs = ports.clock.nowMs();
  const busUsers = await ports.store.transaction().execute(async (store) => {
    const node = await getNode(store, code);
    if (node.status === 'revoked') {
      throw new QiaoError('NODE_REVOKED', `"${code}" was revoked before`, { hint: `qiao node invite ${code}` });
    }
    if (node.role === 'operator' && node.status === 'joined') {
      const others = await store
        .selectFrom('nodes')
        .select('id')
        .where('role', '=', 'operator')
        .where('status', '=', 'joined')
        .where('id', '<>', node.id)
        .execute();
      if (others.length === 0) {
        throw new QiaoError('LAST_OPERATOR', `"${code}" is the last operator; nobody could invite another`, {
          hint: 'qiao node invite NAME --role operator  # let another one join first',
        });
      }
    }
    await store.updateTable('nodes').set({ status: 'revoked' }).where('id', '=', node.id).execute();
    await dropOpenTokens(store, node.id);
    const users = await revokeCertificates(store, node.id, reason, nowMs);
    await appendAudit(store, {
      atMs: nowMs,
      actor,
      action: 'node.revoke',
      subject: code,
      success: true,
      detail: { reason, role: node.role },
    });
    return users;
  });
  crashPoint('revoke.stored');
  // Everything that runs on the strength of the ended certificates goes at once; the bus may take seconds when it is unwell.
  ports.cut(code);
  // Routing first: from here nothing of this node goes on, even where the bus is slow to cut it.
  await ports.changed();
  crashPoint('revoke.routed');
  for (const user of busUsers) {
    try {
      await ports.busRights.revoke(user);
    } catch (error) {
      ports.log.warn({ node: code, err: describeError(error) }, 'the bus did not cut a revoked node yet');
    }
  }
  crashPoint('revoke.told');
  if (busUsers.length > 0) {
    try {
      await ports.busRights.remove(code);
    } catch (error) {
      ports.log.warn({ node: code, err: describeError(error) }, 'the streams of a revoked node were not removed');
    }
  }
  return await getNode(ports.store, code);
}
