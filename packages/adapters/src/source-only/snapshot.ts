/**
 * Reading: one transaction that sees one moment of all tables and writes nothing; rows come some at a time, and the server waits while
 * nobody takes them. What a value is written as belongs to each adapter's `types.ts`.
 */
import { QiaoError } from '@qiao/exchange';
import type {
  SnapshotCursor,
  SnapshotOptions,
  SnapshotTable,
  SourceChunk,
  SourceSnapshot,
  TableRef,
} from '../adapter.ts';
import { LineWriter, type ResultRow } from '../lineWriter.ts';
import { keyBatches } from '../namedKeys.ts';
import { countNulls, highest, nowMs } from './cursor.ts';
import { type Reader, type ReadTable, Refused, type SourceDatabase, type Statement, type Value } from './reader.ts';
import { changed, type Reading, readingOf } from './statement.ts';

/** Takes the snapshot now. Throws classified errors, or the signal's reason. */
export async function openSnapshot<Session extends Reader>(
  database: SourceDatabase<Session>,
  options: SnapshotOptions,
): Promise<SourceSnapshot> {
  options.signal.throwIfAborted();
  const session = await database.open({ purpose: 'snapshot', limitMs: Math.max(1_000, Math.ceil(options.maxMs)) });
  const view = new ReadOnlySnapshot(database, session, options);
  try {
    await view.begin();
    return view;
  } catch (error) {
    view.abandon();
    options.signal.throwIfAborted();
    throw error;
  }
}

