/** For tests only: a source node whose tables are captured by triggers, from a file of SQLite. */
import { join } from 'node:path';
import { type DataSource, openDataSource, type TriggerPlan, type Triggers } from '@qiao/adapters';
import { BookEntry } from '@qiao/contract/control';
import { Statement } from '@qiao/contract/receipt';
import { type BridgeTable, parseId } from '@qiao/exchange';
import Sqlite from 'better-sqlite3';
import { triggerOwner } from '../data-sources/triggers.ts';
import { createCaptureParts } from './capture.ts';
import { BRIDGE_ID, CaptureWorld, type MemoryDestination, NODE_ID } from './captureWorld.testing.ts';

/** A table `person` with triggers, and one destination. */
export class TriggerWorld extends CaptureWorld {
  readonly #file = new Sqlite(join(this.directory, 'department.db'));
  readonly person: BridgeTable = { name: 'person', transform: [], checks: [] };
  readonly destination: MemoryDestination;
  readonly dataSource: Promise<DataSource>;

  constructor(key = 'id INTEGER NOT NULL PRIMARY KEY') {
    super();
    this.#file.pragma('journal_mode = WAL');
    this.#file.exec(`CREATE TABLE person (${key}, name TEXT, city TEXT)`);
    this.dataSource = openDataSource({ name: 'his', adapter: 'sqlite', file: join(this.directory, 'department.db') });
    this.source = this.dataSource;
    this.capture = 'trigger';
    // A person's run reads every table whole: these tests look at what goes by itself.
    this.captureRun = 0n;
    this.bridgeTables.push(this.person);
    this.destination = this.addLane();
  }

  async triggers(budget?: number): Promise<{ triggers: Triggers; plan: TriggerPlan }> {
    const { triggers } = await this.dataSource;
    if (triggers === undefined) throw new Error('SQLite has triggers');
    const plan = await triggers.plan({
      table: 'person',
      ref: { name: 'person' },
      owner: triggerOwner(NODE_ID, 'his'),
      budget,
    });
    return { triggers, plan };
  }

  async install(budget?: number): Promise<void> {
    const { triggers, plan } = await this.triggers(budget);
    await triggers.run(plan.install);
  }

  sql(text: string): void {
    this.#file.exec(text);
  }

  /** Rows of the source as they would land. */
  rows(where = '1'): string[] {
    const rows = this.#file.prepare(`SELECT * FROM person WHERE ${where}`).raw().all() as unknown[][];
    return rows.map((row) => row.map((value) => (value === null ? '\\N' : String(value))).join('\t')).sort();
  }

  /** Scans, lets the destination apply, and says how many rows were looked at. */
  async step(): Promise<number> {
    const { rows } = await this.scan();
    await this.deliver();
    return rows;
  }

  /** Entries that wait in the change table. */
  async waiting(): Promise<number> {
    const { plan } = await this.triggers();
    return this.#file.prepare(`SELECT count(*) FROM ${plan.changes.name}`).pluck().get() as number;
  }

  get tableId(): number {
    return this.database.captures.table(parseId(BRIDGE_ID), 'person')?.id ?? 0;
  }

  /** The code that the heartbeat would carry. */
  get trouble(): string {
    return createCaptureParts(this.ports).states()[0]?.code ?? '';
  }

  /** What the books say of captured changes, summed over kinds; that they add up is checked on the way. */
  get books(): { captured: number; packed: number; folded: number; filtered: number; refused: number } {
    const sum = { captured: 0, packed: 0, folded: 0, filtered: 0, refused: 0 };
    for (const { entry } of this.database.books.after(0n, 100_000)) {
      const decoded = BookEntry.decode(entry).entry;
      const counts =
        decoded?.$case === 'unpacked'
          ? decoded.value.capture
          : decoded?.$case === 'statement'
            ? Statement.decode(decoded.value.payload).capture
            : [];
      for (const { captured, packed, folded, filtered, refused } of counts) {
        if (captured !== packed + folded + filtered + refused) throw new Error('the books do not add up');
        sum.captured += Number(captured);
        sum.packed += Number(packed);
        sum.folded += Number(folded);
        sum.filtered += Number(filtered);
        sum.refused += Number(refused);
      }
    }
    return sum;
  }

  override [Symbol.dispose](): void {
    this.#file.close();
    super[Symbol.dispose]();
  }
}
