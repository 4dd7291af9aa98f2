/**
 * For tests only: one source node with an exchange database on disk, tables in memory as its source, and destinations that
 * apply what the outbox holds, by the rules of a target. Everything else is the real code.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DataSource, SourceChunk, TableDescription } from '@qiao/adapters';
import { BridgeState } from '@qiao/contract/node';
import {
  type BridgeDefinition,
  type BridgeTable,
  type ColumnType,
  chainOf,
  type Destination,
  decodeContent,
  idText,
  parseId,
  sameBytes,
  type TablePlace,
} from '@qiao/exchange';
import { createWakeup, silentLog } from '@qiao/runtime';
import { createMaskHasher } from '@qiao/security';
import type { Circles, Desired, DesiredBridge, DesiredLane } from '../control/desired.ts';
import { type ExchangeDatabase, openExchangeDatabase } from '../exchange-database/index.ts';
import { alignLanes } from '../send/lanes.ts';
import { contentOf } from '../send/sealDelivery.ts';
import type { Circle } from './otherEnd.ts';
import { type CapturePorts, DEFAULT_CAPTURE_LIMITS } from './ports.ts';
import { type ScanResult, scanBridge } from './scan.ts';

export const NODE_ID = '0'.repeat(31) + '1';
export const RECEIVER_ID = '0'.repeat(31) + '2';
export const PLATFORM_ID = '0'.repeat(31) + '9';
export const BRIDGE_ID = 'b'.repeat(32);

export interface SourceColumn {
  readonly name: string;
  readonly type: ColumnType;
}

/** A table in memory: lines by key, handed out in the order that `order` says. */
export interface MemoryTable {
  readonly columns: readonly SourceColumn[];
  readonly key: readonly string[];
  readonly parents?: readonly string[];
  /** Lines without LF, key first, in the order of the scan. */
  lines: string[];
  /** Rows that the adapter could not carry, and that it names by their places. */
  refused?: number;
  /** Keys of rows that it could not carry: asked for by one of them, it counts the row. */
  refusedKeys?: readonly string[];
}

/** Where the one destination of the bridge has the rows of a table. */
export function placeThere(table: string): TablePlace {
  return { node: RECEIVER_ID, dataSource: 'theirs', table };
}

/** The table `person` lies in such a circle. */
export function circlesWith(circle: Circle): Circles {
  const tables = (wanted: Circle) => new Set(circle === wanted ? ['person'] : []);
  return { pairs: tables('pair'), rings: tables('ring') };
}

/** What a destination holds, and how far it applied its lane. */
export class MemoryDestination {
  readonly lane: Uint8Array;
  readonly tables = new Map<string, Map<string, string>>();
  readonly outcomes: string[] = [];
  /** Updates that did not carry every column. */
  parts = 0;
  epoch = 0n;
  sequence = -1n;
  chain: Uint8Array = new Uint8Array(32);
  #noted: Map<string, Set<string>> | undefined;
  /** Of whole rows, by table. */
  readonly #columns = new Map<string, readonly string[]>();

  constructor(lane: Uint8Array) {
    this.lane = lane;
  }

  rows(table: string): string[] {
    return [...(this.tables.get(table)?.values() ?? [])].sort();
  }

  /** Applies everything in the outbox behind its place; checks chain, counts and hashes on the way. */
  async apply(database: ExchangeDatabase): Promise<void> {
    const lane = database.lanesOut.get(this.lane);
    if (lane === undefined) return;
    if (lane.epoch !== this.epoch) {
      this.epoch = lane.epoch;
      this.sequence = -1n;
      this.chain = new Uint8Array(32);
      this.#noted = undefined;
    }
    for (const delivery of database.deliveriesOut.range(this.lane, lane.epoch, this.sequence + 1n, 1n << 50n, 1e6)) {
      if (delivery.sequence !== this.sequence + 1n) throw new Error('a hole in the lane');
      if (!sameBytes(delivery.previousChain, this.chain)) throw new Error('the chain is broken');
      const parcel = delivery.parcel === undefined ? undefined : database.parcels.get(delivery.parcel);
      const expected = chainOf({
        previousChain: this.chain,
        laneId: this.lane,
        epoch: { ordinal: lane.epoch, nonce: lane.nonce },
        sequence: delivery.sequence,
        contentHash: parcel?.contentHash ?? new Uint8Array(0),
        counts: parcel?.counts ?? [],
      });
      if (!sameBytes(expected, delivery.chain)) throw new Error('the chain value does not fit its delivery');
      this.chain = delivery.chain;
      this.sequence = delivery.sequence;
      if (delivery.role === 'rows') this.#applyContent(await contentOf(database, delivery), delivery);
    }
  }

