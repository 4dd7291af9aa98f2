// Logs of databases, as servers sent them once (test/fuzz/recorded), event by event: each value has the form of its type, or the log
// is refused. Checksums are left out, so that what lies behind them is reached.

import { type ColumnType, checkValue, splitRow } from '@qiao/exchange';
import type { LogChange } from '../../../packages/adapters/src/adapter.ts';
import { BinlogDecoder } from '../../../packages/adapters/src/mysql/binlog.ts';
import type { LoggedTable as MysqlTable } from '../../../packages/adapters/src/mysql/binlogRows.ts';
import { storedTypeOf } from '../../../packages/adapters/src/mysql/binlogTypes.ts';
import { valueWriter } from '../../../packages/adapters/src/mysql/binlogValues.ts';
import { parsePosition } from '../../../packages/adapters/src/mysql/logPosition.ts';
import type { CatalogType } from '../../../packages/adapters/src/mysql/types.ts';
import { Lineage } from '../../../packages/adapters/src/postgres/lineage.ts';
import { type LoggedTable, PgOutputDecoder } from '../../../packages/adapters/src/postgres/pgoutput.ts';
import { type Decoder, holds } from '../decoder.ts';
import { fieldsOf as messageFields } from '../mutate.ts';
import { sample } from '../samples.ts';

interface RecordedBinlog {
  readonly database: string;
  readonly position: string;
  readonly columns: readonly {
    readonly name: string;
    readonly type: ColumnType;
    readonly catalog: CatalogType;
    readonly bytes: number;
  }[];
  readonly events: readonly string[];
}

interface RecordedPgOutput {
  readonly tables: readonly LoggedTable[];
  readonly messages: readonly string[];
}

/** Field of a message of the fuzzer's own, so that events are changed, repeated and left out as fields are. */
const EVENT_FIELD = 1;
const EVENT_TAG = 10;

export function logDecoders(): Decoder[] {
  return [pgoutput(recorded('pgoutput') as RecordedPgOutput), binlog(recorded('binlog') as RecordedBinlog)];
}

function recorded(name: 'pgoutput' | 'binlog'): unknown {
  return JSON.parse(sample(`test/fuzz/recorded/${name}.json`).toString('utf8'));
}

function pgoutput({ tables, messages }: RecordedPgOutput): Decoder {
  const events = messages.map((message) => Buffer.from(message, 'base64'));
  const widths = tables.map(({ columns, keyColumns }) => ({ columns: columns.length, keyColumns }));
  return {
    name: 'pgoutput',
    kind: 'message',
    seeds: inTransactions(events, (event) => event[0] === 0x42),
    maxBytes: 4_096,
    take(input) {
      const decoder = new PgOutputDecoder(tables, new Lineage('0/0'));
      for (const event of eventsOf(input)) decoder.message(Buffer.from(event), 0);
      const changes = decoder.take().flatMap((piece) => piece.changes);
      for (const change of changes) fieldsOf(change, widths[change.table] as Width);
      return kindsOf(changes);
    },
  };
}

/** Events of a recorded log; whatever else a mutation put beside them is passed over. */
function eventsOf(input: Uint8Array): Uint8Array[] {
  const fields = messageFields(input) ?? [];
  return fields.flatMap(({ number, wire, value }) => (number === EVENT_FIELD && wire === 2 ? [value] : []));
}

function binlog({ database, position, columns, events }: RecordedBinlog): Decoder {
  const table: MysqlTable = {
    database,
    name: 't',
    keyColumns: 1,
    columns: columns.map(({ name, catalog, bytes }) => ({
      name,
      stored: storedTypeOf(catalog, bytes) ?? 0,
      ...valueWriter(catalog, undefined),
    })),
  };
  const from = parsePosition(position);
  const width = { columns: columns.length, keyColumns: 1 };
  return {
    name: 'binlog',
    kind: 'message',
    seeds: inTransactions(
      events.map((event) => Buffer.from(event, 'base64')),
      (event) => event[4] === 162,
    ),
    maxBytes: 4_096,
    take(input) {
      const decoder = new BinlogDecoder({ tables: [table], tellsCase: true, hasChecksum: false }, from);
      for (const event of eventsOf(input)) decoder.event(Buffer.from(event), 0, event.length);
      const changes = decoder.take().flatMap((piece) => piece.changes);
      for (const change of changes) {
        for (const [index, text] of fieldsOf(change, width).entries()) {
          const column = columns[index];
          const isMissing = text === null || column === undefined || change.missing?.includes(index);
          const problem = isMissing ? undefined : checkValue(column.type, text);
          holds(problem === undefined, `a ${column?.catalog.text} that is none: ${problem}`);
        }
      }
      return kindsOf(changes);
    },
  };
}

interface Width {
  readonly columns: number;
  readonly keyColumns: number;
}

/** What a change carries, proven to be one line of as many fields as its kind has. */
function fieldsOf({ kind, line, oldKey, refused }: LogChange, { columns, keyColumns }: Width): (string | null)[] {
  if (oldKey !== undefined) oneLine(oldKey, keyColumns);
  if (line.length === 0) return [];
  const isKey = kind === 'delete' || refused !== undefined;
  return oneLine(line, isKey ? keyColumns : columns);
}

function oneLine(line: Buffer, columns: number): (string | null)[] {
  holds(line.indexOf(0x0a) === line.length - 1, 'a line that does not end with itself');
  const fields = splitRow(line.toString('utf8', 0, line.length - 1));
  holds(fields.length === columns, 'another number of fields than there are columns');
  return fields;
}

function kindsOf(changes: readonly LogChange[]): string {
  const kinds = changes.map(({ kind, refused = '', missing }) => `${kind} ${refused} ${missing !== undefined}`);
  return [...new Set(kinds)].slice(0, 3).join();
}

/** What comes before the first transaction and one of them, and all of them together. */
function inTransactions(events: readonly Buffer[], begins: (event: Buffer) => boolean): Uint8Array[] {
  const starts = events.flatMap((event, index) => (begins(event) ? [index] : []));
  const before = events.slice(0, starts[0]);
  const each = starts.map((start, index) => [...before, ...events.slice(start, starts[index + 1])]);
  return [...each, events].map((some) => Buffer.concat(some.flatMap(asField)));
}

function asField(event: Buffer): Buffer[] {
  const length: number[] = [];
  let rest = event.length;
  for (; rest > 0x7f; rest >>>= 7) length.push((rest & 0x7f) | 0x80);
  return [Buffer.from([EVENT_TAG, ...length, rest]), event];
}
