/**
 * The open transactions and statements that a snapshot may have to wait for, and when the last of them has ended (C4 and C5 of
 * adapter.ts).
 *
 * Claim. Let S be a snapshot, C a value of the cursor's column visible in S and not above the server's clock at S, and H the horizon read
 * after S. Once `remainsOpen(H)` has given undefined, every row with a value below C that is ever committed is visible to any snapshot
 * taken from then on — provided that values are taken by the statement that writes them (CURRENT_TIMESTAMP, ON UPDATE, NOW(),
 * AUTO_INCREMENT), or by an earlier one of a transaction that has touched an InnoDB table by then, from a clock that does not go back.
 * (For all others the bridge has its lag: MySQL tells nobody of a transaction that has begun and done nothing.)
 *
 * Proof. A statement that takes its value after S takes one that is not below C: the clock has reached C, the counter has given C out.
 * So it had begun before S; let T be its transaction.
 *   1. T is visible in S: nothing to wait for.
 *   2. T ended after S, but before H was read: it is visible to every snapshot after H.
 *   3. T is known to InnoDB while H is read: information_schema.INNODB_TRX names it, prepared ones (XA) included. That table is a copy
 *      which the server renews only when nobody has looked for 100 ms; H is read until the copy shows this very question, and so is
 *      younger than S.
 *   4. T's statement runs, and has its time, but waits for the lock of a table or for its turn, unknown to InnoDB: the list of processes
 *      names it. It is asked first, so that a statement cannot pass from the one into the other unseen.
 * A thread whose statement has ended may have left its transaction open: then that is waited for. A transaction whose thread is gone
 * was rolled back, or is prepared, under no thread any more: then all that are prepared are waited for.
 *
 * A transaction is known by its thread and the second in which it began, for its number changes with its first write: one that a
 * busy thread begins within the same second is taken for it, and waited for too. After a restart of the server nothing is open
 * but what was prepared.
 */
