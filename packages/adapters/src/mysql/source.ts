/**
 * The reading side: one repeatable-read, read-only transaction whose snapshot is taken at once. The server writes whole lines of
 * row text (`texts.ts`); here bytes are only put side by side, and the connection is paused while nobody takes them.
 */

import { MAX_ROW_BYTES, QiaoError, splitRow } from '@qiao/exchange';
import type {
  SnapshotCursor,
  SnapshotOptions,
  SnapshotTable,
  SourceChunk,
  SourceSnapshot,
  TableRef,
} from '../adapter.ts';
import { LineWriter, type NumberedRefusal, type Piece, type ResultRow } from '../lineWriter.ts';
import { keyBatches } from '../namedKeys.ts';
import { countNulls, cursorConditions, highest, nowMs, readIdentity } from './cursor.ts';
import { isTransactional, type MysqlTable, readTable } from './describe.ts';
import { readHorizon } from './horizon.ts';
import { keyCondition } from './keys.ts';
import type { LogBeginning } from './logBeginning.ts';
import { placeText } from './logPosition.ts';
import { readExecuted } from './logServer.ts';
import { type MysqlConfig, openSession, type Session } from './session.ts';
import { identifier, qualified } from './sql.ts';
import { fieldSql, floatBits, isLongText, keyLiteral, type ReadColumn, refusalsOf, sortSql, textSql } from './texts.ts';

/** Chunks that wait for the reader before the server has to. */
const MOST_WAITING = 2;
/** An engine without snapshots locks its table while it is read: so many rows at a time. */
const STEP_OF_UNTRANSACTIONAL = 10_000;
/** Snapshots taken until one has no commit beside it. */
const MOST_LOOKS = 50;

/** Takes the snapshot now. Throws classified errors, or the signal's reason. */
export async function openSnapshot(
  config: MysqlConfig,
  beginning: LogBeginning,
  options: SnapshotOptions,
): Promise<SourceSnapshot> {
  options.signal.throwIfAborted();
  const serverMs = Math.max(1000, Math.ceil(options.maxMs));
  const session = await openSession(config, {
    side: 'SOURCE',
    purpose: 'snapshot',
    limits: { statementMs: serverMs, lockMs: 10_000, idleMs: serverMs },
  });
  try {
    await session.run('SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ');
    const takenAtMs = await nowMs(session);
    const executed = options.stepRows === undefined ? await begin(session) : undefined;
    return new MysqlSnapshot(session, beginning, options, { takenAtMs, executed });
  } catch (error) {
    session.abandon();
    throw error;
  }
}

/**
 * Takes the snapshot; gives the transactions that it has seen, where the server knows them (MySQL with GTIDs). No others are in it where none came to an
 * end meanwhile; on a server on which always one does, it may have seen later ones, too, which the log gives once more.
 */
async function begin(session: Session): Promise<string | undefined> {
  const take = 'START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY';
  if (session.server.isMariaDb || session.server.product.isKin) {
    await session.run(take);
    return undefined;
  }
  for (let look = 1; ; look += 1) {
    const before = await readExecuted(session);
    await session.run(take);
    if (look === MOST_LOOKS || before === (await readExecuted(session))) return before;
  }
}

/** How one table is read: the statement without its conditions and its end, and what its values are. */
interface Reading {
  readonly table: MysqlTable;
  readonly select: string;
  /** Which of its rows belong to the reading. */
  readonly conditions: readonly string[];
  readonly pieces: readonly Piece[];
  readonly refusals: readonly NumberedRefusal[];
  readonly columns: readonly ReadColumn[];
  /** The key as it is sorted; empty when sorting would cost the source a sort. */
  readonly order: string;
  readonly isTransactional: boolean;
}

class MysqlSnapshot implements SourceSnapshot {
  readonly cursor: SnapshotCursor;
  readonly #session: Session;
  readonly #beginning: LogBeginning;
  readonly #executed: string | undefined;
  readonly #signal: AbortSignal;
  readonly #maxMs: number;
  readonly #stepRows: number | undefined;
  readonly #timer: NodeJS.Timeout;
  readonly #endsAt: number;
  readonly #tables = new Map<string, MysqlTable>();
  readonly #stop = () => void this.#session.kill();
  #consistency: 'snapshot' | 'chunks';
  #isTooLong = false;
  #isReading = false;

