/**
 * The agent's exchange database: one SQLite file, opened once per process, written by synchronous transactions.
 *
 * This file owns opening it safely (pages, durability, a bounded log, a check of the file, migrations) and hands out the
 * stores, one per noun. What a row means is in migrations.ts; nothing outside this folder writes SQL against the file.
 */
import { randomBytes } from 'node:crypto';
import { QiaoError } from '@qiao/exchange';
import { fileRefused } from '@qiao/runtime';
import type { RowBox } from '@qiao/security';
import Database from 'better-sqlite3';
import { ArrivalStore } from './arrivals.ts';
import { BookStore } from './books.ts';
import { BridgeVersionStore } from './bridgeVersions.ts';
import { CaptureStore } from './captures.ts';
import { CommandSeenStore } from './commandsSeen.ts';
import { connect, type Sqlite } from './connection.ts';
import { ControlOutStore } from './controlOut.ts';
import { CursorStore } from './cursors.ts';
import { DeliveryOutStore } from './deliveriesOut.ts';
import { DigestStore } from './digests.ts';
import { InboxStore } from './inbox.ts';
import { JobStore } from './jobs.ts';
import { LaneInStore } from './lanesIn.ts';
import { LaneOutStore } from './lanesOut.ts';
import { LogStore } from './logs.ts';
import { MetaStore } from './meta.ts';
import { MIGRATIONS, type Migration } from './migrations.ts';
import { ParcelStore } from './parcels.ts';
import { QuarantineStore } from './quarantine.ts';
import { ReceiptInStore } from './receiptsIn.ts';
import { ReceiptOutStore } from './receiptsOut.ts';
import { RefusalStore } from './refusals.ts';
import { ResendTakenStore } from './resendsTaken.ts';
import { RowDecisionStore } from './rowDecisions.ts';
import { RowLineStore } from './rowLines.ts';
import { RowsAtRest, requireRowKey } from './rowsAtRest.ts';
import { sealKeptRows, takeRowsApart } from './rowsOfBefore.ts';
import { SendBackStore } from './sendBacks.ts';
import { TriggerStore } from './triggers.ts';

/**
 * Pages of 4 KB would write large bodies at two thirds of the speed; of 16 KB, single changes would wait a third longer for the disk, because a transaction
 * writes each page whole that it touches.
 */
const PAGE_BYTES = 8_192;
/** The log file is cut back to this after a checkpoint. */
const LOG_LIMIT_BYTES = 64 * 1024 * 1024;
/** SQLite checkpoints by itself when the log holds this many pages (32 MiB). */
const CHECKPOINT_PAGES = 4_096;

export interface ExchangeDatabase {
  /** Identity of the file: 16 random bytes made when it was created, and again when it turns out to be a copy. */
  readonly id: Uint8Array;
  readonly file: string;
  readonly meta: MetaStore;
  readonly captures: CaptureStore;
  readonly cursors: CursorStore;
  readonly logs: LogStore;
  readonly triggers: TriggerStore;
  readonly arrivals: ArrivalStore;
  readonly sendBacks: SendBackStore;
  readonly digests: DigestStore;
  readonly lanesOut: LaneOutStore;
  readonly parcels: ParcelStore;
  readonly deliveriesOut: DeliveryOutStore;
  readonly receiptsIn: ReceiptInStore;
  readonly lanesIn: LaneInStore;
  readonly inbox: InboxStore;
  readonly receiptsOut: ReceiptOutStore;
  readonly controlOut: ControlOutStore;
  readonly books: BookStore;
  readonly quarantine: QuarantineStore;
  readonly commands: CommandSeenStore;
  readonly resendsTaken: ResendTakenStore;
  readonly bridgeVersions: BridgeVersionStore;
  readonly jobs: JobStore;
  readonly rowDecisions: RowDecisionStore;
  readonly rowLines: RowLineStore;
  readonly refusals: RefusalStore;
  /**
   * This file is an older copy of itself (restored from a backup, or put back): it takes another identity, numbers its books anew, and
   * every lane that begins here opens a new epoch before it sends again. One transaction.
   */
  becomeAnother(nowMs: number): void;
  /** Runs `work` in one transaction on disk when it returns, undone when it throws. Inside another one it is a part of that. */
  transaction<T>(work: () => T): T;
  /**
   * The same, but not waiting for the disk: the death of the process undoes nothing of it, a loss of power may undo it if no `transaction`
   * came after. Only for what may be forgotten because it is then done or said once more: that a message was handed to the bus, how far the monitor is.
   */
  lazyTransaction<T>(work: () => T): T;
  /** Empties the log into the file and gives free pages back, a bounded number at a time. Call it now and then. */
  checkpoint(): void;
  /** For tests: the connection itself. */
  readonly sqlite: Sqlite;
  close(): void;
}

