// The table of the story: where each crash point is passed, and by whom. Every name of the registry stands here, or the story
// fails. Most are passed in the acts of acts.ts; some in a longer tale that another story tells anyway.

import type { CrashPointName } from '@qiao/runtime';
import type { ActName } from './acts.ts';
import type { PointsOf, Process, Victim } from './world.ts';

export type Scene =
  /** Died at in this act, by each of these. */
  | { readonly act: ActName; readonly who: readonly Victim[] }
  /** Died at with SIGKILL in the story of this file, which awaits the death. */
  | { readonly story: string };

/** Each adapter has the points inside a target's transaction: both receivers die at them. */
const RECEIVERS = ['civil-affairs', 'archive'] as const;
const LANES = 'test/drills-lanes.test.ts';
const LOG = 'test/log.test.ts';
const HUB = 'test/drills-hub.test.ts';

export const SCENES: Readonly<Record<CrashPointName, Scene>> = {
  'capture.read': { act: 'rowsTravel', who: ['health'] },
  'entries.noted': { story: 'test/two-way.test.ts' },
  'entries.forgotten': { story: 'test/two-way.test.ts' },
  'log.kept': { story: LOG },
  'log.prepared': { story: LOG },
  'log.advanced': { story: LOG },
  'log.confirmed': { story: LOG },
  'log.removed': { story: LOG },
  'capture.packed': { act: 'rowsTravel', who: ['health'] },
  'purge.removed': { act: 'rowsTravel', who: ['health'] },
  'send.sealed': { act: 'rowsTravel', who: ['health'] },
  'send.published': { act: 'rowsTravel', who: ['health'] },
  'route.forwarded': { act: 'rowsTravel', who: ['hub'] },
  'route.controlForwarded': { act: 'rowsTravel', who: ['hub'] },
  'route.reported': { act: 'rowsTravel', who: ['hub'] },
  'receive.stored': { act: 'rowsTravel', who: ['civil-affairs'] },
  'receive.answered': { act: 'rowsTravel', who: ['civil-affairs'] },
  'apply.prepared': { act: 'rowsTravel', who: ['civil-affairs'] },
  'lane.recovered': { act: 'rowsTravel', who: ['civil-affairs'] },
  'apply.marked': { act: 'rowsTravel', who: RECEIVERS },
  'apply.landed': { act: 'rowsTravel', who: RECEIVERS },
  'landing.staged': { story: 'test/files.test.ts' },
  'landing.marked': { story: 'test/files.test.ts' },
  'apply.written': { act: 'rowsTravel', who: RECEIVERS },
  'apply.committed': { act: 'rowsTravel', who: ['civil-affairs'] },
  'receipt.made': { act: 'rowsTravel', who: ['civil-affairs'] },
  'receipt.published': { act: 'rowsTravel', who: ['civil-affairs'] },
  'receipt.arrived': { act: 'rowsTravel', who: ['health'] },
  'receipt.recorded': { act: 'rowsTravel', who: ['health'] },
  'books.published': { act: 'rowsTravel', who: ['health'] },
  'books.through': { act: 'rowsTravel', who: ['health'] },
  'ingest.stored': { act: 'rowsTravel', who: ['monitor'] },
  'ingest.acknowledged': { act: 'rowsTravel', who: ['monitor'] },
  'desired.stored': { act: 'rowsTravel', who: ['hub'] },
  'desired.published': { act: 'rowsTravel', who: ['hub'] },
  'snapshot.cached': { act: 'rowsTravel', who: ['health'] },
  'snapshot.taken': { act: 'rowsTravel', who: ['health'] },
  'hello.started': { act: 'rowsTravel', who: ['hub'] },
  'hello.answered': { act: 'rowsTravel', who: ['health'] },
  'hello.kept': { act: 'rowsTravel', who: ['health'] },
  'route.refusalRecorded': { act: 'theHubRefuses', who: ['hub'] },
  'route.refusalTold': { act: 'theHubRefuses', who: ['hub'] },
  'refusal.recorded': { act: 'theHubRefuses', who: ['health'] },
  'job.asked': { act: 'bothEndsAreCompared', who: ['hub'] },
  'job.stored': { act: 'bothEndsAreCompared', who: ['health'] },
  'verify.read': { act: 'bothEndsAreCompared', who: ['civil-affairs'] },
  'job.found': { act: 'bothEndsAreCompared', who: ['health'] },
  'job.packed': { act: 'bothEndsAreCompared', who: ['health'] },
  'question.recorded': { act: 'bothEndsAreCompared', who: ['health', 'civil-affairs'] },
  'quarantine.kept': { act: 'theTargetRefusesRows', who: ['civil-affairs'] },
  'quarantine.held': { act: 'theTargetRefusesRows', who: ['civil-affairs'] },
  'rows.asked': { act: 'theTargetRefusesRows', who: ['hub'] },
  'rows.decided': { act: 'theTargetRefusesRows', who: ['civil-affairs'] },
  'amend.committed': { act: 'theTargetRefusesRows', who: ['civil-affairs'] },
  'receipt.revised': { act: 'theTargetRefusesRows', who: ['civil-affairs'] },
  'resend.recorded': { act: 'anInboxIsLost', who: ['health'] },
  'bridgeFile.created': { act: 'aBridgeBegins', who: ['command'] },
  'bridgeFile.deployed': { act: 'aBridgeBegins', who: ['command'] },
  'command.seen': { act: 'aBridgeBegins', who: ['archive'] },
  'table.created': { act: 'aBridgeBegins', who: ['archive'] },
  'bridge.checked': { act: 'aBridgeBegins', who: ['hub'] },
  'bridge.stored': { act: 'aBridgeBegins', who: ['hub'] },
  'epoch.opened': { act: 'aBridgeBegins', who: ['health'] },
  'route.learned': { act: 'aBridgeBegins', who: ['hub'] },
  'epoch.applied': { act: 'aBridgeBegins', who: ['archive'] },
  'lane.ended': { act: 'aBridgeEnds', who: ['health'] },
  'cleaning.laneForgotten': { act: 'aBridgeEnds', who: ['archive'] },
  'apply.laneForgotten': { act: 'aBridgeEnds', who: ['archive'] },
  'invite.stored': { act: 'nodesJoinAndGo', who: ['hub'] },
  'join.stored': { act: 'nodesJoinAndGo', who: ['hub'] },
  'join.prepared': { act: 'nodesJoinAndGo', who: ['hub'] },
  'join.answered': { act: 'nodesJoinAndGo', who: ['command'] },
  'identity.written': { act: 'nodesJoinAndGo', who: ['command'] },
  'revoke.stored': { act: 'nodesJoinAndGo', who: ['hub'] },
  'revoke.routed': { act: 'nodesJoinAndGo', who: ['hub'] },
  'revocation.written': { act: 'nodesJoinAndGo', who: ['hub'] },
  'revoke.told': { act: 'nodesJoinAndGo', who: ['hub'] },
  'init.keysWritten': { act: 'platformsAreFounded', who: ['command'] },
  'init.databaseFounded': { act: 'platformsAreFounded', who: ['command'] },
  'init.contextWritten': { act: 'platformsAreFounded', who: ['command'] },
  'send.sealedAgain': { story: LANES },
  'lane.suspended': { story: LANES },
  'owed.epochOpened': { story: LANES },
  'renewal.stored': { story: HUB },
  'renewal.received': { story: HUB },
  'renewal.written': { story: HUB },
  'authority.renewed': { story: 'test/drills-authority.test.ts' },
  'agent.becameAnother': { story: 'test/drills-monitor.test.ts' },
  'restore.noticed': { story: HUB },
  'restore.learned': { story: HUB },
  'restore.usersVoided': { story: HUB },
  'restore.confirmed': { story: HUB },
  'arrivals.noted': { story: 'test/two-way.test.ts' },
  'void.applied': { story: LANES },
  'mark.lifted': { story: LANES },
  'rows.wanted': { story: LOG },
};

/** Who dies where in an act, by the processes themselves; commands are the act's own. */
export function pointsOf(act: ActName): PointsOf {
  const points: Partial<Record<Process, CrashPointName[]>> = {};
  for (const [point, scene] of Object.entries(SCENES) as [CrashPointName, Scene][]) {
    if (!('act' in scene) || scene.act !== act) continue;
    for (const who of scene.who) {
      if (who === 'command') continue;
      points[who] = [...(points[who] ?? []), point];
    }
  }
  return points;
}

/** Who must have died at a point in this story. */
export function victimsOf(scene: Scene): readonly Victim[] {
  return 'act' in scene ? scene.who : [];
}
