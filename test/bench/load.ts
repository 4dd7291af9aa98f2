// The load that bench and story share: rows of the common workload from one PostgreSQL to another over the whole road, with the
// resident memory of every process watched, beside a plain COPY | COPY of the same rows on the same machine.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import {
  type BusinessDatabase,
  Platform,
  type PostgresConfig,
  postgresDatabase,
  readBoard,
  until,
} from '@qiao/testkit';
import { applyBridges, booksLine, bridgeYaml } from '../world.ts';

export interface LoadResult {
  readonly rows: number;
  /** From the moment the bridge was started until the receiver's database had committed the last row, milliseconds. */
  readonly roadMs: number;
  /** Highest resident memory seen per process, bytes. */
  readonly peakBytes: Readonly<Record<string, number>>;
  /** Digest of the table by an independent query: the same at both ends, or the load failed. */
  readonly digest: string;
}

const DIGEST = "SELECT count(*), md5(string_agg(md5(p::text), '' ORDER BY id)) FROM person p";
const WORKLOAD = readFileSync(new URL('./workload.sql', import.meta.url), 'utf8');

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
  static async create(rows: number, people = rows): Promise<LoadWorld> {
    const server = await startPostgres(['wal_level=replica', 'max_wal_size=4GB', 'synchronous_commit=on']);
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
  async copyBeside(): Promise<number> {
    await this.target.run('TRUNCATE person');
    const binaries = await postgresBinaries();
    const address = ({ host, port, database, user }: PostgresConfig) =>
      `'${join(binaries, 'psql')}' -q -h ${host} -p ${port} -U ${user} -d ${database}`;
    const pipe = `${address(this.#sourceConfig)} -c 'COPY (SELECT * FROM person ORDER BY id) TO STDOUT' | ${address(this.#targetConfig)} -c 'COPY person FROM STDIN'`;
    const startedAtMs = performance.now();
    await new Promise<void>((resolve, reject) => {
      const child = spawn('/bin/sh', ['-c', pipe], { stdio: ['ignore', 'ignore', 'inherit'] });
      child.once('close', (code) => (code === 0 ? resolve() : reject(new Error(`COPY | COPY ended with ${code}`))));
    });
    const elapsedMs = performance.now() - startedAtMs;
    await this.target.run('TRUNCATE person');
    return elapsedMs;
  }

  /** One load over the road into the empty table. */
  async load(): Promise<LoadResult> {
    await this.target.run('TRUNCATE person');
    await using platform = await Platform.start({
      nodes: [
        { code: 'health', dataSources: { his: this.source.config }, more: { limits: { compareEveryMs: 86_400_000 } } },
        { code: 'civil-affairs', dataSources: { own: this.target.config } },
      ],
    });
    const memory = watchMemory(platform);
    const startedAt = Date.now();
    await applyBridges(
      platform,
      bridgeYaml({
        name: 'load',
        from: 'health',
        source: 'his',
        to: [{ node: 'civil-affairs', dataSource: 'own', table: 'person' }],
      }),
    );
    await until(
      platform,
      'the load is in the books',
      async () => (await booksLine(platform, 'load')).received.total >= this.rows,
      600_000,
    );
    const finishedAt = await lastAppliedAt(platform);
    const peakBytes = memory.stop();
    const [digest, expected] = [
      (await this.target.rows(DIGEST))[0]?.join(' '),
      (await this.source.rows(DIGEST))[0]?.join(' '),
    ];
    if (digest === undefined || digest !== expected) throw new Error(`tables differ: ${digest} and ${expected}`);
    return { rows: this.rows, roadMs: finishedAt - startedAt, peakBytes, digest };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.source[Symbol.asyncDispose]();
    await this.target[Symbol.asyncDispose]();
    await this.#server[Symbol.asyncDispose]();
  }
}

async function lastAppliedAt(platform: Platform): Promise<number> {
  const { lanes } = await readBoard(platform);
  return Math.max(...lanes.map(({ lastAppliedAtMs }) => lastAppliedAtMs));
}

/** Reads the kernel's own high-water mark of each process until it is stopped. */
function watchMemory(platform: Platform): { stop(): Record<string, number> } {
  const peaks: Record<string, number> = {};
  const look = () => {
    for (const { name, pid } of platform.programs) {
      const found = /VmHWM:\s+(\d+) kB/.exec(readStatus(pid));
      if (found !== null) peaks[name] = Number(found[1]) * 1024;
    }
  };
  const timer = setInterval(look, 200);
  return {
    stop() {
      clearInterval(timer);
      look();
      return peaks;
    },
  };
}

function readStatus(pid: number | undefined): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return '';
  }
}

async function postgresBinaries(): Promise<string> {
  const versions = await readdir('/usr/lib/postgresql');
  const newest = versions.sort((a, b) => Number(b) - Number(a))[0];
  return join('/usr/lib/postgresql', newest ?? '', 'bin');
}