import { randomInt, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { QiaoError } from '@qiao/exchange';
import type { Row, Session } from './session.ts';

interface Horizon {
  /** When the server was started, give or take a second. */
  readonly started: number;
  /** `thread/second it began` of transactions; thread 0 has those that are prepared and have no connection, by their number. */
  readonly transactions: readonly string[];
  /** `thread/second it began` of statements that run. */
  readonly statements: readonly string[];
}

/** The thread of what is prepared and has no connection. */
const NO_THREAD = '0';
/** Longer than the server keeps a copy of the list of transactions that nobody reads. */
const COPY_MS = 120;
const MOST_LOOKS = 50;
/** Whoever waits for work, or gives out the log to others. */
const IDLE = "'Sleep', 'Daemon', 'Binlog Dump', 'Binlog Dump GTID'";
/** Threads of replication, of a cluster too; those of InnoDB itself are daemons. */
const IS_APPLYING =
  "SELECT 1 FROM information_schema.PROCESSLIST WHERE USER = 'system user' AND COMMAND <> 'Daemon' LIMIT 1";

const TRANSACTIONS =
  'SELECT trx_mysql_thread_id, trx_started, trx_id, trx_query, trx_is_read_only FROM information_schema.INNODB_TRX';

const STATEMENTS = `SELECT ID, UNIX_TIMESTAMP() - TIME FROM information_schema.PROCESSLIST
  WHERE ID <> CONNECTION_ID() AND TIME IS NOT NULL AND COMMAND NOT IN (${IDLE})`;

const STARTED =
  "SELECT UNIX_TIMESTAMP() - VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'UPTIME'";
const STARTED_OF_MYSQL =
  "SELECT UNIX_TIMESTAMP() - VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Uptime'";

/** Why open transactions cannot be seen: the account may not, rows come from another server, whose transactions are not here, or they are not InnoDB's. */
export async function cannotSee(session: Session): Promise<'rights' | 'replica' | 'product' | undefined> {
  if (!isInnoDbs(session)) return 'product';
  if ((await readTransactions(session, TRANSACTIONS)) === undefined) return 'rights';
  return (await isApplying(session)) ? 'replica' : undefined;
}

/** Who is open now; asked in the snapshot's own transaction. Undefined when the server does not tell. Throws SOURCE_BUSY. */
export async function readHorizon(session: Session): Promise<string | undefined> {
  if (!isInnoDbs(session) || (await isApplying(session))) return undefined;
  const now = await openNow(session);
  return now === undefined ? undefined : JSON.stringify(now);
}

/** What of the horizon is still open; undefined when nothing is. Asked before a snapshot that shall see what ended. Throws SOURCE_BUSY. */
export async function remainsOpen(session: Session, horizon: string): Promise<string | undefined> {
  const before = parse(horizon);
  await session.run('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY');
  const now = (await isApplying(session)) ? undefined : await openNow(session);
  await session.run('COMMIT');
  // A right was taken away, or the server has become a replica: as if there had been no horizon.
  if (now === undefined) return undefined;
  const isSame = Math.abs(now.started - before.started) <= 2;
  const statements = isSame ? before.statements.filter((one) => isAmong(now.statements, one)) : [];
  const ended = isSame ? before.statements.filter((one) => !statements.includes(one)).map(threadOf) : [];
  const kept = isSame ? before.transactions.filter((one) => now.transactions.includes(one)) : [];
  // Whoever is gone may be prepared now, under no thread.
  const isGone = !isSame || ended.length > 0 || kept.length < before.transactions.length;
  const transactions = now.transactions.filter(
    (one) => kept.includes(one) || ended.includes(threadOf(one)) || (isGone && threadOf(one) === NO_THREAD),
  );
  if (transactions.length === 0 && statements.length === 0) return undefined;
  return JSON.stringify({ started: now.started, transactions, statements } satisfies Horizon);
}

/** Other products may list nobody, or those of one node of many. */
function isInnoDbs({ server: { product } }: Session): boolean {
  return product.name === 'MariaDB' || product.name === 'MySQL';
}

async function isApplying(session: Session): Promise<boolean> {
  return (await session.rows(IS_APPLYING)).length > 0;
}

/**
 * Statements first: whoever leaves their list stands in the other. The session has a transaction of its own, by which a copy is known to
 * be fresh. Undefined without the right to see it.
 */
async function openNow(session: Session): Promise<Horizon | undefined> {
  const [started] = await session.rows(session.server.isMariaDb ? STARTED : STARTED_OF_MYSQL);
  const statements = await session.rows(STATEMENTS);
  for (let look = 0; look < MOST_LOOKS; look++) {
    const question = `/* ${randomUUID()} */ ${TRANSACTIONS}`;
    const rows = await readTransactions(session, question);
    if (rows === undefined) return undefined;
    const self = rows.findIndex(([, , , query]) => query === question);
    if (self >= 0) {
      return {
        started: Number(started?.[0]),
        // Whoever said that it only reads, as our own readers do, commits nothing.
        transactions: rows.filter(([, , , , readsOnly]) => readsOnly !== '1').map(nameOf),
        statements: statements.map(([thread, second]) => `${thread}/${second}`),
      };
    }
    // Two that look by turns, as often as each other, would keep the copy from growing old.
    await sleep(randomInt(COPY_MS, 4 * COPY_MS));
  }
  throw new QiaoError('SOURCE_BUSY', 'the list of open transactions is read by others without a pause', {
    fate: 'transient',
    hint: 'let whoever watches information_schema.INNODB_TRX look less often than ten times a second',
  });
}

async function readTransactions(session: Session, question: string): Promise<Row[] | undefined> {
  try {
    return await session.rows(question);
  } catch (error) {
    if (error instanceof QiaoError && error.code === 'SOURCE_RIGHTS') return undefined;
    throw error;
  }
}

function nameOf([thread, started, number]: Row): string {
  return thread === NO_THREAD ? `${NO_THREAD}/${number}` : `${thread}/${started}`;
}

function threadOf(name: string): string {
  return name.slice(0, name.indexOf('/'));
}

/** The second is the server's now less whole seconds: it may be told one off. */
function isAmong(running: readonly string[], name: string): boolean {
  const second = Number(name.slice(name.indexOf('/') + 1));
  return [-1, 0, 1].some((off) => running.includes(`${threadOf(name)}/${second + off}`));
}

function parse(text: string): Horizon {
  const { started, transactions, statements } = JSON.parse(text) as Partial<Horizon>;
  if (typeof started !== 'number' || !Array.isArray(transactions) || !Array.isArray(statements)) {
    throw new QiaoError('HORIZON_INVALID', 'found a horizon that was not written by the MySQL adapter');
  }
  return { started, transactions, statements };
}
