/**
 * The open transactions that a snapshot may have to wait for, and when the last of them has ended (C4 and C5 of adapter.ts). From the
 * manual, not from trial: nobody of this house has seen it hold.
 *
 * Claim. Let S be a snapshot and H the horizon read after S. Once `remains(H)` has given undefined, every row whose value was taken before
 * S inside the transaction that writes it is visible to any snapshot taken from then on.
 *
 * Argument. sys.dm_tran_active_transactions lists every transaction of the instance from its beginning to its end, one that has written
 * nothing yet and the one that a single statement makes for itself included; its number is not given out again before a restart. T takes
 * its value before S and is not visible in S. Either it ended before H was read, and is visible to each snapshot after H; or it is open
 * while H is read, and H names it. What the manual does not say is the order in which a transaction leaves this list and becomes visible:
 * `remains` is asked over a connection of its own, before that of the next snapshot is opened, so that a round trip lies between.
 *
 * System transactions take no values. Those of other databases of the instance are waited for as well, and so are other readers: they end.
 * After a restart nothing is open but what was prepared (DTC), which is then waited for whole. A secondary replica knows nothing of its primary's.
 */
import { QiaoError } from '@qiao/exchange';
import type { Reader, Unseen } from '../source-only/reader.ts';

interface Open {
  /** When the server was started: numbers mean nothing beyond. */
  readonly started: string;
  readonly transactions: readonly string[];
}

const ABOUT = `
  SELECT CASE WHEN HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE') = 1 THEN 'Y' ELSE 'N' END,
         CONVERT(varchar(20), DATABASEPROPERTYEX(DB_NAME(), 'Updateability'))`;

const STARTED = 'SELECT CONVERT(varchar(40), sqlserver_start_time, 126) FROM sys.dm_os_sys_info';

const SYSTEM = 3;
const PREPARED = 5;
const TRANSACTIONS = `
  SELECT CONVERT(varchar(20), t.transaction_id), CONVERT(varchar(5), t.transaction_state) FROM sys.dm_tran_active_transactions t
   WHERE t.transaction_type <> ${SYSTEM} AND t.transaction_id <> COALESCE(CURRENT_TRANSACTION_ID(), 0)`;

export async function cannotSee(session: Reader): Promise<Unseen | undefined> {
  if (session.product.name !== 'SQL Server') {
    return { why: `open transactions of ${session.product.name} are not seen here`, fix: 'Write capture: compare' };
  }
  const [row] = await session.rows({ sql: ABOUT, values: [] });
  if (row?.[1] === 'READ_ONLY') {
    return {
      why: 'rows come from another server, whose open transactions are not seen here',
      fix: 'Point the data source to the primary',
    };
  }
  const grant = 'GRANT VIEW SERVER STATE TO the login of this data source, in master;';
  return row?.[0] === 'Y'
    ? undefined
    : { why: 'open transactions cannot be seen without the right VIEW SERVER STATE', fix: grant };
}

/** Who is open now; asked after the snapshot was taken. Undefined when the server does not tell. */
export async function read(session: Reader): Promise<string | undefined> {
  if ((await cannotSee(session)) !== undefined) return undefined;
  const now = await openNow(session);
  const transactions = now.transactions.map(({ id }) => id);
  return JSON.stringify({ started: now.started, transactions } satisfies Open);
}

/** What of the horizon is still open; undefined when nothing is. */
export async function remains(session: Reader, horizon: string): Promise<string | undefined> {
  const before = parse(horizon);
  // A right was taken away, or the server has become a secondary: as if there had been no horizon.
  if ((await cannotSee(session)) !== undefined) return undefined;
  const now = await openNow(session);
  const isSame = now.started === before.started;
  const transactions = now.transactions
    .filter(({ id, isPrepared }) => (isSame ? before.transactions.includes(id) : isPrepared))
    .map(({ id }) => id);
  return transactions.length === 0 ? undefined : JSON.stringify({ started: now.started, transactions } satisfies Open);
}

async function openNow(session: Reader) {
  const [started] = await session.rows({ sql: STARTED, values: [] });
  const rows = await session.rows({ sql: TRANSACTIONS, values: [] });
  const transactions = rows.map(([id, state]) => ({ id: id ?? '', isPrepared: Number(state) === PREPARED }));
  return { started: started?.[0] ?? '', transactions };
}

function parse(text: string): Open {
  const { started, transactions } = JSON.parse(text) as Partial<Open>;
  if (typeof started !== 'string' || !Array.isArray(transactions)) {
    throw new QiaoError('HORIZON_INVALID', 'found a horizon that was not written by the SQL Server adapter');
  }
  return { started, transactions };
}
