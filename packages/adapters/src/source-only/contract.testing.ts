/** Databases that are only read under the contract suite: a schema that the run empties, and the department's program over a session of the adapter. */
import { QiaoError } from '@qiao/exchange';
import type { Dialect, Fixture, Waivers } from '../contractSuite.ts';
import { quoted } from './cursor.ts';
import { sourceOnly } from './dataSource.ts';
import type { Reader, SourceDatabase } from './reader.ts';
import { sayIn, type Words } from './words.testing.ts';

export const sourceOnlyWaivers: Waivers = {
  target: 'the adapter reads and never writes',
  rights: 'what may not be read is refused by the server itself; no second account is made',
  triggers: 'the adapter has no triggers',
  log: "the database's log is not read",
};

/** A kind of database, in the suite's terms. */
export interface SourceWorld<Session extends Reader = Reader> {
  readonly database: SourceDatabase<Session>;
  readonly dialect: Dialect;
  readonly words: Words;
  /** Makes the schema, and gives the statement that removes it; absent where it is the account's own, which has to be empty. */
  readonly makeSchema?: (schema: string) => { make: string; remove: string };
}

const LIMIT_MS = 240_000;

export async function sourceOnlyFixture<Session extends Reader>(world: SourceWorld<Session>): Promise<Fixture> {
  const department = await open(world);
  const opened: Reader[] = [department];
  const dataSource = sourceOnly('contract', world.database);
  const sql = async (session: Session, text: string) => {
    for (const statement of sayIn(world.words, text)) await session.run(statement);
    await commit(world, session);
  };
  return {
    dataSource,
    dialect: world.dialect,
    sql: (text) => sql(department, text),
    query: (text) => department.rows({ sql: text, values: [] }),
    async [Symbol.asyncDispose]() {
      await dataSource.close();
      for (const each of opened) await each.close();
    },
  };
}

/** Takes the schema for the run. Throws CONTRACT_NAME_TAKEN where anything is in it. */
export async function claimSourceOnly<Session extends Reader>(
  world: SourceWorld<Session>,
): Promise<{ reader: undefined; release(): Promise<void> }> {
  const { schema } = world.database;
  const session = await open(world);
  try {
    const found = await tablesOf(world, session);
    const made = world.makeSchema?.(schema);
    const taken = new QiaoError(
      'CONTRACT_NAME_TAKEN',
      `found ${found.length} tables and views in the schema ${schema}; expected ${made === undefined ? 'an account that owns none' : 'none of this name'}`,
      {
        hint:
          made === undefined
            ? 'let the run have an account of its own'
            : `name another with --name; or remove what a run that was cut off has left: ${made.remove};`,
      },
    );
    if (found.length > 0) throw taken;
    if (made !== undefined) {
      await session.run(made.make).catch(() => {
        throw taken;
      });
    }
  } finally {
    await session.close();
  }
  return {
    reader: undefined,
    async release() {
      await renewSourceOnly(world);
      const made = world.makeSchema?.(schema);
      if (made === undefined) return;
      const owner = await open(world);
      await owner.run(made.remove);
      await commit(world, owner);
      await owner.close();
    },
  };
}

/** The claimed schema as new, for one test. What refers to another goes first, whichever that is. */
export async function renewSourceOnly<Session extends Reader>(world: SourceWorld<Session>): Promise<void> {
  const session = await open(world);
  try {
    for (;;) {
      const left = await tablesOf(world, session);
      if (left.length === 0) return;
      const refused: unknown[] = [];
      for (const { name, kind } of left) {
        const own = quoted(world.database, { schema: world.database.schema, name });
        await session.run(`DROP ${kind} ${own}`).catch((error: unknown) => refused.push(error));
      }
      await commit(world, session);
      if (refused.length === left.length) throw refused[0];
    }
  } finally {
    await session.close();
  }
}

async function tablesOf<Session extends Reader>({ database }: SourceWorld<Session>, session: Session) {
  const own = (await database.readTables(session)).filter(({ schema }) => schema === database.schema);
  const found = [];
  for (const { name } of own) {
    const table = await database.readTable(session, database.schema, name);
    found.push({ name, kind: table?.kind === 'view' ? 'VIEW' : 'TABLE' });
  }
  return found;
}

function open<Session extends Reader>({ database }: SourceWorld<Session>): Promise<Session> {
  return database.open({ purpose: 'contract', limitMs: LIMIT_MS });
}

/** Each statement of SQL Server commits by itself. */
async function commit<Session extends Reader>({ database }: SourceWorld<Session>, session: Session): Promise<void> {
  if (database.adapter !== 'mssql') await session.run('COMMIT');
}
