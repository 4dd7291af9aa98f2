// One platform between two filled databases, and the things whose time is measured on it. Each begins when the hub is asked and ends
// with the last row committed at the target, by the target's own receipts.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { JobState } from '@qiao/contract/job';
import { type Platform, readBoard, until } from '@qiao/testkit';
import Sqlite from 'better-sqlite3';
import { booksLine, bridgeYaml } from '../world.ts';
import type { LoadWorld, Measured } from './load.ts';
import { watchProcesses } from './processes.ts';

const PATIENCE_MS = 1_800_000;
/** What is measured ends by its own clock; asking for it more often would cost the monitor what others need. */
const LOOK_EVERY_MS = 1_000;

export interface LoadResult extends Measured {
  readonly rows: number;
}

/** A node and its data source. */
export interface RoadEnd {
  readonly node: string;
  readonly dataSource: string;
}

const SOURCE: RoadEnd = { node: 'health', dataSource: 'his' };
const TARGET: RoadEnd = { node: 'civil-affairs', dataSource: 'own' };

export class Road implements AsyncDisposable {
  readonly platform: Platform;
  readonly #world: LoadWorld;
  readonly #databases: Readonly<Record<string, string>>;

  /** `databases`: as `watchProcesses` takes them. */
  constructor(world: LoadWorld, platform: Platform, databases = world.databases) {
    this.#world = world;
    this.platform = platform;
    this.#databases = databases;
  }

  /** A first load, from the moment the bridge is started; throws when the tables of the world differ afterwards. */
  async load(name = 'load', capture = 'compare'): Promise<LoadResult> {
    const measured = await this.loadBetween(name, SOURCE, TARGET, capture);
    await this.#world.sameAtBothEnds();
    return measured;
  }

  /** The same between any two ends, whose tables nobody compares. */
  async loadBetween(
    name: string,
    from: RoadEnd,
    to: RoadEnd,
    capture = 'compare',
    rows = this.#world.rows,
  ): Promise<LoadResult> {
    const ends = {
      capture,
      from: from.node,
      source: from.dataSource,
      to: [{ ...to, table: 'person', more: 'ownership: none' }],
    };
    await this.platform.centre.createBridge({ yaml: bridgeYaml({ name, ...ends }) });
    await this.platform.centre.deployBridge({ name });
    const measured = await this.measure(async () => {
      await this.platform.centre.startBridge({ name });
      return this.lastAppliedAt(name, rows);
    });
    return { ...measured, rows };
  }

  /** Every row changed at the source: a scan that finds them, and their upsert. */
  async update(name = 'load'): Promise<Measured> {
    await this.#world.source.run("UPDATE person SET phone = '1' || phone, updated_at = updated_at + interval '1 day'");
    await this.#world.source.rows('VACUUM ANALYZE person');
    const sent = (await booksLine(this.platform, name)).received.total;
    const measured = await this.measure(async () => {
      await this.platform.centre.runBridge({ name });
      return this.lastAppliedAt(name, sent + this.#world.rows);
    });
    await this.#world.sameAtBothEnds();
    return measured;
  }

  /** One scan, as the agent itself times it. */
  async scan(name = 'load'): Promise<Measured> {
    const seen = this.#scans().length;
    return this.measure(async () => {
      await this.platform.centre.runBridge({ name });
      const scan = await until(this.platform, 'the scan is finished', () => this.#scans()[seen], PATIENCE_MS);
      return { ms: scan.tookMs };
    });
  }

  /** Both ends compared row by row; throws when they differ. */
  async verify(name = 'load'): Promise<Measured> {
    return this.measure(async (startedAtMs) => {
      const { jobs } = await this.platform.centre.verifyBridge({ name });
      const jobIds = jobs.map(({ jobId }) => jobId);
      const done = await until(
        this.platform,
        'both ends are compared',
        async () => {
          await pause(LOOK_EVERY_MS / 10);
          const now = (await this.platform.centre.getBridgeJobs({ name, jobIds })).jobs;
          return now.every(({ state }) => state === JobState.DONE || state === JobState.FAILED) && now;
        },
        PATIENCE_MS,
      );
      for (const { state, message, tables } of done) {
        const findings = tables.reduce((sum, { missing, differing }) => sum + missing + differing, 0n);
        if (state !== JobState.DONE || findings > 0n) throw new Error(`verify found ${findings} rows: ${message}`);
      }
      return { ms: Date.now() - startedAtMs };
    });
  }

  /** Of everything that the source published so far: headers and sealed bodies, as they travel up, and down again. */
  sealedBytes(): number {
    const database = new Sqlite(join(this.platform.agentDirectory('health'), 'exchange.db'), { readonly: true });
    try {
      return database.prepare('SELECT sum(sent_bytes * attempts) FROM delivery_out').pluck().get() as number;
    } finally {
      database.close();
    }
  }

  /** The source's agent stands still, with all that it holds, until it is thawed. */
  freezeSource(): void {
    this.#signalSource('SIGSTOP');
  }

  thawSource(): void {
    this.#signalSource('SIGCONT');
  }

  #signalSource(signal: NodeJS.Signals): void {
    const pid = this.platform.programs.find(({ name }) => name === SOURCE.node)?.pid;
    if (pid === undefined) throw new Error(`no agent of ${SOURCE.node} runs`);
    process.kill(pid, signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.platform[Symbol.asyncDispose]();
  }

  /** What `work` takes, or until when it took, and what each process did for it. */
  async measure(work: (startedAtMs: number) => Promise<{ ms: number } | { atMs: number }>): Promise<Measured> {
    const watch = watchProcesses(this.platform, this.#databases);
    const startedAtMs = Date.now();
    const ended = await work(startedAtMs);
    return { ms: 'ms' in ended ? ended.ms : ended.atMs - startedAtMs, use: watch.stop() };
  }

  /** When the last of so many rows of the bridge was committed, by the receipts. */
  async lastAppliedAt(name: string, rows: number): Promise<{ atMs: number }> {
    // The target itself is not asked: counting would cost it what is measured.
    await until(
      this.platform,
      'the rows are in the books',
      async () => {
        await pause(LOOK_EVERY_MS);
        return (await booksLine(this.platform, name)).received.total >= rows;
      },
      PATIENCE_MS,
    );
    const { lanes } = await readBoard(this.platform);
    const ofBridge = lanes.filter(({ books }) => books?.bridge === name);
    return { atMs: Math.max(...ofBridge.map(({ lastAppliedAtMs }) => lastAppliedAtMs)) };
  }

  #scans(): { tookMs: number }[] {
    const log = readFileSync(join(this.platform.directory, 'health.log'), 'utf8');
    return log
      .split('\n')
      .filter((line) => line.includes('"msg":"scan finished"'))
      .map((line) => JSON.parse(line) as { tookMs: number });
  }
}
