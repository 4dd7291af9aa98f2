// The one door for snapshots, whether they come with the hello, over the control stream or from the cache: a newer one is
// verified, planned, cached and made current; an older one changes nothing. Certificates are judged by this machine's clock, which may
// be wrong for a while: what it alone refused is judged again.

import { ActualState, NodeSnapshot } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { parseId } from '@qiao/exchange';
import { type Clock, crashPoint, type Log, type Part } from '@qiao/runtime';
import { type DesiredState, isNewer } from './desired.ts';
import { openSnapshot, planSnapshot, type SnapshotReader, type SnapshotReading } from './snapshot.ts';

export interface SnapshotCache {
  load(): Uint8Array | undefined;
  save(signed: Uint8Array, generation: bigint, number: bigint): void;
}

export interface TakeSnapshotPorts {
  readonly reader: SnapshotReader;
  readonly desired: DesiredState;
  readonly cache: SnapshotCache;
  /** Tells the hub what this node runs and what it refused. */
  readonly report: (actual: ActualState) => void;
  /** Told of each snapshot before it becomes current: what it names, whether or not it can run here. */
  readonly onRead: (snapshot: NodeSnapshot) => void;
  readonly log: Log;
}

export interface SnapshotDoor {
  /** Takes a snapshot from the hub. Throws when its signature or addressee is wrong; one that is not newer changes nothing. */
  take(signed: Signed): 'taken' | 'same' | 'older';
  /** At start, while the hub may be away: runs on what was cached. False when there is no usable cache. */
  loadCached(): boolean;
  /** Plans the present snapshot again when a certificate that this machine's clock refused holds now. */
  judgeAgain(): void;
  /** Reports again what runs, for example after a reconnect. */
  reportAgain(): void;
}

/** How often certificates are judged again that the clock stands against. */
const JUDGE_EVERY_MS = 2_000;

/** Judges again until stopped: a clock that was set right, or time that went on, needs no word from the hub. */
export function certificatesPart(door: SnapshotDoor, clock: Clock): Part {
  return {
    name: 'certificates',
    async run(signal) {
      while (!signal.aborted) {
        await clock.sleep(JUDGE_EVERY_MS, signal);
        door.judgeAgain();
      }
    },
  };
}

export function createSnapshotDoor({ reader, desired, cache, report, onRead, log }: TakeSnapshotPorts): SnapshotDoor {
  let present: { snapshot: NodeSnapshot; untimely: string } | undefined;
  let lastReport: ActualState | undefined;

  function plan(snapshot: NodeSnapshot, reading: SnapshotReading = planSnapshot(snapshot, reader)): void {
    present = { snapshot, untimely: reading.untimely.join() };
    lastReport = ActualState.fromPartial({
      nodeId: parseId(reader.nodeId),
      generation: snapshot.generation,
      number: snapshot.number,
      refused: [...reading.refused],
    });
    for (const { code, message, hint } of reading.refused) log.warn({ code, detail: message, hint }, 'bridge refused');
    onRead(snapshot);
    desired.replace(reading.desired);
  }

  return {
    take(signed) {
      const snapshot = openSnapshot(signed, reader);
      const now = desired.current();
      if (!isNewer(snapshot, now)) return now !== undefined && isNewer(now, snapshot) ? 'older' : 'same';
      // Cache first: a crash between leaves a snapshot that the next start plans again.
      cache.save(Signed.encode(signed).finish(), snapshot.generation, snapshot.number);
      crashPoint('snapshot.cached');
      plan(snapshot);
      log.info({ generation: String(snapshot.generation), number: String(snapshot.number) }, 'snapshot taken');
      if (lastReport !== undefined) report(lastReport);
      return 'taken';
    },
    loadCached() {
      const bytes = cache.load();
      if (bytes === undefined) return false;
      try {
        plan(openSnapshot(Signed.decode(bytes), reader));
        return true;
      } catch (error) {
        // The hub's answer repairs this; until then nothing runs that was not verified.
        log.warn({ reason: error instanceof Error ? error.message : String(error) }, 'cached snapshot not usable');
        return false;
      }
    },
    judgeAgain() {
      if (present === undefined || present.untimely === '') return;
      const reading = planSnapshot(present.snapshot, reader);
      if (reading.untimely.join() === present.untimely) return;
      plan(present.snapshot, reading);
      log.info(
        { untimelyCertificates: reading.untimely.length },
        'snapshot planned again: certificates began or ended',
      );
      if (lastReport !== undefined) report(lastReport);
    },
    reportAgain() {
      if (lastReport !== undefined) report(lastReport);
    },
  };
}
