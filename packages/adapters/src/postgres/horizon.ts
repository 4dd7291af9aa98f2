/**
 * The open transactions that a snapshot may have to wait for, and when the last of them has ended (C4 and C5 of adapter.ts).
 *
 * Claim. Let S be a snapshot, C a value of the cursor's column visible in S and not above the server's clock at S, and H the horizon read
 * after S. Once `remainsOpen(H)` has given undefined, every row with a value below C that is ever committed is visible to any snapshot
 * taken from then on — provided that values are taken inside the transaction that writes them, from a clock or a sequence of the
 * database that does not go back. (For all others the bridge has its lag.)
 *
 * Proof. A transaction T that takes its value after S takes one that is not below C: the clock has reached C, the sequence has given C
 * out. So T has begun before S. From its beginning to its end T holds the lock on its virtual id, which every transaction has, also
 * one that has written nothing yet and has no xid: xmin would not know it, although it may have its now() and its nextval().
 *   1. T is visible in S: nothing to wait for.
 *   2. T ended after S, but before H was read. It is visible to every snapshot after H. (This is why S comes first: read before S, the
 *      horizon would lack whoever begins in between and takes its value before C is committed.)
 *   3. T is open while H is read. pg_locks reads backend by backend, not at one instant, but T's lock is there at every instant.
 *      A lock that moves meanwhile from its backend into the shared table is listed twice rather than never, for the server reads the
 *      backends first (lock.c, GetLockStatusData). So H names T.
 *   4. T was prepared (two-phase) before S or before H was read: it has no virtual id any more, and pg_prepared_xacts names it. The
 *      server lists it there before it gives the lock up, and pg_locks is asked first here, so that T cannot pass in between.
 * When T's virtual id is gone, T has ended, and its rows are visible: the server makes them so before it releases locks (xact.c,
 * CommitTransaction: ProcArrayEndTransaction, then the locks) — or T was prepared since. Nothing tells which xid it was, so
 * each time an id is gone, every transaction that is prepared then is waited for, too; H has finitely many ids, so that this ends. A
 * prepared transaction that is listed no more is visible, if it was committed (twophase.c: ProcArrayRemove comes first).
 *
 * Between reading the clock for its now() and taking the lock lie a few instructions of a backend; a lag of at least a second, which
 * the bridge demands for times, is far more than they take. Sequences have no such window: nextval() runs inside the transaction.
 *
 * Left out are our own session (it writes nothing), sessions of other databases (they cannot write here), and backends in VACUUM, which
 * runs in transactions of its own and may take hours. A backend found vacuuming after S can only then have begun something else after S.
 * After a restart of the server nothing is open but what was prepared; virtual ids begin anew, so the start time belongs to the horizon.
 */
import { QiaoError } from '@qiao/exchange';
import type { Session } from './session.ts';

interface Horizon {
  /** When the server was started: virtual ids mean nothing beyond. */
  readonly started: string;
  readonly virtual: readonly string[];
  /** Prepared transactions, by xid. */
  readonly prepared: readonly string[];
}

/** A standby does not know who is open at its primary. */
const CAN_SEE = `
  SELECT NOT pg_catalog.pg_is_in_recovery()
     AND pg_catalog.has_table_privilege('pg_catalog.pg_locks', 'SELECT')
     AND pg_catalog.has_function_privilege('pg_catalog.pg_lock_status()', 'EXECUTE')
     AND pg_catalog.has_table_privilege('pg_catalog.pg_stat_activity', 'SELECT')
     AND pg_catalog.has_function_privilege('pg_catalog.pg_stat_get_activity(integer)', 'EXECUTE')
     AND pg_catalog.has_function_privilege('pg_catalog.pg_prepared_xact()', 'EXECUTE')`;

/** Those who wait for somebody's virtual id are listed with it, too: only the holder has it exclusively. */
const VIRTUAL = `
  SELECT l.virtualxid
    FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
   WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted AND l.pid <> pg_catalog.pg_backend_pid()
     AND (a.datid IS NULL OR a.datid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum v WHERE v.pid = l.pid)`;

const PREPARED = `
  SELECT p.transaction FROM pg_catalog.pg_prepared_xact() p
   WHERE p.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())`;

const STARTED = 'SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time())';

/** Whether open transactions of the server can be seen at all: the proof is of PostgreSQL alone, kin may have many nodes. */
export async function canSeeOpen(session: Session): Promise<boolean> {
  if (session.product.isKin) return false;
  const [row] = await session.rows(CAN_SEE);
  return row?.[0] === 't';
}

/** Who is open now; asked after the snapshot was taken. Undefined when the server does not tell. */
export async function readHorizon(session: Session): Promise<string | undefined> {
  return (await canSeeOpen(session)) ? JSON.stringify(await openNow(session)) : undefined;
}

/** What of the horizon is still open; undefined when nothing is. Asked before a snapshot that shall see what ended. */
export async function remainsOpen(session: Session, horizon: string): Promise<string | undefined> {
  const before = parse(horizon);
  // The server that could tell has become a standby, or a right was taken away: as if there had been no horizon.
  if (!(await canSeeOpen(session))) return undefined;
  const now = await openNow(session);
  const virtual = now.started === before.started ? before.virtual.filter((id) => now.virtual.includes(id)) : [];
  const prepared =
    virtual.length < before.virtual.length ? now.prepared : before.prepared.filter((xid) => now.prepared.includes(xid));
  if (virtual.length === 0 && prepared.length === 0) return undefined;
  return JSON.stringify({ started: now.started, virtual, prepared } satisfies Horizon);
}

/** One statement after the other: the order is part of the proof. */
async function openNow(session: Session): Promise<Horizon> {
  const [started] = await session.rows(STARTED);
  const virtual = await session.rows(VIRTUAL);
  const prepared = await session.rows(PREPARED);
  const first = (rows: (string | null)[][]) => rows.map(([value]) => value ?? '');
  return { started: started?.[0] ?? '', virtual: first(virtual), prepared: first(prepared) };
}

function parse(text: string): Horizon {
  const { started, virtual, prepared } = JSON.parse(text) as Partial<Horizon>;
  if (typeof started !== 'string' || !Array.isArray(virtual) || !Array.isArray(prepared)) {
    throw new QiaoError('HORIZON_INVALID', 'found a horizon that was not written by the PostgreSQL adapter');
  }
  return { started, virtual, prepared };
}
