/**
 * Triggers of MySQL and MariaDB (T1–T8 of ../triggers.ts): one for each of insert, update and delete, with the rights of the account that
 * made them.
 *
 * Whatever a trigger reads, InnoDB locks until the transaction ends, so that a look into the change table would make programs wait for each
 * other. The triggers read one row only, by its key, that they never write: the limit, an id. Entries beyond it are taken back. The limit
 * is moved by `triggerState`, which waits for nobody's lock longer than a second; who writes meanwhile passes over the locked row (SKIP
 * LOCKED) and notes its change. Ids given out beyond the limit tell that changes were lost: then an F is written with the new limit, in a
 * transaction that needs the row alone: every transaction that read the old limit is over.
 */
import { type Problem, QiaoError } from '@qiao/exchange';
import {
  blindSpot,
  broken,
  CHANGES_BUDGET,
  changesName,
  entriesOf,
  keyColumn,
  type TrackedTable,
  type TriggerPlan,
  type TriggerState,
  trackedKey,
} from '../triggers.ts';
import { currentUser, isTransactional, type MysqlColumn, readTable, whereTable } from './describe.ts';
import type { Session } from './session.ts';
import { bytesOf, identifier, literal, qualified } from './sql.ts';

const EVENTS = ['insert', 'update', 'delete'] as const;
type Event = (typeof EVENTS)[number];

export async function planTriggers(session: Session, tracked: TrackedTable): Promise<TriggerPlan> {
  const database = tracked.ref.schema ?? session.database;
  const table = await readTable(session, database, tracked.ref.name);
  const key = trackedKey(tracked, table);
  const name = changesName(
    tracked,
    database,
    key.map((column) => column.name),
  );
  const changes = qualified(database, name);
  const limit = qualified(database, `${name}_limit`);
  const on = qualified(database, tracked.ref.name);
  const columns = key.map(({ catalog }, place) => `${keyColumn(place)} ${nullableType(widened(catalog))}`);
  const remove = [
    ...EVENTS.map((event) => `DROP TRIGGER IF EXISTS ${qualified(database, `${name}_${event}`)}`),
    `DROP TABLE IF EXISTS ${changes}, ${limit}`,
  ];
  const reader = tracked.grants === true ? await currentUser(session) : undefined;
  return {
    table: tracked,
    changes: { schema: database, name },
    entries: entriesOf(
      { schema: database, name },
      key.map(({ type }) => type),
    ),
    remove,
    install: [
      ...remove,
      `CREATE TABLE ${changes} (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, operation CHAR(1) CHARACTER SET ascii NOT NULL, ${columns.join(', ')}) ENGINE = InnoDB`,
      `CREATE TABLE ${limit} (one INT NOT NULL PRIMARY KEY, until_id BIGINT NOT NULL) ENGINE = InnoDB`,
      ...(reader === undefined
        ? []
        : [
            `GRANT SELECT, INSERT, DELETE ON ${changes} TO ${reader}`,
            `GRANT SELECT, UPDATE ON ${limit} TO ${reader}`,
            // Without it the catalog shows no triggers.
            `GRANT TRIGGER ON ${on} TO ${reader}`,
          ]),
      `INSERT INTO ${limit} VALUES (1, ${budgetOf(tracked)})`,
      ...EVENTS.map(
        (event) =>
          `CREATE TRIGGER ${qualified(database, `${name}_${event}`)} AFTER ${event.toUpperCase()} ON ${on} FOR EACH ROW\n${bodyOf(event, changes, limit, key, session.server.isMariaDb)}`,
      ),
      `INSERT INTO ${changes} (operation) VALUES ('S')`,
    ],
    blind: [
      ...(table === undefined || isTransactional(table) ? [] : [untransactional(tracked.table)]),
      blindSpot(
        tracked.table,
        `TRUNCATE of table ${tracked.table}, ALTER TABLE … TRUNCATE, DROP or EXCHANGE PARTITION, and rows that replication brings fire no trigger: no trigger works on a replica`,
        'read the primary server; the next scan of the whole table finds the rest (wholeScanEvery:); or ask for one: qiao bridge run NAME',
      ),
      ...(await cascades(session, database, tracked)),
    ],
  };
}

/** Where a key column is widened, the program's next INSERT must not fail: the widest type that gives the same texts. */
function widened(catalog: MysqlColumn['catalog']): MysqlColumn['catalog'] {
  switch (catalog.name) {
    case 'tinyint':
    case 'smallint':
    case 'mediumint':
    case 'int':
    case 'bigint':
      // Read as a truth value, not as a number.
      return catalog.text === 'tinyint(1)' ? catalog : { ...catalog, text: 'decimal(20,0)' };
    case 'decimal':
      return { ...catalog, text: `decimal(65,${catalog.scale})` };
    case 'char':
    case 'varchar':
    case 'enum':
    case 'set':
      return { ...catalog, text: 'longtext' };
    case 'binary':
    case 'varbinary':
      return { ...catalog, text: 'longblob' };
    default:
      return catalog;
  }
}