class ReadOnlySnapshot<Session extends Reader> implements SourceSnapshot {
  readonly cursor: SnapshotCursor;
  readonly consistency: 'snapshot' | 'chunks';
  readonly #database: SourceDatabase<Session>;
  readonly #session: Session;
  readonly #options: SnapshotOptions;
  #takenAtMs = 0;
  #endsAt = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  readonly #tables = new Map<string, ReadTable>();
  /** What the server said before this snapshot began: below it nothing will come any more in columns that it fills itself. */
  #risen: string | undefined;
  /** Rejects when the reading has to end: a driver may wait for an answer that never comes. */
  readonly #ended = Promise.withResolvers<never>();
  readonly #stop = () => {
    this.#ended.reject(new Error('the reading was ended'));
    this.#session.abandon();
  };
  #isReading = false;

  constructor(database: SourceDatabase<Session>, session: Session, options: SnapshotOptions) {
    this.#database = database;
    this.#session = session;
    this.#options = options;
    this.consistency = options.stepRows === undefined ? 'snapshot' : 'chunks';
    this.#ended.promise.catch(() => undefined);
    options.signal.addEventListener('abort', this.#stop, { once: true });
    this.cursor = {
      nowMs: () => Promise.resolve(this.#takenAtMs),
      highest: (asked, atMost) => this.#highest(asked.ref, asked.column, atMost),
      // Between the steps of a reading there is no transaction whose place among the others could be told.
      horizon: () => (this.consistency === 'chunks' ? Promise.resolve(undefined) : database.horizon.read(session)),
      identity: (ref) => database.identity(session, ref.schema ?? database.schema, ref.name),
    };
  }

  /** The limit is of the reading: a server that is slow to begin is not one that was read for too long. */
  async begin(): Promise<void> {
    this.#takenAtMs = await nowMs(this.#database, this.#session);
    this.#risen = await this.#database.risen?.read(this.#session);
    await this.#database.begin(this.#session, this.consistency === 'snapshot' ? 'view' : 'steps');
    const { maxMs } = this.#options;
    this.#endsAt = performance.now() + maxMs;
    this.#timer = setTimeout(this.#stop, maxMs);
    this.#timer.unref();
  }

  abandon(): void {
    this.#forget();
    this.#stop();
  }

  async *rows(asked: SnapshotTable): AsyncGenerator<SourceChunk> {
    this.#check();
    if (this.#isReading) throw new QiaoError('SNAPSHOT_BUSY', 'a snapshot reads one table at a time');
    if (this.#session.isBroken) throw new QiaoError('SNAPSHOT_BUSY', 'the snapshot was left in the middle of a table');
    this.#isReading = true;
    let isComplete = false;
    try {
      const table = await this.#table(asked.ref);
      const reading = readingOf(this.#database, table, asked);
      const nulls = await countNulls(this.#database, this.#session, table, asked);
      if (nulls > 0) {
        const refused = [{ code: 'CURSOR_NULL', column: asked.cursor?.column ?? '', count: nulls }];
        yield { rows: Buffer.alloc(0), rowCount: 0, refused };
      }
      if (asked.keys !== undefined) yield* this.#rowsOfKeys(reading, asked);
      else if (this.#options.stepRows !== undefined) yield* this.#steps(reading, this.#options.stepRows);
      else yield* this.#stream(reading, reading.whole());
      isComplete = true;
    } catch (error) {
      throw this.#failure(error);
    } finally {
      this.#isReading = false;
      if (!isComplete) this.#stop();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#forget();
    if (this.#isReading) this.#stop();
    else await this.#session.close();
  }

  #forget(): void {
    clearTimeout(this.#timer);
    this.#options.signal.removeEventListener('abort', this.#stop);
  }

  async #highest(ref: TableRef, name: string, atMost: string | undefined): Promise<string | undefined> {
    const table = await this.#table(ref);
    const column = table.columns.find((each) => each.name === name);
    if (column === undefined) return undefined;
    if (atMost === undefined && this.#database.risen?.fills(column) === true) return this.#risen;
    return await highest(this.#database, this.#session, table, column, atMost);
  }

  /** Read once: a table that is altered behind a snapshot fails its reading. */
  async #table(ref: TableRef): Promise<ReadTable> {
    const schema = ref.schema ?? this.#database.schema;
    const name = JSON.stringify([schema, ref.name]);
    const table = this.#tables.get(name) ?? (await this.#database.readTable(this.#session, schema, ref.name));
    if (table === undefined) throw changed(`table ${schema}.${ref.name} is missing`);
    this.#tables.set(name, table);
    return table;
  }

  async *#rowsOfKeys(reading: Reading, asked: SnapshotTable): AsyncGenerator<SourceChunk> {
    for (const batch of keyBatches(asked)) {
      for (let from = 0; from < batch.keys.length; ) {
        const { statement, taken } = reading.ofKeys(batch.keys.slice(from));
        for await (const chunk of this.#stream(reading, statement)) yield batch.only(chunk);
        from += taken;
      }
    }
  }

  /** One short statement after another, each beginning behind the last key: nothing is held open for the whole table. */
  async *#steps(reading: Reading, step: number): AsyncGenerator<SourceChunk> {
    for (let last: readonly string[] | undefined; ; ) {
      let rows = 0;
      let row: readonly Value[] = [];
      yield* this.#stream(reading, reading.after(last, step), (each) => {
        rows += 1;
        row = each;
      });
      if (rows < step) return;
      last = keyOf(row, reading);
    }
  }

  async *#stream(
    reading: Reading,
    statement: Statement,
    onRow: (row: readonly Value[]) => void = () => undefined,
  ): AsyncGenerator<SourceChunk> {
    const names = reading.columns.map(({ name }) => name);
    const writer = new LineWriter(
      names.map(() => ({ kind: 'text' as const })),
      names,
      reading.refusals,
    );
    const batches = this.#session.stream(statement, reading.batchRows);
    for (;;) {
      const { value: batch, done } = await Promise.race([batches.next(), this.#ended.promise]);
      if (done === true) break;
      for (const row of batch) {
        onRow(row);
        const line = lineOf(row, reading);
        if ('code' in line) writer.refuse(line);
        else writer.write(line);
        if (!writer.isFull) continue;
        const chunk = writer.take();
        if (chunk !== undefined) yield chunk;
        this.#check();
      }
    }
    const rest = writer.take();
    if (rest !== undefined) yield rest;
    this.#check();
  }

  #check(): void {
    if (performance.now() >= this.#endsAt) throw this.#tooLong();
    this.#options.signal.throwIfAborted();
  }

  #failure(error: unknown): unknown {
    if (this.#options.signal.aborted) return this.#options.signal.reason;
    return performance.now() >= this.#endsAt ? this.#tooLong() : error;
  }

  #tooLong(): QiaoError {
    return new QiaoError('SNAPSHOT_TOO_LONG', `the source was read for longer than ${this.#options.maxMs} ms`, {
      fate: 'transient',
      hint: 'raise the limit of the agent, or share fewer rows by a `where` on an indexed column',
    });
  }
}

/** The line's values as bytes, with the number of its refusal in front; or what was found in one of them only here. */
export function lineOf(row: readonly Value[], { columns }: Reading): ResultRow | { code: string; column: string } {
  const refusal = row[0];
  if (refusal !== null && refusal !== undefined) return [Buffer.from(String(refusal))];
  const line: (Buffer | null)[] = [null];
  for (const [place, { name, travel }] of columns.entries()) {
    const value = row[place + 1] ?? null;
    const text = value === null ? null : travel.text(value);
    if (text instanceof Refused) return { code: text.code, column: name };
    line.push(text === null ? null : Buffer.from(text));
  }
  return line;
}

/** The key of a row, refused or not. Throws SOURCE_KEY_INVALID where the next row could not be found behind it. */
function keyOf(row: readonly Value[], { columns, keyColumns }: Reading): string[] {
  return columns.slice(0, keyColumns).map(({ name, travel }, place) => {
    const value = row[place + 1] ?? null;
    const text = value === null ? undefined : travel.text(value);
    if (typeof text === 'string') return text;
    throw new QiaoError('SOURCE_KEY_INVALID', `a row has no readable value in key column ${name}`, {
      hint: 'find it at the database, or name other columns as the key of the bridge',
    });
  });
}
