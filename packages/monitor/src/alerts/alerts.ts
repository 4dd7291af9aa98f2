// Alerts over time: opened when their condition is first seen, counted while it holds, resolved when it is gone. An alert is
// about one condition; while one is unresolved, no second is opened for it.

import type { Alert } from '@qiao/contract/monitor';
import { AlertLevel, AlertState } from '@qiao/contract/monitor';
import { QiaoError } from '@qiao/exchange';
import type { Transaction } from 'kysely';
import type { AlertRow, MonitorDatabase, MonitorSchema } from '../monitorDatabase.ts';
import type { Condition } from './conditions.ts';

/** Resolved alerts that a list shows at the most. */
const RESOLVED_MAX = 500;

/** Brings the alerts to what holds now; returns how many were opened and resolved. */
export async function keepAlerts(
  database: MonitorDatabase,
  conditions: readonly Condition[],
  nowMs: number,
): Promise<{ opened: number; resolved: number }> {
  return database.transaction().execute(async (transaction) => {
    const unresolved = await transaction.selectFrom('alert').selectAll().where('state', '<>', 'resolved').execute();
    const wanted = await withoutResolved(transaction, conditions);
    const byKey = new Map(unresolved.map((row) => [row.condition_key, row]));
    let opened = 0;
    for (const { key, ...facts } of wanted) {
      const known = byKey.get(key);
      byKey.delete(key);
      if (known === undefined) {
        opened += 1;
        await transaction
          .insertInto('alert')
          .values({ ...facts, ...NEW, condition_key: key, opened_at_ms: nowMs } as AlertRow)
          .execute();
      } else if (known.message !== facts.message) {
        await transaction
          .updateTable('alert')
          .set({ message: facts.message, hint: facts.hint, times: known.times + 1 })
          .where('id', '=', known.id)
          .execute();
      }
    }
    for (const gone of byKey.values()) {
      await transaction
        .updateTable('alert')
        .set({ state: 'resolved', resolved_at_ms: nowMs })
        .where('id', '=', gone.id)
        .execute();
    }
    return { opened, resolved: byKey.size };
  });
}

/** The conditions that an alert tells of now, and since when. */
export async function openConditions(database: MonitorDatabase): Promise<{ key: string; openedAtMs: number }[]> {
  const rows = await database
    .selectFrom('alert')
    .select(['condition_key', 'opened_at_ms'])
    .where('state', '<>', 'resolved')
    .execute();
  return rows.map((row) => ({ key: row.condition_key, openedAtMs: row.opened_at_ms }));
}

const NEW = { state: 'open', acknowledged_at_ms: 0, acknowledged_by: '', resolved_at_ms: 0, times: 1 } as const;

/** Conditions that cannot end by themselves, and what a person's word about one covers. */
const ENDED_BY_HAND = new Set(['DEVIATION', 'DELIVERY_LATE', 'EXPLAINED_PAST_THRESHOLD', 'ROWS_REFUSED']);

/** What a person ended stays ended as long as it says the same; anything new of the kind is told again. */
async function withoutResolved(
  transaction: Transaction<MonitorSchema>,
  conditions: readonly Condition[],
): Promise<Condition[]> {
  const ended = await transaction.selectFrom('resolved_deviation').selectAll().execute();
  const left = new Map(ended.map((row) => [row.condition_key, row.message]));
  const wanted = conditions.filter(({ key, message }) => left.get(key) !== message);
  const covered = new Set(conditions.filter((one) => left.get(one.key) === one.message).map(({ key }) => key));
  for (const { condition_key } of ended) {
    if (covered.has(condition_key)) continue;
    await transaction.deleteFrom('resolved_deviation').where('condition_key', '=', condition_key).execute();
  }
  return wanted;
}

/**
 * Ends an alert whose condition stays true for ever in the books. Throws ALERT_UNKNOWN, ALERT_RESOLVED, REASON_MISSING,
 * ALERT_ENDS_ITSELF for one whose cause can be mended.
 */