/**
 * Opens (or creates) the exchange database. Throws EXCHANGE_DATABASE_BROKEN when the file fails its check,
 * EXCHANGE_DATABASE_NEWER when a newer program changed it in a way this one cannot live with, EXCHANGE_DATABASE_LOCKED
 * when another process holds it, FILE_REFUSED, ROW_KEY_MISSING when its rows were sealed with another key.
 */
export function openExchangeDatabase(
  file: string,
  options: {
    nowMs?: () => number;
    newId?: () => Uint8Array;
    /** Seals row contents; left out, they are kept as they are. */
    rowBox?: RowBox;
    /** Of a new file. A transaction copies each page that it touches: where bodies are small, small pages cost less. */
    pageBytes?: number;
  } = {},
): ExchangeDatabase {
  const sqlite = connect(file);
  try {
    prepareFile(sqlite, file, options.pageBytes ?? PAGE_BYTES);
    migrate(sqlite, file, MIGRATIONS, options.nowMs ?? Date.now);
    const meta = new MetaStore(sqlite);
    const newId = options.newId ?? (() => randomBytes(16));
    const id = meta.databaseId(newId);
    if (options.rowBox !== undefined) requireRowKey(meta, options.rowBox);
    const rows = new RowsAtRest(options.rowBox);
    takeRowsApart(sqlite, rows);
    sealKeptRows(sqlite, rows);
    return new OpenExchangeDatabase(sqlite, file, id, { meta, newId, rows });
  } catch (error) {
    sqlite.close();
    if (
      error instanceof Database.SqliteError &&
      (error.code.startsWith('SQLITE_BUSY') || error.code === 'SQLITE_LOCKED')
    ) {
      throw new QiaoError('EXCHANGE_DATABASE_LOCKED', `The exchange database ${file} is held by another process.`, {
        hint: 'stop the other agent that runs in this directory',
        fate: 'transient',
        cause: error,
      });
    }
    if (
      error instanceof Database.SqliteError &&
      (error.code === 'SQLITE_NOTADB' || error.code.startsWith('SQLITE_CORRUPT'))
    ) {
      throw broken(file, error.message, error);
    }
    throw fileRefused(error, file) ?? error;
  }
}

class OpenExchangeDatabase implements ExchangeDatabase {
  #id: Uint8Array;
  readonly #newId: () => Uint8Array;
  readonly #immediately: (work: () => unknown) => unknown;
  readonly file: string;
  readonly sqlite: Sqlite;
  readonly meta: MetaStore;
  readonly captures: CaptureStore;
  readonly cursors: CursorStore;
  readonly logs: LogStore;
  readonly triggers: TriggerStore;
  readonly arrivals: ArrivalStore;
  readonly sendBacks: SendBackStore;
  readonly digests: DigestStore;
  readonly lanesOut: LaneOutStore;
  readonly parcels: ParcelStore;
  readonly deliveriesOut: DeliveryOutStore;
  readonly receiptsIn: ReceiptInStore;
  readonly lanesIn: LaneInStore;
  readonly inbox: InboxStore;
  readonly receiptsOut: ReceiptOutStore;
  readonly controlOut: ControlOutStore;
  readonly books: BookStore;
  readonly quarantine: QuarantineStore;
  readonly commands: CommandSeenStore;
  readonly resendsTaken: ResendTakenStore;
  readonly bridgeVersions: BridgeVersionStore;
  readonly jobs: JobStore;
  readonly rowDecisions: RowDecisionStore;
  readonly rowLines: RowLineStore;
  readonly refusals: RefusalStore;

  constructor(
    sqlite: Sqlite,
    file: string,
    id: Uint8Array,
    { meta, newId, rows }: { meta: MetaStore; newId: () => Uint8Array; rows: RowsAtRest },
  ) {
    this.sqlite = sqlite;
    this.file = file;
    this.#id = id;
    this.#newId = newId;
    // Made once: to wrap each piece of work anew costs more than to begin and end its transaction.
    this.#immediately = sqlite.transaction((work: () => unknown) => work()).immediate;
    this.meta = meta;
    this.captures = new CaptureStore(sqlite);
    this.cursors = new CursorStore(sqlite);
    this.logs = new LogStore(sqlite);
    this.triggers = new TriggerStore(sqlite);
    this.arrivals = new ArrivalStore(sqlite);
    this.sendBacks = new SendBackStore(sqlite);
    this.digests = new DigestStore(sqlite);
    this.lanesOut = new LaneOutStore(sqlite);
    this.parcels = new ParcelStore(sqlite, rows);
    this.deliveriesOut = new DeliveryOutStore(sqlite);
    this.receiptsIn = new ReceiptInStore(sqlite);
    this.lanesIn = new LaneInStore(sqlite);
    this.inbox = new InboxStore(sqlite);
    this.receiptsOut = new ReceiptOutStore(sqlite);
    this.controlOut = new ControlOutStore(sqlite);
    this.books = new BookStore(sqlite, id);
    this.rowLines = new RowLineStore(sqlite, rows);
    this.quarantine = new QuarantineStore(
      sqlite,
      meta.rowReferenceSecret(() => randomBytes(32)),
      rows,
      this.rowLines,
    );
    this.rowDecisions = new RowDecisionStore(sqlite, rows);
    this.commands = new CommandSeenStore(sqlite);
    this.resendsTaken = new ResendTakenStore(sqlite);
    this.bridgeVersions = new BridgeVersionStore(sqlite);
    this.jobs = new JobStore(sqlite);
    this.refusals = new RefusalStore(
      sqlite,
      meta.rowReferenceSecret(() => randomBytes(32)),
    );
  }

