/**
 * What the database keeps of a data source's log for the bridges here: that it keeps it, from where on it is still needed, and which bridges
 * have lost history, because it was purged, made anew, or is another database's.
 */
import type { LogReading, PreparedLog, SourceLog } from '@qiao/adapters';
import { idText, parseId, QiaoError } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import type { Desired } from '../control/desired.ts';
import type { HeldPosition } from '../exchange-database/index.ts';
import type { LogFit, Planned } from './logFit.ts';
import { bridgesOf, nameOf, oldestOf, owedAtStart } from './logPlan.ts';
import type { LogScans } from './logScans.ts';
import type { CapturePorts } from './ports.ts';

export class LogHistory {
  readonly #ports: CapturePorts;
  readonly #source: string;
  readonly #scans: LogScans;
  readonly #fit: LogFit;
  readonly #onOwed: (bridgeId: string) => void;
  readonly #looked = new Set<string>();
  /** The database was told that it may forget what is older. */
  #confirmed: string | undefined;
  /** Bridges whose position lies in a log that does not go on, and how that was found out. */
  readonly #lost = new Map<string, string>();
  /** Of the log that was prepared last. */
  #identity: string | undefined;

  constructor(ports: CapturePorts, source: string, scans: LogScans, fit: LogFit, onOwed: (bridgeId: string) => void) {
    this.#ports = ports;
    this.#source = source;
    this.#scans = scans;
    this.#fit = fit;
    this.#onOwed = onOwed;
  }

  /** The source first: what is still kept there is never forgotten here. */
  async remove(log: SourceLog, name: string): Promise<void> {
    await log.remove(name);
    crashPoint('log.removed');
    this.#ports.database.logs.release(this.#source);
  }

  /** Makes the database keep its log, and finds out which bridges have lost history. */
  async prepare(desired: Desired, log: SourceLog, planned: readonly Planned[]): Promise<PreparedLog> {
    const { database } = this.#ports;
    const name = nameOf(desired, this.#source);
    // Before it is made: what is kept in a database must never be forgotten here.
    database.logs.keep(this.#source, name);
    crashPoint('log.kept');
    const prepared = await log.prepare({
      name,
      tables: planned.flatMap(({ tables }) => tables.map(({ read }) => read)),
    });
    crashPoint('log.prepared');
    const isBehind = this.#confirmed !== undefined && log.compare(prepared.newest, this.#confirmed) < 0;
    if (isBehind || prepared.identity !== this.#identity) this.#forget();
    this.#identity = prepared.identity;
    // News of a confirmation may still be on its way.
    const { oldest: kept } = prepared;
    const oldest = this.#confirmed !== undefined && log.compare(kept, this.#confirmed) < 0 ? this.#confirmed : kept;
    // What is not read here any more has been forgotten meanwhile.
    const ours = new Set(
      bridgesOf(this.#ports.desired.current() ?? desired, this.#source).map((each) => each.bridgeId),
    );
    for (const one of planned) {
      if (ours.has(one.bridge.bridgeId)) this.#judge(log, { ...prepared, oldest }, one);
    }
    return prepared;
  }

  /** Whether the bridge's own history is whole; where it is not, the bridge owes a scan. */
  #judge(log: SourceLog, prepared: PreparedLog, { bridge, places }: Planned): void {
    const { database, clock } = this.#ports;
    const states = places.map((place) => prepared.tables[place]);
    const unfit = states.flatMap((state) => (state !== undefined && 'unfit' in state ? [state.unfit] : []))[0];
    if (unfit !== undefined) {
      this.#fit.refuse(bridge.bridgeId, new QiaoError(unfit.code, unfit.message, { hint: unfit.hint }));
      return;
    }
    // Its scan began at the position that it has: what was lost behind that is found when it has ended.
    if (this.#scans.isGranted(bridge.bridgeId)) return;
    const id = parseId(bridge.bridgeId);
    const tables = JSON.stringify(
      states.map((state) => (state !== undefined && 'identity' in state ? state.identity : '')),
    );
    const held = database.logs.get(id);
    const lost = this.#lost.get(bridge.bridgeId);
    const owes =
      lost === undefined
        ? owedAtStart(log, prepared, held, this.#source, tables)
        : ({ code: 'LOG_GAP', message: lost } as const);
    this.#lost.delete(bridge.bridgeId);
    if (owes !== undefined) {
      const isGap = owes.code === 'LOG_GAP' && owes !== held?.owes;
      const gapAtMs = isGap ? clock.nowMs() : (held?.gapAtMs ?? 0);
      const { identity, newest: position } = prepared;
      database.logs.begin({ bridge: id, source: this.#source, identity, tables, position, owes, gapAtMs });
      this.#scans.waitFor(bridge.bridgeId, prepared.horizon);
      if (isGap)
        this.#ports.log.error(
          { bridge: bridge.name, reason: owes.message },
          'history was lost at the source: the tables are scanned',
        );
      this.#onOwed(bridge.bridgeId);
    } else if (!this.#looked.has(bridge.bridgeId)) {
      // Another process may have made what is kept, and read what nobody sees yet.
      this.#scans.waitFor(bridge.bridgeId, prepared.horizon);
    }
    this.#looked.add(bridge.bridgeId);
  }

  /** The log that these bridges follow does not go on. */
  lose(bridgeIds: readonly string[], message: string): void {
    this.#forget();
    for (const bridgeId of bridgeIds) this.#lost.set(bridgeId, message);
  }

  /** What is known of this log says nothing of the one that is there now. */
  #forget(): void {
    this.#confirmed = undefined;
    this.#scans.forget();
  }

  /** Tells the database that it may forget what none of the bridges needs. */
  confirm(log: SourceLog, reading: LogReading): void {
    const positions = this.needing().map(({ position }) => position);
    if (this.#ports.fence.token() === undefined || positions.length === 0) return;
    this.#confirmed = oldestOf(log, positions);
    crashPoint('log.advanced');
    reading.confirm(this.#confirmed);
    crashPoint('log.confirmed');
  }

  /** Bridges for whose positions the database must keep its log. Where history was lost, a scan that is still to begin starts from the end. */
  needing(): HeldPosition[] {
    return this.#ports.database.logs
      .ofSource(this.#source)
      .filter(({ bridge, owes, owesNumber }) => owes !== 'LOG_GAP' || this.#scans.answers(idText(bridge), owesNumber));
  }
}
