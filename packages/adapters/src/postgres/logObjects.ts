/**
 * What is kept in the database for our reading of its log: a publication of exactly the plan's tables and a slot, both of one name. Made where the account may;
 * where it may not, the statements for the DBA are in the error.
 */
import { type Problem, QiaoError } from '@qiao/exchange';
import { systemClock } from '@qiao/runtime';
import type { KeptLog, LogPlan, LogTableState } from '../adapter.ts';
import { askedTable } from '../log/asked.ts';
import { comparePositions } from './lineage.ts';
import { type LogFacts, type LogTable, partitionProblem, readLogTables, tableProblems } from './logTables.ts';
import type { LoggedTable } from './pgoutput.ts';
import type { Row, Session } from './session.ts';
import { identifier, qualified } from './sql.ts';

/** How long a slot may take to be free after the session on it was cut. */
const RELEASE_MS = 20_000;
const RELEASE_LOOK_AGAIN_MS = 50;

/** Publishes partitioned tables as one, and has numbers of transactions of 64 bits. */
const OLDEST_VERSION = 130000;

/** Where the log stands; a standby has no log of its own to read before version 16. */
const FACTS = `
  SELECT current_setting('wal_level'), pg_catalog.pg_is_in_recovery(), r.rolreplication OR r.rolsuper, current_user,
         pg_catalog.has_database_privilege(current_database(), 'CREATE'), current_setting('server_encoding')
    FROM pg_catalog.pg_roles r WHERE r.rolname = current_user`;

const PUBLICATION = `
  SELECT p.oid, p.puballtables, p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND p.pubviaroot,
         pg_catalog.pg_has_role(p.pubowner, 'USAGE')
    FROM pg_catalog.pg_publication p WHERE p.pubname = $1`;

const PUBLISHED = `
  SELECT r.prrelid, r.oid, n.nspname, c.relname, REPLACED
    FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE r.prpubid = $1 ORDER BY r.prrelid`;

const SLOT = `
  SELECT s.plugin, s.database = current_database(), s.confirmed_flush_lsn::text, s.wal_status = 'lost', s.active,
         pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), s.restart_lsn)
    FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1`;

/** The timeline is the first part of a segment's name, at once after a promotion; the checkpoint names it later. */
const IDENTITY = `
  SELECT pg_catalog.concat_ws('/', s.system_identifier, pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8), d.oid)
    FROM pg_catalog.pg_control_system() s, pg_catalog.pg_database d WHERE d.datname = current_database()`;

export async function readLogFacts(session: Session): Promise<LogFacts> {
  const [row] = await session.rows(FACTS);
  return {
    walLevel: row?.[0] ?? '',
    isStandby: row?.[1] === 't',
    mayReplicate: row?.[2] === 't',
    user: row?.[3] ?? '',
    mayPublish: row?.[4] === 't',
    encoding: row?.[5] ?? '',
    version: session.versionNumber,
    product: session.product,
  };
}

/** Why nothing of this server's log can be read; undefined when it can. */
export function logOff(facts: LogFacts): Omit<Problem, 'path'> | undefined {
  const { walLevel, isStandby, encoding, version, product } = facts;
  const code = 'LOG_OFF';
  if (product.isKin) {
    const message = `the log of ${product.name} is not read in this version`;
    return { code, message, hint: 'write capture: compare' };
  }
  if (version < OLDEST_VERSION) {
    const message = 'the log is read from PostgreSQL 13 on';
    return { code, message, hint: 'upgrade the server, or write another capture in the bridge' };
  }
  if (isStandby) {
    return {
      code,
      message: 'the server is a standby, which keeps no log for readers',
      hint: 'point the data source to the primary',
    };
  }
  if (walLevel !== 'logical') {
    const hint =
      "ALTER SYSTEM SET wal_level = 'logical'; and restart the server, or write another capture in the bridge";
    return { code, message: `found wal_level = ${walLevel}; expected logical`, hint };
  }
  if (encoding === 'SQL_ASCII') {
    const message = 'the database is SQL_ASCII: its log may hold text of any encoding';
    return { code, message, hint: 'convert the database to UTF8, or write capture: compare' };
  }
  return undefined;
}

export interface MadeLog {
  readonly identity: string;
  readonly oldest: string;
  readonly newest: string;
  readonly horizon: string;
  readonly tables: readonly LogTableState[];
  /** In the order of the plan; a table that is left out keeps its place, under an oid that no relation has. */
  readonly logged: readonly LoggedTable[];
  /** What `readCatalog` finds, as long as nobody changes it. */
  readonly catalog: string;
}

