// Owns what the replicas of one program are to each other while they share a PostgreSQL database: which of them leads, the news
// that something changed, and that no two bear one name. All of it hangs on one connection of its own, so that it ends with the
// process, however that ends; a process that is frozen loses it too. With SQLite there is one program, and it leads.

import { createHash } from 'node:crypto';
import { QiaoError } from '@qiao/exchange';
import { createWakeup, describeError, type Log, type Part } from '@qiao/runtime';
import pg from 'pg';
import { isPassing, postgresError } from './faults.ts';
import { connectionOptions, LOCK_CLASS, LOCKS } from './postgres.ts';
import { type DatabaseTarget, isUrl, type PostgresAddress, readPostgresUrl } from './target.ts';

export interface Replicas {
  /** Others may share the store: what is held in memory may be older than what is on disk. */
  readonly areSeveral: boolean;
  /** Does what is done once for all. May be true at two for a moment: whatever the leader does must bear being done twice. */
  readonly isLeader: boolean;
  /** Calls `listener` when this replica begins or ceases to lead; the function returned takes it away again. */
  onLeader(listener: (isLeader: boolean) => void): () => void;
  /** Tells the others that something changed. A hint: whoever misses it looks by itself now and then. Never throws. */
  announce(): void;
  /** Calls `listener` when another replica announced, and once after each connect. */
  onNews(listener: () => void): () => void;
  /** Runs `work` while no other replica runs work of the same kind. Throws DATABASE_UNAVAILABLE. */
  exclusively<T>(work: () => Promise<T>): Promise<T>;
  /** Keeps the connection; run by the supervisor. */
  readonly part: Part;
  close(): Promise<void>;
}

export interface JoinReplicasOptions {
  /** Name of this replica: a code, one running program each. */
  readonly name: string;
  readonly log: Log;
  /** How long a name may be another's before it is refused: a process that was killed a moment ago has to go. Default 12,000. */
  readonly namePatienceMs?: number;
}

/** How often the leader shows that it lives, and the others try to take its place. */
const TURN_MS = 1_000;
/** A session that says nothing for so long is ended by the server (14 or later): its process is frozen. */
const FROZEN_SESSION_MS = 10_000;
/** The same for whoever holds the lock of `exclusively`: its work asks a bus that may be away. */
const FROZEN_WORK_MS = 60_000;
const NAME_PATIENCE_MS = 12_000;
const CHANNEL = 'qiao_news';
const LEADER = `${LOCK_CLASS}, ${LOCKS.leader}`;
const CLAIMS = `${LOCK_CLASS}, ${LOCKS.claims}`;
/** Names have a lock class of their own. */
const NAME_CLASS = LOCK_CLASS + 1;

/**
 * Joins the replicas of the program whose store this is. With PostgreSQL it resolves when the name is this process's alone.
 * Throws REPLICA_NAME_TAKEN, and what the URL throws.
 */
export async function joinReplicas(target: DatabaseTarget, options: JoinReplicasOptions): Promise<Replicas> {
  if (!isUrl(target.url)) return ALONE;
  const replicas = new PostgresReplicas(readPostgresUrl(target), options);
  await replicas.connect();
  return replicas;
}

/** The only program of its store. */
const ALONE: Replicas = {
  areSeveral: false,
  isLeader: true,
  onLeader: () => () => undefined,
  announce: () => undefined,
  onNews: () => () => undefined,
  exclusively: (work) => work(),
  part: {
    name: 'replicas',
    run: (signal) =>
      new Promise((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener('abort', () => resolve(), { once: true });
      }),
  },
  close: async () => undefined,
};

class PostgresReplicas implements Replicas {
  readonly areSeveral = true;
  readonly part: Part;
  readonly #address: PostgresAddress;
  readonly #options: JoinReplicasOptions;
  readonly #leaderListeners = new Set<(isLeader: boolean) => void>();
  readonly #newsListeners = new Set<() => void>();
  readonly #ended = createWakeup();
  #client: pg.Client | undefined;
  #isLeader = false;

