/**
 * The triggers of one scan: takes what they noted out of the business database, tells each table whether it is read whole or by keys, and
 * keeps what was read. What follows from what was found is decided in trigger.ts.
 *
 * Entries are read in a snapshot, their keys made durable, and only then the entries deleted at the source; rows are read in a later
 * snapshot, so that none is older than its entry. What came in between is noted out of that snapshot, too: of a transaction that it sees
 * every row is read, or a unique value could be at two rows of the destination for a moment. A crash between leaves entries that are noted
 * again: their rows are found unchanged.
 */
import { hash } from 'node:crypto';
import type { DataSource, SnapshotTable, SourceSnapshot, TriggerPlan, Triggers } from '@qiao/adapters';
import { KINDS, parseId, QiaoError } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import type { DesiredBridge } from '../control/desired.ts';
import { triggerOwner } from '../data-sources/triggers.ts';
import type { CaptureTable, EntryCounts, NotedKey, TriggerReading } from '../exchange-database/index.ts';
import type { TableCompare } from './compare.ts';
import type { ScanOutput } from './output.ts';
import type { PlannedTable } from './plan.ts';
import type { CapturePorts } from './ports.ts';
import { type ChunkByKey, leavingKey, rowsOf } from './rowsByKey.ts';
import { foldedOf, isWholeDue } from './trigger.ts';

/** Keys read in one statement or a few. */
const PAGE = 2_000;
/** Noted keys made durable in one transaction. */
const NOTE_STEP = 10_000;
const FORGET_STEP = 10_000;
/** Rows that are read at one scan though nothing happened to them here. */
const MOST_LOOKS = 10_000;

export interface TriggerScanWork {
  readonly nodeId: string;
  readonly bridge: DesiredBridge;
  readonly runNumber: bigint;
  readonly isLoading: boolean;
  readonly signal: AbortSignal;
}

interface TriggerTable {
  readonly table: PlannedTable;
  readonly tableId: number;
  readonly trigger: TriggerPlan;
  /** Data source and change table: what several bridges share. */
  readonly changes: string;
  readonly plan: string;
  identity: string;
  /** When the scan began. */
  reading: TriggerReading | undefined;
  isWhole: boolean;
  entries: EntryCounts;
}

export class TriggerScan {
  readonly #ports: CapturePorts;
  readonly #work: TriggerScanWork;
  readonly #tables: readonly TriggerTable[];
  /** Keys noted up to this look were noted before the scan's snapshot. */
  #look = 0;

  private constructor(ports: CapturePorts, work: TriggerScanWork, tables: readonly TriggerTable[]) {
    this.#ports = ports;
    this.#work = work;
    this.#tables = tables;
  }

  /** Before the scan's snapshot is taken. Throws TRIGGER_… (transient) while a table is without sound triggers: its gap is on record. */
  static async begin(
    ports: CapturePorts,
    work: TriggerScanWork,
    dataSource: DataSource,
    scanned: readonly { readonly table: PlannedTable; readonly held: CaptureTable }[],
  ): Promise<TriggerScan> {
    const { name, source } = work.bridge.definition;
    if (source.capture !== 'trigger') return new TriggerScan(ports, work, []);
    const { triggers } = dataSource;
    if (triggers === undefined) {
      throw new QiaoError('CAPTURE_NOT_AVAILABLE', `${dataSource.adapter} has no triggers`, {
        hint: 'write capture: compare in the bridge',
      });
    }
    const tables: TriggerTable[] = [];
    for (const { table, held } of scanned) {
      const key = table.read.columns.slice(0, table.read.keyColumns).map((column) => column.name);
      const trigger = await triggers.plan({
        table: table.name,
        ref: table.read.ref,
        key,
        owner: triggerOwner(work.nodeId, source.dataSource),
      });
      const changes = [source.dataSource, trigger.changes.schema ?? '', trigger.changes.name].join('/');
      ports.database.triggers.register(held.id, changes, table.transform.keepsKeys);
      tables.push({
        table,
        tableId: held.id,
        trigger,
        changes,
        plan: planOf(source.dataSource, table),
        identity: '',
        reading: undefined,
        isWhole: true,
        entries: { inserts: 0, updates: 0, deletes: 0 },
      });
    }
    const scan = new TriggerScan(ports, work, tables);
    await scan.#checkState(triggers, name);
    await scan.#take(triggers, dataSource);
    scan.#decide();
    return scan;
  }

