// The platform on which every crash point is died at: a sender, a receiver into PostgreSQL, a receiver into SQLite, hub and
// monitor. It owns the model (which rows each batch changes, so that the sums are known beforehand), the victims, and the list
// of who died where.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { CRASH_POINTS, type CrashPointName } from '@qiao/runtime';
import {
  type Answer,
  type BooksLine,
  type BusinessDatabase,
  dieAt,
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

/** How long a victim may live until it passes its point. */
const DIES_WITHIN_MS = 60_000;

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
        { code: 'archive', dataSources: {} },
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

  /** Batches without end, until the signal. */
  async traffic(signal: AbortSignal, everyMs = 500): Promise<void> {
    while (!signal.aborted) {
      await this.batch();
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  }

  /**
   * Restarts the victim so that it dies at the point, drives it there, awaits its death and starts it again. What the drive
   * throws counts only when nobody dies: a command fails when its hub does.
   */
  async dieAt(
    victim: Process,
    point: CrashPointName,
    drive: (signal: AbortSignal) => Promise<unknown> = () => this.batch(),
  ): Promise<void> {
    await this.dieTogether([[victim, point]], drive);
  }

  /**
   * Dies at one point after the other while others drive it; between two deaths it starts with the next point armed.
   * A failure ends the turns of all who share `over`.
   */
  async dieInTurn(victim: Process, points: readonly CrashPointName[], over: AbortController): Promise<void> {
    try {
      for (const point of points) {
        if (over.signal.aborted) return;
        await dieAt(this.program(victim), point, DIES_WITHIN_MS).died;
        this.#note(point, victim);
      }
      await this.program(victim).start();
    } catch (error) {
      if (!over.signal.aborted) process.stderr.write(this.platform.logs);
      over.abort();
      throw error;
    }
  }

  /** Kills and starts it until the signal. */
  async startAgainAndAgain(victim: Process, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.program(victim).kill();
      await this.program(victim).start();
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
  }

  /** The same for several victims under one drive; each is started again as soon as it is dead. */
  async dieTogether(
    victims: readonly (readonly [Process, CrashPointName])[],
    drive: (signal: AbortSignal) => Promise<unknown> = () => this.batch(),
  ): Promise<void> {
    const over = new AbortController();
    let failure: unknown;
    const deaths = victims.map(([victim, point]) => {
      const death = dieAt(this.program(victim), point, DIES_WITHIN_MS);
      return { victim, point, death };
    });
    await Promise.all(deaths.map(({ death }) => death.armed));
    const driving = drive(over.signal).catch((error: unknown) => {
      failure = error;
    });
    try {
      await Promise.all(
        deaths.map(async ({ victim, point, death }) => {
          await death.died;
          this.#note(point, victim);
          await this.program(victim).start();
        }),
      );
    } catch (error) {
      const why = failure instanceof Error ? `\nthe drive ended with: ${failure.message}` : '';
      throw new Error(`${error instanceof Error ? error.message : String(error)}${why}\n${this.platform.logs}`);
    } finally {
      over.abort();
      await driving;
    }
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
  async command(signal: AbortSignal, words: readonly string[], input?: string): Promise<Answer> {
    const answer = await runQiao(words, {
      context: this.platform.context,
      signal,
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
