/**
 * Triggers of PostgreSQL (T1–T8 of ../triggers.ts): one function of the installing account, fired for each row and for TRUNCATE, also where
 * rows are replicated into the table (ENABLE ALWAYS).
 *
 * An entry's id is its transaction's: no sequence, for `lastval()` would give the department's programs its numbers (T8). Who finds the change
 * table full holds a shared advisory lock while it leaves changes unnoted, and looks for the F once more under it; `forget` takes the
 * exclusive one before it removes the F. While `forget` waits nobody gets the shared lock any more, and notes its changes: nobody waits for
 * anybody but `forget`. A transaction with one snapshot for all its statements may see an F that is long forgotten: it always notes.
 */
import { createHash } from 'node:crypto';
import type { Problem } from '@qiao/exchange';
import {
  blindSpot,
  broken,
  CHANGES_BUDGET,
  changesName,
  entriesOf,
  keyColumn,
  lookEvery,
  type TrackedTable,
  type TriggerPlan,
  type TriggerState,
  trackedKey,
} from '../triggers.ts';
import { readTable } from './describe.ts';
import type { Session } from './session.ts';
import { identifier, qualified } from './sql.ts';

/** Fires whatever session_replication_role is. */
const ALWAYS = 'A';

/**
 * A domain may forbid the null of an entry without a key: its base holds the same texts. So do types without a length, and the widest
 * integer: where a key column is widened, the program's next INSERT must not fail.
 */
const KEY_TYPES = `
  WITH RECURSIVE base (name, oid) AS (
    SELECT a.attname, a.atttypid FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = $1 AND a.attname = ANY ($2) AND NOT a.attisdropped
    UNION ALL
    SELECT base.name, t.typbasetype FROM base JOIN pg_catalog.pg_type t ON t.oid = base.oid WHERE t.typtype = 'd'
  )
  SELECT base.name, CASE WHEN t.typname IN ('int2', 'int4') AND t.typnamespace = 'pg_catalog'::regnamespace THEN 'bigint'
                         WHEN t.typname = 'varchar' AND t.typnamespace = 'pg_catalog'::regnamespace THEN 'text'
                         ELSE pg_catalog.format_type(base.oid, -1) END
    FROM base JOIN pg_catalog.pg_type t ON t.oid = base.oid WHERE t.typtype <> 'd'`;

export async function planTriggers(
  session: Session,
  schemaOfSource: string,
  user: string,
  tracked: TrackedTable,
): Promise<TriggerPlan> {
  const schema = tracked.ref.schema ?? schemaOfSource;
  const table = await readTable(session, schema, tracked.ref.name);
  const key = trackedKey(tracked, table);
  const types = new Map(
    (await session.rows(KEY_TYPES, [table?.oid, key.map(({ name }) => name)])) as [string, string][],
  );
  const name = changesName(
    tracked,
    schema,
    key.map((column) => column.name),
  );
  const changes = qualified(schema, name);
  const on = qualified(schema, tracked.ref.name);
  const [truncated, noted] = [identifier(`${name}_truncate`), identifier(name)];
  const columns = key.map((column, place) => `${keyColumn(place)} ${types.get(column.name) ?? 'text'}`);
  const remove = [
    `DROP TRIGGER IF EXISTS ${noted} ON ${on}`,
    `DROP TRIGGER IF EXISTS ${truncated} ON ${on}`,
    // A table that was renamed took its triggers along.
    `DROP FUNCTION IF EXISTS ${changes}() CASCADE`,
    `DROP TABLE IF EXISTS ${changes}`,
  ];
  return {
    table: tracked,
    changes: { schema, name },
    entries: entriesOf(
      { schema, name },
      key.map(({ type }) => type),
    ),
    remove,
    install: [
      ...remove,
      `CREATE TABLE ${changes} (id bigint NOT NULL, operation text NOT NULL, ${columns.join(', ')})`,
      // A publication FOR ALL TABLES forbids to delete from a table without it.
      `ALTER TABLE ${changes} REPLICA IDENTITY FULL`,
      `CREATE INDEX ON ${changes} (id)`,
      `CREATE INDEX ON ${changes} (operation) WHERE operation = 'F'`,
      ...(tracked.grants === true ? [`GRANT SELECT, DELETE ON ${changes} TO ${identifier(user)}`] : []),
      `CREATE FUNCTION ${changes}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $qiao$${bodyOf(
    changes,
    key.map((column) => column.name),
    tracked,
  )}$qiao$`,
      `REVOKE ALL ON FUNCTION ${changes}() FROM PUBLIC`,
      `CREATE TRIGGER ${noted} AFTER INSERT OR UPDATE OR DELETE ON ${on} FOR EACH ROW EXECUTE FUNCTION ${changes}()`,
      `CREATE TRIGGER ${truncated} AFTER TRUNCATE ON ${on} FOR EACH STATEMENT EXECUTE FUNCTION ${changes}()`,
      `ALTER TABLE ${on} ENABLE ALWAYS TRIGGER ${noted}`,
      `ALTER TABLE ${on} ENABLE ALWAYS TRIGGER ${truncated}`,
      // Where ALTER TABLE does not reach the partitions (before 15).
      ...(table?.relationKind === 'p' ? [enableInPartitions(on, noted)] : []),
      `INSERT INTO ${changes} (id, operation) VALUES (pg_catalog.txid_current(), 'S')`,
    ],
    blind: table?.relationKind === 'p' ? [partitions(tracked.table)] : [],
  };
}