/** CHAR is read without its blanks, but they are part of the key's text. */
function valueOf({ name, catalog }: MysqlColumn, row: 'OLD' | 'NEW'): string {
  const value = `${row}.${identifier(name)}`;
  return catalog.name === 'char' ? `RPAD(${value}, ${catalog.length}, ' ')` : value;
}

function nullableType({ text, charset, collation }: MysqlColumn['catalog']): string {
  const coded = charset === undefined ? '' : ` CHARACTER SET ${charset} COLLATE ${collation}`;
  return `${text}${coded} NULL`;
}

function bodyOf(event: Event, changes: string, limit: string, key: readonly MysqlColumn[], isMariaDb: boolean): string {
  const columns = key.map((_, place) => keyColumn(place)).join(', ');
  const of = (row: 'OLD' | 'NEW') => key.map((column) => valueOf(column, row)).join(', ');
  const note = (operation: string, row: 'OLD' | 'NEW') =>
    `INSERT INTO ${changes} (operation, ${columns}) VALUES ('${operation}', ${of(row)});`;
  const isMoved = key.map(({ name }) => {
    const [was, is] = [bytesOf(`OLD.${identifier(name)}`), bytesOf(`NEW.${identifier(name)}`)];
    return `NOT (${was} <=> ${is})`;
  });
  const notes = {
    insert: note('I', 'NEW'),
    delete: note('D', 'OLD'),
    update: `IF ${isMoved.join(' OR ')} THEN
      ${note('D', 'OLD')}
      ${note('I', 'NEW')}
    ELSE
      ${note('U', 'NEW')}
    END IF;`,
  };
  const shared = isMariaDb ? 'LOCK IN SHARE MODE SKIP LOCKED' : 'FOR SHARE SKIP LOCKED';
  return `BEGIN
  ${notes[event]}
  IF LAST_INSERT_ID() > (SELECT until_id FROM ${limit} WHERE one = 1 ${shared}) THEN
    DELETE FROM ${changes} WHERE id = LAST_INSERT_ID();
  END IF;
END`;
}

function untransactional(label: string): Problem {
  return blindSpot(
    label,
    `the engine of table ${label} has no transactions: what a statement changed before it failed stays, and is noted only if the statement ends well`,
    'ALTER TABLE … ENGINE = InnoDB',
  );
}

/** Rows that a foreign key changes by itself fire no trigger. */
async function cascades(session: Session, database: string, { table, ref }: TrackedTable): Promise<Problem[]> {
  const rows = await session.rows(
    `SELECT CONSTRAINT_NAME, DELETE_RULE, UPDATE_RULE FROM information_schema.REFERENTIAL_CONSTRAINTS
      WHERE ${whereTable(session, database, ref.name, 'CONSTRAINT_SCHEMA', 'TABLE_NAME')} ORDER BY CONSTRAINT_NAME`,
  );
  const names = rows.flatMap(([name, onDelete, onUpdate]) =>
    [onDelete, onUpdate].some((rule) => /CASCADE|SET/.test(rule ?? '')) ? [name] : [],
  );
  if (names.length === 0) return [];
  return [
    {
      ...blindSpot(
        table,
        `rows of ${table} that the foreign keys ${names.join(', ')} change or delete by themselves fire no trigger`,
        'let the programs delete them, or write wholeScanEvery: as short as the destinations need it, or capture: compare',
      ),
      code: 'TRIGGER_CASCADE',
    },
  ];
}

