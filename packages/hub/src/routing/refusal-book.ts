// Owns the refusals table: what was refused, collapsed when the same comes again in a row, bounded, and told to the audit once
// per row. Writing is grouped: many refusals at once share one commit, so a node that floods costs one write and not a thousand.

import { appendAudit } from '../audit/audit.ts';
import type { HubDatabase } from '../hub-database.ts';

export interface RefusalNote {
  readonly atMs: number;
  /** Code of the node whose subject carried the message. */
  readonly fromNode: string;
  /** Name of the bridge, or empty. */
  readonly bridge: string;
  /** 32 hexadecimal characters, or empty. */
  readonly laneId: string;
  readonly epoch: bigint;
  readonly sequence: bigint;
  readonly code: string;
  readonly message: string;
}

const KEPT_ROWS = 10_000;
/** Different refusals waiting for one commit; past it they are told as one of their node and code. */
const MAX_WAITING = 1_000;

interface Waiting {
  note: RefusalNote;
  times: number;
}

export class RefusalBook {
  readonly #store: HubDatabase;
  #waiting = new Map<string, Waiting>();
  #writing: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(store: HubDatabase) {
    this.#store = store;
  }

  /** Writes a refusal down; durable when it resolves. */
  record(note: RefusalNote): Promise<void> {
    const fine = `${note.fromNode}\0${note.laneId}\0${note.code}`;
    const key = this.#waiting.has(fine) || this.#waiting.size < MAX_WAITING ? fine : `${note.fromNode}\0\0${note.code}`;
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) this.#waiting.set(key, { note, times: 1 });
    else {
      waiting.note = note;
      waiting.times += 1;
    }
    // Everyone who comes while one commit is under way shares the next.
    this.#next ??= this.#writeNext();
    return this.#next;
  }

  async #writeNext(): Promise<void> {
    await this.#writing?.catch(() => undefined);
    const batch = [...this.#waiting.values()];
    this.#waiting = new Map();
    this.#next = undefined;
    const writing = this.#write(batch);
    this.#writing = writing;
    await writing;
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    await this.#store.transaction().execute(async (store) => {
      for (const { note, times } of batch) await writeOne(store, note, times);
      await prune(store);
    });
  }
}

async function writeOne(store: HubDatabase, note: RefusalNote, times: number): Promise<void> {
  const last = await store
    .selectFrom('refusals')
    .select(['id', 'lane_id', 'code', 'epoch', 'times'])
    .where('from_node', '=', note.fromNode)
    .orderBy('id', 'desc')
    .limit(1)
    .executeTakeFirst();
  const isSame = last?.lane_id === note.laneId && last.code === note.code && last.epoch === Number(note.epoch);
  if (last !== undefined && isSame) {
    await store
      .updateTable('refusals')
      .set({ at_ms: note.atMs, sequence: Number(note.sequence), message: note.message, times: last.times + times })
      .where('id', '=', last.id)
      .execute();
    return;
  }
  await store
    .insertInto('refusals')
    .values({
      at_ms: note.atMs,
      from_node: note.fromNode,
      bridge: note.bridge,
      lane_id: note.laneId,
      epoch: Number(note.epoch),
      sequence: Number(note.sequence),
      code: note.code,
      message: note.message,
      times,
    })
    .execute();
  // A busy destination is no event of security: it stands in the table, the audit is kept for what a person must explain.
  if (note.code === 'DESTINATION_BUSY') return;
  await appendAudit(store, {
    atMs: note.atMs,
    actor: 'hub',
    action: 'delivery.refuse',
    subject: note.fromNode,
    success: false,
    detail: {
      code: note.code,
      bridge: note.bridge,
      lane: note.laneId,
      epoch: Number(note.epoch),
      sequence: Number(note.sequence),
    },
  });
}

async function prune(store: HubDatabase): Promise<void> {
  const newest = await store.selectFrom('refusals').select('id').orderBy('id', 'desc').limit(1).executeTakeFirst();
  if (newest === undefined || newest.id <= KEPT_ROWS) return;
  await store
    .deleteFrom('refusals')
    .where('id', '<=', newest.id - KEPT_ROWS)
    .execute();
}
