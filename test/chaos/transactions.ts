// Plays the transactions of a workload at their source, each committed exactly once, whatever the server does meanwhile: the commit of a
// database that dies is ambiguous, and so each says with its last statement that it was played.

import { setTimeout as pause } from 'node:timers/promises';
import { persist } from './databaseFaults.ts';
import type { BridgePlan } from './plan.ts';
import type { Play } from './play.ts';
import { playedTable } from './schema.ts';
import type { Transaction } from './workload.ts';

/** In the order of the plan; one that stays open ends before the next that was not planned beside it. */
export async function playWorkload(play: Play, bridge: BridgePlan): Promise<void> {
  let open: { readonly untilMs: number; readonly ended: Promise<void> } | undefined;
  for (const transaction of bridge.workload.transactions) {
    const { atMs, openMs } = transaction;
    if (atMs < 0) continue;
    await pause(Math.max(0, atMs - play.timeline.sinceMs));
    if (open !== undefined && atMs >= open.untilMs) {
      await open.ended;
      open = undefined;
    }
    const ended = playTransaction(play, bridge, transaction);
    // Its failure is met where it is waited for.
    ended.catch(() => undefined);
    if (openMs > 0) open = { untilMs: atMs + openMs, ended };
    else await ended;
  }
  await open?.ended;
}

async function playTransaction(play: Play, bridge: BridgePlan, transaction: Transaction): Promise<void> {
  const { stage, timeline } = play;
  const { node, dataSource } = bridge.from;
  const { number, statements, openMs, isRolledBack, kinds } = transaction;
  const database = stage.database(node, dataSource);
  const played = playedTable(bridge.table);
  const say = `INSERT INTO ${played} (number) VALUES (${number})`;
  await persist(async () => {
    if ((await database.rows(`SELECT number FROM ${played} WHERE number = ${number}`)).length > 0) return;
    if (openMs === 0 && !isRolledBack) return database.run(...statements, say);
    await using session = await stage.session(node, dataSource);
    for (const statement of ['BEGIN', ...statements, say]) await session.query(statement);
    await pause(openMs);
    await session.query(isRolledBack ? 'ROLLBACK' : 'COMMIT');
  });
  timeline.add(
    `${bridge.name}: transaction ${number} (${kinds.join(', ')}) ${isRolledBack ? 'rolled back' : 'committed'}`,
  );
  for (const kind of kinds) play.countChange(bridge.capture, kind);
}