/** See G1. The publication first: what the slot keeps is published from its first change on. */
export async function makeLog(session: Session, schema: string, { name, tables }: LogPlan): Promise<MadeLog> {
  const facts = await readLogFacts(session);
  const off = logOff(facts);
  if (off !== undefined) throw new QiaoError(off.code, off.message, { hint: off.hint });
  const read = await readLogTables(session, schema, tables.map(askedTable));
  const found = read.map((table) => ('code' in table ? table : (tableProblems(table)[0] ?? table)));
  const fit = found.filter((each): each is LogTable => !('code' in each));
  const published = await publish(session, name, fit, facts);
  const catalog = catalogOf(read, published);
  const oldest = await keepSlot(session, name, facts);
  const [end] = await session.rows('SELECT pg_catalog.pg_current_wal_insert_lsn()::text');
  const newest = end?.[0] ?? '';
  const [identity] = await session.rows(IDENTITY);
  return {
    identity: identity?.[0] ?? '',
    oldest,
    newest: comparePositions(newest, oldest) < 0 ? oldest : newest,
    horizon: await readLogHorizon(session),
    tables: found.map((table) => ('code' in table ? { unfit: table } : tableState(name, table, published))),
    logged: found.map((table) =>
      'code' in table
        ? { oid: 0, columns: [], keyColumns: 0 }
        : { oid: Number(table.oid), columns: table.columns, keyColumns: table.key.length },
    ),
    catalog,
  };
}

/** What the catalog says of the tables and of their publication: all that `makeLog` looks at. Makes nothing. */
export async function readCatalog(session: Session, schema: string, { name, tables }: LogPlan): Promise<string> {
  const found = await readLogTables(session, schema, tables.map(askedTable));
  return catalogOf(found, await readPublished(session, name));
}

function catalogOf(found: readonly (LogTable | Problem)[], published: ReadonlyMap<string, Published>): string {
  const entries = [...published].map(([oid, entry]) => [oid, entry.oid, entry.isFiltered]);
  return JSON.stringify([found.map((table) => ('catalog' in table ? table.catalog : table.code)), entries]);
}

/** A partition that was emptied, attached or taken away makes another table: its rows come and go without a word in the log. */
function tableState(name: string, table: LogTable, published: ReadonlyMap<string, Published>): LogTableState {
  const entry = published.get(table.oid);
  if (entry === undefined || entry.isFiltered) return { unfit: filtered(name, table) };
  const unfit = partitionProblem(table, (oid) => published.has(oid));
  if (unfit !== undefined) return { unfit };
  const columns = table.columns.map((column) => [column.name, column.number, column.typeOid, column.typeModifier]);
  const partitions = table.family.slice(1).map(({ oid, fileNode }) => [oid, fileNode]);
  return { identity: JSON.stringify([table.oid, entry.oid, columns, partitions]) };
}

/**
 * A number that is given out now: every transaction with a lower one that is open may have written before what we made was there, or commit at
 * a place that is behind us. Taken by a transaction of its own, for a snapshot names only those that have ended or run.
 */
async function readLogHorizon(session: Session): Promise<string> {
  const [row] = await session.rows('SELECT pg_catalog.pg_current_xact_id()::text');
  return row?.[0] ?? '';
}

export async function isHorizonPast(session: Session, horizon: string): Promise<boolean> {
  const [row] = await session.rows('SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) > $1::xid8', [
    horizon,
  ]);
  return row?.[0] === 't';
}

export async function readKept(session: Session, name: string): Promise<KeptLog | undefined> {
  const slot = await readSlot(session, name);
  return slot === undefined ? undefined : { bytes: Number(slot[5] ?? 0), isLost: slot[3] === 't' };
}

/** Tries again while a slot is in use: the server takes a moment to notice that our own session on it was cut. */
export async function whenFree<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const endsAt = performance.now() + RELEASE_MS;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof QiaoError) || error.code !== 'SOURCE_BUSY' || performance.now() > endsAt) throw error;
      await systemClock.sleep(RELEASE_LOOK_AGAIN_MS, signal);
    }
  }
}

export async function removeLog(session: Session, name: string): Promise<void> {
  if ((await readSlot(session, name)) !== undefined) {
    await session.rows('SELECT pg_catalog.pg_drop_replication_slot($1)', [name]);
  }
  const [publication] = await session.rows(PUBLICATION, [name]);
  // A DBA's own stays.
  if (publication?.[3] === 't') await session.run(`DROP PUBLICATION IF EXISTS ${identifier(name)}`);
}

interface Published {
  readonly oid: string;
  /** A row filter or a list of columns: rows would be missing. */
  readonly isFiltered: boolean;
}