export async function triggerState(session: Session, plan: TriggerPlan): Promise<TriggerState> {
  const { schema = '', name } = plan.changes;
  const label = plan.table.table;
  const changes = await readTable(session, schema, name);
  const found = await session.rows(
    `SELECT TRIGGER_NAME, ACTION_STATEMENT, EVENT_MANIPULATION, ACTION_TIMING, CREATED FROM information_schema.TRIGGERS
      WHERE ${whereTable(session, schema, plan.table.ref.name, 'EVENT_OBJECT_SCHEMA', 'EVENT_OBJECT_TABLE')}
        AND TRIGGER_NAME LIKE ${literal(`${name}%`)} ORDER BY TRIGGER_NAME`,
  );
  if (changes === undefined && found.length > 0) {
    return broken('TRIGGER_MISSING', `the change table ${name} of ${label} is gone, or the account may not read it`);
  }
  if (changes === undefined || found.length < EVENTS.length) {
    // Without the right TRIGGER the catalog shows none.
    return broken(
      'TRIGGER_MISSING',
      `table ${label} has not its three triggers, or the account may not see them (GRANT TRIGGER)`,
    );
  }
  const isAsPlanned = await areAsPlanned(session, plan, found);
  const table = plan.install.find((sql) => sql.startsWith('CREATE TABLE')) ?? '';
  const columns = changes.columns.slice(2).map(({ catalog }, place) => `${keyColumn(place)} ${nullableType(catalog)}`);
  if (!isAsPlanned || !table.includes(`NOT NULL, ${columns.join(', ')}) ENGINE`)) {
    return broken('TRIGGER_ALTERED', `the triggers of table ${label} are not as they were installed`);
  }
  const [made] = await session.rows(
    `SELECT CREATE_TIME FROM information_schema.TABLES WHERE ${whereTable(session, schema, name, 'TABLE_SCHEMA', 'TABLE_NAME')}`,
  );
  await moveLimit(session, plan);
  return { kind: 'ready', identity: [made?.[0], ...found.map(([, , , , created]) => created)].join('/') };
}

/** Rows of the catalog: name, body, event, timing. */
async function areAsPlanned(
  session: Session,
  plan: TriggerPlan,
  found: readonly (string | null)[][],
): Promise<boolean> {
  for (const [name, body, event, timing] of found) {
    const written = session.server.isMariaDb ? body : await bodyAsWritten(session, plan, name ?? '');
    const isAsPlanned = plan.install.some(
      (sql) => sql.includes(` ${timing} ${event} ON `) && sql.endsWith(`\n${written}`),
    );
    if (!isAsPlanned) return false;
  }
  return true;
}

/** The catalog of MySQL spells names that hold a backtick otherwise than they were written. */
async function bodyAsWritten(session: Session, { changes }: TriggerPlan, name: string): Promise<string> {
  const [row] = await session.rows(`SHOW CREATE TRIGGER ${qualified(changes.schema ?? '', name)}`);
  return /FOR EACH ROW\s+([\s\S]*)$/.exec(row?.[2] ?? '')?.[1] ?? '';
}

const LOCK_SECONDS = 1;

/** Half the budget early. Where somebody who read the limit is open, the next look tries again. */
async function moveLimit(session: Session, { table, changes }: TriggerPlan): Promise<void> {
  const { schema = '', name } = changes;
  const limit = qualified(schema, `${name}_limit`);
  const budget = BigInt(budgetOf(table));
  const read = async (lock = '') => {
    // First the row: ids are given out while it is waited for.
    const [row] = await session.rows(`SELECT until_id FROM ${limit} WHERE one = 1 ${lock}`);
    const [given] = await session.rows(
      `SELECT CAST(AUTO_INCREMENT AS SIGNED) FROM information_schema.TABLES
        WHERE ${whereTable(session, schema, name, 'TABLE_SCHEMA', 'TABLE_NAME')}`,
    );
    return { until: BigInt(row?.[0] ?? 0), next: BigInt(given?.[0] ?? 1) };
  };
  const isFar = ({ until, next }: { until: bigint; next: bigint }) => next + budget / 2n <= until;
  if (isFar(await read())) return;
  await session.run(`SET SESSION innodb_lock_wait_timeout = ${LOCK_SECONDS}`);
  await session.run('START TRANSACTION READ WRITE');
  try {
    const { until, next } = await read('FOR UPDATE');
    if (!isFar({ until, next })) {
      await session.run(`UPDATE ${limit} SET until_id = ${next + budget} WHERE one = 1`);
      if (next > until + 1n) await session.run(`INSERT INTO ${qualified(schema, name)} (operation) VALUES ('F')`);
    }
    await session.run('COMMIT');
  } catch (error) {
    await session.run('ROLLBACK');
    if (!(error instanceof QiaoError) || error.fate !== 'transient') throw error;
  }
}

function budgetOf({ budget = CHANGES_BUDGET }: TrackedTable): number {
  return budget;
}

/** Each is final when it is run: MySQL cannot undo DDL. The triggers go first and come last. */
export async function runStatements(session: Session, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await session.run(statement);
}

const STEP = 2_000;

export async function forgetEntries(session: Session, plan: TriggerPlan, ids: readonly string[]): Promise<void> {
  const changes = qualified(plan.changes.schema ?? '', plan.changes.name);
  // Of this session alone, which reads only otherwise.
  await session.run('SET SESSION TRANSACTION READ WRITE');
  for (let from = 0; from < ids.length; from += STEP) {
    await session.run(
      `DELETE FROM ${changes} WHERE id IN (${ids
        .slice(from, from + STEP)
        .map(BigInt)
        .join(', ')})`,
    );
  }
}