  constructor(
    session: Session,
    beginning: LogBeginning,
    options: SnapshotOptions,
    { takenAtMs, executed }: { takenAtMs: number; executed: string | undefined },
  ) {
    this.#consistency = options.stepRows === undefined ? 'snapshot' : 'chunks';
    this.#stepRows = options.stepRows;
    this.#session = session;
    this.#beginning = beginning;
    this.#executed = executed;
    this.#signal = options.signal;
    this.#maxMs = options.maxMs;
    this.#endsAt = performance.now() + options.maxMs;
    this.#timer = setTimeout(() => {
      this.#isTooLong = true;
      this.#stop();
    }, options.maxMs);
    this.#timer.unref();
    this.#signal.addEventListener('abort', this.#stop, { once: true });
    this.cursor = {
      nowMs: () => Promise.resolve(takenAtMs),
      highest: async (table, atMost) => highest(session, await this.#table(table.ref), table, atMost),
      // Between the steps of a reading there is no transaction whose place among the others could be told.
      horizon: () => (options.stepRows === undefined ? readHorizon(session) : Promise.resolve(undefined)),
      identity: (ref) => readIdentity(session, ref),
    };
  }

  get consistency(): 'snapshot' | 'chunks' {
    return this.#consistency;
  }

  /**
   * The transactions that the snapshot has seen, or the end of MariaDB's binary log as the snapshot has it: that server takes both at one moment,
   * whoever commits around it; but see logBeginning.ts.
   */
  async seen(): Promise<string | undefined> {
    if (this.#executed !== undefined) return this.#executed;
    const rows = await this.#session.rows(
      "SHOW STATUS WHERE Variable_name IN ('Binlog_snapshot_file', 'Binlog_snapshot_position')",
    );
    const status = new Map(rows.map(([name, value]) => [(name ?? '').toLowerCase(), value]));
    const file = status.get('binlog_snapshot_file') ?? '';
    const place = { file, offset: Number(status.get('binlog_snapshot_position')) };
    const settings = await this.#session.rows(
      "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('gtid_binlog_state', 'rpl_semi_sync_master_enabled', 'rpl_semi_sync_master_timeout')",
    );
    const setting = new Map(settings.map(([name, value]) => [name, value ?? '']));
    const waitMs =
      setting.get('rpl_semi_sync_master_enabled') === 'ON' ? Number(setting.get('rpl_semi_sync_master_timeout')) : 0;
    const gtids = (setting.get('gtid_binlog_state') ?? '').split(',').length;
    return this.#beginning.isSettled(place, gtids, waitMs) ? placeText(place) : undefined;
  }

  async *rows(table: SnapshotTable): AsyncGenerator<SourceChunk> {
    this.#check();
    if (this.#isReading) throw new QiaoError('SNAPSHOT_BUSY', 'a snapshot reads one table at a time');
    if (this.#session.isBroken) throw this.#failure(new Error('the snapshot was left in the middle of a table'));
    this.#isReading = true;
    let isComplete = false;
    try {
      const reading = await this.#plan(table);
      if (!reading.isTransactional) this.#consistency = 'chunks';
      const step = this.#stepRows ?? (reading.isTransactional ? undefined : STEP_OF_UNTRANSACTIONAL);
      const nulls = await countNulls(this.#session, reading.table, table);
      if (nulls > 0) {
        const refused = [{ code: 'CURSOR_NULL', column: table.cursor?.column ?? '', count: nulls }];
        yield { rows: Buffer.alloc(0), rowCount: 0, refused };
      }
      if (table.keys !== undefined) yield* this.#rowsOfKeys(reading, table);
      else if (step === undefined) yield* this.#stream(reading, statement(reading), () => undefined);
      else yield* this.#steps(reading, table, step);
      isComplete = true;
    } catch (error) {
      throw this.#failure(error);
    } finally {
      this.#isReading = false;
      // Left in the middle: the server would go on writing into a connection that nobody reads.
      if (!isComplete) this.#stop();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.#signal.removeEventListener('abort', this.#stop);
    if (this.#isReading) await this.#session.kill();
    else await this.#session.close();
  }

  async #plan(asked: SnapshotTable): Promise<Reading> {
    return planOf(await this.#table(asked.ref), asked, this.#stepRows !== undefined);
  }

  /** Read once: a table that is altered behind a snapshot fails its reading (1412). */
  async #table(ref: TableRef): Promise<MysqlTable> {
    const database = ref.schema ?? this.#session.database;
    const name = JSON.stringify([database, ref.name]);
    const table = this.#tables.get(name) ?? (await readTable(this.#session, database, ref.name));
    if (table === undefined) throw changed(`table ${database}.${ref.name} is missing`);
    this.#tables.set(name, table);
    return table;
  }

  async *#rowsOfKeys(reading: Reading, table: SnapshotTable): AsyncGenerator<SourceChunk> {
    const key = reading.columns.slice(0, table.keyColumns);
    for (const batch of keyBatches(table)) {
      const sql = statement({ ...reading, order: '' }, keyCondition(key, batch.keys));
      for await (const chunk of this.#stream(reading, sql, () => undefined)) yield batch.only(chunk);
    }
  }

  /** One short statement after another, each beginning behind the last key: nothing is held open for the whole table. */
  async *#steps(reading: Reading, table: SnapshotTable, step: number): AsyncGenerator<SourceChunk> {
    const key = reading.columns.slice(0, table.keyColumns);
    for (let after: readonly string[] | undefined; ; ) {
      const next = after === undefined ? [] : [behind(key, after)];
      let rows = 0;
      let last: ResultRow | undefined;
      yield* this.#stream(reading, `${statement(reading, ...next)} LIMIT ${step}`, (row) => {
        rows += 1;
        last = row;
      });
      if (rows < step) return;
      after = keyOf(last, reading, table.keyColumns);
    }
  }

  async *#stream(reading: Reading, sql: string, onRow: (row: ResultRow) => void): AsyncGenerator<SourceChunk> {
    const { connection } = this.#session;
    const names = reading.columns.map((column) => column.name);
    const writer = new LineWriter(reading.pieces, names, reading.refusals);
    const waiting: SourceChunk[] = [];
    let wake = () => {};
    let isOver = false;
    let failure: Error | undefined;
    const over = (error?: Error) => {
      isOver = true;
      failure ??= error;
      wake();
    };
    const lost = () => over(new Error('connection ended'));
    const give = () => {
      const chunk = writer.take();
      if (chunk !== undefined) waiting.push(chunk);
      wake();
    };
    connection.once('end', lost);
    connection.once('error', lost);
    connection
      .query({ sql })
      .on('result', (row) => {
        onRow(row as unknown as ResultRow);
        writer.write(row as unknown as ResultRow);
        if (!writer.isFull) return;
        give();
        if (waiting.length >= MOST_WAITING) connection.pause();
      })
      .on('error', over)
      .on('end', () => {
        give();
        over();
      });
    try {
      for (;;) {
        const chunk = waiting.shift();
        if (chunk !== undefined) {
          yield chunk;
          this.#check();
          if (waiting.length === 0) connection.resume();
        } else if (failure !== undefined) throw failure;
        else if (isOver) return;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      connection.off('end', lost);
      connection.off('error', lost);
    }
  }

  #check(): void {
    if (this.#isTooLong || performance.now() >= this.#endsAt) throw this.#tooLong();
    this.#signal.throwIfAborted();
  }

  #failure(error: unknown): unknown {
    if (this.#isTooLong) return this.#tooLong();
    if (this.#signal.aborted) return this.#signal.reason;
    const errno = (error as { errno?: number }).errno;
    if (errno !== undefined && STATEMENT_TOO_LONG.has(errno)) return this.#tooLong();
    return this.#session.failed(error);
  }

  #tooLong(): QiaoError {
    return new QiaoError('SNAPSHOT_TOO_LONG', `the source was read for longer than ${this.#maxMs} ms`, {
      fate: 'transient',
      hint: 'raise the limit of the agent, or share fewer rows by a `where` on an indexed column',
    });
  }
}