function bodyOf(changes: string, key: readonly string[], tracked: TrackedTable): string {
  const budget = tracked.budget ?? CHANGES_BUDGET;
  const columns = key.map((_, place) => keyColumn(place)).join(', ');
  const of = (row: 'OLD' | 'NEW') => key.map((name) => `${row}.${identifier(name)}`).join(', ');
  const note = (operation: string, row: 'OLD' | 'NEW') =>
    `INSERT INTO ${changes} (id, operation, ${columns}) VALUES (txid_current(), ${operation}, ${of(row)});`;
  const isMoved = key.map((name) => `OLD.${identifier(name)}::text IS DISTINCT FROM NEW.${identifier(name)}::text`);
  return `
BEGIN
  IF current_setting('transaction_isolation') IN ('read committed', 'read uncommitted')
     AND EXISTS (SELECT FROM ${changes} WHERE operation = 'F') AND pg_try_advisory_xact_lock_shared(${lockOf(changes)}) THEN
    IF EXISTS (SELECT FROM ${changes} WHERE operation = 'F') THEN
      RETURN NULL;
    END IF;
  END IF;
  CASE TG_OP
    WHEN 'INSERT' THEN ${note("'I'", 'NEW')}
    WHEN 'DELETE' THEN ${note("'D'", 'OLD')}
    WHEN 'UPDATE' THEN
      IF ${isMoved.join(' OR ')} THEN
        ${note("'D'", 'OLD')}
        ${note("'I'", 'NEW')}
      ELSE
        ${note("'U'", 'NEW')}
      END IF;
    ELSE INSERT INTO ${changes} (id, operation) VALUES (txid_current(), 'T');
  END CASE;
  IF extract(microseconds FROM clock_timestamp())::bigint % ${lookEvery(budget)} = 0
     AND (SELECT count(*) FROM (SELECT FROM ${changes} LIMIT ${budget}) entry) >= ${budget} THEN
    INSERT INTO ${changes} (id, operation) VALUES (txid_current(), 'F');
  END IF;
  RETURN NULL;
END`;
}

/** A number of this change table's own. */
function lockOf(changes: string): bigint {
  return createHash('sha256').update(changes).digest().readBigInt64BE();
}

function enableInPartitions(on: string, noted: string): string {
  return `DO $qiao$ DECLARE part regclass; BEGIN
  FOR part IN SELECT relid FROM pg_catalog.pg_partition_tree('${on.replaceAll("'", "''")}') LOOP
    EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %s', part, '${noted.replaceAll("'", "''")}');
  END LOOP;
END $qiao$`;
}

function partitions(label: string): Problem {
  return blindSpot(
    label,
    `table ${label} is partitioned: a partition that is attached, detached, dropped or truncated by itself fires no trigger`,
    'the next scan of the whole table finds it (wholeScanEvery:); or ask for one: qiao bridge run NAME',
  );
}

/** The row trigger of the table and of every partition, the truncate trigger of the table. */
const FOUND = `
  SELECT pg_catalog.count(*) FILTER (WHERE g.tgname = $2),
         pg_catalog.count(*) FILTER (WHERE g.tgname = $2 AND g.tgenabled = '${ALWAYS}'),
         pg_catalog.count(*) FILTER (WHERE g.tgname = $3 AND r.oid = $1::pg_catalog.regclass),
         pg_catalog.count(*) FILTER (WHERE g.tgname = $3 AND g.tgenabled = '${ALWAYS}' AND r.oid = $1::pg_catalog.regclass),
         pg_catalog.count(DISTINCT r.oid),
         pg_catalog.bool_and(g.tgfoid = pg_catalog.to_regprocedure($4)
           AND g.tgqual IS NULL AND g.tgtype = CASE g.tgname WHEN $2 THEN 29 ELSE 32 END) FILTER (WHERE g.oid IS NOT NULL),
         pg_catalog.md5(pg_catalog.string_agg(pg_catalog.concat(g.oid, '/', g.xmin), ' ' ORDER BY g.oid))
    FROM (SELECT relid::oid AS oid FROM pg_catalog.pg_partition_tree($1::pg_catalog.regclass)
           UNION SELECT $1::pg_catalog.regclass::oid) r
    LEFT JOIN pg_catalog.pg_trigger g ON g.tgrelid = r.oid AND g.tgname IN ($2, $3)`;

