// The load that bench and story share: rows of the common workload from one PostgreSQL to another over the whole road, with the
// resident memory of every process watched, beside a plain COPY | COPY of the same rows on the same machine.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { type BusinessDatabase, Platform, type PostgresConfig, postgresDatabase } from '@qiao/testkit';
import { type ProcessUse, watchProcesses } from './processes.ts';
import { type LoadResult, Road } from './road.ts';

/** The pauses that agents have unless told otherwise; stories shorten them. */
export const AS_SHIPPED = { heartbeatMs: 5_000, helloMs: 60_000 };
const DIGEST = "SELECT count(*), md5(string_agg(md5(p::text), '' ORDER BY id)) FROM person p";
const WORKLOAD = readFileSync(new URL('./workload.sql', import.meta.url), 'utf8');

/** How long something took, and what each process did for it. */
export interface Measured {
  readonly ms: number;
  readonly use: Readonly<Record<string, ProcessUse>>;
}

export interface Replica extends AsyncDisposable {
  readonly database: BusinessDatabase;
  start(): Promise<void>;
  /** Returns when nothing of it works any more. */
  stop(): Promise<void>;
}

const COPY_OUT = 'COPY (SELECT * FROM person ORDER BY id) TO STDOUT';

/** A PostgreSQL with `rows` rows of the workload in one database and the empty table in another. */
export class LoadWorld implements AsyncDisposable {
  readonly rows: number;
  readonly source: BusinessDatabase;
  readonly target: BusinessDatabase;
  readonly #server: PostgresServer;
  readonly #sourceConfig: PostgresConfig;
  readonly #targetConfig: PostgresConfig;

  private constructor(rows: number, server: PostgresServer, ends: [BusinessDatabase, PostgresConfig][]) {
    this.rows = rows;
    this.#server = server;
    [[this.source, this.#sourceConfig], [this.target, this.#targetConfig]] = ends as [
      [BusinessDatabase, PostgresConfig],
      [BusinessDatabase, PostgresConfig],
    ];
  }

  /** `people` of them differ in more than their ids; making one costs the database more than moving it. */
  static async create(rows: number, people = rows, settings = ['wal_level=replica']): Promise<LoadWorld> {
    const server = await startPostgres([...settings, 'max_wal_size=4GB', 'synchronous_commit=on', 'fsync=on']);
    const ends: [BusinessDatabase, PostgresConfig][] = [];
    for (const end of ['source', 'target']) {
      const config = await server.database();
      const database = await postgresDatabase(config);
      await database.run(WORKLOAD);
      if (end === 'source') {
        const columns = (
          await database.rows(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'person'::regclass AND attnum > 0 ORDER BY attnum",
          )
        ).map(([name]) => String(name));
        await database.run(
          `INSERT INTO person SELECT p.* FROM generate_series(1, ${people}) i, LATERAL gen_person(i, 1) p`,
        );
        const others = columns.filter((name) => name !== 'id').join(', ');
        await database.run(
          `INSERT INTO person (id, ${others}) SELECT id + n * ${people}, ${others}
           FROM generate_series(1, ${Math.ceil(rows / people) - 1}) n, person WHERE id + n * ${people} <= ${rows} ORDER BY 1`,
        );
        await database.rows('VACUUM ANALYZE person');
      }
      ends.push([database, config]);
    }
    return new LoadWorld(rows, server, ends);
  }

  /** The plain copy of the same rows, by psql through a pipe, in milliseconds. The target is empty before and after. */
  async copyBeside(): Promise<Measured> {
    await this.target.run('TRUNCATE person');
    const measured = await this.#shell(
      (psql) => `${psql.source} -c '${COPY_OUT}' | ${psql.target} -c 'COPY person FROM STDIN'`,
    );
    await this.target.run('TRUNCATE person');
    return measured;
  }

  /** Reading all rows by COPY, and nothing else. */
  copyOut(): Promise<Measured> {
    return this.#shell((psql) => `${psql.source} -c '${COPY_OUT}' > /dev/null`);
  }

  /** Throws when the tables at both ends differ, by a query that knows nothing of Qiao. */
  async sameAtBothEnds(target = this.target): Promise<void> {
    const [found, expected] = [(await target.rows(DIGEST))[0], (await this.source.rows(DIGEST))[0]];
    if (found === undefined || found.join(' ') !== expected?.join(' ')) {
      throw new Error(`tables differ: ${found?.join(' ')} and ${expected?.join(' ')}`);
    }
  }

  /** Gives each database `seen`: when a row came, by the server's own clock, milliseconds since 1970. Needs track_commit_timestamp. */
  async watchArrivals(): Promise<void> {
    for (const database of [this.source, this.target]) {
      await database.run(
        'CREATE VIEW seen AS SELECT id, extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000 AS at_ms FROM person',
      );
    }
  }

