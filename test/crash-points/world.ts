// The platform on which every crash point is died at: a sender, a receiver into PostgreSQL, a receiver into SQLite, hub and
// monitor. It owns the model (which rows each batch changes, so that the sums are known beforehand), the victims, and the list
// of who died where.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { CRASH_POINTS, type CrashPointName } from '@qiao/runtime';
import {
  type Answer,
  type BooksLine,
  type BusinessDatabase,
  dieAtEach,
  Platform,
  type Program,
  postgresDatabase,
  runQiao,
  sqliteDatabase,
} from '@qiao/testkit';
import {
  applyBridges,
  bridgeYaml,
  byOutcome,
  PERSON_ROWS,
  PERSON_TABLE,
  people,
  TARGET_ROWS,
  TARGET_TABLE,
  untilAtRest,
  untilSame,
} from '../world.ts';

/** Who dies: a process of the platform, or a command in its own process. */
export type Victim = 'health' | 'civil-affairs' | 'archive' | 'hub' | 'monitor' | 'command';
export type Process = Exclude<Victim, 'command'>;

/** What one batch does, each to rows that no other batch touches: scans may see one batch or several, the sums are the same. */
const BATCH = { inserts: 6, updates: 4, deletes: 1 } as const;
const BATCHES = 400;
const START = BATCHES * (BATCH.updates + BATCH.deletes);

/** How long nobody may die while some shall: one waits for what another, who is just being started again, must do. */
const DIES_WITHIN_MS = 120_000;
const AGAIN_MS = 100;
/** No act is longer. */
const ACT_MS = 230_000;

/** Who shall die where. */
export type PointsOf = Partial<Readonly<Record<Process, readonly CrashPointName[]>>>;

/** What a drive knows of the deaths that it drives. */
export interface Drive {
  /** Aborted when everybody died everywhere. */
  readonly signal: AbortSignal;
  /** Aborted when the next one dies. */
  untilDeath(): AbortSignal;
  /** This one has no death before it and runs. */
  isOver(victim: Process): boolean;
  left(victim: Process): ReadonlySet<string>;
}

export class CrashWorld implements AsyncDisposable {
  readonly folder: string;
  readonly platform: Platform;
  readonly source: BusinessDatabase;
  readonly target: BusinessDatabase;
  /** Something failed: the acts that follow have no sound platform to play on. */
  isBroken = false;
  /** Who died at which point. */
  readonly deaths = new Map<CrashPointName, Set<Victim>>();
  readonly #server: PostgresServer;
  #batches = 0;

  private constructor(folder: string, server: PostgresServer, platform: Platform, ends: BusinessDatabase[]) {
    this.folder = folder;
    this.#server = server;
    this.platform = platform;
    [this.source, this.target] = ends as [BusinessDatabase, BusinessDatabase];
  }

  static async start(): Promise<CrashWorld> {
    const folder = mkdtempSync(join(tmpdir(), 'qiao-points-'));
    const server = await startPostgres();
    const source = sqliteDatabase(join(folder, 'source.db'));
    const target = await postgresDatabase(await server.database());
    await source.run(
      PERSON_TABLE,
      `INSERT INTO person VALUES ${people(1, START, '3702')}`,
      PERSON_TABLE.replace('person', 'odd'),
      "INSERT INTO odd VALUES (1, '王', '3702', NULL)",
      PERSON_TABLE.replace('person', 'late'),
      `INSERT INTO late VALUES ${people(1, 20, '3702')}`,
      PERSON_TABLE.replace('person', 'extra'),
    );
    await target.run(
      TARGET_TABLE('ex_person'),
      TARGET_TABLE('ex_odd'),
      "ALTER TABLE ex_odd ADD CHECK (note IS NULL OR note NOT LIKE 'refused%')",
    );
    const platform = await Platform.start({
      nodes: [
        {
          code: 'health',
          dataSources: { his: source.config },
          // No retention: each start has something to purge.
          more: { limits: { compareEveryMs: 150, resendAfterMs: 1_000, retentionMs: 0 } },
        },
        { code: 'civil-affairs', dataSources: { own: target.config } },
        // Lanes that ended are forgotten soon.
        { code: 'archive', dataSources: {}, more: { limits: { retentionMs: 1_500 } } },
      ],
    });
    const world = new CrashWorld(folder, server, platform, [source, target]);
    await applyBridges(
      platform,
      bridgeYaml({
        name: 'births',
        from: 'health',
        source: 'his',
        to: [
          { node: 'civil-affairs', dataSource: 'own', table: 'ex_person' },
          { node: 'archive', dataSource: 'exchange', table: 'ex_person' },
        ],
      }),
      bridgeYaml({
        name: 'odd',
        from: 'health',
        source: 'his',
        table: 'odd',
        to: [{ node: 'civil-affairs', dataSource: 'own', table: 'ex_odd' }],
      }),
    );
    return world;
  }