  constructor(address: PostgresAddress, options: JoinReplicasOptions) {
    this.#address = address;
    this.#options = options;
    this.part = { name: 'replicas', mostPauseMs: 1_000, run: (signal) => this.#run(signal) };
  }

  get isLeader(): boolean {
    return this.#isLeader;
  }

  onLeader(listener: (isLeader: boolean) => void): () => void {
    this.#leaderListeners.add(listener);
    return () => void this.#leaderListeners.delete(listener);
  }

  onNews(listener: () => void): () => void {
    this.#newsListeners.add(listener);
    return () => void this.#newsListeners.delete(listener);
  }

  announce(): void {
    this.#client?.query(`NOTIFY ${CHANNEL}, '${this.#options.name}'`).catch((error: unknown) => {
      this.#options.log.debug(
        { err: describeError(error) },
        'the other replicas were not told of a change, they will look',
      );
    });
  }

  async exclusively<T>(work: () => Promise<T>): Promise<T> {
    const client = await this.#dial(FROZEN_WORK_MS);
    try {
      await this.#ask(client, `SELECT pg_advisory_lock(${CLAIMS})`);
      return await work();
    } finally {
      // The lock goes with the connection.
      await client.end().catch(() => undefined);
    }
  }

  /** Opens the connection, takes the name, listens, and tries to lead. */
  async connect(): Promise<void> {
    const client = await this.#dial(FROZEN_SESSION_MS);
    try {
      await this.#takeName(client);
      await this.#ask(client, `LISTEN ${CHANNEL}`);
    } catch (error) {
      await client.end().catch(() => undefined);
      throw error;
    }
    client.on('notification', ({ payload }) => {
      if (payload !== this.#options.name) this.#tellNews();
    });
    client.once('end', () => {
      if (this.#client === client) this.#client = undefined;
      this.#setLeader(false);
      this.#ended.wake();
    });
    this.#client = client;
    await this.#tryToLead(client);
    // What was announced while there was no connection was missed.
    this.#tellNews();
  }

  async close(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    await client?.end().catch(() => undefined);
    this.#setLeader(false);
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.#client === undefined) await this.connect();
      const client = this.#client;
      if (client === undefined) continue;
      if (this.#isLeader) await this.#ask(client, 'SELECT 1');
      else await this.#tryToLead(client);
      await this.#ended.wait(TURN_MS, signal);
    }
  }

  async #tryToLead(client: pg.Client): Promise<void> {
    const { rows } = await this.#ask(client, `SELECT pg_try_advisory_lock(${LEADER}) AS is_mine`);
    if ((rows[0] as { is_mine: boolean }).is_mine && this.#client === client) this.#setLeader(true);
  }

  /** Two programs under one name would write one chain of the audit; the second is refused. */
  async #takeName(client: pg.Client): Promise<void> {
    const key = createHash('sha256').update(this.#options.name).digest().readInt32BE(0);
    const endsAtMs = performance.now() + (this.#options.namePatienceMs ?? NAME_PATIENCE_MS);
    for (;;) {
      const { rows } = await this.#ask(client, `SELECT pg_try_advisory_lock(${NAME_CLASS}, ${key}) AS is_mine`);
      if ((rows[0] as { is_mine: boolean }).is_mine) return;
      if (performance.now() > endsAtMs) {
        throw new QiaoError(
          'REPLICA_NAME_TAKEN',
          `another replica "${this.#options.name}" uses ${this.#address.text}`,
          {
            hint: 'give each replica a name of its own: `replica: NAME` in its configuration',
            fate: 'transient',
          },
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }

  async #dial(frozenAfterMs: number): Promise<pg.Client> {
    const { name } = this.#options;
    const client = new pg.Client(connectionOptions(this.#address, name));
    // `end` says the same, and follows.
    client.on('error', () => undefined);
    try {
      await client.connect();
      const { rows } = await client.query<{ server_version_num: string }>('SHOW server_version_num');
      if (Number(rows[0]?.server_version_num) >= 140_000) {
        await client.query(`SET idle_session_timeout = ${frozenAfterMs}`);
      }
      return client;
    } catch (error) {
      await client.end().catch(() => undefined);
      throw postgresError(error, this.#address.text);
    }
  }

  async #ask(client: pg.Client, sql: string): Promise<pg.QueryResult> {
    try {
      return await client.query(sql);
    } catch (error) {
      if (isPassing(error)) void client.end().catch(() => undefined);
      throw postgresError(error, this.#address.text);
    }
  }

  #setLeader(isLeader: boolean): void {
    if (this.#isLeader === isLeader) return;
    this.#isLeader = isLeader;
    this.#options.log.info(
      { replica: this.#options.name, isLeader },
      isLeader ? 'this replica leads' : 'this replica leads no more',
    );
    for (const listener of [...this.#leaderListeners]) listener(isLeader);
  }

  #tellNews(): void {
    for (const listener of [...this.#newsListeners]) listener();
  }
}