/** Brings the publication in line with the tables; gives what it publishes, by the table's oid. */
async function publish(
  session: Session,
  name: string,
  tables: readonly LogTable[],
  facts: LogFacts,
): Promise<Map<string, Published>> {
  const list = [...new Set(tables.map(({ schema, name: table }) => qualified(schema, table)))].join(', ');
  const ddl = createPublication(name, list);
  const [publication] = await session.rows(PUBLICATION, [name]);
  if (publication === undefined) {
    await asDba(session, [ddl], facts);
    return await readPublished(session, name);
  }
  if (publication[1] === 't' || publication[2] !== 't') {
    const hint = `DROP PUBLICATION ${identifier(name)}; ${ddl};`;
    throw new QiaoError('LOG_RIGHTS', `publication ${name} is not made as it must be`, { hint });
  }
  const before = await readPublished(session, name);
  const wanted = new Set(tables.map(({ oid }) => oid));
  const missing = tables.filter(({ oid }) => !before.has(oid));
  const extra = [...before].filter(([oid]) => !wanted.has(oid));
  const statements: string[] = [];
  const alter = `ALTER PUBLICATION ${identifier(name)}`;
  if (missing.length > 0) {
    const added = [...new Set(missing.map(({ schema, name: table }) => qualified(schema, table)))];
    statements.push(`${alter} ADD TABLE ${added.join(', ')}`);
  }
  if (statements.length > 0) await asDba(session, statements, facts);
  // What a DBA published beside ours is the DBA's business.
  if (extra.length > 0 && publication[3] === 't') {
    // Without ONLY those that inherit from it would have to be published, too.
    await session.run(`${alter} DROP TABLE ${extra.map(([, { table }]) => `ONLY ${table}`).join(', ')}`);
  }
  return await readPublished(session, name);
}

export function createPublication(name: string, tables: string): string {
  const of = tables === '' ? '' : ` FOR TABLE ${tables}`;
  const options = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true";
  return `CREATE PUBLICATION ${identifier(name)}${of} WITH (${options})`;
}

async function readPublished(session: Session, name: string): Promise<Map<string, Published & { table: string }>> {
  const [publication] = await session.rows(PUBLICATION, [name]);
  const filter = session.versionNumber >= 150000 ? 'r.prqual IS NOT NULL OR r.prattrs IS NOT NULL' : 'false';
  const rows = await session.rows(PUBLISHED.replace('REPLACED', filter), [publication?.[0] ?? '0']);
  return new Map(
    rows.map(([relation, oid, schema, table, isFiltered]) => [
      relation ?? '',
      { oid: oid ?? '', isFiltered: isFiltered === 't', table: qualified(schema ?? '', table ?? '') },
    ]),
  );
}

/** Gives the position that the slot keeps everything from. A slot that lost what it should have kept is made anew. */
async function keepSlot(session: Session, name: string, facts: LogFacts): Promise<string> {
  const slot = await readSlot(session, name);
  if (slot !== undefined && slot[3] !== 't') {
    if (slot[0] === 'pgoutput' && slot[1] === 't') return positionOf(slot, name);
    const hint = `SELECT pg_drop_replication_slot('${name}'); as a DBA, if nobody needs it`;
    throw new QiaoError('LOG_RIGHTS', `replication slot ${name} is of another database or plugin`, { hint });
  }
  if (slot !== undefined) await session.rows('SELECT pg_catalog.pg_drop_replication_slot($1)', [name]);
  const create = `SELECT pg_catalog.pg_create_logical_replication_slot('${name}', 'pgoutput')`;
  await asDba(session, [create], facts);
  const made = await readSlot(session, name);
  if (made === undefined) throw slotBusy(name, 'was dropped as soon as it was made');
  return positionOf(made, name);
}

/** Everything that committed from there on is kept by the slot. Throws SOURCE_BUSY while there is none. */
export async function readSlotPosition(session: Session, name: string): Promise<string> {
  const slot = await readSlot(session, name);
  if (slot === undefined) throw slotBusy(name, 'was dropped');
  return positionOf(slot, name);
}

/** A slot has no position while it is made; its making goes on for a while when whoever asked for it is gone. */
function positionOf(slot: Row, name: string): string {
  if (slot[2] == null) throw slotBusy(name, 'is being made, and waits for every transaction that is open');
  return slot[2];
}

function slotBusy(name: string, what: string): QiaoError {
  return new QiaoError('SOURCE_BUSY', `replication slot ${name} ${what}`, { fate: 'transient' });
}

async function readSlot(session: Session, name: string): Promise<Row | undefined> {
  const [slot] = await session.rows(SLOT, [name]);
  return slot;
}

/** Statements that the account may lack the right for. */
async function asDba(session: Session, statements: readonly string[], facts: LogFacts): Promise<void> {
  for (const statement of statements) {
    try {
      await session.rows(statement);
    } catch (error) {
      if (!(error instanceof QiaoError) || error.code !== 'SOURCE_RIGHTS') throw error;
      throw new QiaoError(
        'LOG_RIGHTS',
        `the account ${facts.user} may not make what reading the log needs: ${error.message}`,
        {
          hint: `as a DBA: ${statements.join('; ')};${facts.mayReplicate ? '' : ` ALTER ROLE ${identifier(facts.user)} REPLICATION;`}`,
        },
      );
    }
  }
}

function filtered(name: string, { label, schema, name: table }: LogTable): Problem {
  return {
    code: 'LOG_FILTERED',
    path: label,
    message: `publication ${name} hides rows or columns of the table`,
    hint: `ALTER PUBLICATION ${identifier(name)} DROP TABLE ${qualified(schema, table)};`,
  };
}