  /** A third database that follows the source by PostgreSQL's own logical replication. It has all rows, and `seen` from now on. */
  async replica(watchedFrom: number): Promise<Replica> {
    const database = await postgresDatabase(await this.#server.database());
    const { host, port, database: name, user } = this.#sourceConfig;
    await this.source.rows('CREATE PUBLICATION beside FOR TABLE person');
    // Within one server a subscription that makes its own slot waits for itself.
    await this.source.rows("SELECT pg_create_logical_replication_slot('beside', 'pgoutput')");
    await database.run(WORKLOAD);
    await database.rows(
      `CREATE SUBSCRIPTION beside CONNECTION 'host=${host} port=${port} dbname=${name} user=${user}' PUBLICATION beside
       WITH (create_slot = false, slot_name = 'beside', copy_data = true)`,
    );
    const isFilled = "SELECT 1 FROM pg_subscription_rel WHERE srsubstate <> 'r'";
    while ((await database.rows(isFilled)).length > 0) await pause(50);
    // What replication commits has the time of its source's commit: the moment before its own is noted.
    await database.run(
      'CREATE TABLE seen (id bigint PRIMARY KEY, at_ms numeric NOT NULL DEFAULT extract(epoch FROM clock_timestamp()) * 1000)',
      `CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.seen (id) VALUES (NEW.id); RETURN NULL; END'`,
      `CREATE TRIGGER seen AFTER INSERT ON person FOR EACH ROW WHEN (NEW.id >= ${watchedFrom}) EXECUTE FUNCTION note()`,
      'ALTER TABLE person ENABLE ALWAYS TRIGGER seen',
    );
    return {
      database,
      start: async () => void (await database.rows('ALTER SUBSCRIPTION beside ENABLE')),
      async stop() {
        await database.rows('ALTER SUBSCRIPTION beside DISABLE');
        const works = "SELECT 1 FROM pg_stat_subscription WHERE subname = 'beside' AND pid IS NOT NULL";
        while ((await database.rows(works)).length > 0) await pause(20);
      },
      [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
    };
  }

  /** The databases, by the names that their processes get. */
  get databases(): Record<string, string> {
    return { 'source PostgreSQL': this.#sourceConfig.database, 'target PostgreSQL': this.#targetConfig.database };
  }

  async #shell(words: (psql: { source: string; target: string }) => string): Promise<Measured> {
    const binaries = await postgresBinaries();
    const psql = ({ host, port, database, user }: PostgresConfig) =>
      `'${join(binaries, 'psql')}' -q -h ${host} -p ${port} -U ${user} -d ${database}`;
    const line = words({ source: psql(this.#sourceConfig), target: psql(this.#targetConfig) });
    const watch = watchProcesses(undefined, this.databases);
    const startedAtMs = performance.now();
    await new Promise<void>((resolve, reject) => {
      const child = spawn('/bin/sh', ['-c', line], { stdio: ['ignore', 'ignore', 'inherit'] });
      child.once('close', (code) => (code === 0 ? resolve() : reject(new Error(`psql ended with ${code}`))));
    });
    const ms = performance.now() - startedAtMs;
    return { ms, use: watch.stop() };
  }

  /** One load over the road into the empty table, on a platform of its own. */
  async load(): Promise<LoadResult> {
    await using road = await this.road();
    return await road.load();
  }

  /** A platform whose two nodes open the two databases. */
  async road(): Promise<Road> {
    await this.target.run('TRUNCATE person');
    const platform = await Platform.start({
      nodes: [
        {
          code: 'health',
          dataSources: { his: this.source.config },
          more: { limits: { ...AS_SHIPPED, compareEveryMs: 86_400_000 }, log: { level: 'debug' } },
        },
        { code: 'civil-affairs', dataSources: { own: this.target.config }, more: { limits: AS_SHIPPED } },
      ],
      environment: profiled,
    });
    return new Road(this, platform);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.source[Symbol.asyncDispose]();
    await this.target[Symbol.asyncDispose]();
    await this.#server[Symbol.asyncDispose]();
  }
}

/** With QIAO_BENCH_PROFILE=<folder> every program leaves its --cpu-prof there. */
export function profiled(program: string): Record<string, string> {
  const folder = process.env.QIAO_BENCH_PROFILE;
  return folder === undefined ? {} : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${join(folder, program)}` };
}

async function postgresBinaries(): Promise<string> {
  const versions = await readdir('/usr/lib/postgresql');
  const newest = versions.sort((a, b) => Number(b) - Number(a))[0];
  return join('/usr/lib/postgresql', newest ?? '', 'bin');
}
