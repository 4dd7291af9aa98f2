// The table of the story: where each crash point is passed, and by whom. Every name of the registry stands here, or the story
// fails. A point that ordinary traffic passes needs `traffic: [who]`; one that something else leads to needs `drive`, which does
// that something; points of one of the acts in acts.ts name it.

import type { CrashPointName } from '@qiao/runtime';
import type { ActName } from './acts.ts';
import type { CrashWorld, Process, Victim } from './world.ts';

export type Scene =
  /** Passed by these processes while rows travel, lanes recover and processes start. */
  | { readonly traffic: readonly Process[] }
  /** Passed by these processes when some agent starts: its new fencing token is news for the hub and for its peers. */
  | { readonly starts: readonly Process[] }
  /** Passed by `who` when `drive` has run; afterwards the exchange must come to rest by itself. */
  | {
      readonly who: readonly Process[];
      readonly drive: (world: CrashWorld, signal: AbortSignal) => Promise<unknown>;
    }
  /** Nobody dies there yet, for the reason given. docs/crash-points.md says so too. */
  | { readonly notYet: string }
  /** Passed in an act that tells a longer tale; it arms the point itself. */
  | { readonly act: ActName; readonly who: readonly Victim[] };

type Driven = Extract<Scene, { readonly drive: unknown }>;

/** Each adapter has the points inside a target's transaction: both receivers die at them. */
const RECEIVERS = ['civil-affairs', 'archive'] as const;