const BODY = `
  SELECT p.prosrc, p.prosecdef, pg_catalog.array_to_string(p.proconfig, ';'), p.xmin
    FROM pg_catalog.pg_proc p WHERE p.oid = pg_catalog.to_regprocedure($1)`;

const COLUMNS = `
  SELECT pg_catalog.string_agg(a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum),
         pg_catalog.bool_and(c.relreplident = 'f')
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
   WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attnum > 2 AND NOT a.attisdropped`;

/** TRUNCATE gives the change table another file. */
const SERVER = `
  SELECT pg_catalog.concat_ws('/', s.system_identifier, c.timeline_id, pg_catalog.to_regclass($1)::oid, pg_catalog.to_regclass($2)::oid,
         pg_catalog.pg_relation_filenode(pg_catalog.to_regclass($2)))
    FROM pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c`;

const RIGHTS = `SELECT pg_catalog.has_table_privilege(pg_catalog.to_regclass($1), 'SELECT')
   AND pg_catalog.has_table_privilege(pg_catalog.to_regclass($1), 'DELETE')`;

export async function triggerState(session: Session, plan: TriggerPlan): Promise<TriggerState> {
  const { name } = plan.changes;
  const changes = qualified(plan.changes.schema ?? '', name);
  const on = qualified(plan.changes.schema ?? '', plan.table.ref.name);
  const label = plan.table.table;
  const [columns] = await session.rows(COLUMNS, [changes]);
  const [body] = await session.rows(BODY, [`${changes}()`]);
  if (columns?.[0] == null || body === undefined) {
    return broken('TRIGGER_MISSING', `table ${label} has no triggers, or their change table ${name} is gone`);
  }
  const [found] = await session.rows(FOUND, [on, name, `${name}_truncate`, `${changes}()`]);
  const [rows = '0', enabledRows, truncates, enabledTruncates, relations = '0', isOurs, identity] = found ?? [];
  if (rows !== relations || truncates !== '1') {
    return broken('TRIGGER_MISSING', `a trigger of table ${label} or of one of its partitions is missing`);
  }
  if (enabledRows !== rows || enabledTruncates !== '1') {
    return broken('TRIGGER_DISABLED', `a trigger of table ${label} is disabled, or not enabled ALWAYS`);
  }
  const create = plan.install.find((statement) => statement.startsWith('CREATE FUNCTION')) ?? '';
  const table = plan.install.find((statement) => statement.startsWith('CREATE TABLE')) ?? '';
  const isAsPlanned =
    isOurs === 't' &&
    columns[1] === 't' &&
    body[1] === 't' &&
    body[2] === 'search_path=pg_catalog, pg_temp;enable_seqscan=off' &&
    create.endsWith(`$qiao$${body[0]}$qiao$`) &&
    table.endsWith(`operation text NOT NULL, ${columns[0]})`);
  if (!isAsPlanned) return broken('TRIGGER_ALTERED', `the triggers of table ${label} are not as they were installed`);
  const [rights] = await session.rows(RIGHTS, [changes]);
  if (rights?.[0] !== 't') {
    return broken(
      'TRIGGER_RIGHTS',
      `the account may not SELECT from and DELETE in the change table ${name} of ${label}`,
    );
  }
  const [server] = await session.rows(SERVER, [on, changes]);
  return { kind: 'ready', identity: `${server?.[0]}/${identity}/${body[3]}` };
}

/** Others must not queue behind DDL that waits for a long transaction. */
const DDL_LOCK_MS = 10_000;

export async function runStatements(session: Session, statements: readonly string[]): Promise<void> {
  await session.run('BEGIN');
  try {
    await session.run(`SET LOCAL lock_timeout = ${DDL_LOCK_MS}`);
    await session.run('SET LOCAL client_min_messages = warning');
    for (const statement of statements) await session.run(statement);
    await session.run('COMMIT');
  } catch (error) {
    await session.run('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

export async function forgetEntries(session: Session, plan: TriggerPlan, ids: readonly string[]): Promise<void> {
  const changes = qualified(plan.changes.schema ?? '', plan.changes.name);
  await session.run('BEGIN READ WRITE');
  try {
    const [full] = await session.rows(
      `SELECT EXISTS (SELECT FROM ${changes} WHERE operation = 'F' AND id = ANY ($1::bigint[]))`,
      [ids],
    );
    if (full?.[0] === 't') await session.run(`SELECT pg_catalog.pg_advisory_xact_lock(${lockOf(changes)})`);
    await session.run(`DELETE FROM ${changes} WHERE id = ANY ($1::bigint[])`, [ids]);
    await session.run('COMMIT');
  } catch (error) {
    await session.run('ROLLBACK').catch(() => undefined);
    throw error;
  }
}