const STATEMENT_TOO_LONG = new Set([1907, 1969, 3024]);

function planOf(table: MysqlTable, asked: SnapshotTable, isStepped: boolean): Reading {
  const known = new Map(table.columns.map((column) => [column.name, column]));
  const columns = asked.columns.map(({ name }): ReadColumn => {
    const column = known.get(name);
    if (column === undefined) throw changed(`column ${name} of table ${table.ref.name} is missing`);
    return column;
  });
  const pieces: Piece[] = [];
  const values: string[] = [];
  const refusals: NumberedRefusal[] = [];
  const whens: string[] = [];
  let fields: string[] = [];
  const endFields = () => {
    if (fields.length === 0) return;
    pieces.push({ kind: 'fields' });
    // Not CONCAT_WS, which leaves out what is NULL: a value that grew over max_allowed_packet on the way must take its row with it.
    values.push(`CONCAT(${fields.join(', 0x09, ')})`);
    fields = [];
  };
  for (const { name, nullable, catalog } of columns) {
    const at = identifier(name);
    for (const { when, code } of refusalsOf(catalog, at)) {
      refusals.push({ code, column: name });
      whens.push(`WHEN ${when} THEN ${refusals.length}`);
    }
    const bits = floatBits(catalog);
    if (bits === undefined && !isLongText(catalog)) {
      const field = fieldSql(catalog, at);
      fields.push(nullable ? `IF(${at} IS NULL, 0x5C4E, ${field})` : field);
      continue;
    }
    endFields();
    pieces.push(bits === undefined ? { kind: 'text' } : { kind: 'float', bits });
    if (bits !== undefined) values.push(fieldSql(catalog, at));
    else if (catalog.length < MAX_ROW_BYTES) values.push(textSql(catalog, at));
    else {
      // Alone longer than a row may be: it does not travel here only to be thrown away.
      const text = textSql(catalog, at);
      const isTooLong = `LENGTH(${text}) > ${MAX_ROW_BYTES}`;
      refusals.push({ code: 'ROW_TOO_LARGE', column: '' });
      whens.push(`WHEN ${isTooLong} THEN ${refusals.length}`);
      values.push(`IF(${isTooLong}, NULL, ${text})`);
    }
  }
  endFields();
  const refusal = whens.length === 0 ? 'NULL' : `CASE ${whens.join(' ')} END`;
  const key = columns.slice(0, asked.keyColumns);
  const isUntransactional = !isTransactional(table);
  const isCheap = isStepped || isUntransactional || key.every(({ name }, place) => table.primaryKey[place] === name);
  return {
    table,
    conditions: cursorConditions(table, asked),
    // The engine's lock on the table ends with the reading of it, not with the writing of the result.
    select: `SELECT ${isUntransactional ? 'SQL_BUFFER_RESULT ' : ''}${refusal}, ${values.join(', ')} FROM ${qualified(table.database, table.ref.name)}`,
    pieces,
    refusals,
    columns,
    order:
      isCheap && key.length > 0
        ? ` ORDER BY ${key.map(({ catalog, name }) => sortSql(catalog, identifier(name))).join(', ')}`
        : '',
    isTransactional: !isUntransactional,
  };
}