  /** Every change that the rows' snapshot sees is noted before the first of them is read. */
  async join(snapshot: SourceSnapshot): Promise<void> {
    const { triggers } = this.#ports.database;
    for (const one of this.#tables) await this.#note(one, snapshot, triggers.taken(one.changes), this.#look);
    this.#decide();
  }

  /** Nothing is noted and nothing is due: no table need be looked at. */
  get isIdle(): boolean {
    const { database } = this.#ports;
    return (
      this.#tables.length > 0 && this.#tables.every((one) => !one.isWhole && !database.triggers.hasKeys(one.tableId))
    );
  }

  isByKeys({ name }: PlannedTable): boolean {
    return this.#tables.some(({ table, isWhole }) => table.name === name && !isWhole);
  }

  /** The rows of the noted keys. Keys without a row are named to `compare`; to be taken whole before the next is asked for. */
  async *rows({ name }: PlannedTable, snapshot: SourceSnapshot, compare: TableCompare): AsyncGenerator<ChunkByKey> {
    const one = this.#tables.find(({ table }) => table.name === name) as TriggerTable;
    const { triggers } = this.#ports.database;
    for (let after = ''; ; ) {
      const page = triggers.after(one.tableId, this.#look, after, PAGE);
      const last = page.at(-1);
      if (last === undefined) return;
      after = last.key;
      one.entries = page.reduce(added, one.entries);
      if (compare.refusals.isAnyKnown) compare.refusals.lookAt(page.flatMap(({ key }) => leavingKey(one.table, key)));
      const absent = yield* rowsOf(
        one.table.read,
        page.map(({ key }) => key),
        snapshot,
      );
      compare.missing(absent.flatMap((key) => leavingKey(one.table, key)));
    }
  }

  /** Before the last flush: noted changes without an outcome of their own go into the books. */
  fold(output: ScanOutput, guarded: ReadonlySet<string>): void {
    for (const { table, isWhole, entries } of this.#tables) {
      if (isWhole || guarded.has(table.name)) continue;
      const folded = foldedOf(entries, output.outcomes(table.name));
      for (const kind of KINDS) output.folded(table.name, kind, folded[kind]);
    }
  }

  /** In the transaction that finishes the scan. */
  finish(guarded: ReadonlySet<string>): void {
    const { database, clock } = this.#ports;
    for (const { table, tableId, plan, identity, reading, isWhole } of this.#tables) {
      if (!isWhole || guarded.has(table.name) || reading === undefined) continue;
      database.triggers.setRead(tableId, { plan, identity, wholeAtMs: clock.nowMs(), read: reading.owed });
    }
  }

  /** Forgets the keys that were read. After a crash before it they are read again, and found unchanged. */
  async forgetKeys(guarded: ReadonlySet<string>): Promise<void> {
    const { triggers } = this.#ports.database;
    for (const { table, tableId } of this.#tables) {
      if (guarded.has(table.name)) continue;
      while (triggers.removeSome(tableId, this.#look, NOTE_STEP) > 0) await new Promise(setImmediate);
    }
  }

  async #checkState(triggers: Triggers, bridge: string): Promise<void> {
    const { database } = this.#ports;
    database.triggers.acknowledge(parseId(this.#work.bridge.bridgeId), this.#work.runNumber);
    let failure: QiaoError | undefined;
    for (const one of this.#tables) {
      const state = await triggers.state(one.trigger);
      if (state.kind === 'broken') {
        failure ??= new QiaoError(state.code, state.message, {
          fate: 'transient',
          hint: `qiao agent triggers install --bridge ${bridge} on the node`,
        });
        this.#gap(one, state.message);
        continue;
      }
      const known = database.triggers.get(one.tableId);
      if (known !== undefined && known.read > 0 && known.identity !== state.identity) {
        this.#gap(one, `the triggers of table ${one.table.name} were made anew, or switched off and on`);
      }
      one.identity = state.identity;
    }
    if (failure !== undefined) throw failure;
  }

  async #take(triggers: Triggers, dataSource: DataSource): Promise<void> {
    const { database, fence } = this.#ports;
    for (const one of this.#tables) {
      const taken = database.triggers.taken(one.changes);
      const { ids, isLost } = await this.#lookAtEntries(one, dataSource, taken);
      // What stood in the way of forgetting is over, or was another's.
      const over = [...taken].filter((id) => !ids.has(id));
      database.transaction(() => database.triggers.untake(one.changes, over));
      if (ids.size === 0) continue;
      // A process that lost its fence must not take away what another one is to read.
      if (fence.isLost) continue;
      crashPoint('entries.noted');
      const all = [...ids];
      for (let from = 0; from < all.length; from += FORGET_STEP) {
        const some = all.slice(from, from + FORGET_STEP);
        try {
          await triggers.forget(one.trigger, some);
        } catch (error) {
          // Somebody who left changes unnoted is not over: this table's entries stay, and the others go on.
          if (!(error instanceof QiaoError) || error.code !== 'SOURCE_BUSY') throw error;
          break;
        }
        crashPoint('entries.forgotten');
        database.transaction(() => database.triggers.untake(one.changes, some));
      }
      // Changes were left unnoted until now: who has begun to read the whole table meanwhile reads it once more.
      if (isLost) database.triggers.oweAll(one.changes);
    }
    for (const one of this.#tables) this.#wantLooks(one);
    this.#look = database.triggers.nextLook();
  }

  /** Rows that stayed here against what another node said, or that landed and were not found, are read, and leave where the destination has others. */
  #wantLooks({ tableId, table }: TriggerTable): void {
    const { database } = this.#ports;
    const { arrivals, sendBacks, triggers } = database;
    const want = (key: string) => triggers.want(tableId, table.keys.decode(key).toString('utf8').slice(0, -1));
    const landed = arrivals.due(tableId, MOST_LOOKS);
    const due = sendBacks.due(tableId, MOST_LOOKS);
    if (landed.length + due.length === 0) return;
    const words = arrivals.getMany(
      tableId,
      due.map(({ key }) => key),
    );
    database.transaction(() => {
      for (const { key, digest } of due) {
        // What was sent since, or found, made the word void.
        if (words.get(key)?.digest !== digest) sendBacks.settle(tableId, [{ key, digest }]);
        else want(key);
      }
      for (const { key } of landed) want(key);
      // The noted key stands for the look from here on.
      arrivals.looked(
        tableId,
        landed.map(({ key }) => key),
      );
    });
  }

  async #lookAtEntries(one: TriggerTable, dataSource: DataSource, taken: ReadonlySet<string>): Promise<SeenEntries> {
    const { snapshotMaxMs } = this.#ports.limits;
    await using snapshot = await dataSource.snapshot({ signal: this.#work.signal, maxMs: snapshotMaxMs });
    return await this.#note(one, snapshot, taken);
  }

  /** Makes the keys of the entries durable; those of `taken` ids are. `seenLook`: where this snapshot is the one that rows are read in. */
  async #note(
    one: TriggerTable,
    snapshot: SourceSnapshot,
    taken: ReadonlySet<string>,
    seenLook?: number,
  ): Promise<SeenEntries> {
    const { database } = this.#ports;
    const seen = seenLook === undefined ? undefined : { by: one.tableId, look: seenLook };
    const ids = new Set<string>();
    const lost = new Set<string>();
    let isLost = false;
    const noted = new Map<string, NotedKey>();
    const keep = (finished: Iterable<string>) => {
      database.transaction(() => {
        // Drawn now: a look that is over was taken before these entries were seen.
        const look = database.triggers.nextLook();
        for (const key of noted.values()) database.triggers.note(one.changes, look, key, seen);
        if (lost.delete(EMPTIED)) database.triggers.oweAll(one.changes);
        for (const operation of lost) this.#gap(one, `${LOST[operation]} (${one.table.name})`);
        lost.clear();
        database.triggers.take(one.changes, finished);
      });
      noted.clear();
    };
    let unreadable = 0;
    for await (const { rows, refused } of snapshot.rows(one.trigger.entries)) {
      for (const { count } of refused ?? []) unreadable += count;
      for (const { id, operation, key } of entriesOf(rows)) {
        ids.add(id);
        isLost ||= operation in LOST;
        if (taken.has(id)) continue;
        if (operation in LOST || operation === EMPTIED) lost.add(operation);
        else noted.set(key, added(noted.get(key) ?? { key, ...NONE }, countOf(operation)));
      }
      if (noted.size >= NOTE_STEP) keep([]);
    }
    // A key that cannot be carried names no row that could be: its entry is only taken away.
    if (unreadable > 0) for (const id of await idsOf(snapshot, one.trigger.entries)) ids.add(id);
    if (ids.size > 0) keep(ids);
    return { ids, isLost };
  }

  #decide(): void {
    const { database, clock } = this.#ports;
    const { bridge, isLoading, runNumber } = this.#work;
    const answered = database.captures.get(parseId(bridge.bridgeId))?.runNumber ?? 0n;
    for (const one of this.#tables) {
      one.reading = database.triggers.get(one.tableId);
      one.isWhole = isWholeDue({
        reading: one.reading,
        plan: one.plan,
        isAsked: isLoading || runNumber > answered,
        everyMs: bridge.definition.source.wholeScanEveryMs ?? DAY_MS,
        nowMs: clock.nowMs(),
      });
    }
  }

  #gap({ table, tableId, changes }: TriggerTable, reason: string): void {
    const { database, log } = this.#ports;
    const known = database.triggers.get(tableId);
    database.triggers.gap(changes, { tableId, reason, run: this.#work.runNumber });
    if (known !== undefined && known.read > 0) database.captures.setPutBack(tableId, true);
    if (known !== undefined && known.read > 0 && known.owed === known.read) {
      log.warn(
        { bridge: this.#work.bridge.name, table: table.name, reason },
        'history at the source is lost: the table is read whole',
      );
    }
  }
}

const DAY_MS = 24 * 60 * 60_000;
const NONE: EntryCounts = { inserts: 0, updates: 0, deletes: 0 };

interface SeenEntries {
  readonly ids: ReadonlySet<string>;
  /** Changes went unnoted. */
  readonly isLost: boolean;
}

/** Entries without a key that say that changes went unnoted. */
const LOST: Readonly<Record<string, string>> = {
  S: 'triggers were installed: what came before is not known',
  F: 'the change table was full, and changes were not noted',
};
/** The table was emptied at once: nothing went unnoted, and the whole table tells which rows are gone. */
const EMPTIED = 'T';

function countOf(operation: string): EntryCounts {
  return { inserts: +(operation === 'I'), updates: +(operation === 'U'), deletes: +(operation === 'D') };
}

function added<T extends EntryCounts>(sum: T, { inserts, updates, deletes }: EntryCounts): T {
  return {
    ...sum,
    inserts: sum.inserts + inserts,
    updates: sum.updates + updates,
    deletes: sum.deletes + deletes,
  };
}

function* entriesOf(rows: Buffer): Generator<{ id: string; operation: string; key: string }> {
  for (const line of rows.toString('utf8').split('\n')) {
    if (line === '') continue;
    const first = line.indexOf('\t');
    const second = line.indexOf('\t', first + 1);
    yield { id: line.slice(0, first), operation: line.slice(first + 1, second), key: line.slice(second + 1) };
  }
}

async function idsOf(snapshot: SourceSnapshot, entries: SnapshotTable): Promise<string[]> {
  const ids: string[] = [];
  for await (const { rows } of snapshot.rows({ ...entries, columns: entries.columns.slice(0, 1) })) {
    for (const id of rows.toString('utf8').split('\n')) if (id !== '') ids.push(id);
  }
  return ids;
}

/** Whatever says which rows travel, and how: another one lets the table be read whole. */
function planOf(dataSource: string, { definition, layout, keys }: PlannedTable): string {
  return hash('sha256', JSON.stringify([dataSource, definition, layout, keys.encoding]), 'hex');
}