  /** Rows of the receiver that keeps them in its exchange tables, read apart from its agent. */
  exchangeTables(): BusinessDatabase {
    return sqliteDatabase(join(this.platform.agentDirectory('archive'), 'exchange-tables.db'));
  }

  program(victim: Process): Program {
    if (victim === 'hub') return this.platform.hub;
    if (victim === 'monitor') return this.platform.monitor;
    return this.platform.agent(victim);
  }

  /** One batch of changes at the source. */
  async batch(): Promise<void> {
    const batch = this.#batches;
    if (batch === BATCHES) throw new Error(`the source has rows for ${BATCHES} batches`);
    this.#batches += 1;
    const updates = `${batch * BATCH.updates + 1} AND ${(batch + 1) * BATCH.updates}`;
    const deletes = `${START - (batch + 1) * BATCH.deletes + 1} AND ${START - batch * BATCH.deletes}`;
    await this.source.run(
      `INSERT INTO person VALUES ${people(100_000 + batch * BATCH.inserts, BATCH.inserts, '3702')}`,
      `UPDATE person SET note = 'batch ${batch}' WHERE id BETWEEN ${updates}`,
      `DELETE FROM person WHERE id BETWEEN ${deletes}`,
    );
  }

  /**
   * Starts these processes with their points armed and drives them; whoever dies is started again at once, with what is left. Ends
   * when each died at each of its points and the drive has heard of it. A drive that fails leaves points without a death.
   */
  async dieAt(points: PointsOf, drive: (drive: Drive) => Promise<unknown>): Promise<void> {
    const over = new AbortController();
    let death = new AbortController();
    const silence = Promise.withResolvers<never>();
    const quiet = setTimeout(() => {
      const left = drills.flatMap(({ victim, drill }) => [...drill.left].map((point) => `${victim} at ${point}`));
      silence.reject(new Error(`nobody died for ${DIES_WITHIN_MS} ms; left: ${left.join(', ')}`));
    }, DIES_WITHIN_MS);
    const drills = Object.entries(points).map(([name, names]) => {
      const victim = name as Process;
      const onDeath = (point: string) => {
        quiet.refresh();
        this.#note(point as CrashPointName, victim);
        death.abort();
        death = new AbortController();
      };
      return { victim, drill: dieAtEach(this.program(victim), names, { withinMs: ACT_MS, onDeath }) };
    });
    const ended = new Set<Process>();
    for (const { victim, drill } of drills)
      void drill.over.then(
        () => ended.add(victim),
        () => undefined,
      );
    await Promise.all(drills.map(({ drill }) => drill.armed));
    quiet.refresh();
    const driving = drive({
      signal: over.signal,
      untilDeath: () => death.signal,
      isOver: (victim) => drills.every((one) => one.victim !== victim) || ended.has(victim),
      left: (victim) => drills.find((one) => one.victim === victim)?.drill.left ?? new Set(),
    });
    driving.catch(() => undefined);
    try {
      await Promise.race([silence.promise, Promise.all(drills.map(({ drill }) => drill.over))]);
    } catch (error) {
      over.abort();
      const why = await driving.then(() => 'the drive is over', describe);
      throw new Error(`${describe(error)}\n${why}\n${this.platform.logs}`);
    } finally {
      clearTimeout(quiet);
    }
    over.abort();
    await driving;
  }