function statement({ select, conditions, order }: Reading, ...more: readonly string[]): string {
  const all = [...conditions, ...more].map((condition) => `(${condition})`);
  return `${select}${all.length === 0 ? '' : ` WHERE ${all.join(' AND ')}`}${order}`;
}

/** Rows whose key comes after this one; the first comparison alone is what an index can begin at. */
function behind(key: readonly ReadColumn[], after: readonly string[]): string {
  const parts = key.map(({ catalog, name }, place) => ({
    at: sortSql(catalog, identifier(name)),
    value: keyLiteral(catalog, after[place] ?? ''),
  }));
  const first = parts[0] as (typeof parts)[number];
  const later = parts.map(({ at, value }, place) =>
    [...parts.slice(0, place).map((earlier) => `${earlier.at} = ${earlier.value}`), `${at} > ${value}`].join(' AND '),
  );
  return `${first.at} >= ${first.value} AND (${later.map((each) => `(${each})`).join(' OR ')})`;
}

/** The key of a row, refused or not. */
function keyOf(row: ResultRow | undefined, reading: Reading, keyColumns: number): readonly string[] {
  const fields: string[] = [];
  for (const [index, piece] of reading.pieces.entries()) {
    if (fields.length >= keyColumns) break;
    const value = row?.[index + 1];
    if (value === null || value === undefined) {
      throw new QiaoError(
        'SOURCE_KEY_INVALID',
        'a row is too large to be read, and so the next cannot be found behind it',
        {
          hint: 'raise max_allowed_packet of the server, or leave the large column out of the bridge (columns:)',
        },
      );
    }
    const text = value.toString('utf8');
    if (piece.kind === 'fields') fields.push(...(splitRow(text) as string[]));
    else fields.push(text);
  }
  return fields.slice(0, keyColumns);
}

function changed(found: string): QiaoError {
  return new QiaoError('SOURCE_SCHEMA', found, {
    hint: 'the table no longer is what the bridge was checked against: qiao bridge check -f FILE',
  });
}