  get id(): Uint8Array {
    return this.#id;
  }

  becomeAnother(nowMs: number): void {
    const id = this.#newId();
    this.transaction(() => {
      this.meta.setDatabaseId(id);
      this.books.beginAnew(id);
      this.books.append({ $case: 'restored', value: { atMs: BigInt(nowMs) } }, nowMs);
      for (const { lane, phase } of this.lanesOut.all()) {
        if (phase === 'ended') continue;
        // Under version 0: whatever version of the bridge there is, it is a newer one, and a new epoch frees the lane.
        this.lanesOut.stick(
          lane,
          0,
          {
            code: 'EXCHANGE_DATABASE_RESTORED',
            message: 'the exchange database was restored from an older copy; the lane begins a new epoch',
            hint: 'nothing to do; the lane goes on by itself',
          },
          nowMs,
        );
      }
    });
    this.#id = id;
  }

  transaction<T>(work: () => T): T {
    if (this.sqlite.inTransaction) return work();
    // IMMEDIATE: the write lock is taken at the start, so a transaction never fails in its middle for want of it.
    return this.#immediately(work) as T;
  }

  lazyTransaction<T>(work: () => T): T {
    if (this.sqlite.inTransaction) return work();
    // In WAL mode NORMAL leaves out the sync of a commit; the next one at FULL takes it along, for the log is one file.
    this.sqlite.exec('PRAGMA synchronous = NORMAL');
    try {
      return this.#immediately(work) as T;
    } finally {
      this.sqlite.exec('PRAGMA synchronous = FULL');
    }
  }

  checkpoint(): void {
    this.sqlite.pragma('incremental_vacuum(512)');
    this.sqlite.pragma('wal_checkpoint(TRUNCATE)');
  }

  close(): void {
    if (this.sqlite.open) this.sqlite.close();
  }
}

function prepareFile(sqlite: Sqlite, file: string, pageBytes: number): void {
  // Both only take effect before the first table is made; afterwards they change nothing.
  sqlite.pragma(`page_size = ${pageBytes}`);
  sqlite.pragma('auto_vacuum = INCREMENTAL');
  sqlite.pragma('journal_mode = WAL');
  sqlite.pragma('synchronous = FULL');
  sqlite.pragma('foreign_keys = ON');
  sqlite.pragma('busy_timeout = 10000');
  sqlite.pragma('temp_store = FILE');
  sqlite.pragma(`journal_size_limit = ${LOG_LIMIT_BYTES}`);
  sqlite.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
  sqlite.pragma('cache_size = -32768');
  const found = sqlite.pragma('quick_check(1)', { simple: true });
  if (found !== 'ok') throw broken(file, String(found));
}

function broken(file: string, found: string, cause?: unknown): QiaoError {
  return new QiaoError('EXCHANGE_DATABASE_BROKEN', `The exchange database ${file} fails its check: ${found}.`, {
    hint: 'move the file away and start the agent: its lanes open new epochs and compare both ends',
    cause,
  });
}

function migrate(sqlite: Sqlite, file: string, migrations: readonly Migration[], nowMs: () => number): void {
  sqlite.exec(
    'CREATE TABLE IF NOT EXISTS migration (id TEXT PRIMARY KEY, breaking INTEGER NOT NULL, applied_at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID',
  );
  const applied = sqlite.prepare<[], { id: string; breaking: number }>('SELECT id, breaking FROM migration').all();
  const known = new Set(migrations.map((migration) => migration.id));
  const newer = applied.find((row) => row.breaking === 1 && !known.has(row.id));
  if (newer) {
    throw new QiaoError(
      'EXCHANGE_DATABASE_NEWER',
      `The exchange database ${file} was changed by a newer program (migration ${newer.id}).`,
      { hint: 'start the newer agent, or restore the file from before the upgrade' },
    );
  }
  const done = new Set(applied.map((row) => row.id));
  const note = sqlite.prepare('INSERT INTO migration VALUES (?, ?, ?)');
  for (const migration of migrations) {
    if (done.has(migration.id)) continue;
    sqlite
      .transaction(() => {
        sqlite.exec(migration.sql);
        note.run(migration.id, migration.breaking ? 1 : 0, nowMs());
      })
      .immediate();
  }
}