  /** What an operator does when a command failed because somebody died: gives it again, until it is done. */
  async again(drive: Drive, act: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
    const givenUpMs = Date.now() + DIES_WITHIN_MS;
    for (;;) {
      try {
        // Who waits for an answer of the dead waits in vain.
        await act(drive.untilDeath());
        return;
      } catch (error) {
        if (Date.now() > givenUpMs) throw error;
        await pause(AGAIN_MS);
      }
    }
  }

  /** The hub's service over a line of its own: one that dialled a dead hub waits ever longer before it dials again. */
  async centre<T>(call: (hub: ReturnType<Platform['newCentre']>) => Promise<T>): Promise<T> {
    using hub = this.platform.newCentre();
    return await call(hub);
  }

  /** A command that dies at the point in its own process. */
  async commandDiesAt(point: CrashPointName, words: readonly string[], input?: string): Promise<void> {
    const answer = await runQiao(words, {
      context: this.platform.context,
      environment: { QIAO_CRASH_AT: point },
      ...(input === undefined ? {} : { input }),
    });
    if (answer.signal !== 'SIGKILL') {
      throw new Error(
        `qiao ${words.join(' ')} did not die at ${point}: ${answer.code}\n${answer.stdout}${answer.stderr}`,
      );
    }
    this.#note(point, 'command');
  }

  /** A command as the operator gives it; ended when the signal comes. */
  async command(signal: AbortSignal | undefined, words: readonly string[], input?: string): Promise<Answer> {
    const answer = await runQiao(words, {
      context: this.platform.context,
      ...(signal === undefined ? {} : { signal }),
      ...(input === undefined ? {} : { input }),
    });
    if (answer.code !== 0) throw new Error(`qiao ${words.join(' ')} ended with ${answer.code}\n${answer.stderr}`);
    return answer;
  }

  /** Tables and books of both lanes are those of an undisturbed run: each batch counted once, at each end. */
  async books(): Promise<{ expected: unknown; found: unknown }> {
    await using archive = this.exchangeTables();
    await untilSame(this.platform, this.source, PERSON_ROWS, this.target, TARGET_ROWS('ex_person'));
    await untilSame(this.platform, this.source, PERSON_ROWS, archive, TARGET_ROWS('ex_person'));
    const expected = this.model();
    const found: Record<string, unknown> = {};
    for (const node of ['civil-affairs', 'archive']) {
      found[node] = facts(await untilAtRest(this.platform, 'births', expected.sent.total, node));
    }
    return { expected: { 'civil-affairs': expected, archive: expected }, found };
  }

  /** What the books of one lane say after the batches so far. */
  model(): ReturnType<typeof facts> {
    const inserts = START + this.#batches * BATCH.inserts;
    const updates = this.#batches * BATCH.updates;
    const deletes = this.#batches * BATCH.deletes;
    const sent = { total: inserts + updates + deletes, inserts, updates, deletes };
    const outcomes = Object.fromEntries(
      Object.entries({ inserted: inserts, updated: updates, deleted: deletes }).filter(([, rows]) => rows > 0),
    );
    return { verdict: 'VERDICT_BALANCED', sent, received: sent, outcomes };
  }

  #note(point: CrashPointName, victim: Victim): void {
    this.deaths.set(point, (this.deaths.get(point) ?? new Set()).add(victim));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.platform[Symbol.asyncDispose]();
    await this.source[Symbol.asyncDispose]();
    await this.target[Symbol.asyncDispose]();
    await this.#server[Symbol.asyncDispose]();
    if (existsSync(this.folder)) rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Every name of the registry, in its order. */
export const POINTS = Object.keys(CRASH_POINTS) as CrashPointName[];

export function facts(line: BooksLine) {
  const { verdict, sent, received } = line;
  return { verdict, sent, received, outcomes: byOutcome(line) };
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