export async function resolveAlert(
  database: MonitorDatabase,
  id: number,
  { by, reason, nowMs }: { readonly by: string; readonly reason: string; readonly nowMs: number },
): Promise<Alert> {
  if (reason.trim() === '' || reason.length > 500) {
    throw new QiaoError('REASON_MISSING', `found a reason of ${reason.length} characters, expected 1 to 500`, {
      hint: `qiao alert resolve ${id} --reason "why"`,
    });
  }
  return await database.transaction().execute(async (transaction) => {
    const row = await unresolved(transaction, id);
    if (!ENDED_BY_HAND.has(row.code)) {
      throw new QiaoError('ALERT_ENDS_ITSELF', `alert ${id} (${row.code}) ends by itself when its cause is gone`, {
        hint: row.hint,
      });
    }
    const entriesOf = /^DEVIATION entries (.+)$/.exec(row.condition_key)?.[1];
    if (entriesOf === undefined) {
      const covers = { message: row.message, at_ms: nowMs };
      await transaction
        .insertInto('resolved_deviation')
        .values({ condition_key: row.condition_key, ...covers })
        .onConflict((conflict) => conflict.column('condition_key').doUpdateSet(covers))
        .execute();
    } else {
      await transaction
        .updateTable('broken_entry')
        .set({ resolved_at_ms: nowMs })
        .where('node_id', '=', entriesOf)
        .where('resolved_at_ms', '=', 0)
        .execute();
    }
    const ended = {
      state: 'resolved',
      resolved_at_ms: nowMs,
      resolved_by: by,
      resolve_reason: reason,
    } as const;
    await transaction.updateTable('alert').set(ended).where('id', '=', id).execute();
    return contractAlert({ ...row, ...ended });
  });
}

async function unresolved(database: MonitorDatabase, id: number): Promise<AlertRow> {
  const row = await database.selectFrom('alert').selectAll().where('id', '=', id).executeTakeFirst();
  if (row === undefined) throw new QiaoError('ALERT_UNKNOWN', `no alert ${id}`, { hint: 'qiao alert list' });
  if (row.state !== 'resolved') return row;
  throw new QiaoError('ALERT_RESOLVED', `alert ${id} is resolved already`, { hint: 'qiao alert list --all' });
}

/** Unresolved alerts, newest first, and with `includeResolved` the last resolved ones. */
export async function listAlerts(database: MonitorDatabase, includeResolved: boolean): Promise<Alert[]> {
  let query = database
    .selectFrom('alert')
    .selectAll()
    .orderBy('opened_at_ms', 'desc')
    .orderBy('id', 'desc')
    .limit(RESOLVED_MAX);
  if (!includeResolved) query = query.where('state', '<>', 'resolved');
  return (await query.execute()).map(contractAlert);
}

/** Notes that a person has seen it. Throws ALERT_UNKNOWN, ALERT_RESOLVED. */
export async function acknowledgeAlert(
  database: MonitorDatabase,
  id: number,
  by: string,
  nowMs: number,
): Promise<Alert> {
  const row = await unresolved(database, id);
  const seen = { state: 'acknowledged', acknowledged_at_ms: nowMs, acknowledged_by: by } as const;
  await database.updateTable('alert').set(seen).where('id', '=', id).execute();
  return contractAlert({ ...row, ...seen });
}

function contractAlert(row: AlertRow): Alert {
  const states = { open: AlertState.OPEN, acknowledged: AlertState.ACKNOWLEDGED, resolved: AlertState.RESOLVED };
  return {
    id: BigInt(row.id),
    level: row.level === 'fault' ? AlertLevel.FAULT : AlertLevel.WARNING,
    code: row.code,
    subject: row.subject,
    message: row.message,
    hint: row.hint,
    state: states[row.state],
    openedAtMs: BigInt(row.opened_at_ms),
    acknowledgedAtMs: BigInt(row.acknowledged_at_ms),
    acknowledgedBy: row.acknowledged_by,
    resolvedAtMs: BigInt(row.resolved_at_ms),
    times: BigInt(row.times),
    resolvedBy: row.resolved_by,
    resolveReason: row.resolve_reason,
  };
}
