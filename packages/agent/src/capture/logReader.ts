/**
 * The one reader of a data source's log, for all bridges that are captured by it. It follows from the oldest position on; a bridge that is
 * scanned stands aside until its scan has ended.
 *
 * Hand-over. A scan reads a snapshot and says what that sees; a transaction of the log that it sees is passed over, every other one is taken. So a
 * bridge's log waits while it is scanned, and goes on from its own position: nothing is missed, and nothing is sent twice.
 */
import type { DataSource, LogReading, PreparedLog, SourceLog } from '@qiao/adapters';
import { idText, parseId, QiaoError } from '@qiao/exchange';
import { createWakeup, describeError, type Part, type Wakeup } from '@qiao/runtime';
import type { Desired, DesiredBridge } from '../control/desired.ts';
import type { LogOwes } from '../exchange-database/index.ts';
import { isOverBudget } from './budget.ts';
import type { FollowedTable } from './keyChanges.ts';
import { LogAside, type LogTrouble } from './logAside.ts';
import { LogBridge } from './logBridge.ts';
import { LogBudget } from './logBudget.ts';
import { LogFit, type Planned } from './logFit.ts';
import { LogHistory } from './logHistory.ts';
import { bridgesOf, logOf, oldestOf } from './logPlan.ts';
import { type LogScan, LogScans } from './logScans.ts';
import { heardOf, takesParts } from './otherEnd.ts';
import type { CapturePorts } from './ports.ts';

const LOOK_AGAIN_MS = 60_000;
/** While nobody has room for rows. */
const ROOM_LOOK_AGAIN_MS = 1_000;
/** A position without rows is written down no more often. */
const IDLE_EVERY_MS = 1_000;
/** Attempts at a log that the database itself fails over. */
const UNREADABLE_TIMES = 4;
/** Rows that wait for company are looked after so soon. */
const COMPANY_LOOK_MS = 20;

export class LogReader {
  readonly source: string;
  readonly #ports: CapturePorts;
  readonly #wakeup: Wakeup = createWakeup();
  readonly #onOwed: (bridgeId: string) => void;
  readonly #scans: LogScans;
  readonly #aside: LogAside;
  readonly #budget: LogBudget;
  readonly #fit: LogFit;
  readonly #history: LogHistory;
  /** Bridges that the last round followed. */
  #following: ReadonlySet<string> = new Set();
  /** Will be told to look round. */
  #nudged: LogReading | undefined;
  #session: AbortController | undefined;
  #prepared: PreparedLog | undefined;
  #waitsForRoom = false;
  /** From where the database could not read its log last, and how often in a row. */
  #unreadable = { from: '', times: 0 };
  #failure: LogTrouble | undefined;

  constructor(ports: CapturePorts, source: string, onOwed: (bridgeId: string) => void) {
    this.#ports = ports;
    this.source = source;
    this.#onOwed = onOwed;
    this.#scans = new LogScans(ports, source);
    this.#aside = new LogAside(ports.clock);
    this.#budget = new LogBudget(ports, source);
    this.#fit = new LogFit(ports);
    this.#history = new LogHistory(ports, source, this.#scans, this.#fit, onOwed);
  }

  /** Why the bridge's log is not read at the moment, or that the database keeps much of it. */
  troubleOf(bridgeId: string): LogTrouble | undefined {
    return this.#aside.of(bridgeId) ?? this.#failure ?? this.#budget.trouble;
  }