export const SCENES: Readonly<Record<CrashPointName, Scene>> = {
  'capture.read': { traffic: ['health'] },
  'capture.packed': { traffic: ['health'] },
  'purge.removed': { act: 'whatIsSettledIsPurged', who: ['health'] },
  'send.sealed': { traffic: ['health'] },
  'send.published': { traffic: ['health'] },
  'route.learned': { act: 'aBridgeBegins', who: ['hub'] },
  'route.forwarded': { traffic: ['hub'] },
  'route.refusalRecorded': { act: 'theHubRefuses', who: ['hub'] },
  'route.refusalTold': { act: 'theHubRefuses', who: ['hub'] },
  'route.controlForwarded': { traffic: ['hub'] },
  'route.reported': { starts: ['hub'] },
  'receive.stored': { traffic: ['civil-affairs'] },
  'receive.answered': { act: 'deliveriesComeTwice', who: ['civil-affairs'] },
  'apply.prepared': { traffic: ['civil-affairs'] },
  'lane.recovered': { traffic: ['civil-affairs'] },
  'quarantine.held': { act: 'theTargetRefusesRows', who: ['civil-affairs'] },
  'apply.marked': { traffic: RECEIVERS },
  'apply.landed': { traffic: RECEIVERS },
  'quarantine.kept': { act: 'theTargetRefusesRows', who: ['civil-affairs'] },
  'apply.written': { traffic: RECEIVERS },
  'apply.committed': { traffic: ['civil-affairs'] },
  'void.applied': { notYet: 'needs a delivery that can never be applied' },
  'receipt.made': { traffic: ['civil-affairs'] },
  'receipt.published': { traffic: ['civil-affairs'] },
  'receipt.arrived': { traffic: ['health'] },
  'receipt.recorded': { traffic: ['health'] },
  'refusal.recorded': { act: 'theHubRefuses', who: ['health'] },
  'resend.recorded': { act: 'anInboxIsLost', who: ['health'] },
  'epoch.opened': { act: 'aBridgeBegins', who: ['health'] },
  'epoch.applied': { act: 'aBridgeBegins', who: ['archive'] },
  'lane.ended': { act: 'aBridgeEnds', who: ['health'] },
  'books.published': { traffic: ['health'] },
  'books.through': { traffic: ['health'] },
  'ingest.stored': { traffic: ['monitor'] },
  'ingest.acknowledged': { traffic: ['monitor'] },
  'bridge.checked': { act: 'aBridgeBegins', who: ['hub'] },
  'table.created': { act: 'aBridgeBegins', who: ['archive'] },
  'bridge.stored': { act: 'aBridgeBegins', who: ['hub'] },
  'desired.stored': { starts: ['hub'] },
  'desired.published': { starts: ['hub'] },
  'snapshot.cached': { starts: ['health'] },
  'snapshot.taken': { starts: ['health'] },
  'bridgeFile.created': { act: 'aBridgeBegins', who: ['command'] },
  'bridgeFile.deployed': { act: 'aBridgeBegins', who: ['command'] },
  'invite.stored': { act: 'nodesJoinAndGo', who: ['hub'] },
  'join.stored': { act: 'nodesJoinAndGo', who: ['hub'] },
  'join.prepared': { act: 'nodesJoinAndGo', who: ['hub'] },
  'join.answered': { act: 'nodesJoinAndGo', who: ['command'] },
  'identity.written': { act: 'nodesJoinAndGo', who: ['command'] },
  'hello.started': { starts: ['hub'] },
  'hello.answered': { traffic: ['health'] },
  'hello.kept': { traffic: ['health'] },
  'revoke.stored': { act: 'nodesJoinAndGo', who: ['hub'] },
  'revoke.routed': { act: 'nodesJoinAndGo', who: ['hub'] },
  'revocation.written': { act: 'nodesJoinAndGo', who: ['hub'] },
  'revoke.told': { act: 'nodesJoinAndGo', who: ['hub'] },
  'init.keysWritten': { act: 'platformsAreFounded', who: ['command'] },
  'init.databaseFounded': { act: 'platformsAreFounded', who: ['command'] },
  'init.contextWritten': { act: 'platformsAreFounded', who: ['command'] },
  'send.sealedAgain': { notYet: 'needs a receiver that joined again under new keys' },
  'lane.suspended': { notYet: 'needs a lane whose budget is used up' },
  'owed.epochOpened': { notYet: 'needs a lane that owes a load' },
  'cleaning.laneForgotten': { notYet: 'needs a lane that ended longer ago than its retention' },
  'apply.laneForgotten': { notYet: 'needs a lane that ended longer ago than its retention' },
  'rows.decided': { notYet: 'needs rows that a person settles' },
  'amend.committed': { notYet: 'needs rows that a person settles' },
  'receipt.revised': { notYet: 'needs rows that a person settles' },
  'rows.asked': { notYet: 'needs rows that a person settles' },
  'mark.lifted': { notYet: 'needs a target restored to before rows were settled' },
  'rows.wanted': { notYet: 'needs a row whose base is missing' },
  'renewal.stored': { notYet: 'needs a certificate near its end' },
  'agent.becameAnother': { notYet: 'needs an agent restored from a backup' },
  'restore.noticed': { notYet: 'needs a hub restored from a backup' },
  'restore.learned': { notYet: 'needs a hub restored from a backup' },
  'restore.confirmed': { notYet: 'needs a hub restored from a backup' },
  'job.asked': { notYet: 'needs a comparison of both ends' },
  'question.recorded': { notYet: 'needs a comparison of both ends, or a lost receipt' },
  'command.seen': { notYet: 'the boundary is younger than the story' },
  'job.stored': { notYet: 'needs a comparison of both ends' },
  'verify.read': { notYet: 'needs a comparison of both ends' },
  'job.found': { notYet: 'needs a comparison of both ends' },
  'job.packed': { notYet: 'needs a comparison of both ends' },
};

/** Points that traffic, or the start of some agent, leads this process past, in the order of the registry. */
export function pointsOf(who: Process, by: 'traffic' | 'starts'): CrashPointName[] {
  return entries().flatMap(([point, scene]) => (processesOf(scene, by).includes(who) ? [point] : []));
}

/** Points with a drive of their own. */
export function drivenPoints(): [CrashPointName, Driven][] {
  return entries().flatMap(([point, scene]): [CrashPointName, Driven][] => ('drive' in scene ? [[point, scene]] : []));
}

/** Who must have died at a point. */
export function victimsOf(scene: Scene): readonly Victim[] {
  if ('notYet' in scene) return [];
  return 'who' in scene ? scene.who : [...processesOf(scene, 'traffic'), ...processesOf(scene, 'starts')];
}

function processesOf(scene: Scene, by: 'traffic' | 'starts'): readonly Process[] {
  if (by === 'traffic') return 'traffic' in scene ? scene.traffic : [];
  return 'starts' in scene ? scene.starts : [];
}

function entries(): [CrashPointName, Scene][] {
  return Object.entries(SCENES) as [CrashPointName, Scene][];
}