  #applyContent(content: Uint8Array, { loadBegins, loadEnds }: { loadBegins: boolean; loadEnds: boolean }): void {
    if (loadBegins) {
      this.#noted = new Map([...this.tables].map(([table, rows]) => [table, new Set(rows.keys())]));
    }
    for (const section of decodeContent(content)) {
      if (section.wholeRows) this.#columns.set(section.table, section.columns);
      const rows = this.tables.get(section.table) ?? new Map<string, string>();
      this.tables.set(section.table, rows);
      for (const line of Buffer.from(section.rows).toString().split('\n').slice(0, -1)) {
        const key = line.split('\t').slice(0, section.keyColumns).join('\t');
        this.#noted?.get(section.table)?.delete(key);
        if (section.kind === 'update' && !section.wholeRows) this.parts += 1;
        const had = rows.has(key);
        const after = section.path?.map(({ node }) => ` after ${node.slice(0, 1)}`).join('') ?? '';
        this.outcomes.push(`${section.kind}${had ? '' : '-missing'}${after}`);
        if (section.kind === 'delete') rows.delete(key);
        else
          rows.set(
            key,
            section.wholeRows ? line : laidOver(rows.get(key), line, section.columns, this.#columns.get(section.table)),
          );
      }
    }
    if (loadEnds) {
      for (const [table, keys] of this.#noted ?? []) for (const key of keys) this.tables.get(table)?.delete(key);
      this.#noted = undefined;
    }
  }
}

/** A row of which only some columns came, over the one that is there. */
function laidOver(
  row: string | undefined,
  line: string,
  columns: readonly string[],
  all: readonly string[] | undefined,
): string {
  if (row === undefined || all === undefined) throw new Error('a part of a row, and no row to lay it over');
  const fields = row.split('\t');
  for (const [index, field] of line.split('\t').entries()) fields[all.indexOf(columns[index] as string)] = field;
  return fields.join('\t');
}

export class CaptureWorld implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'qiao-capture-'));
  readonly tables = new Map<string, MemoryTable>();
  readonly destinations: MemoryDestination[] = [];
  database: ExchangeDatabase;
  nowMs = 1_700_000_000_000;
  chunkRows = 1_000;
  parcelBytes = 4 * 1024 * 1024;
  /** The scan fails after this many chunks. */
  failAfterChunks = Number.POSITIVE_INFINITY;
  version = 1;
  /** Something that happens while a table is read. */
  onSnapshot: () => void = () => {};
  /** Something that happens between two chunks, when this many were taken. */
  onChunk: (taken: number) => void = () => {};
  /** Run that a person asked for last. */
  captureRun = 1n;
  /** The newest fencing token that the hub gave, as the snapshot says. */
  newestToken = 0n;
  allowedDeletes = 0n;
  deleteGuard = { rows: 1_000, share: 0.05 };
  bridgeTables: BridgeTable[] = [];
  bridgeLimits: BridgeDefinition['limits'];
  capture: BridgeDefinition['source']['capture'] = 'compare';
  schedule: BridgeDefinition['schedule'] = { kind: 'manual' };
  /** A real data source in place of the tables in memory. */
  source: Promise<DataSource> | undefined;
  lanes: DesiredLane[] = [];
  /** How every table lands. */
  landing: Pick<Destination['tables'][string], 'landing' | 'conflict'> = { landing: 'mirror' };
  /** As the hub says them. */
  circles: Circles | undefined;
  packed = 0;
  /** Something that happens each time that rows came to disk. */
  onFlush: () => void = () => {};

  constructor() {
    this.database = openExchangeDatabase(join(this.directory, 'exchange.db'));
  }

  /** As after a kill -9: whatever was not committed is gone. */
  reopen(): void {
    this.database.close();
    this.database = openExchangeDatabase(join(this.directory, 'exchange.db'));
  }

  addTable(name: string, table: MemoryTable, extra: Partial<BridgeTable> = {}): void {
    this.tables.set(name, table);
    this.bridgeTables.push({ name, transform: [], checks: [], ...extra });
  }

  addLane(): MemoryDestination {
    const laneId = idText(randomBytes(16));
    const { bridgeTables } = this;
    const landed = () => ({ ownership: 'none', onDelete: 'delete', mark: 'target', ...this.landing }) as const;
    const destination = {
      node: 'civil-affairs',
      dataSource: 'theirs',
      get tables() {
        return Object.fromEntries(bridgeTables.map(({ name }) => [name, { to: name, ...landed() }]));
      },
    };
    const base = { senderId: NODE_ID, receiverId: RECEIVER_ID, destinationIndex: 0, destination };
    this.lanes.push({ laneId, highestEpoch: 0n, ended: false, ...base });
    const memory = new MemoryDestination(parseId(laneId));
    this.destinations.push(memory);
    return memory;
  }

  get definition(): BridgeDefinition {
    return {
      kind: 'Bridge',
      name: 'people',
      title: 'People',
      source: { node: 'health', dataSource: 'his', capture: this.capture, tables: this.bridgeTables },
      schedule: this.schedule,
      destinations: [],
      lateAfterMs: 300_000,
      explainedAlertShare: 1,
      windowBytes: 16 * 1024 * 1024,
      deleteGuard: this.deleteGuard,
      limits: this.bridgeLimits,
      stopAfterQuarantined: 1_000,
    } as unknown as BridgeDefinition;
  }

  get desired(): Desired {
    const bridge: DesiredBridge = {
      bridgeId: BRIDGE_ID,
      name: 'people',
      version: this.version,
      state: BridgeState.RUNNING,
      definition: this.definition,
      lanes: this.lanes,
      runNumber: this.captureRun,
      allowedDeletes: this.allowedDeletes,
      circles: this.circles,
    };
    return {
      platformId: PLATFORM_ID,
      platformCode: 'demo',
      nodeId: NODE_ID,
      generation: 1n,
      number: 1n,
      timeZone: 'Asia/Shanghai',
      fencingToken: this.newestToken,
      bridges: new Map([[BRIDGE_ID, bridge]]),
      peers: new Map(),
      monitors: [],
    };
  }

  get ports(): CapturePorts {
    return {
      database: this.database,
      desired: { current: () => this.desired, onChange: () => () => undefined },
      dataSources: { open: async () => this.source ?? memoryDataSource(this) },
      permissions: { exposes: [], accepts: [], defaultSchema: () => undefined },
      hasher: createMaskHasher(new Uint8Array(32)).hash,
      signer: {
        sign: (_context, payload) => ({
          payload,
          suite: 'test',
          keyId: new Uint8Array(32),
          signature: new Uint8Array([1]),
        }),
      },
      fence: { token: () => 1n, isLost: false, whenGiven: async () => undefined },
      clock: { nowMs: () => this.nowMs, elapsedMs: () => this.nowMs, sleep: async () => undefined },
      log: silentLog(),
      newId: () => randomBytes(16),
      limits: { ...DEFAULT_CAPTURE_LIMITS, parcelBytes: this.parcelBytes },
      landings: { behind: async () => undefined },
      onPacked: () => {
        this.packed += 1;
        this.onFlush();
      },
    };
  }

  /** Aligns lanes and scans once. */
  async scan(signal: AbortSignal = new AbortController().signal): Promise<ScanResult> {
    const { desired, ports } = this;
    const bridge = desired.bridges.get(BRIDGE_ID) as DesiredBridge;
    alignLanes(ports, desired, bridge);
    return scanBridge(ports, {
      desired,
      bridge,
      runNumber: this.captureRun,
      allowedDeletes: this.allowedDeletes,
      signal,
      room: createWakeup(),
    });
  }

  async deliver(): Promise<void> {
    for (const destination of this.destinations) await destination.apply(this.database);
  }

  [Symbol.dispose](): void {
    this.database.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function memoryDataSource(world: CaptureWorld): DataSource {
  const describe = (name: string): TableDescription | undefined => {
    const table = world.tables.get(name);
    if (table === undefined) return undefined;
    return {
      ref: { name },
      kind: 'table',
      columns: table.columns.map((column) => ({
        ...column,
        nativeType: column.type.type,
        nullable: !table.key.includes(column.name),
        generated: false,
        hasDefault: false,
      })),
      primaryKey: table.key,
      uniqueKeys: [table.key],
      foreignKeys: (table.parents ?? []).map((parent) => ({
        columns: ['parent'],
        toTable: { name: parent },
        toColumns: ['id'],
      })),
      isEmpty: async () => table.lines.length === 0,
    };
  };
  return {
    name: 'his',
    adapter: 'sqlite',
    describe: async (ref: { name: string }) => describe(ref.name),
    snapshot: async () => ({
      async *rows({ ref, keys }: { ref: { name: string }; keys?: Buffer }): AsyncGenerator<SourceChunk> {
        world.onSnapshot();
        const { lines: all, refused, refusedKeys = [] } = world.tables.get(ref.name) as MemoryTable;
        const only = keys === undefined ? undefined : new Set(keys.toString('utf8').split('\n'));
        const lines = all.filter((line) => only?.has(line.split('\t', 1)[0] as string) ?? true);
        const count = refusedKeys.filter((key) => only?.has(key) ?? true).length;
        if (count > 0) yield { rows: Buffer.alloc(0), refused: [{ code: 'VALUE_INVALID', column: 'x', count }] };
        for (let start = 0, taken = 0; start < lines.length; start += world.chunkRows, taken++) {
          if (taken > 0) world.onChunk(taken);
          if (world.failAfterChunks-- <= 0) throw new Error('the source went away');
          yield { rows: Buffer.from(`${lines.slice(start, start + world.chunkRows).join('\n')}\n`) };
        }
        if (refused === undefined || only !== undefined) return;
        const first = '"person.csv", line 1';
        yield { rows: Buffer.alloc(0), refused: [{ code: 'VALUE_INVALID', column: 'x', count: refused, first }] };
      },
      async [Symbol.asyncDispose]() {},
    }),
  } as unknown as DataSource;
}
