// Alerts over time: opened when their condition is first seen, counted while it holds, resolved when it is gone. An alert is
// about one condition; while one is unresolved, no second is opened for it.

import type { Alert } from '@qiao/contract/monitor';
import { AlertLevel, AlertState } from '@qiao/contract/monitor';
import { QiaoError } from '@qiao/exchange';
import type { AlertRow, MonitorDatabase } from '../monitorDatabase.ts';
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
    const byKey = new Map(unresolved.map((row) => [row.condition_key, row]));
    let opened = 0;
    for (const { key, ...facts } of conditions) {
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
  const row = await database.selectFrom('alert').selectAll().where('id', '=', id).executeTakeFirst();
  if (row === undefined) throw new QiaoError('ALERT_UNKNOWN', `no alert ${id}`, { hint: 'qiao alert list' });
  if (row.state === 'resolved')
    throw new QiaoError('ALERT_RESOLVED', `alert ${id} is resolved already`, { hint: 'qiao alert list --all' });
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
  };
}
