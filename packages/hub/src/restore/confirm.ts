// Owns the end of a restore: what a person is shown, and what their word sets going. A new generation begins, above every one that a
// node was given, and fencing tokens leap over all that may have been given out since the backup.

import type { Restore } from '@qiao/contract/hub';
import { NodeRole } from '@qiao/contract/node';
import { QiaoError } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import { appendAudit } from '../audit/audit.ts';
import type { HubDatabase } from '../hubDatabase.ts';

/**
 * More starts than a node can have had between a backup and its restore (at most 60 a minute are answered), and far less than the
 * hub believes a bearer.
 */
const FENCING_LEAP = 100_000;

export async function readRestore(store: HubDatabase): Promise<Restore> {
  const state = await store.selectFrom('hub_state').selectAll().executeTakeFirstOrThrow();
  const nodes = await store
    .selectFrom('nodes')
    .leftJoin('restore_report', 'restore_report.node_id', 'nodes.id')
    .select(['nodes.code', 'restore_report.at_ms', 'restore_report.joined_after'])
    .where('nodes.status', '=', 'joined')
    .where('nodes.role', '=', 'agent')
    .orderBy('nodes.code')
    .execute();
  const learned = await store
    .selectFrom('restore_learned')
    .select('sentence')
    .orderBy('at_ms')
    .orderBy('sentence')
    .execute();
  return {
    waiting: state.held_since_ms > 0,
    reason: state.held_reason,
    noticedAtMs: BigInt(state.held_since_ms),
    generation: BigInt(state.generation),
    number: BigInt(state.number),
    highestGeneration: BigInt(state.highest_generation),
    highestNumber: BigInt(state.highest_number),
    nodes: nodes.map(({ code, at_ms, joined_after }) => ({
      code,
      role: NodeRole.AGENT,
      reportedAtMs: BigInt(at_ms ?? 0),
      joinedAfterBackup: joined_after === 1,
    })),
    learned: learned.map(({ sentence }) => sentence),
  };
}

/** Throws HUB_NOT_RESTORED, RESTORE_INCOMPLETE. */
export async function confirmRestore(
  store: HubDatabase,
  options: { readonly actor: string; readonly withoutMissing: boolean; readonly nowMs: number },
): Promise<void> {
  const restore = await readRestore(store);
  if (!restore.waiting) {
    throw new QiaoError('HUB_NOT_RESTORED', 'this hub waits for no confirmation', { hint: 'qiao hub status' });
  }
  const missing = restore.nodes.filter(({ reportedAtMs }) => reportedAtMs === 0n).map(({ code }) => code);
  if (missing.length > 0 && !options.withoutMissing) {
    throw new QiaoError('RESTORE_INCOMPLETE', `not reported yet: ${missing.slice(0, 20).join(', ')}`, {
      hint: 'wait for them, or: qiao hub confirm --yes --without-missing',
    });
  }
  const highest = restore.generation > restore.highestGeneration ? restore.generation : restore.highestGeneration;
  await store.transaction().execute(async (transaction) => {
    await transaction
      .updateTable('hub_state')
      .set({ held_since_ms: 0, generation: Number(highest) + 1, highest_generation: 0, highest_number: 0 })
      .execute();
    await transaction
      .updateTable('nodes')
      .set({ fencing_leap: FENCING_LEAP })
      .where('role', '=', 'agent')
      .where('fencing_leap', '<', FENCING_LEAP)
      .execute();
    await appendAudit(transaction, {
      atMs: options.nowMs,
      actor: options.actor,
      action: 'hub.confirm',
      subject: 'hub',
      success: true,
      detail: { generation: Number(highest) + 1, missing, learned: restore.learned.length },
    });
  });
  crashPoint('restore.confirmed');
}