  get parts(): readonly Part[] {
    return [
      { name: `log:${this.source}`, run: (signal) => this.#run(signal) },
      { name: `log-watch:${this.source}`, run: (signal) => this.#watch(signal) },
    ];
  }

  /** The bridges, or what they need, have changed. */
  lookAgain(): void {
    this.#session?.abort();
    this.#wakeup.wake();
  }

  /** Room may have come free in the outbox. */
  wake(): void {
    if (this.#waitsForRoom) this.lookAgain();
  }

  /** Takes the bridge out of the log for a scan. Throws what keeps the log from being read. */
  hold(bridgeId: string, signal: AbortSignal): Promise<LogScan> {
    return this.#scans.hold(bridgeId, signal, () => this.lookAgain());
  }

  async #run(signal: AbortSignal): Promise<void> {
    try {
      while (!signal.aborted) await this.#round(signal);
    } catch (error) {
      const { code, message, hint = '' } = describeError(error);
      this.#failure = { code, message, hint };
      this.#scans.refuse(error);
      throw error;
    }
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { database, desired } = this.#ports;
    const session = new AbortController();
    this.#session = session;
    const now = desired.current();
    const bridges = now === undefined ? [] : bridgesOf(now, this.source);
    this.#aside.keepOnly(new Set(bridges.map(({ bridgeId }) => bridgeId)));
    const name = database.logs.kept().find(({ source }) => source === this.source)?.name;
    if (now === undefined || (bridges.length === 0 && name === undefined)) {
      await this.#wakeup.wait(LOOK_AGAIN_MS, signal);
      return;
    }
    const dataSource = await this.#ports.dataSources.open(this.source);
    const log = logOf(dataSource);
    // Without a token this may be a clone of the node: what the other one still needs is not given up.
    const isOurs = this.#ports.fence.token() !== undefined;
    if (this.#budget.isOver) return await this.#giveUp(log, name);
    if (bridges.length === 0) {
      // A bridge that is out of sight for a moment, or paused, keeps its history.
      if (isOurs && name !== undefined && database.logs.ofSource(this.source).length === 0) {
        await this.#history.remove(log, name);
      } else await this.#wakeup.wait(LOOK_AGAIN_MS, signal);
      return;
    }
    if (bridges.every((bridge) => this.#isFull(bridge))) {
      this.#waitsForRoom = true;
      await this.#wakeup.wait(ROOM_LOOK_AGAIN_MS, signal);
      return;
    }
    const planned = await this.#fit.plan(dataSource, bridges);
    const prepared = await this.#history.prepare(now, log, planned);
    // What was altered between the two would be told by neither.
    if (!(await this.#fit.isSamePlan(dataSource, planned))) return;
    this.#prepared = prepared;
    this.#failure = undefined;
    this.#judge(planned);
    this.#scans.grant(this.#fit.unfit);
    const followers = this.#followers(dataSource, log, planned);
    this.#following = new Set(followers.map(({ bridge }) => bridge.bridgeId));
    if (followers.length === 0) {
      await this.#wakeup.wait(LOOK_AGAIN_MS, AbortSignal.any([signal, session.signal]));
      return;
    }
    await this.#follow(log, prepared, followers, AbortSignal.any([signal, session.signal]));
  }

  /**
   * The department's disk comes first. Bridges that do not follow are given up for those that do; when that does not help, the log is not
   * kept any more. What was given up is scanned once it can be.
   */
  async #giveUp(log: SourceLog, name: string | undefined): Promise<void> {
    const { database, clock, limits } = this.#ports;
    const held = this.#history.needing();
    const behind = held.filter(({ bridge }) => !this.#following.has(idText(bridge)));
    const isPart = behind.length > 0 && behind.length < held.length;
    if (!isPart && name !== undefined) await this.#history.remove(log, name);
    const message = `the database kept more than ${limits.logBudgetBytes} bytes of its log: it was given up`;
    const lost = isPart ? behind : held;
    database.transaction(() => {
      for (const { bridge } of lost) database.logs.lose(bridge, message, clock.nowMs());
    });
    for (const { bridge } of lost) {
      this.#scans.giveUp(idText(bridge));
      this.#onOwed(idText(bridge));
    }
    this.#budget.gaveUp(isPart);
    this.#ports.log.error({ source: this.source, bridges: lost.length }, message);
  }

  /** Whoever cannot be followed says so by its scan; whoever was stuck for that, and can be now, is scanned. */
  #judge(planned: readonly Planned[]): void {
    const { captures } = this.#ports.database;
    const { owing, freed } = this.#fit.judge(planned);
    for (const [bridgeId, owes] of owing) this.#owe(bridgeId, owes);
    for (const bridgeId of freed) {
      captures.free(parseId(bridgeId));
      this.#onOwed(bridgeId);
    }
  }

  #followers(dataSource: DataSource, log: SourceLog, planned: readonly Planned[]): LogBridge[] {
    const { database } = this.#ports;
    this.#waitsForRoom = false;
    return planned.flatMap(({ bridge, tables, places }) => {
      const id = parseId(bridge.bridgeId);
      const state = database.logs.get(id);
      const isScanned = this.#scans.has(bridge.bridgeId) || this.#fit.unfit.has(bridge.bridgeId);
      const isFit = state?.owes === undefined && !isScanned && database.captures.get(id)?.version === bridge.version;
      const isFull = isFit && this.#isFull(bridge);
      if (isFull) this.#waitsForRoom = true;
      if (state === undefined || !isFit || isFull) {
        // Nobody waits for a bridge that is not to follow.
        this.#aside.back(bridge.bridgeId);
        return [];
      }
      if (!this.#aside.mayFollow(bridge.bridgeId)) return [];
      const followed = tables.map((table): FollowedTable | undefined => {
        const held = database.captures.table(id, table.name);
        return held?.layout === JSON.stringify(table.layout.columns)
          ? { table, held, heard: heardOf(bridge, table.name), takesParts: takesParts(bridge, table.name) }
          : undefined;
      });
      if (followed.includes(undefined)) {
        this.#owe(bridge.bridgeId, {
          code: 'LOG_TABLES',
          message: 'the tables of the bridge have other columns than at its last scan',
        });
        return [];
      }
      return [new LogBridge(this.#ports, dataSource, log, bridge, state, followed as FollowedTable[], places)];
    });
  }

  /** Until the session ends: somebody asked for that, or a bridge cannot follow any more. */
  async #follow(
    log: SourceLog,
    prepared: PreparedLog,
    followers: readonly LogBridge[],
    signal: AbortSignal,
  ): Promise<void> {
    if (signal.aborted) return;
    const from = oldestOf(
      log,
      followers.map(({ position }) => position),
    );
    const { clock, limits } = this.#ports;
    const over = new AbortController();
    try {
      await using reading = await prepared.read(from, signal);
      void this.#watchHeard(reading, AbortSignal.any([signal, over.signal])).catch(() => this.lookAgain());
      let idleAtMs = clock.elapsedMs();
      let isWhole = true;
      for await (const pieces of reading) {
        for (const piece of pieces) {
          if (piece.transaction !== undefined) this.#scans.remember(piece.transaction);
          for (const follower of followers) {
            try {
              const owes = follower.take(piece);
              if (owes === undefined) continue;
              this.#owe(follower.bridge.bridgeId, owes);
            } catch (error) {
              this.#setAside(follower, error);
            }
            return;
          }
          const waits = followers.reduce((sum, { bytes }) => sum + bytes, 0);
          // At the end of a transaction early, so that one of usual size travels whole; a larger one in parts.
          if (waits >= (piece.position === undefined ? limits.parcelBytes : limits.parcelBytes / 2)) {
            if (!(await this.#flush(followers, signal)) || signal.aborted) return;
            this.#history.confirm(log, reading);
          }
          isWhole = piece.position !== undefined;
        }
        const isIdleDue = clock.elapsedMs() - idleAtMs >= IDLE_EVERY_MS;
        if (isWhole && isIdleDue) followers.forEach((follower) => follower.lookAtHeard());
        const due = isWhole ? followers.filter(({ isDue }) => isDue) : [];
        if (isWhole && (isIdleDue || due.length > 0)) {
          if (!(await this.#flush(due, signal))) return;
          if (isIdleDue) {
            this.#ports.database.transaction(() => followers.forEach((follower) => follower.advance()));
            idleAtMs = clock.elapsedMs();
          }
          this.#history.confirm(log, reading);
        }
        if (isWhole && followers.some(({ bytes }) => bytes > 0)) this.#nudgeSoon(reading, signal);
        if (followers.some(({ bridge }) => this.#isFull(bridge))) return;
      }
    } catch (error) {
      // Asked to look again: whatever was not durable comes again.
      if (signal.aborted) return;
      if (!(error instanceof QiaoError)) throw error;
      if (error.code === 'LOG_UNREADABLE') return await this.#beginAnew(log, from, error);
      if (error.code !== 'LOG_LOST') throw error;
      this.#history.lose(
        followers.map(({ bridge }) => bridge.bridgeId),
        error.message,
      );
    } finally {
      over.abort();
    }
  }

  /** A log that the database cannot read, again and again from the same place, is given up for one that begins now. Throws the failure until then. */
  async #beginAnew(log: SourceLog, from: string, error: QiaoError): Promise<void> {
    const { database, fence } = this.#ports;
    this.#unreadable = { from, times: this.#unreadable.from === from ? this.#unreadable.times + 1 : 1 };
    const name = database.logs.kept().find(({ source }) => source === this.source)?.name;
    if (this.#unreadable.times < UNREADABLE_TIMES || fence.token() === undefined || name === undefined) throw error;
    this.#unreadable = { from: '', times: 0 };
    await this.#history.remove(log, name);
    this.#history.lose(
      database.logs.ofSource(this.source).map(({ bridge }) => idText(bridge)),
      error.message,
    );
  }

  /** False when a bridge could not take its share. */
  async #flush(followers: readonly LogBridge[], signal: AbortSignal): Promise<boolean> {
    const now = this.#ports.desired.current() as Desired;
    for (const follower of followers) {
      if (follower.bytes === 0) continue;
      try {
        await follower.flush(now, signal);
      } catch (error) {
        if (signal.aborted) throw error;
        this.#setAside(follower, error);
        return false;
      }
      this.#aside.back(follower.bridge.bridgeId);
    }
    return true;
  }

  #nudgeSoon(reading: LogReading, signal: AbortSignal): void {
    if (this.#nudged === reading) return;
    this.#nudged = reading;
    void this.#ports.clock.sleep(COMPANY_LOOK_MS, signal).finally(() => {
      if (this.#nudged === reading) this.#nudged = undefined;
      reading.nudge();
    });
  }

  /** What is to be looked at came from elsewhere: a log at rest says nothing of it. */
  async #watchHeard(reading: LogReading, signal: AbortSignal): Promise<void> {
    const { clock, database } = this.#ports;
    while (!signal.aborted) {
      await clock.sleep(IDLE_EVERY_MS, signal);
      if (!signal.aborted && (database.sendBacks.isAnyDue || database.arrivals.isAnyDue)) reading.nudge();
    }
  }

  #setAside({ bridge }: LogBridge, error: unknown): void {
    this.#aside.put(bridge.bridgeId, error);
    this.#ports.log.warn(
      { bridge: bridge.name, err: describeError(error) },
      'a bridge could not take its share of the log; tried again',
    );
  }

  #isFull({ bridgeId, definition }: DesiredBridge): boolean {
    return isOverBudget(this.#ports, parseId(bridgeId), definition.limits?.retention?.bytes);
  }

  #owe(bridgeId: string, owes: LogOwes): void {
    const { database, log } = this.#ports;
    database.transaction(() => database.logs.owe(parseId(bridgeId), owes));
    log.info(
      { source: this.source, code: owes.code, reason: owes.message },
      'the log alone does not do: a bridge is scanned',
    );
    this.#onOwed(bridgeId);
  }

  /** Asks what the database keeps, as long as it keeps anything, and whether the tables are still those that are followed. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { clock, database, dataSources, limits } = this.#ports;
    while (!signal.aborted) {
      const name = database.logs.kept().find(({ source }) => source === this.source)?.name;
      const dataSource = name === undefined ? undefined : await dataSources.open(this.source);
      const kept = name === undefined ? undefined : await dataSource?.log?.kept(name);
      this.#budget.kept(kept?.bytes ?? 0);
      if (this.#budget.isOver || this.#aside.isDue) this.lookAgain();
      else if (dataSource !== undefined && (await this.#fit.isAnyFitAgain(dataSource))) this.lookAgain();
      this.#aside.forgive();
      // The log does not say when another table takes a name, or a partition is emptied.
      const prepared = this.#prepared;
      if (
        kept !== undefined &&
        prepared !== undefined &&
        !(await prepared.isCurrent()) &&
        prepared === this.#prepared
      ) {
        this.#prepared = undefined;
        this.lookAgain();
      }
      await clock.sleep(limits.logWatchMs, signal);
    }
  }
}
