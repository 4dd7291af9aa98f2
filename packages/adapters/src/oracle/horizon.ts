/**
 * The open transactions and statements that a snapshot may have to wait for, and when the last of them has ended (C4 and C5 of adapter.ts).
 * From the manual, not from trial: nobody of this house has seen it hold.
 *
 * Claim. Let S be a snapshot and H the horizon read after S. Once `remains(H)` has given undefined, every row whose value was taken before
 * S by the statement that writes it, or by an earlier one of a transaction that had changed something by then, is visible to any snapshot
 * taken from then on. (For all others the bridge has its lag: Oracle tells nobody of a transaction that has begun and changed nothing.)
 *
 * Argument. GV$TRANSACTION lists every transaction of all instances that has changed something, by its place in the undo segments, which is
 * never the same for two. A statement that runs and has changed nothing yet, because it waits for a table or for its turn, has its time all
 * the same: GV$SESSION lists it, by its session and execution. It is asked first, so that a statement cannot pass from the one into the other
 * unseen. When a statement is gone, its transaction may be there instead: then every transaction of that session is waited for.
 *
 * After a restart nothing is open; what was prepared elsewhere (two-phase commit) and is in doubt is not seen then, and the lag alone
 * covers it. A standby knows nothing of its primary's.
 */
import { QiaoError } from '@qiao/exchange';
import type { Reader, Unseen } from '../source-only/reader.ts';

interface Open {
  /** `session/place` of transactions. */
  readonly transactions: readonly string[];
  /** `session/execution` of statements. */
  readonly statements: readonly string[];
}

const ROLE = "SELECT SYS_CONTEXT('USERENV', 'DATABASE_ROLE') FROM DUAL";
const VIEWS = ['GV_$TRANSACTION', 'GV_$SESSION'];

/** INSERT, UPDATE, DELETE, MERGE. */
const CHANGING = '2, 6, 7, 189';
const SESSION = "s.INST_ID || '.' || s.SID || '.' || s.SERIAL#";

const STATEMENTS = `
  SELECT ${SESSION} || '/' || s.SQL_ID || '.' || s.SQL_EXEC_ID FROM GV$SESSION s
   WHERE s.STATUS = 'ACTIVE' AND s.TYPE = 'USER' AND s.COMMAND IN (${CHANGING}) AND s.TADDR IS NULL`;

const TRANSACTIONS = `
  SELECT NVL(${SESSION}, '-') || '/' || t.XIDUSN || '.' || t.XIDSLOT || '.' || t.XIDSQN
    FROM GV$TRANSACTION t LEFT JOIN GV$SESSION s ON s.INST_ID = t.INST_ID AND s.SADDR = t.SES_ADDR`;

export async function cannotSee(session: Reader): Promise<Unseen | undefined> {
  const [role] = await session.rows({ sql: ROLE, values: [] });
  if (role?.[0] !== 'PRIMARY') {
    return {
      why: 'rows come from another server, whose open transactions are not seen here',
      fix: 'Point the data source to the primary',
    };
  }
  if ((await openNow(session)) !== undefined) return undefined;
  const grants = VIEWS.map((view) => `GRANT SELECT ON SYS.${view} TO the user of this data source;`);
  return { why: `open transactions cannot be seen without reading ${VIEWS.join(' and ')}`, fix: grants.join(' ') };
}

/** Who is open now; asked after the snapshot was taken. Undefined when the server does not tell. */
export async function read(session: Reader): Promise<string | undefined> {
  if ((await cannotSee(session)) !== undefined) return undefined;
  const now = await openNow(session);
  return now === undefined ? undefined : JSON.stringify(now);
}

/** What of the horizon is still open; undefined when nothing is. */
export async function remains(session: Reader, horizon: string): Promise<string | undefined> {
  const before = parse(horizon);
  // A right was taken away, or the server has become a standby: as if there had been no horizon.
  const now = (await cannotSee(session)) === undefined ? await openNow(session) : undefined;
  return now === undefined ? undefined : stillOpen(before, now);
}

/** Pure. */
export function stillOpen(before: Open, now: Open): string | undefined {
  const statements = before.statements.filter((one) => now.statements.includes(one));
  const passed = new Set(before.statements.filter((one) => !statements.includes(one)).map(sessionOf));
  const transactions = now.transactions.filter(
    (one) => before.transactions.some((other) => placeOf(other) === placeOf(one)) || passed.has(sessionOf(one)),
  );
  return transactions.length + statements.length === 0
    ? undefined
    : JSON.stringify({ transactions, statements } satisfies Open);
}

async function openNow(session: Reader): Promise<Open | undefined> {
  const list = async (sql: string) => (await session.rows({ sql, values: [] })).map(([name]) => name ?? '');
  try {
    const statements = await list(STATEMENTS);
    return { statements, transactions: await list(TRANSACTIONS) };
  } catch (error) {
    if (error instanceof QiaoError && error.code === 'SOURCE_RIGHTS') return undefined;
    throw error;
  }
}

function sessionOf(name: string): string {
  return name.slice(0, name.indexOf('/'));
}

function placeOf(name: string): string {
  return name.slice(name.indexOf('/') + 1);
}

function parse(text: string): Open {
  const { transactions, statements } = JSON.parse(text) as Partial<Open>;
  if (!Array.isArray(transactions) || !Array.isArray(statements)) {
    throw new QiaoError('HORIZON_INVALID', 'found a horizon that was not written by the Oracle adapter');
  }
  return { transactions, statements };
}
